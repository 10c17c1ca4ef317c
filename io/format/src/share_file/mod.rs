//! Memory-mapped columnar files of rows.
//!
//! One fixed header of 4 KiB, then one block a column, each aligned to 4 KiB: the bytes
//! are defined in `docs/format.md`. Every offset follows from the kind, the layout and the
//! number of rows, so nothing but the header is ever parsed.

pub mod block_plan;
mod check;
mod digest;
mod error;
mod header;
mod map;
mod reader;
mod stream;
mod writer;

use std::fmt;
use std::sync::Arc;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;

pub use error::{ShareFileDefect, ShareFileError};
pub use header::{HEADER_BYTES, ShareFileHeader};
pub use reader::{ShareFile, inspect};
pub use stream::{AgreeData, AgreeDataValues, RowPrefix};
pub(crate) use stream::{read_prefix, read_rows, stored_bytes, write_prefix, write_shares};
pub use writer::ShareFileWriter;

/// The kind of shares in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A party's own shares, as its database holds them. Secret.
    Plain = 1,
    /// Weighted and blinded shares on the way to the receiver, with row checks.
    Blinded = 2,
    /// The receiver's rebuilt shares. Secret.
    Rebuilt = 3,
}

impl Kind {
    /// Whether files of this kind have row checks.
    #[must_use]
    pub const fn has_row_checks(self) -> bool {
        matches!(self, Self::Blinded)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Blinded => "blinded",
            Self::Rebuilt => "rebuilt",
        })
    }
}

/// Everything that determines a share file's header and the positions of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFileSpec {
    /// The kind of shares.
    pub kind: Kind,
    /// The session's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whose shares they are: the sender's for plain and blinded, the receiver's for rebuilt.
    pub party: PartyId,
    /// The part's index; 0 for a file that is not a part.
    pub part_index: u64,
    /// The range of the ids; it may include ids that the file does not have.
    pub ids: IdRange,
    /// The number of rows.
    pub rows: u64,
    /// The columns.
    pub layout: Arc<RowLayout>,
}

/// What is required of a share file when it is opened.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The session's fingerprint.
    pub fingerprint: Fingerprint,
    /// The kind.
    pub kind: Kind,
    /// Whose shares, if that matters.
    pub party: Option<PartyId>,
    /// The columns, if the session is known.
    pub layout: Option<Arc<RowLayout>>,
}
