//! A database's answer to COPY.

use std::sync::OnceLock;

use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use reshare_postgres::copy::{DecodeError, Decoder, Encoder};
use reshare_postgres::table::{AgreeType, IntegerWidth, Table, TableName, TableSpec};

use crate::sample;

const ROWS: usize = 64;

/// The verdict does not depend on where the stream is cut, and decoded rows encode to the same
/// bytes.
///
/// # Panics
/// When that is not so.
pub fn check(data: &[u8]) -> bool {
    let whole = decode([data]);
    for length in [1, 7, 61] {
        let cut = decode(data.chunks(length));
        match (&whole, &cut) {
            (Ok(whole), Ok(cut)) => assert_eq!(whole.rows().ids, cut.rows().ids),
            (Err(whole), Err(cut)) => assert_eq!(whole, cut, "pieces of {length} bytes"),
            _ => panic!("pieces of {length} bytes change the verdict"),
        }
    }
    let Ok(batch) = whole else { return false };
    let mut encoder = Encoder::new(std::sync::Arc::new(table().clone()));
    let mut encoded = Vec::new();
    while let Some(message) = encoder.next_message(&batch.rows()).expect("encodes") {
        encoded.extend_from_slice(message);
    }
    let again = decode([&encoded[..]]).expect("decodes what it encoded");
    assert_eq!(again.rows().ids, batch.rows().ids);
    assert_eq!(again.rows().agree, batch.rows().agree);
    assert!(again.rows().shares == batch.rows().shares, "other shares");
    true
}

fn decode<'d>(pieces: impl IntoIterator<Item = &'d [u8]>) -> Result<RowBatch, DecodeError> {
    let mut batch = RowBatch::with_capacity(sample::layout(), ROWS);
    let mut decoder = Decoder::new(table(), IdRange::ALL);
    for piece in pieces {
        decoder.push(piece, &mut batch)?;
    }
    assert_eq!(decoder.finish()?, batch.len() as u64, "rows");
    Ok(batch)
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let name = TableName::new("schema", "rows").expect("a name");
        let spec = TableSpec::new(name, "id", sample::layout()).expect("names");
        let types = vec![AgreeType::Integer(IntegerWidth::Two), AgreeType::Uuid];
        Table::new(spec, IntegerWidth::Eight, types).expect("fits the layout")
    })
}
