//! Share files written and mapped, next to plain writes and reads of as many bytes.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use rayon::prelude::*;
use reshare_benches::stage::{ROWS_PER_PART, directory, rows_or_few, spec};
use reshare_benches::{FINGERPRINT, iris_share, pool, short_group, thread_counts};
use reshare_engine::row_batch::RowBatch;
use reshare_files::durable::DurableFile;
use reshare_format::share_file::{Expected, Kind, ShareFile, ShareFileWriter};

/// Rows that a thread passes on at once.
const ROWS_PER_WRITE: usize = 64;
/// The size of one plain write.
const PIECE_BYTES: usize = 256 << 10;

fn write(criterion: &mut Criterion) {
    let rows = iris_share(0, rows_or_few(4 * ROWS_PER_PART));
    let bytes = rows.len() * rows.layout().row_share_bytes();
    let directory = directory();
    let path = directory.path().join("rows.share");
    for threads in thread_counts() {
        let pool = pool(threads);
        let mut group = short_group(criterion, "share-file", bytes);
        group.bench_function(format!("limit/write-blake3/{threads}-threads"), |bencher| {
            bencher.iter(|| pool.install(|| plain_write(&path, &rows)));
        });
        group.bench_function(format!("write/{threads}-threads"), |bencher| {
            bencher.iter(|| pool.install(|| write_rows(&path, &rows)));
        });
        pool.install(|| write_rows(&path, &rows));
        let file = open(&path);
        file.verify_digest().expect("what was written is what was digested");
        assert!(file.rows().shares == rows.rows().shares, "other shares were written");
    }
}

/// Writes large pieces one after the other, and digests the columns on all threads.
fn plain_write(path: &Path, rows: &RowBatch) {
    let mut file = DurableFile::create(path).expect("creates");
    for shares in rows.rows().shares {
        let bytes: &[u8] = bytemuck::cast_slice(shares);
        bytes.chunks(PIECE_BYTES).for_each(|piece| file.write_all(piece).expect("writes"));
    }
    let mut hasher = blake3::Hasher::new();
    for shares in rows.rows().shares {
        hasher.update_rayon(bytemuck::cast_slice(shares));
    }
    black_box(hasher.finalize());
    file.commit().expect("commits");
}

fn write_rows(path: &Path, rows: &RowBatch) {
    let writer = ShareFileWriter::create(path, spec(Kind::Plain, 0, rows)).expect("creates");
    let starts: Vec<usize> = (0..rows.len()).step_by(ROWS_PER_WRITE).collect();
    starts.par_iter().for_each(|&start| {
        let end = rows.len().min(start + ROWS_PER_WRITE);
        let rows = rows.rows();
        writer.write_rows(start as u64, &rows.slice(start..end)).expect("writes");
    });
    writer.finish().expect("finishes");
}

fn map(criterion: &mut Criterion) {
    let rows = iris_share(0, rows_or_few(4 * ROWS_PER_PART));
    let bytes = rows.len() * rows.layout().row_share_bytes();
    let directory = directory();
    let path = directory.path().join("rows.share");
    write_rows(&path, &rows);
    let expected = fold(&rows.rows().shares);
    let mut group = short_group(criterion, "share-file", bytes);
    group.bench_function("limit/fold-of-memory", |bencher| {
        bencher.iter(|| assert_eq!(fold(black_box(&rows.rows().shares)), expected));
    });
    group.bench_function("limit/read", |bencher| {
        let mut piece = vec![0; PIECE_BYTES];
        bencher.iter(|| plain_read(&path, &mut piece));
    });
    group.bench_function("map", |bencher| {
        bencher.iter(|| {
            let file = open(&path);
            let rows = file.rows();
            assert_eq!(fold(&rows.shares), expected);
        });
    });
}

fn open(path: &Path) -> ShareFile {
    let expected =
        Expected { fingerprint: FINGERPRINT, kind: Kind::Plain, party: None, layout: None };
    ShareFile::open(path, &expected).expect("opens")
}

fn plain_read(path: &Path, piece: &mut [u8]) {
    let mut file = std::fs::File::open(path).expect("opens");
    while std::io::Read::read(&mut file, piece).expect("reads") > 0 {
        black_box(&mut *piece);
    }
}

/// Folds words of 64 bits: quicker than memory, so that memory is what is measured.
fn fold(columns: &[&[u16]]) -> u64 {
    let words = columns.iter().map(|shares| bytemuck::cast_slice::<u16, u64>(shares));
    words.map(|words| words.iter().fold(0, |folded, word| folded ^ word)).fold(0, |a, b| a ^ b)
}

criterion_group!(benches, write, map);
criterion_main!(benches);
