//! Encodes columns into COPY messages.

use std::sync::Arc;

use reshare_engine::rows::{AgreeValue, Rows};
use zeroize::Zeroize;

use super::{HEADER_BYTES, NULL, SIGNATURE, TRAILER};
use crate::table::{AgreeType, IntegerWidth, Table};

/// Bytes after which a message is sent. With 1 MiB a server accepts rows two to three times as fast
/// as with 64 KiB.
pub const MESSAGE_BYTES: usize = 1 << 20;

/// Writes one COPY stream, message by message, into a buffer that is reused.
///
/// # Secrecy
/// The buffer holds plain shares; it is wiped when dropped.
pub struct Encoder {
    table: Arc<Table>,
    message: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows(usize),
    Ended,
}

impl Encoder {
    /// Begins a stream of `table`'s columns.
    #[must_use]
    pub fn new(table: Arc<Table>) -> Self {
        let row_bytes = max_row_bytes(&table);
        let message = Vec::with_capacity(HEADER_BYTES + MESSAGE_BYTES + row_bytes + 2);
        Self { table, message, state: State::Header }
    }

    /// Encodes the next message of the stream that holds all of `rows`; `None` after the
    /// last one. The first message begins with the header, the last one ends with the trailer.
    ///
    /// # Errors
    /// An [`EncodeError`] when a row does not fit the table. The stream must then be aborted.
    pub fn next_message(&mut self, rows: &Rows<'_>) -> Result<Option<&[u8]>, EncodeError> {
        self.message.clear();
        let mut next = match self.state {
            State::Ended => return Ok(None),
            State::Rows(next) => next,
            State::Header => {
                self.check_layout(rows)?;
                self.message.extend_from_slice(SIGNATURE);
                self.message.extend_from_slice(&[0; 8]);
                0
            }
        };
        while next < rows.len() && self.message.len() < MESSAGE_BYTES {
            self.put_row(rows, next)?;
            next += 1;
        }
        self.state = State::Rows(next);
        if next >= rows.len() {
            self.message.extend_from_slice(&TRAILER.to_be_bytes());
            self.state = State::Ended;
        }
        Ok(Some(&self.message))
    }

    /// Begins another stream in the same buffer.
    pub fn restart(&mut self) {
        self.state = State::Header;
    }

    fn check_layout(&self, rows: &Rows<'_>) -> Result<(), EncodeError> {
        if rows.layout == self.table.spec().layout().as_ref() {
            return Ok(());
        }
        Err(EncodeError::OtherLayout { table: self.table.spec().name().to_string() })
    }

    fn put_row(&mut self, rows: &Rows<'_>, row: usize) -> Result<(), EncodeError> {
        let layout = Arc::clone(self.table.spec().layout());
        // At most 33 fields: the layout has at most 16 columns of each kind.
        let fields = 1 + layout.agree().len() + layout.shares().len();
        self.message.extend_from_slice(&(fields as i16).to_be_bytes());
        let id = rows.ids[row];
        let width = self.table.id_width();
        if !width.holds(id) {
            return Err(self.too_wide(self.table.spec().id_column(), id, id, width));
        }
        put_integer(&mut self.message, width, id);
        let columns = layout.agree().iter().zip(self.table.agree_types());
        for ((column, kind), value) in columns.zip(rows.agree_values(row)) {
            match (kind, value) {
                (_, AgreeValue::Null) => self.message.extend_from_slice(&NULL.to_be_bytes()),
                (AgreeType::Integer(width), AgreeValue::Integer(value)) => {
                    if !width.holds(value) {
                        return Err(self.too_wide(&column.name, id, value, *width));
                    }
                    put_integer(&mut self.message, *width, value);
                }
                (AgreeType::Uuid, AgreeValue::Uuid(value)) => put_bytes(&mut self.message, &value),
                (AgreeType::Integer(_), AgreeValue::Uuid(_))
                | (AgreeType::Uuid, AgreeValue::Integer(_)) => {
                    let table = self.table.spec().name().to_string();
                    return Err(EncodeError::OtherLayout { table });
                }
            }
        }
        for share in rows.share_row(row) {
            put_bytes(&mut self.message, bytemuck::cast_slice(share));
        }
        Ok(())
    }

    fn too_wide(&self, column: &str, id: i64, value: i64, width: IntegerWidth) -> EncodeError {
        EncodeError::OutOfRange {
            table: self.table.spec().name().to_string(),
            column: column.to_owned(),
            id,
            value,
            column_bytes: width.bytes(),
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.message.zeroize();
    }
}

fn put_integer(message: &mut Vec<u8>, width: IntegerWidth, value: i64) {
    put_bytes(message, &value.to_be_bytes()[8 - width.bytes()..]);
}

fn put_bytes(message: &mut Vec<u8>, bytes: &[u8]) {
    // At most 32 MiB, the largest row of a layout.
    message.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    message.extend_from_slice(bytes);
}

fn max_row_bytes(table: &Table) -> usize {
    let layout = table.spec().layout();
    let fields = 1 + layout.agree().len() + layout.shares().len();
    2 + 4 * fields + 8 + 16 * layout.agree().len() + layout.row_share_bytes()
}

/// Why rows cannot be encoded for a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The rows have other columns than the table was inspected for.
    #[error("table {table}: the rows have another layout")]
    OtherLayout {
        /// The table.
        table: String,
    },
    /// An integer that does not fit its column.
    #[error(
        "table {table}, column {column:?}, id {id}: {value} does not fit an integer of {column_bytes} bytes"
    )]
    OutOfRange {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The row.
        id: i64,
        /// The value.
        value: i64,
        /// Width of the column, in bytes.
        column_bytes: usize,
    },
}
