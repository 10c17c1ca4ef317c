//! The database crate against a real PostgreSQL, in one throw-away cluster.

mod codec;
mod comparing;
mod connecting;
mod exporting;
mod inspecting;
mod loading;
mod pooling;
mod protecting;
mod support;
mod waiting;
