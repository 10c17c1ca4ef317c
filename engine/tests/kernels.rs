//! Every kernel of every backend that this CPU has, against the portable reference.

use proptest::prelude::*;
use reshare_engine::kernel::{Backend, Kernels, LengthMismatch, Weighting, portable};
use reshare_engine::keystream::Keystream;
use reshare_engine::ring::RingElement;
use reshare_engine::shamir::Sign;

/// More than fifty strips, so that every tail is met behind many of them.
const MOST_ELEMENTS: usize = 450;

/// Words of a line of the cache: a slice begins at any of them.
const LINE: usize = 32;

#[test]
fn every_backend_of_this_cpu_runs_and_the_best_one_is_picked() {
    let ran: Vec<Backend> = Backend::available().collect();
    println!("kernels that ran: {ran:?}");
    assert!(ran.contains(&Backend::Baseline));
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        assert_eq!(ran.contains(&Backend::Avx2), is_x86_feature_detected!("avx2"));
        assert_eq!(ran.contains(&Backend::Avx512), avx512);
    }
    assert_eq!(ran.last(), Some(&Backend::detect()));
    for backend in ran {
        let kernels = Kernels::new(backend).expect("it is available");
        assert_eq!(kernels.backend(), backend);
        for length in 0..=MOST_ELEMENTS {
            let starts = [length % LINE, (7 * length + 1) % LINE, (5 * length + 3) % LINE];
            equals_portable(kernels, length, starts, length as u64);
        }
    }
}

#[test]
fn lengths_that_differ_are_refused_and_nothing_is_written() {
    let weighting = Weighting::new(RingElement::ONE, Sign::Add);
    let input = [RingElement::ONE; 3];
    for backend in Backend::available() {
        let kernels = Kernels::new(backend).expect("it is available");
        let mut out = [RingElement::ZERO; 3];
        let short = LengthMismatch { expected: 3, got: 2 };
        let blind = kernels.weight_and_blind(&weighting, &mut out, &input, &input[..2]);
        assert_eq!(blind, Err(short));
        let blind = kernels.weight_and_blind(&weighting, &mut out, &input[..2], &input);
        assert_eq!(blind, Err(short));
        let blind = kernels.weight_and_blind_in_place(&weighting, &mut out, &input[..2]);
        assert_eq!(blind, Err(short));
        assert!(out == [RingElement::ZERO; 3]);
        let mut keystreams = [(); 2].map(|()| Keystream::new(&[7; 32]));
        let few = kernels.blind_streaming(&weighting, &mut out, &input[..2], &mut keystreams[..1]);
        assert_eq!(few, Err(short));
        let uneven = kernels.blind_streaming(&weighting, &mut out, &input, &mut keystreams);
        assert_eq!(uneven, Err(short));
        let none = kernels.blind_streaming(&weighting, &mut out, &input, &mut []);
        assert_eq!(none, Err(LengthMismatch { expected: 3, got: 0 }));
        assert!(out == [RingElement::ZERO; 3]);
        assert_eq!(kernels.merge(&mut [0; 3], &[1; 3], &[1; 2]), Err(short));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_backend_equals_portable_at_any_length_and_place(
        length in 0..MOST_ELEMENTS,
        starts in [0..LINE, 0..LINE, 0..LINE],
        seed: u64,
    ) {
        for backend in Backend::available() {
            let kernels = Kernels::new(backend).expect("it is available");
            equals_portable(kernels, length, starts, seed);
        }
    }
}

/// Compares all kernels of one backend at one length.
///
/// `starts` are the words of a line at which shares, keystream and output begin.
fn equals_portable(kernels: Kernels, length: usize, starts: [usize; 3], seed: u64) {
    let mut words = Words(seed);
    let (shares, keystream) = (words.take(LINE + 4 * length), words.take(LINE + 4 * length));
    let (first, second) =
        (&shares[starts[0]..][..4 * length], &keystream[starts[1]..][..4 * length]);
    let (shares, keystream): (&[RingElement], &[RingElement]) =
        (bytemuck::cast_slice(first), bytemuck::cast_slice(second));
    let context = format!("{} at {length} elements, {starts:?}, seed {seed}", kernels.backend());
    for sign in [Sign::Add, Sign::Subtract] {
        let weighting = Weighting::new(words.elements(1)[0], sign);
        let mut expected = vec![RingElement::ZERO; length];
        portable::weight_and_blind(&weighting, &mut expected, shares, keystream).expect("equal");
        let expected: &[u16] = bytemuck::cast_slice(&expected);

        writes_only(expected, starts[2], &format!("weight_and_blind, {context}"), |blinded| {
            let blinded = bytemuck::cast_slice_mut(blinded);
            kernels.weight_and_blind(&weighting, blinded, shares, keystream)
        });
        writes_only(expected, starts[2], &format!("in place, {context}"), |words| {
            words.copy_from_slice(first);
            let in_place = bytemuck::cast_slice_mut(words);
            kernels.weight_and_blind_in_place(&weighting, in_place, keystream)
        });
    }
    streaming_equals_portable(kernels, length, seed);
    // Merge takes words, not elements: try every tail of one too.
    for cut in 0..first.len().min(4) {
        let (first, second) = (&first[cut..], &second[cut..]);
        let mut expected = vec![0; first.len()];
        portable::merge(&mut expected, first, second).expect("equal");
        let context = format!("merge, {context}, {cut} words cut off");
        writes_only(&expected, starts[2], &context, |sums| kernels.merge(sums, first, second));
    }
}

/// Runs a kernel on an output that begins at word `start` of a line: it writes what is expected,
/// and nothing around it.
fn writes_only(
    expected: &[u16],
    start: usize,
    context: &str,
    kernel: impl FnOnce(&mut [u16]) -> Result<(), LengthMismatch>,
) {
    let mut around = vec![1; start + expected.len() + LINE];
    kernel(&mut around[start..][..expected.len()]).expect("the lengths are equal");
    let written = around.splice(start..start + expected.len(), []);
    assert!(written.eq(expected.iter().copied()), "{context}");
    assert!(around.iter().all(|word| *word == 1), "written outside, {context}");
}

/// Compares the streaming kernel, at several places in a cache line where its output begins.
fn streaming_equals_portable(kernels: Kernels, length: usize, seed: u64) {
    const EDGE: usize = 3;
    let mut words = Words(seed);
    let before = words.elements(3 * length + 1 + 600);
    let weighting = Weighting::new(words.elements(1)[0], Sign::Subtract);
    for (at, rows) in [(0, 1), (1, 2), (4, 3), (6, 1), (8, 2)] {
        let shares = &before[at % 2..];
        let (mut expected, mut behind, mut keystreams) = (vec![], vec![], vec![]);
        for row in 0..rows {
            // The keystream has been used before, and continues after the row.
            let key = [u8::try_from(row).expect("few"); 32];
            let mut keys = vec![RingElement::ZERO; EDGE + length + EDGE];
            Keystream::new(&key).fill(bytemuck::cast_slice_mut(&mut keys));
            let (taken, shares) = (&keys[EDGE..][..length], &shares[row * length..][..length]);
            let mut blinded = vec![RingElement::ZERO; length];
            portable::weight_and_blind(&weighting, &mut blinded, shares, taken).expect("equal");
            expected.extend(blinded);
            behind.push(keys.split_off(EDGE + length));
            let mut keystream = Keystream::new(&key);
            keystream.fill(&mut [0; 4 * EDGE]);
            keystreams.push(keystream);
        }
        let mut blinded = vec![1_u16; at + 4 * rows * length + 4];
        let (front, rest) = blinded.split_at_mut(at);
        let (out, back) = rest.split_at_mut(4 * rows * length);
        let out: &mut [RingElement] = bytemuck::cast_slice_mut(out);
        kernels.blind_streaming(&weighting, out, shares, &mut keystreams).expect("enough");
        let context = format!("{rows} rows of {length} elements, seed {seed}, at {at}");
        let context = format!("{}, {context}", kernels.backend());
        assert!(*out == expected, "blind_streaming, {context}");
        let mut around = front.iter().chain(&*back).copied();
        assert!(around.all(|word| word == 1), "written outside, {context}");
        for (mut keystream, behind) in keystreams.into_iter().zip(behind) {
            let mut edge = [RingElement::ZERO; EDGE];
            keystream.fill(bytemuck::cast_slice_mut(&mut edge));
            assert!(edge[..] == behind, "the keystream after it, {context}");
        }
    }
}

/// SplitMix64: reproducible words without a dependency.
struct Words(u64);

impl Words {
    fn elements(&mut self, count: usize) -> Vec<RingElement> {
        (0..count).map(|_| RingElement(std::array::from_fn(|_| self.next()))).collect()
    }

    fn take(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as u16
    }
}
