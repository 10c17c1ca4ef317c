//! What a run leaves behind: how far it is, and how it is removed.

mod purge;
mod status;
mod world;
