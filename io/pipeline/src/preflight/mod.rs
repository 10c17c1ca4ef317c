//! Finds what would make a run fail, before the run and without changing anything.
//!
//! What a command checks itself is checked here with the same functions, such as
//! [`crate::ledger::Ledger::examine`] or [`reshare_exchange::Inbox::examine`]. The other checks are
//! those that no command makes before it starts: rights, limits, sizes, disk space.

mod columns;
mod disk;
mod probe;
mod rights;
mod rows;
mod server;

pub use columns::ColumnDefect;
pub use disk::{Filesystem, Place};
pub use probe::Probe;
pub use rights::{MissingRight, TableUse};
pub use rows::{RowEstimate, RowsKnown, read_first_row};
pub use server::{Connections, LossySetting, Server, Standby, TimeLimit};
