//! Stages and queues: pack, send, merge, rebuild.

pub mod progress;

mod pool;
mod sweep;
