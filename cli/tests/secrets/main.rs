//! Nothing leaks: keys, passwords and plain shares are in no output and in no file.

mod logs;
mod needles;
#[path = "../network/mod.rs"]
mod network;
mod openssl;
mod plain_shares;
#[path = "../check/world.rs"]
#[expect(dead_code, reason = "what only the tests of `check` use")]
mod world;
