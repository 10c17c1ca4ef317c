//! The keystream of one row in tiles, by each cipher, next to the oracle's.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use reshare_benches::short_group;
use reshare_engine::cipher::{Cipher, CipherBackend};
use reshare_engine::keystream::Keystream;
use reshare_fixtures::oracle::OracleKeystream;

const ROW_U16: usize = 38_400;
/// As blinding takes it: 1 KiB.
const TILE_U16: usize = 512;

fn keystream(criterion: &mut Criterion) {
    let key = [9; 32];
    let mut whole = vec![0; ROW_U16];
    Keystream::new(&key).fill(&mut whole);

    let mut group = short_group(criterion, "keystream", ROW_U16 * 2);
    let mut tile = [0; TILE_U16];
    for backend in CipherBackend::available() {
        let cipher = Cipher::new(backend).expect("it is available");
        let mut by_tile = || {
            let mut keystream = Keystream::with_cipher(black_box(&key), cipher);
            for _ in 0..ROW_U16 / TILE_U16 {
                keystream.fill(black_box(&mut tile));
            }
        };
        by_tile();
        let name = format!("aes256-ctr/{backend}/row");
        group.bench_function(name, |bencher| bencher.iter(&mut by_tile));
        assert_eq!(tile, whole[ROW_U16 - TILE_U16..], "{backend}");
    }
    group.bench_function("limit/aes256-ctr/row-at-once", |bencher| {
        bencher.iter(|| Keystream::new(black_box(&key)).fill(black_box(&mut whole)));
    });
    // That these are the right words is a test of the oracle's vectors.
    group.bench_function("oracle/chacha20/row", |bencher| {
        bencher.iter(|| {
            let mut keystream = OracleKeystream::new(black_box(&key));
            for word in &mut whole {
                *word = keystream.next_word();
            }
            black_box(&mut whole);
        });
    });
}

criterion_group!(benches, keystream);
criterion_main!(benches);
