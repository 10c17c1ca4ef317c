//! Decodes COPY streams into columns.

use reshare_engine::layout::RowLayout;
use reshare_engine::row_batch::{PushError, RowBatch};
use reshare_engine::rows::AgreeValue;
use reshare_files::ids::IdRange;
use zeroize::Zeroize;

use super::{HEADER_BYTES, NULL, SIGNATURE, TRAILER};
use crate::table::{AgreeType, IntegerWidth, Table};

/// Reads one COPY stream in pieces of any size.
///
/// A row that is complete in one piece is decoded directly into the columns. A partial row is kept
/// in a buffer, which never holds more than one row of the expected size: each length is checked
/// before the bytes of its field are buffered.
///
/// # Secrecy
/// The buffered bytes are plain shares; they are wiped when dropped. Errors hold none of them.
pub struct Decoder<'t> {
    table: &'t Table,
    expected_ids: IdRange,
    state: State,
    waiting: Vec<u8>,
    rows: u64,
    last_id: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Ended,
}

/// The item at the beginning of some bytes.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack, never stored")]
enum Parsed<'b> {
    /// The header, a row or the trailer, of this many bytes.
    Whole(usize, Item<'b>),
    /// An incomplete item: at least this many bytes are needed.
    Needs(usize),
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack, never stored")]
enum Item<'b> {
    Header,
    Trailer,
    Row(Fields<'b>),
}

/// The fields of one row. Only the first entries are used, one for each column of the layout.
struct Fields<'b> {
    id: i64,
    agree: [AgreeValue; RowLayout::MAX_COLUMNS],
    shares: [&'b [u8]; RowLayout::MAX_COLUMNS],
}

impl<'t> Decoder<'t> {
    /// Begins a stream of `table`'s columns whose ids ascend within `expected_ids`.
    #[must_use]
    pub fn new(table: &'t Table, expected_ids: IdRange) -> Self {
        let (state, waiting) = (State::Header, Vec::new());
        Self { table, expected_ids, state, waiting, rows: 0, last_id: None }
    }

    /// Takes the next piece and appends the rows it completes to `batch`.
    ///
    /// # Errors
    /// A [`DecodeError`] for anything but the expected stream. After that the decoder and the rows
    /// in `batch` must not be used.
    pub fn push(&mut self, mut piece: &[u8], batch: &mut RowBatch) -> Result<(), DecodeError> {
        while !self.waiting.is_empty() && !piece.is_empty() {
            let mut waiting = std::mem::take(&mut self.waiting);
            let outcome = self.complete(&mut waiting, &mut piece, batch);
            self.waiting = waiting;
            outcome?;
        }
        while !piece.is_empty() {
            match self.parse(piece)? {
                Parsed::Whole(length, item) => {
                    self.take(item, batch)?;
                    piece = &piece[length..];
                }
                Parsed::Needs(_) => {
                    self.waiting.extend_from_slice(piece);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Ends the stream and returns its number of rows.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the trailer is missing.
    pub fn finish(self) -> Result<u64, DecodeError> {
        if self.state == State::Ended {
            return Ok(self.rows);
        }
        Err(DecodeError::Truncated { table: self.table_name(), rows: self.rows })
    }

    /// Moves bytes from `piece` to `waiting` until those are a whole item or `piece` ends.
    fn complete(
        &mut self,
        waiting: &mut Vec<u8>,
        piece: &mut &[u8],
        batch: &mut RowBatch,
    ) -> Result<(), DecodeError> {
        loop {
            match self.parse(waiting)? {
                Parsed::Whole(_, item) => {
                    self.take(item, batch)?;
                    waiting.zeroize();
                    return Ok(());
                }
                Parsed::Needs(_) if piece.is_empty() => return Ok(()),
                Parsed::Needs(bytes) => {
                    let missing = bytes.saturating_sub(waiting.len());
                    let (next, rest) = piece.split_at(missing.min(piece.len()));
                    grow(waiting, next);
                    *piece = rest;
                }
            }
        }
    }

    fn take(&mut self, item: Item<'_>, batch: &mut RowBatch) -> Result<(), DecodeError> {
        match item {
            Item::Header => self.state = State::Rows,
            Item::Trailer => self.state = State::Ended,
            Item::Row(fields) => {
                let layout = self.table.spec().layout();
                let agree = &fields.agree[..layout.agree().len()];
                let shares = &fields.shares[..layout.shares().len()];
                batch.push_bytes(fields.id, agree, shares).map_err(|error| self.refused(error))?;
                self.last_id = Some(fields.id);
                self.rows += 1;
            }
        }
        Ok(())
    }

    fn parse<'b>(&self, bytes: &'b [u8]) -> Result<Parsed<'b>, DecodeError> {
        match self.state {
            State::Header => self.parse_header(bytes),
            State::Rows => self.parse_row(bytes),
            State::Ended => Err(DecodeError::AfterTheEnd { table: self.table_name() }),
        }
    }

    fn parse_header<'b>(&self, bytes: &'b [u8]) -> Result<Parsed<'b>, DecodeError> {
        let known = bytes.len().min(SIGNATURE.len());
        if bytes[..known] != SIGNATURE[..known] {
            return Err(DecodeError::Signature { table: self.table_name() });
        }
        let mut cursor = Cursor { bytes, at: SIGNATURE.len() };
        let (Some(flags), Some(extension)) = (cursor.integer::<4>(), cursor.integer::<4>()) else {
            return Ok(Parsed::Needs(HEADER_BYTES));
        };
        let (flags, extension) = (u32::from_be_bytes(flags), u32::from_be_bytes(extension));
        if flags != 0 || extension != 0 {
            let table = self.table_name();
            return Err(DecodeError::UnknownHeader { table, flags, extension });
        }
        Ok(Parsed::Whole(HEADER_BYTES, Item::Header))
    }

    fn parse_row<'b>(&self, bytes: &'b [u8]) -> Result<Parsed<'b>, DecodeError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let Some(count) = cursor.integer::<2>().map(i16::from_be_bytes) else {
            return Ok(Parsed::Needs(2));
        };
        if count == TRAILER {
            return Ok(Parsed::Whole(2, Item::Trailer));
        }
        let layout = self.table.spec().layout();
        let expected = 1 + layout.agree().len() + layout.shares().len();
        if usize::try_from(count) != Ok(expected) {
            let (table, row) = (self.table_name(), self.rows + 1);
            return Err(DecodeError::FieldCount { table, row, expected, got: count });
        }
        match self.parse_fields(&mut cursor)? {
            Some(fields) => Ok(Parsed::Whole(cursor.at, Item::Row(fields))),
            None => Ok(Parsed::Needs(cursor.at)),
        }
    }

    /// Reads the fields of a row; `None` when `cursor` ran past the end.
    fn parse_fields<'b>(&self, cursor: &mut Cursor<'b>) -> Result<Option<Fields<'b>>, DecodeError> {
        let Some(id) = self.parse_id(cursor)? else { return Ok(None) };
        let layout = self.table.spec().layout();
        let mut agree = [AgreeValue::Null; RowLayout::MAX_COLUMNS];
        let columns = layout.agree().iter().zip(self.table.agree_types());
        for (value, (column, kind)) in agree.iter_mut().zip(columns) {
            let Some(length) = cursor.length() else { return Ok(None) };
            if length == NULL {
                continue;
            }
            self.check_length(id, &column.name, kind.bytes(), length)?;
            let Some(bytes) = cursor.bytes(kind.bytes()) else { return Ok(None) };
            *value = agree_value(*kind, bytes);
        }
        let mut shares: [&[u8]; RowLayout::MAX_COLUMNS] = [&[]; RowLayout::MAX_COLUMNS];
        for (share, column) in shares.iter_mut().zip(layout.shares()) {
            let Some(length) = cursor.length() else { return Ok(None) };
            if length == NULL {
                let (table, column) = (self.table_name(), column.name.clone());
                return Err(DecodeError::NullShare { table, column, id });
            }
            let expected = column.len * size_of::<u16>();
            self.check_length(id, &column.name, expected, length)?;
            let Some(bytes) = cursor.bytes(expected) else { return Ok(None) };
            *share = bytes;
        }
        Ok(Some(Fields { id, agree, shares }))
    }

    fn parse_id(&self, cursor: &mut Cursor<'_>) -> Result<Option<i64>, DecodeError> {
        let Some(length) = cursor.length() else { return Ok(None) };
        let width = self.table.id_width();
        if usize::try_from(length) != Ok(width.bytes()) {
            let table = self.table_name();
            let column = self.table.spec().id_column().to_owned();
            let (row, expected) = (self.rows + 1, width.bytes());
            return Err(DecodeError::IdLength { table, column, row, expected, got: length });
        }
        let Some(bytes) = cursor.bytes(width.bytes()) else { return Ok(None) };
        let id = sign_extended(width, bytes);
        if self.last_id.is_some_and(|last| id <= last) || !self.expected_ids.contains(id) {
            let (table, last, expected) = (self.table_name(), self.last_id, self.expected_ids);
            return Err(DecodeError::UnexpectedId { table, id, last, expected });
        }
        Ok(Some(id))
    }

    fn check_length(
        &self,
        id: i64,
        column: &str,
        expected: usize,
        got: i32,
    ) -> Result<(), DecodeError> {
        if usize::try_from(got) == Ok(expected) {
            return Ok(());
        }
        let (table, column) = (self.table_name(), column.to_owned());
        Err(DecodeError::FieldLength { table, column, id, expected, got })
    }

    fn refused(&self, error: PushError) -> DecodeError {
        DecodeError::Refused { table: self.table_name(), source: error }
    }

    fn table_name(&self) -> String {
        self.table.spec().name().to_string()
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        self.waiting.zeroize();
    }
}

/// A position in some bytes. `at` continues past the end, so it shows how many bytes are needed.
struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let start = self.at;
        self.at += count;
        self.bytes.get(start..self.at)
    }

    fn integer<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn length(&mut self) -> Option<i32> {
        self.integer::<4>().map(i32::from_be_bytes)
    }
}

/// Appends without leaving an unwiped copy behind if the buffer is reallocated.
fn grow(waiting: &mut Vec<u8>, next: &[u8]) {
    if waiting.capacity() - waiting.len() < next.len() {
        let mut larger = Vec::with_capacity((waiting.len() + next.len()).next_power_of_two());
        larger.extend_from_slice(waiting);
        waiting.zeroize();
        *waiting = larger;
    }
    waiting.extend_from_slice(next);
}

fn agree_value(kind: AgreeType, bytes: &[u8]) -> AgreeValue {
    match kind {
        AgreeType::Integer(width) => AgreeValue::Integer(sign_extended(width, bytes)),
        AgreeType::Uuid => {
            let mut uuid = [0; 16];
            uuid.copy_from_slice(bytes);
            AgreeValue::Uuid(uuid)
        }
    }
}

/// Reads a big-endian integer of as many bytes as `width` has.
fn sign_extended(width: IntegerWidth, bytes: &[u8]) -> i64 {
    let unsigned = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let unused_bits = 64 - 8 * width.bytes();
    (unsigned << unused_bits).cast_signed() >> unused_bits
}

/// Why a COPY stream is refused. Names the table, and the row as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It does not begin as a binary COPY.
    #[error("table {table}: the COPY stream does not begin with the signature of its binary form")]
    Signature {
        /// The table.
        table: String,
    },
    /// Flags or an extension that are not known here.
    #[error("table {table}: unknown COPY header: flags {flags:#x}, extension of {extension} bytes")]
    UnknownHeader {
        /// The table.
        table: String,
        /// The flags.
        flags: u32,
        /// Length of the extension, in bytes.
        extension: u32,
    },
    /// A row with a wrong number of fields.
    #[error("table {table}: row {row} of the stream has {got} fields, expected {expected}")]
    FieldCount {
        /// The table.
        table: String,
        /// Number of the row in the stream, from 1.
        row: u64,
        /// Number of fields by the layout.
        expected: usize,
        /// Number found.
        got: i16,
    },
    /// An id that is NULL or has a wrong width.
    #[error(
        "table {table}, column {column:?}: the id in row {row} of the stream has {got} bytes (-1 is NULL), expected {expected}"
    )]
    IdLength {
        /// The table.
        table: String,
        /// The id column.
        column: String,
        /// Number of the row in the stream, from 1.
        row: u64,
        /// Width by the catalog, in bytes.
        expected: usize,
        /// Length found.
        got: i32,
    },
    /// An id out of order or of another part.
    #[error("table {table}: id {id} came after {last:?}, expected ascending ids in {expected}")]
    UnexpectedId {
        /// The table.
        table: String,
        /// The id.
        id: i64,
        /// The id before it.
        last: Option<i64>,
        /// The range that ids must be in.
        expected: IdRange,
    },
    /// A share that is NULL.
    #[error("table {table}, column {column:?}, id {id}: the share is NULL")]
    NullShare {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The row.
        id: i64,
    },
    /// A value with a wrong length.
    #[error(
        "table {table}, column {column:?}, id {id}: the value has {got} bytes, expected {expected}"
    )]
    FieldLength {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The row.
        id: i64,
        /// Length by the layout, in bytes.
        expected: usize,
        /// Length found.
        got: i32,
    },
    /// The batch refuses the row.
    #[error("table {table}: a row does not go into the batch")]
    Refused {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: PushError,
    },
    /// Bytes after the trailer.
    #[error("table {table}: the COPY stream goes on after its end")]
    AfterTheEnd {
        /// The table.
        table: String,
    },
    /// No trailer.
    #[error("table {table}: the COPY stream broke off after {rows} rows")]
    Truncated {
        /// The table.
        table: String,
        /// Complete rows received.
        rows: u64,
    },
}
