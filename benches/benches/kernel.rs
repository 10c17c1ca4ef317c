//! The kernels of every backend in the cache, next to the portable reference, a plain sum and
//! memcpy. `wide` is the baseline: SSE2 on x86-64, NEON on AArch64.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use reshare_benches::{elements, short_group};
use reshare_engine::kernel::{Backend, Kernels, Weighting, portable};
use reshare_engine::ring::RingElement;
use reshare_engine::shamir::Sign;

/// 3 KiB: input, keystream and output fit into any L1 cache.
const ELEMENTS: usize = 384;
const BYTES: usize = ELEMENTS * size_of::<RingElement>();

fn weight_and_blind(criterion: &mut Criterion) {
    let (shares, keystream) = (elements(1, ELEMENTS), elements(2, ELEMENTS));
    let weighting = Weighting::new(elements(3, 1)[0], Sign::Subtract);
    let mut expected = vec![RingElement::ZERO; ELEMENTS];
    portable::weight_and_blind(&weighting, &mut expected, &shares, &keystream).expect("equal");
    let mut blinded = expected.clone();

    let mut group = short_group(criterion, "kernel/weight-and-blind", BYTES);
    group.bench_function("portable/3-kib", |bencher| {
        bencher.iter(|| {
            portable::weight_and_blind(&weighting, black_box(&mut blinded), &shares, &keystream)
        });
    });
    for backend in Backend::available() {
        let kernels = Kernels::new(backend).expect("it is available");
        blinded.fill(RingElement::ZERO);
        group.bench_function(format!("{backend}/3-kib"), |bencher| {
            bencher.iter(|| {
                kernels.weight_and_blind(&weighting, black_box(&mut blinded), &shares, &keystream)
            });
        });
        let mut once = vec![RingElement::ZERO; ELEMENTS];
        kernels.weight_and_blind(&weighting, &mut once, &shares, &keystream).expect("equal");
        assert!(once == expected, "{backend}");
    }
    group.bench_function("limit/memcpy/3-kib", |bencher| {
        bencher.iter(|| black_box(&mut blinded).copy_from_slice(black_box(&shares)));
    });
}

fn merge(criterion: &mut Criterion) {
    let (first, second) = (elements(1, ELEMENTS), elements(2, ELEMENTS));
    let (first, second): (&[u16], &[u16]) =
        (bytemuck::cast_slice(&first), bytemuck::cast_slice(&second));
    let mut expected = vec![0; first.len()];
    portable::merge(&mut expected, first, second).expect("equal");
    let mut rebuilt = vec![0; first.len()];

    let mut group = short_group(criterion, "kernel/merge", BYTES);
    group.bench_function("limit/plain-sum/3-kib", |bencher| {
        bencher.iter(|| portable::merge(black_box(&mut rebuilt), first, second));
    });
    for backend in Backend::available() {
        let kernels = Kernels::new(backend).expect("it is available");
        rebuilt.fill(0);
        group.bench_function(format!("{backend}/3-kib"), |bencher| {
            bencher.iter(|| kernels.merge(black_box(&mut rebuilt), first, second));
        });
        let mut once = vec![0; first.len()];
        kernels.merge(&mut once, first, second).expect("equal");
        assert_eq!(once, expected, "{backend}");
    }
}

criterion_group!(benches, weight_and_blind, merge);
criterion_main!(benches);
