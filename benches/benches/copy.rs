//! COPY streams in and out of columns, next to moving the same bytes.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use reshare_benches::stage::{ROWS_PER_PART, rows_or_few};
use reshare_benches::{iris_share, short_group};
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_postgres::copy::{Decoder, Encoder, MESSAGE_BYTES};
use reshare_postgres::table::{AgreeType, IntegerWidth, Table, TableName, TableSpec};

fn table(rows: &RowBatch) -> Arc<Table> {
    let name = TableName::new("SMPC_bench_0", "irises").expect("a name");
    let spec = TableSpec::new(name, "id", rows.layout().clone()).expect("names");
    let agree = rows.layout().agree().iter().map(|_| AgreeType::Integer(IntegerWidth::Two));
    Arc::new(Table::new(spec, IntegerWidth::Eight, agree.collect()).expect("fits"))
}

/// A server sends one row in a message: the header with the first, the trailer by itself.
fn messages(rows: &RowBatch, table: &Arc<Table>) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Arc::clone(table));
    let mut stream = Vec::new();
    while let Some(message) = encoder.next_message(&rows.rows()).expect("encodes") {
        stream.extend_from_slice(message);
    }
    const HEADER_BYTES: usize = 19;
    const TRAILER_BYTES: usize = 2;
    let row_bytes = (stream.len() - HEADER_BYTES - TRAILER_BYTES) / rows.len();
    let (first, rest) = stream.split_at(HEADER_BYTES + row_bytes);
    let mut messages = vec![first.to_vec()];
    messages.extend(rest.chunks(row_bytes).map(<[u8]>::to_vec));
    messages
}

fn decode(criterion: &mut Criterion) {
    let rows = iris_share(0, rows_or_few(ROWS_PER_PART));
    let table = table(&rows);
    let messages = messages(&rows, &table);
    let bytes = rows.len() * rows.layout().row_share_bytes();
    let mut group = short_group(criterion, "copy", bytes);
    let mut batch = RowBatch::with_capacity(rows.layout().clone(), rows.len());
    group.bench_function("limit/memcpy-to-columns", |bencher| {
        bencher.iter(|| to_columns(black_box(&messages), &mut batch));
    });
    let mut decode = || {
        batch.clear();
        let mut decoder = Decoder::new(&table, IdRange::ALL);
        for message in black_box(&messages) {
            decoder.push(message, &mut batch).expect("decodes");
        }
        decoder.finish().expect("the stream is whole")
    };
    group.bench_function("decode", |bencher| bencher.iter(&mut decode));
    assert_eq!(decode(), rows.len() as u64);
    let (got, expected) = (batch.rows(), rows.rows());
    assert!(got.ids == expected.ids && got.agree == expected.agree, "other rows");
    assert!(got.shares == expected.shares, "other shares were decoded");
}

fn encode(criterion: &mut Criterion) {
    let rows = iris_share(0, rows_or_few(ROWS_PER_PART));
    let table = table(&rows);
    let stream = messages(&rows, &table).concat();
    let bytes = rows.len() * rows.layout().row_share_bytes();
    let mut group = short_group(criterion, "copy", bytes);
    let mut message = Vec::with_capacity(2 * MESSAGE_BYTES);
    group.bench_function("limit/memcpy-to-rows", |bencher| {
        bencher.iter(|| to_rows(black_box(&rows.rows()), &mut message));
    });
    let mut encoder = Encoder::new(Arc::clone(&table));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            encoder.restart();
            while let Some(message) = encoder.next_message(black_box(&rows.rows())).expect("fits") {
                black_box(message);
            }
        });
    });
    encoder.restart();
    let mut at = 0;
    while let Some(message) = encoder.next_message(&rows.rows()).expect("fits") {
        assert!(stream[at..].starts_with(message), "another stream at byte {at}");
        at += message.len();
    }
    assert_eq!(at, stream.len());
}

/// Copies the last bytes of each message, as many as a row has, to their columns.
fn to_columns(messages: &[Vec<u8>], batch: &mut RowBatch) {
    let row_bytes = batch.layout().row_share_bytes();
    let count = messages.len() - 1;
    let mut columns = batch.reset(count, false).expect("it has room");
    for (row, message) in messages[..count].iter().enumerate() {
        let mut shares = &message[message.len() - row_bytes..];
        for column in columns.share_row_mut(row) {
            let (these, rest) = shares.split_at(size_of_val(column));
            bytemuck::cast_slice_mut(column).copy_from_slice(these);
            shares = rest;
        }
    }
}

/// Copies row after row into messages.
fn to_rows(rows: &Rows<'_>, message: &mut Vec<u8>) {
    message.clear();
    for row in 0..rows.len() {
        for shares in rows.share_row(row) {
            message.extend_from_slice(bytemuck::cast_slice(shares));
        }
        if message.len() >= MESSAGE_BYTES {
            black_box(&mut *message).clear();
        }
    }
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
