//! How reshare reads and writes files, and the small types that files and tables share.
//!
//! A run can be killed at any time and is then started again. So a file is written under a
//! temporary name and gets its final name when it is complete and on the disk: a file with its
//! final name can be trusted. No other crate gives a file its final name.
//!
//! # Reading order
//! * [`durable`], where most of the crate is: `file` (write, fsync, rename), then `directory`,
//!   `log` (a file that grows in place), `open` (files that others may have made, locks) and
//!   `leftovers` (unfinished files of a crash). `faults` makes all of these fail or freeze in
//!   tests.
//! * [`input_file`]: files that a flag names. A pipe or a device is refused, not waited for.
//!   [`output_file`]: those that a flag names to be written, probed before the work.
//! * [`file_error`] says which file the file system refuses, [`fault`] what is a refusal and what a
//!   failure, and [`causes`] what is behind an error.
//! * [`machine`]: the id of the machine that this is; [`medium`]: whether a place for media has
//!   one; [`memory`]: secrets off the disk;
//!   [`junk`]: files of operating systems; [`private`]: files that their group was let into.
//! * [`ids`], [`leftovers`] and [`timestamp`]: ranges of row ids, rows that a merge does not
//!   rebuild, and points in time, as sessions, parts, databases and reports write them.
//!
//! # What is absent
//! No file format, key or share: a file is bytes here. No async runtime and no thread of its own.
//!
//! # Example
//! A file is written durably and read back; what is left of a range follows from what was done:
//!
//! ```
//! use reshare_files::durable::{DurableFile, create_directory, write_whole};
//! use reshare_files::ids::IdRange;
//! use reshare_files::input_file::read_input;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let package = directory.path().join("package");
//! create_directory(&package)?;
//!
//! let path = package.join("part");
//! write_whole(&path, b"complete")?;
//! assert_eq!(read_input(&path, 1024)?, b"complete");
//!
//! // A file that is not committed never replaces the one that is there.
//! let unfinished = DurableFile::create(&path)?;
//! unfinished.write_all_at(b"half", 0)?;
//! drop(unfinished);
//! assert_eq!(read_input(&path, 1024)?, b"complete");
//!
//! let ids = IdRange::new(1, 100).ok_or("the last id is before the first")?;
//! let done = IdRange::new(1, 40).ok_or("the last id is before the first")?;
//! assert_eq!(ids.without([done]), [IdRange::new(41, 100).ok_or("empty")?]);
//! assert_eq!(ids.to_string(), "1..=100");
//! # Ok(())
//! # }
//! ```

pub mod causes;
pub mod durable;
pub mod fault;
pub mod file_error;
pub mod ids;
pub mod input_file;
pub mod junk;
pub mod leftovers;
pub mod machine;
pub mod medium;
pub mod memory;
pub mod output_file;
pub mod private;
pub mod timestamp;
