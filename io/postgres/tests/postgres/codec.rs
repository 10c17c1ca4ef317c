//! The binary form of COPY, without a server.

use std::sync::Arc;

use proptest::prelude::*;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_files::ids::IdRange;
use reshare_postgres::copy::{DecodeError, Decoder, EncodeError, Encoder};
use reshare_postgres::table::{AgreeType, IntegerWidth, Table};

use crate::support::{assert_same, push_row, small_layout, small_rows, small_spec, usual_agree};

fn table() -> Arc<Table> {
    let types = vec![
        AgreeType::Integer(IntegerWidth::Two),
        AgreeType::Integer(IntegerWidth::Four),
        AgreeType::Integer(IntegerWidth::Eight),
        AgreeType::Uuid,
    ];
    Arc::new(Table::new(small_spec(), IntegerWidth::Eight, types).expect("fits"))
}

fn encode(rows: &RowBatch) -> Vec<u8> {
    let mut encoder = Encoder::new(table());
    let mut stream = vec![];
    while let Some(message) = encoder.next_message(&rows.rows()).expect("encodes") {
        stream.extend_from_slice(message);
    }
    stream
}

fn decode<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    capacity: usize,
) -> Result<RowBatch, DecodeError> {
    let table = table();
    let mut batch = RowBatch::with_capacity(small_layout(), capacity);
    let mut decoder = Decoder::new(&table, IdRange::ALL);
    for piece in pieces {
        decoder.push(piece, &mut batch)?;
    }
    assert_eq!(decoder.finish()?, batch.len() as u64);
    Ok(batch)
}

/// Cuts at the given places, which may repeat and exceed the length.
fn cut<'s>(stream: &'s [u8], cuts: &[usize]) -> Vec<&'s [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = vec![];
    let mut from = 0;
    for to in cuts.into_iter().chain([stream.len()]) {
        pieces.push(&stream[from..to]);
        from = to;
    }
    pieces
}

const HEADER: usize = 19;

fn refused(stream: &[u8]) -> DecodeError {
    let whole = decode([stream], 8).expect_err("must be refused");
    let bytes = decode(stream.chunks(1), 8).expect_err("must be refused");
    assert_eq!(whole, bytes, "the cuts change the verdict");
    whole
}

fn with(stream: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = stream.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

proptest! {
    #[test]
    fn a_stream_is_the_same_however_it_is_cut(
        ids in prop::collection::btree_set(any::<i64>(), 0..20),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let ids: Vec<i64> = ids.into_iter().collect();
        let rows = small_rows(&ids);
        let stream = encode(&rows);
        assert_same(&decode(cut(&stream, &cuts), ids.len()).expect("decodes"), &rows);
        assert_same(&decode(stream.chunks(1), ids.len()).expect("decodes"), &rows);
    }

    #[test]
    fn hostile_bytes_are_an_error_or_rows_but_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        at in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut stream = encode(&small_rows(&[1, 2, 3]));
        let at = at.index(stream.len());
        let end = stream.len().min(at + bytes.len() / 40);
        stream[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = decode(cut(&stream, &cuts), 8);
        let _ = decode(cut(&bytes, &cuts), 8);
    }

    #[test]
    fn a_stream_that_breaks_off_is_refused(cut in any::<prop::sample::Index>()) {
        let stream = encode(&small_rows(&[1, 2, 3]));
        let short = &stream[..cut.index(stream.len())];
        let error = decode([short], 8).expect_err("must be refused");
        let truncated = matches!(error, DecodeError::Truncated { .. });
        prop_assert!(truncated, "{error}");
    }
}

#[test]
fn headers_that_are_not_known_are_refused() {
    let stream = encode(&small_rows(&[1]));
    assert!(matches!(refused(&with(&stream, 0, b"X")), DecodeError::Signature { .. }));
    let flags = refused(&with(&stream, 11, &[0, 1, 0, 0]));
    assert!(matches!(flags, DecodeError::UnknownHeader { flags: 0x1_0000, .. }));
    let extension = refused(&with(&stream, 15, &[0xff; 4]));
    assert!(matches!(extension, DecodeError::UnknownHeader { extension: u32::MAX, .. }));
}

#[test]
fn rows_of_another_shape_are_refused_by_table_column_and_id() {
    let stream = encode(&small_rows(&[4]));
    let count = refused(&with(&stream, HEADER, &[0, 8]));
    assert!(matches!(count, DecodeError::FieldCount { row: 1, expected: 7, got: 8, .. }));
    let null_id = refused(&with(&stream, HEADER + 2, &[0xff; 4]));
    assert!(matches!(null_id, DecodeError::IdLength { row: 1, expected: 8, got: -1, .. }));
    let version = HEADER + 2 + 12;
    let wide = refused(&with(&stream, version, &[0, 0, 0, 4]));
    let text = "table SMPC_dev_0.rows, column \"version_id\", id 4: \
                the value has 4 bytes, expected 2";
    assert_eq!(wide.to_string(), text);
    let code = version + 6 + 8 + 12 + 20;
    let null = refused(&with(&stream, code, &[0xff; 4]));
    let text = "table SMPC_dev_0.rows, column \"code\", id 4: the share is NULL";
    assert_eq!(null.to_string(), text);
    // Neither a length of a gigabyte nor a negative one is accepted.
    for length in [0x4000_0000_i32, -2, i32::MIN, 15] {
        let error = refused(&with(&stream, code, &length.to_be_bytes()));
        assert!(matches!(error, DecodeError::FieldLength { got, .. } if got == length));
    }
}

#[test]
fn rows_out_of_order_or_of_another_part_are_refused() {
    let mut stream = encode(&small_rows(&[4]));
    let row = stream[HEADER..stream.len() - 2].to_vec();
    let end = stream.len() - 2;
    stream.splice(end..end, row);
    assert!(matches!(refused(&stream), DecodeError::UnexpectedId { id: 4, last: Some(4), .. }));
    let table = table();
    let mut decoder = Decoder::new(&table, IdRange::new(5, 9).expect("in order"));
    let mut batch = RowBatch::with_capacity(small_layout(), 8);
    let outside = decoder.push(&encode(&small_rows(&[4])), &mut batch);
    assert!(matches!(outside, Err(DecodeError::UnexpectedId { id: 4, last: None, .. })));
    assert!(batch.is_empty());
}

#[test]
fn nothing_may_follow_the_trailer() {
    let mut stream = encode(&small_rows(&[1]));
    stream.push(0);
    assert!(matches!(refused(&stream), DecodeError::AfterTheEnd { .. }));
}

#[test]
fn a_batch_that_is_full_is_an_error() {
    let stream = encode(&small_rows(&[1, 2, 3]));
    let error = decode([&stream[..]], 2).expect_err("must be refused");
    assert!(matches!(error, DecodeError::Refused { .. }));
}

#[test]
fn integers_that_do_not_fit_are_refused_by_column_and_id() {
    let mut rows = RowBatch::with_capacity(small_layout(), 2);
    let mut agree = usual_agree(5);
    agree[0] = AgreeValue::Integer(32_767);
    push_row(&mut rows, 5, agree, 0);
    agree[0] = AgreeValue::Integer(32_768);
    push_row(&mut rows, 6, agree, 0);
    let mut encoder = Encoder::new(table());
    let error = encoder.next_message(&rows.rows()).expect_err("must be refused");
    let EncodeError::OutOfRange { column, id, value, .. } = error else { panic!("{error}") };
    assert_eq!((column.as_str(), id, value), ("version_id", 6, 32_768));
    encoder.restart();
    let first = rows.rows().slice(0..1);
    assert!(encoder.next_message(&first).expect("encodes").is_some());
    assert!(encoder.next_message(&first).expect("encodes").is_none());
}
