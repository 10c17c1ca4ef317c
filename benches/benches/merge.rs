//! Merging what two senders delivered, next to a plain `a + b -> c` over the same columns.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use reshare_benches::{
    FINGERPRINT, iris_share, keys, party, pool, rows_in_memory, short_group, thread_counts,
};
use reshare_engine::blind::Blinder;
use reshare_engine::kernel::{Backend, Kernels};
use reshare_engine::merge::{join, merge_with};
use reshare_engine::row_batch::RowBatch;

fn deliver(sender: u8, other: u8) -> RowBatch {
    let mut batch = iris_share(sender, rows_in_memory());
    Blinder::new(&keys(), &FINGERPRINT, party(sender), party(other), party(2))
        .expect("parties")
        .blind_in_place(&mut batch)
        .expect("blinds");
    batch
}

fn in_memory(criterion: &mut Criterion) {
    let (first, second) = (deliver(0, 1), deliver(1, 0));
    let mut rebuilt = RowBatch::with_capacity(first.layout().clone(), first.len());
    let (first, second) = (first.rows(), second.rows());
    let bytes = first.len() * first.layout.row_share_bytes();
    let pairs = join(&first, &second).expect("joins").pairs;
    let expected = iris_share(2, first.len());
    for threads in thread_counts() {
        let pool = pool(threads);
        let mut group = short_group(criterion, "merge", bytes);
        group.bench_function(format!("limit/plain-sum/memory/{threads}-threads"), |bencher| {
            rebuilt.clear();
            let mut sums = rebuilt.extend(first.len()).expect("it has room").shares;
            bencher.iter(|| pool.install(|| add(&mut sums, &first.shares, &second.shares)));
        });
        for backend in Backend::available() {
            let kernels = Kernels::new(backend).expect("it is available");
            let mut merge = || {
                rebuilt.clear();
                let rebuilt = &mut rebuilt;
                pool.install(|| merge_with(kernels, black_box(&first), &second, &pairs, rebuilt))
            };
            merge().expect("merges");
            group.bench_function(format!("{backend}/memory/{threads}-threads"), |bencher| {
                bencher.iter(&mut merge);
            });
            assert!(rebuilt.rows().shares == expected.rows().shares, "{backend}");
        }
    }

    // The join reads ids and agree values only: its rate is in rows.
    let mut group = short_group(criterion, "merge", bytes);
    group.throughput(Throughput::Elements(first.len() as u64));
    group.bench_function("join", |bencher| bencher.iter(|| join(black_box(&first), &second)));
}

/// Adds columns in pieces of a megabyte, with a plain loop.
fn add(to: &mut [&mut [u16]], first: &[&[u16]], second: &[&[u16]]) {
    const PIECE: usize = 512 << 10;
    for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
        let pieces = to.par_chunks_mut(PIECE);
        let pieces = pieces.zip(first.par_chunks(PIECE).zip(second.par_chunks(PIECE)));
        pieces.for_each(|(to, (first, second))| {
            for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
                *to = first.wrapping_add(*second);
            }
        });
    }
}

criterion_group!(benches, in_memory);
criterion_main!(benches);
