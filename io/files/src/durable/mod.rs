//! Files that appear whole or not at all.
//!
//! Every write, fsync, rename and directory fsync of data that must survive a crash happens in
//! this module. A final name never shows half a file. When [`DurableFile::commit`] returns, the
//! file and its name are on the disk.

mod append;
mod birth;
mod directory;
#[doc(hidden)]
pub mod faults;
mod file;
mod leftovers;
mod log;
mod open;

pub use append::append_line;
pub use birth::FileBirth;
pub(crate) use directory::directory_of;
pub use directory::{
    create_directory, free_bytes, remove_directory, remove_file, remove_files, sync_directory,
};
pub use file::{DurableFile, SyncedFile, write_whole};
pub use leftovers::{is_temporary, remove_leftovers, remove_leftovers_of};
pub use log::DurableLog;
pub use open::{lock_soon, open_regular};
