//! The binary format of COPY, between the wire and columns.
//!
//! A stream is a header, rows and a trailer. A row is a field count (i16) and per field a
//! length (i32, -1 for NULL) and that many bytes; all integers are big-endian. Share
//! columns are BYTEA and hold u16 little-endian.
//!
//! Source: PostgreSQL documentation, SQL command COPY, "Binary Format".

mod decode;
mod encode;

pub use decode::{DecodeError, Decoder};
pub use encode::{EncodeError, Encoder, MESSAGE_BYTES};

/// First bytes of a stream. They detect transfers that change line ends or clear bit 7.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags and the length of an extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// The field count that ends a stream.
const TRAILER: i16 = -1;
/// The field length of NULL.
const NULL: i32 = -1;
