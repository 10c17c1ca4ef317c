//! The pipelines, from two senders' tables to the receiver's, with a real PostgreSQL.

mod conflicts;
mod crash;
mod demo_path;
mod evidence;
mod gate;
mod leftovers;
mod model;
mod other_deliveries;
mod packing;
mod redo;
mod referenced;
mod refusals;
mod resending;
mod resume;
mod snapshot;
mod support;
mod target;
