//! What can be known before a run and would end it: looked at, never changed.
//!
//! Whatever a command checks itself is asked of the very function that it calls, such as
//! [`crate::ledger::Ledger::examine`] or [`reshare_exchange::Inbox::examine`]. Here is what no
//! command asks, because it finds out by doing: rights, limits, sizes, room.

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
pub use rows::{RowEstimate, read_first_row};
pub use server::{Connections, Server, Standby, TimeLimit};
