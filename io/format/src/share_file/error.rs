//! What can be wrong with a share file.

use std::io;
use std::path::PathBuf;

use reshare_engine::layout::LayoutError;
use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;

use super::Kind;
use crate::session::SessionMismatch;

/// A share file that cannot be read or written, and why.
#[derive(Debug, thiserror::Error)]
#[error("share file {}", path.display())]
pub struct ShareFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub defect: ShareFileDefect,
}

/// One thing that is wrong with a share file, or with the rows meant for one.
///
/// Holds positions and ids, never a share.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareFileDefect {
    /// The bytes cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The bytes cannot be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    /// A directory, FIFO, device or link.
    #[error("it is not a regular file")]
    NotRegular,
    /// Others than its user may change it while it is mapped.
    #[error("its mode is {mode:04o}: others may write it while it is read (chmod go-w)")]
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// Another user may change it while it is mapped.
    #[error(
        "it belongs to user {owner}, who may write it while it is read: \
         make a copy that belongs to user {user}"
    )]
    Owner {
        /// The file's owner.
        owner: u32,
        /// Who runs the program.
        user: u32,
    },
    /// Fewer bytes than the header says or than a header has.
    #[error("it is truncated: {got} bytes, expected {expected}")]
    Truncated {
        /// Bytes by the header.
        expected: u64,
        /// Bytes found.
        got: u64,
    },
    /// More bytes than the header says; a stream is read no further than the first of them.
    #[error("it goes on after its last byte: at least {got} bytes, expected {expected}")]
    TrailingBytes {
        /// Bytes by the header.
        expected: u64,
        /// Bytes found, at the least.
        got: u64,
    },
    /// Other first bytes than a share file has.
    #[error("it is no share file: it begins with {:?}", got.escape_ascii().to_string())]
    Magic {
        /// The first bytes.
        got: [u8; 8],
    },
    /// Another version of the format.
    #[error("its format version is {got}, this program knows version {expected}")]
    Version {
        /// The version this program knows.
        expected: u32,
        /// The version of the file.
        got: u32,
    },
    /// Bits of features that this program does not know and that cannot be ignored.
    #[error("it needs unknown features: bits {bits:#x}")]
    UnknownFeatures {
        /// The unknown bits.
        bits: u64,
    },
    /// A header that was changed.
    #[error("its header does not have the checksum it names")]
    HeaderChecksum,
    /// A byte of the header that must be zero is not.
    #[error("its header has a byte that must be zero but is not, in {field}")]
    Reserved {
        /// Where.
        field: &'static str,
    },
    /// A kind of no meaning.
    #[error("its kind is the unknown number {got}")]
    UnknownKind {
        /// The number.
        got: u32,
    },
    /// A party that cannot exist.
    #[error("its party cannot exist")]
    UnknownParty(#[source] PartyOutOfRange),
    /// The last id lies before the first.
    #[error("its id range ends at {last}, before it begins at {first}")]
    BackwardRange {
        /// First id.
        first: i64,
        /// Last id.
        last: i64,
    },
    /// More columns than the table has places.
    #[error("it has {agree} agree and {shares} share columns: at most 16 of each are possible")]
    ColumnCount {
        /// Agree columns.
        agree: u32,
        /// Share columns.
        shares: u32,
    },
    /// A place of the column table that does not hold what its position demands.
    #[error("column {index} of its table: {field} is {got}")]
    ColumnTable {
        /// The place in the table.
        index: usize,
        /// The field.
        field: &'static str,
        /// What it holds.
        got: u64,
    },
    /// A column name that is no NUL-padded UTF-8.
    #[error("column {index} of its table has an unusable name")]
    ColumnName {
        /// The place in the table.
        index: usize,
    },
    /// Columns that make no layout.
    #[error("its columns make no layout")]
    BadLayout(#[source] LayoutError),
    /// More rows than any file can hold.
    #[error("{rows} rows are more than a file can hold")]
    TooManyRows {
        /// The number of rows.
        rows: u64,
    },
    /// More rows than ids.
    #[error("{rows} rows do not fit the id range {ids}")]
    MoreRowsThanIds {
        /// The number of rows.
        rows: u64,
        /// The range.
        ids: IdRange,
    },
    /// An offset or length in the header that does not follow from layout and rows.
    #[error("its {field} is {got}, where layout and rows demand {expected}")]
    Position {
        /// What it is the position or length of.
        field: String,
        /// What follows from layout and rows.
        expected: u64,
        /// What the header says.
        got: u64,
    },
    /// A file of another session.
    #[error(transparent)]
    OtherSession(#[from] SessionMismatch),
    /// Another kind of shares.
    #[error("its shares are {got}, expected {expected}")]
    OtherKind {
        /// The kind expected.
        expected: Kind,
        /// The kind found.
        got: Kind,
    },
    /// Another party's shares.
    #[error("its shares are of party {got}, expected party {expected}")]
    OtherParty {
        /// The party expected.
        expected: PartyId,
        /// The party found.
        got: PartyId,
    },
    /// Other columns than the session has.
    #[error("its columns are not those of the session")]
    OtherLayout,
    /// Another part.
    #[error("it is part {got}, expected part {expected}")]
    OtherPart {
        /// The index expected.
        expected: u64,
        /// The index found.
        got: u64,
    },
    /// Another id range.
    #[error("its id range is {got}, expected {expected}")]
    OtherIds {
        /// The range expected.
        expected: IdRange,
        /// The range found.
        got: IdRange,
    },
    /// Another number of rows.
    #[error("it has {got} rows, expected {expected}")]
    OtherRows {
        /// The number expected.
        expected: u64,
        /// The number found.
        got: u64,
    },
    /// A digest where there must be none: inside a part, where the seal authenticates.
    #[error("its header has a digest, which inside a part must be zero")]
    DigestInPart,
    /// Other bytes than the header's digest says.
    #[error("its bytes do not have the digest that its header names")]
    Digest {
        /// By the header.
        expected: blake3::Hash,
        /// Of the bytes.
        got: blake3::Hash,
    },
    /// An id below the one before it.
    #[error("row {row}: id {id} comes after id {previous}")]
    UnsortedId {
        /// Position of the row.
        row: u64,
        /// Its id.
        id: i64,
        /// The id before.
        previous: i64,
    },
    /// An id twice.
    #[error("row {row}: id {id} is there twice")]
    DuplicateId {
        /// Position of the second one.
        row: u64,
        /// The id.
        id: i64,
    },
    /// An id outside the file's own range.
    #[error("row {row}: id {id} lies outside {ids}")]
    IdOutsideRange {
        /// Position of the row.
        row: u64,
        /// The id.
        id: i64,
        /// The range.
        ids: IdRange,
    },
    /// A NULL mark that is neither 0 nor 1.
    #[error("row {row}: the NULL mark of column {column:?} is {got}, neither 0 nor 1")]
    NullMark {
        /// The agree column.
        column: String,
        /// Position of the row.
        row: u64,
        /// The mark.
        got: u8,
    },
    /// A value under a NULL mark that is not zero.
    #[error("row {row}: column {column:?} is NULL and yet has a value")]
    ValueUnderNull {
        /// The agree column.
        column: String,
        /// Position of the row.
        row: u64,
    },
    /// A byte between two blocks that is not zero.
    #[error("the padding at byte {offset} is not zero")]
    Padding {
        /// Position of the byte.
        offset: u64,
    },
    /// A batch without room for the rows.
    #[error("{rows} rows do not fit a batch of {capacity}")]
    BatchTooSmall {
        /// Rows of the file.
        rows: u64,
        /// Room of the batch.
        capacity: usize,
    },
    /// Rows given to a writer whose columns are not those of the file.
    #[error("the rows given have {got} entries in {column}, expected {expected}")]
    RowsShape {
        /// Which column.
        column: String,
        /// Entries expected.
        expected: usize,
        /// Entries found.
        got: usize,
    },
    /// Rows given to a writer beyond the file's last row.
    #[error("rows {first}..{end} were given to a file of {rows} rows")]
    RowsOutsideFile {
        /// First position.
        first: u64,
        /// Position after the last.
        end: u64,
        /// Rows of the file.
        rows: u64,
    },
    /// A row given to a writer twice.
    #[error("row {row} was written twice")]
    WrittenTwice {
        /// Position of the row.
        row: u64,
    },
    /// A row that a writer was never given.
    #[error("row {row} was never written")]
    NeverWritten {
        /// Position of the row.
        row: u64,
    },
}

impl Refusable for ShareFileError {
    fn is_refusal(&self) -> bool {
        self.defect.is_refusal()
    }
}

impl Refusable for ShareFileDefect {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Read(error) => error.is_refusal(),
            Self::Write(_) => false,
            _ => true,
        }
    }
}
