//! Runs that are killed, cut off, stopped or out of room, as processes, and runs after them.

mod cut_link;
mod database;
mod disk;
// What freezes there is not in release builds.
#[cfg(debug_assertions)]
mod frozen;
mod kills;
mod signals;
mod snapshots;
mod soak;
mod standby;
mod tmpfs;
mod world;
