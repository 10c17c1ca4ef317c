//! Blinding and tagging: one row in the cache and many in memory, next to memcpy, the cipher and
//! the oracle's way.
//!
//! `blind` is weight and keystream. `tag` is the content tag that a sender's ledger asks for, and
//! `blind+tag` what a sender pays for both in one pass.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rayon::prelude::*;
use reshare_benches::{
    FINGERPRINT, iris_share, keys, party, pool, rows_in_memory, short_group, thread_counts,
};
use reshare_engine::blind::Blinder;
use reshare_engine::cipher::{Cipher, CipherBackend};
use reshare_engine::kernel::{Backend, Kernels};
use reshare_engine::merge::{join, merge};
use reshare_engine::ring::RingElement;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::row_key::{ContentTag, RowHasher, RowIdentity};
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
    blinder(1, 0).blind_in_place(&mut other).expect("blinds");
    let join = join(&delivered, &other.rows()).expect("joins");
    assert_eq!(join.pairs.len(), rows);
    let expected = iris_share(2, rows);
    let mut rebuilt = RowBatch::with_capacity(expected.layout().clone(), rows);
    merge(&delivered, &other.rows(), &join.pairs, &mut rebuilt).expect("merges");
    assert!(rebuilt.rows().shares == expected.rows().shares, "a wrong share was rebuilt");
}

/// Asserts that the first and the last tag are those of the plain rows.
fn assert_tags(plain: &Rows<'_>, tags: &[ContentTag]) {
    assert_eq!(tags.len(), plain.len());
    let mut hasher = RowHasher::new(&keys(), &FINGERPRINT);
    for row in [0, plain.len() - 1] {
        let identity = RowIdentity::new(plain.ids[row], plain.agree_values(row));
        assert_eq!(tags[row], hasher.content_tag(&identity, plain.share_row(row)), "row {row}");
    }
}

fn one_row(criterion: &mut Criterion) {
    let plain = iris_share(0, 1);
    let mut blinded = RowBatch::with_capacity(plain.layout().clone(), 1);
    let (plain, mut tags) = (plain.rows(), Vec::new());
    let bytes = plain.layout.row_share_bytes();
    let mut group = short_group(criterion, "blind", bytes);
    let single = pool(1);
    for backend in Backend::available() {
        let kernels = Kernels::new(backend).expect("it is available");
        let blinder = blinder(0, 1).with_kernels(kernels);
        blinder.blind(&plain, &mut blinded).expect("blinds");
        group.bench_function(format!("aes256-ctr/{backend}/row"), |bencher| {
            single.install(|| bencher.iter(|| blinder.blind(&plain, black_box(&mut blinded))));
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
    group.finish();

    let mut group = short_group(criterion, "tag", bytes);
    blinder(0, 1).tag(&plain, &mut tags).expect("tags");
    assert_tags(&plain, &tags);
    group.bench_function("blake3/row", |bencher| {
        bencher.iter(|| hasher.content_tag(&identity, black_box(&plain).share_row(0)));
    });
    // The hash of a message that is a whole number of its widest steps.
    group.bench_function("limit/blake3-of-64-kib/row", |bencher| {
        let (message, mut hasher) = (vec![7; 64 << 10], blake3::Hasher::new_keyed(&[1; 32]));
        bencher.iter(|| {
            let hash = hasher.update(black_box(&message)).finalize();
            hasher.reset();
            hash
        });
    });
}

/// The way of worldcoin/iris-mpc: scalar product, ChaCha20, row by row.
fn original(criterion: &mut Criterion) {
    let rows = rows_in_memory().min(1000);
    let plain = iris_share(0, rows);
    let plain = plain.rows();
    let seed = CommonSeed([1; 32]);
    let parties = (party(0), party(1), party(2));
    let whole =
        |rows: &Rows<'_>, row| -> Vec<u16> { rows.share_row(row).flatten().copied().collect() };
    let records: Vec<Vec<u16>> = (0..rows).map(|row| whole(&plain, row)).collect();
    let bytes = rows * plain.layout.row_share_bytes();

    let mut group = short_group(criterion, "blind", bytes);
    let mut delivered = Vec::new();
    group.bench_function("oracle/memory/1-threads", |bencher| {
        bencher.iter(|| {
            for (id, record) in (1..).zip(&records) {
                let record: &[RingElement] = bytemuck::cast_slice(record);
                delivered.clear();
                blind_row(&seed, id, parties, black_box(record), &mut delivered).expect("parties");
            }
        });
    });
    // Checks the oracle: its two senders rebuild the share, too.
    let other = iris_share(1, 1);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let other = whole(&other.rows(), 0);
    blind_row(&seed, 1, parties, bytemuck::cast_slice(&records[0]), &mut first).expect("parties");
    let parties = (party(1), party(0), party(2));
    blind_row(&seed, 1, parties, bytemuck::cast_slice(&other), &mut second).expect("parties");
    let expected = whole(&iris_share(2, 1).rows(), 0);
    let sum: Vec<RingElement> = first.iter().zip(&second).map(|(a, b)| *a + *b).collect();
    assert!(bytemuck::cast_slice::<_, u16>(&sum) == expected, "the oracle is wrong");
}

fn in_memory(criterion: &mut Criterion) {
    let plain = iris_share(0, rows_in_memory());
    let mut blinded = RowBatch::with_capacity(plain.layout().clone(), plain.len());
    let (plain, mut tags) = (plain.rows(), Vec::new());
    let bytes = plain.len() * plain.layout.row_share_bytes();
    let (blinder, backend) = (blinder(0, 1), Backend::detect());
    for threads in thread_counts() {
        let pool = pool(threads);
        let name = |what: &str| format!("{what}/memory/{threads}-threads");

        let mut group = short_group(criterion, "blind", bytes);
        group.bench_function(name("limit/memcpy"), |bencher| {
            let mut columns = blinded.reset(plain.len(), true).expect("it has room").shares;
            bencher.iter(|| pool.install(|| copy(&mut columns, black_box(&plain.shares), threads)));
        });
        blinder.blind(&plain, &mut blinded).expect("blinds");
        group.bench_function(name(&format!("aes256-ctr/{backend}")), |bencher| {
            bencher.iter(|| pool.install(|| blinder.blind(black_box(&plain), &mut blinded)));
        });
        assert_rebuilds(&blinded.rows());
        for (kernels, cipher) in without_avx512() {
            let blinder = blinder.clone().with_kernels(kernels).with_cipher(cipher);
            let backends = format!("{}+{}", kernels.backend(), cipher.backend());
            group.bench_function(name(&format!("aes256-ctr/{backends}")), |bencher| {
                bencher.iter(|| pool.install(|| blinder.blind(black_box(&plain), &mut blinded)));
            });
            assert_rebuilds(&blinded.rows());
        }
        // As for a sender's part. It is blinded again and again, so the content is arbitrary.
        let mut batch = iris_share(0, plain.len());
        group.bench_function(name(&format!("aes256-ctr/{backend}/in-place")), |bencher| {
            bencher.iter(|| {
                batch.reset(plain.len(), false).expect("it has room");
                pool.install(|| blinder.blind_in_place(black_box(&mut batch)))
            });
        });
        fill(&mut batch, &plain);
        blinder.blind_in_place(&mut batch).expect("blinds");
        assert!(batch.rows().shares == blinded.rows().shares, "in place differs");
        group.finish();

        let mut group = short_group(criterion, "tag", bytes);
        blinder.tag(&plain, &mut tags).expect("tags");
        group.bench_function(name("blake3"), |bencher| {
            bencher.iter(|| pool.install(|| blinder.tag(black_box(&plain), &mut tags)));
        });
        assert_tags(&plain, &tags);
        group.finish();

        let mut group = short_group(criterion, "blind+tag", bytes);
        blinder.tag_and_blind(&plain, &mut blinded, &mut tags).expect("both");
        group.bench_function(name(&format!("aes256-ctr/{backend}")), |bencher| {
            bencher.iter(|| {
                let plain = black_box(&plain);
                pool.install(|| blinder.tag_and_blind(plain, &mut blinded, &mut tags))
            });
        });
        assert_tags(&plain, &tags);
        assert_rebuilds(&blinded.rows());
        group.bench_function(name(&format!("aes256-ctr/{backend}/in-place")), |bencher| {
            bencher.iter(|| {
                batch.reset(plain.len(), false).expect("it has room");
                pool.install(|| blinder.tag_and_blind_in_place(black_box(&mut batch), &mut tags))
            });
        });
        fill(&mut batch, &plain);
        blinder.tag_and_blind_in_place(&mut batch, &mut tags).expect("blinds");
        assert_tags(&plain, &tags);
        assert!(batch.rows().shares == blinded.rows().shares, "in place differs");
    }
}

/// The kernels for AVX2 with each cipher that needs no wider vectors, on any host that has them.
fn without_avx512() -> impl Iterator<Item = (Kernels, Cipher)> {
    let ciphers = [CipherBackend::AesNi, CipherBackend::Vaes256];
    let ciphers = ciphers.into_iter().filter_map(Cipher::new);
    ciphers.filter_map(|cipher| Some((Kernels::new(Backend::Avx2)?, cipher)))
}

/// Puts the plain shares back; ids and agree values are still there.
fn fill(batch: &mut RowBatch, plain: &Rows<'_>) {
    let columns = batch.reset(plain.len(), false).expect("it has room").shares;
    columns.into_iter().zip(&plain.shares).for_each(|(to, from)| to.copy_from_slice(from));
}

/// Copies columns, each in one piece a thread.
fn copy(to: &mut [&mut [u16]], from: &[&[u16]], threads: usize) {
    for (to, from) in to.iter_mut().zip(from) {
        let piece = from.len().div_ceil(threads);
        let pieces = to.par_chunks_mut(piece).zip(from.par_chunks(piece));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
    }
}

criterion_group!(benches, one_row, original, in_memory);
criterion_main!(benches);
