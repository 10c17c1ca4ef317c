//! The pipelines, from two senders' tables to the receiver's, with a real PostgreSQL.

mod conflicts;
mod demo_path;
mod gate;
mod leftovers;
mod model;
mod packing;
mod refusals;
mod resume;
mod snapshot;
mod support;
