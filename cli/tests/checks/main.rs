//! What is checked before and after a run: `reshare check`, what a run leaves behind, and that
//! no secret is in it.

mod check;
#[path = "../network/mod.rs"]
mod network;
mod remains;
mod secrets;
