//! Every input of the corpus, whole and damaged, through the reader it is meant for.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps in vain")]

mod allocations;

use std::fs;
use std::path::{Path, PathBuf};

use reshare_fuzz::{Check, TARGETS};

/// The readers may allocate this much for any input: batches of fixed size, buffers of age and
/// zstd.
const ALWAYS: usize = 1 << 20;
/// And this much for each byte that they read: parsed documents take more room than their text.
const FOR_A_BYTE: usize = 64;

fn inputs(target: &str) -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&corpus).unwrap();
    let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

/// Runs a check, and looks at the largest single allocation it asked for.
fn checked(check: Check, input: &[u8], of: &Path) {
    let largest = allocations::largest_during(|| {
        check(input);
    });
    let most = ALWAYS + FOR_A_BYTE * input.len();
    assert!(largest <= most, "{}: {largest} bytes for {}", of.display(), input.len());
}

#[test]
fn every_input_is_read_without_a_broken_promise() {
    for (target, check) in TARGETS {
        let inputs = inputs(target);
        assert!(inputs.len() >= 2, "no corpus for {target}");
        for path in inputs {
            checked(check, &fs::read(&path).unwrap(), &path);
        }
    }
}

#[test]
fn neither_is_an_input_that_ends_early_or_has_a_byte_changed() {
    for (target, check) in TARGETS {
        for path in inputs(target) {
            let input = fs::read(&path).unwrap();
            for at in places(input.len()) {
                checked(check, &input[..at], &path);
                let mut changed = input.clone();
                changed[at] ^= 1 << (at % 8);
                checked(check, &changed, &path);
            }
        }
    }
}

/// All places of a small input; of a large one some dozens, and where the blocks begin that it
/// may have: every 4 KiB, after the two bytes of a part's input.
fn places(length: usize) -> Vec<usize> {
    let step = length / 50 + 1;
    let begins = |at: &usize| at % 4096 < 24 && (*at >= 4096 || length < 4096);
    let mut places: Vec<_> = (0..length).step_by(step).chain((0..length).filter(begins)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// What the fuzzer found has a name of twelve hexadecimal digits; what it began with, a word.
fn is_seed(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap();
    name.len() != 12 || !name.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// The one seed that is refused: its parts overlap.
const REFUSED: &str = "overlapping";

#[test]
fn every_target_begins_with_inputs_that_are_accepted() {
    for (target, check) in TARGETS {
        let seeds: Vec<_> = inputs(target).into_iter().filter(|path| is_seed(path)).collect();
        assert!(seeds.len() >= 2, "no seeds for {target}");
        for path in seeds {
            let accepted = check(&fs::read(&path).unwrap());
            assert_eq!(accepted, !path.ends_with(REFUSED), "{}", path.display());
        }
    }
}
