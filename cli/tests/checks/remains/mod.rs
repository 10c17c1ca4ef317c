//! What a run leaves behind: how far it is, and how it is removed.

mod forging;
mod keys;
mod purge;
mod receipts;
mod status;
mod world;
