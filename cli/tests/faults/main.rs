//! What goes wrong: runs that are killed or cut off, files that are not what they should be, and
//! parties that may not do what they try.

#[path = "../checks/check/world.rs"]
#[expect(dead_code, reason = "what only the tests of `check` use")]
mod check_world;
mod crash;
mod hostile;
#[path = "../network/mod.rs"]
mod network;
mod refusals;
#[path = "../network/way.rs"]
mod way;
