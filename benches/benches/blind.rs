//! Blinding: one row in the cache and many in memory, beside memcpy, the cipher, the tag and the
//! oracle's way.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rayon::prelude::*;
use reshare_benches::{
    FINGERPRINT, ROWS_IN_MEMORY, iris_share, keys, party, pool, short_group, thread_counts,
};
use reshare_engine::blind::Blinder;
use reshare_engine::kernel::{Backend, Kernels};
use reshare_engine::merge::{join, merge};
use reshare_engine::ring::RingElement;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::row_key::{RowHasher, RowIdentity};
use reshare_engine::rows::Rows;
use reshare_fixtures::oracle::{CommonSeed, blind_row};

fn blinder(sender: u8, other: u8) -> Blinder {
    Blinder::new(&keys(), &FINGERPRINT, party(sender), party(other), party(2)).expect("parties")
}

/// Asserts that what party 0 delivers becomes party 2's share with what party 1 delivers.
fn assert_rebuilds(delivered: &Rows<'_>) {
    let rows = delivered.len().min(50);
    let delivered = delivered.slice(0..rows);
    let mut other = iris_share(1, rows);
    blinder(1, 0).blind_in_place(&mut other, &mut Vec::new()).expect("blinds");
    let join = join(&delivered, &other.rows()).expect("joins");
    assert_eq!(join.pairs.len(), rows);
    let expected = iris_share(2, rows);
    let mut rebuilt = RowBatch::with_capacity(expected.layout().clone(), rows);
    merge(&delivered, &other.rows(), &join.pairs, &mut rebuilt).expect("merges");
    assert!(rebuilt.rows().shares == expected.rows().shares, "a wrong share was rebuilt");
}

fn one_row(criterion: &mut Criterion) {
    let plain = iris_share(0, 1);
    let mut blinded = RowBatch::with_capacity(plain.layout().clone(), 1);
    let (plain, mut tags) = (plain.rows(), Vec::new());
    let mut group = short_group(criterion, "blind", plain.layout.row_share_bytes());
    let single = pool(1);
    for backend in Backend::available() {
        let kernels = Kernels::new(backend).expect("it is available");
        let blinder = blinder(0, 1).with_kernels(kernels);
        blinder.blind(&plain, &mut blinded, &mut tags).expect("blinds");
        group.bench_function(format!("aes256-ctr/{backend}/row"), |bencher| {
            single.install(|| {
                bencher.iter(|| blinder.blind(&plain, black_box(&mut blinded), &mut tags));
            });
        });
        assert_rebuilds(&blinded.rows());
    }

    let mut hasher = RowHasher::new(&keys(), &FINGERPRINT);
    let identity = RowIdentity::new(plain.ids[0], plain.agree_values(0));
    group.bench_function("limit/keystream/row", |bencher| {
        let mut tile = [0; 3200];
        bencher.iter(|| {
            let mut keystream = hasher.row_key(&identity).keystream();
            (0..12).for_each(|_| keystream.fill(black_box(&mut tile)));
        });
    });
    group.bench_function("limit/content-tag/row", |bencher| {
        bencher.iter(|| hasher.content_tag(&identity, black_box(&plain).share_row(0)));
    });

    let seed = CommonSeed([1; 32]);
    let whole: Vec<u16> = plain.share_row(0).flatten().copied().collect();
    let whole: &[RingElement] = bytemuck::cast_slice(&whole);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let parties = (party(0), party(1), party(2));
    blind_row(&seed, 1, parties, whole, &mut first).expect("parties");
    group.bench_function("oracle/row", |bencher| {
        bencher.iter(|| blind_row(&seed, 1, parties, whole, black_box(&mut first)));
    });
    let other: Vec<u16> = iris_share(1, 1).rows().share_row(0).flatten().copied().collect();
    let parties = (party(1), party(0), party(2));
    blind_row(&seed, 1, parties, bytemuck::cast_slice(&other), &mut second).expect("parties");
    let expected: Vec<u16> = iris_share(2, 1).rows().share_row(0).flatten().copied().collect();
    let sum: Vec<RingElement> = first.iter().zip(&second).map(|(a, b)| *a + *b).collect();
    assert!(bytemuck::cast_slice::<_, u16>(&sum) == expected, "the oracle is wrong");
}

fn in_memory(criterion: &mut Criterion) {
    let plain = iris_share(0, ROWS_IN_MEMORY);
    let mut blinded = RowBatch::with_capacity(plain.layout().clone(), plain.len());
    let (plain, mut tags) = (plain.rows(), Vec::new());
    let bytes = plain.len() * plain.layout.row_share_bytes();
    for threads in thread_counts() {
        let pool = pool(threads);
        let mut group = short_group(criterion, "blind", bytes);
        let blinder = blinder(0, 1);
        let backend = Backend::detect();
        group.bench_function(format!("limit/memcpy/memory/{threads}-threads"), |bencher| {
            let mut columns = blinded.reset(plain.len(), true).expect("it has room").shares;
            bencher.iter(|| pool.install(|| copy(&mut columns, black_box(&plain.shares))));
        });
        let name = format!("aes256-ctr/{backend}/memory/{threads}-threads");
        blinder.blind(&plain, &mut blinded, &mut tags).expect("blinds");
        group.bench_function(name, |bencher| {
            bencher.iter(|| pool.install(|| blinder.blind(&plain, &mut blinded, &mut tags)));
        });
        assert_rebuilds(&blinded.rows());
    }
}

/// Copies columns in pieces of a megabyte.
fn copy(to: &mut [&mut [u16]], from: &[&[u16]]) {
    const PIECE: usize = 512 << 10;
    for (to, from) in to.iter_mut().zip(from) {
        let pieces = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
    }
}

criterion_group!(benches, one_row, in_memory);
criterion_main!(benches);
