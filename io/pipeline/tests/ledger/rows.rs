//! Which rows may be blinded, and which parts are recorded.

use std::sync::Barrier;

use proptest::prelude::*;
use reshare_engine::row_key::ContentTag;
use reshare_pipeline::ledger::LedgerDefect;

use crate::support::{Model, Row, State, admit, part, try_admit};

#[test]
fn a_row_is_admitted_with_one_content_and_no_other() {
    let state = State::new();
    let ledger = state.open();
    assert_eq!(admit(&ledger, &[(1, 5, 7), (2, 5, 7), (9, 5, 7)]), [true, true, true]);
    assert_eq!(admit(&ledger, &[(1, 5, 7), (2, 5, 8), (3, 5, 8)]), [true, false, true]);
    // Not even when it changes once more, and the first content stays admitted.
    assert_eq!(admit(&ledger, &[(2, 5, 9)]), [false]);
    assert_eq!(admit(&ledger, &[(2, 5, 7)]), [true]);
}

#[test]
fn content_digests_stay_the_same_in_one_ledger_and_differ_in_another() {
    let (state, other) = (State::new(), State::new());
    let tags = [ContentTag([1; 16]), ContentTag([2; 16])];
    let digest = state.open().content_digest(&tags);
    assert_eq!(digest, state.open().content_digest(&tags));
    assert_ne!(digest, state.open().content_digest(&tags[..1]));
    assert_ne!(digest, other.open().content_digest(&tags));
    // The digest cannot be computed from the tags alone.
    assert_ne!(digest, blake3::hash(&[[1; 16], [2; 16]].concat()));
}

#[test]
fn a_row_of_a_new_version_is_another_row() {
    let state = State::new();
    let ledger = state.open();
    assert_eq!(admit(&ledger, &[(1, 5, 7)]), [true]);
    assert_eq!(admit(&ledger, &[(1, 6, 8)]), [true]);
    assert_eq!(admit(&ledger, &[(1, 6, 7)]), [false]);
    assert_eq!(admit(&ledger, &[(1, 5, 8)]), [false]);
}

#[test]
fn rows_that_are_known_add_nothing_to_the_file() {
    let state = State::new();
    let ledger = state.open();
    assert_eq!(admit(&ledger, &[(1, 5, 7), (2, 5, 7)]), [true, true]);
    let before = state.bytes();
    assert_eq!(admit(&ledger, &[(1, 5, 7), (2, 5, 1)]), [true, false]);
    assert!(state.bytes() == before);
}

#[test]
fn what_was_admitted_is_known_after_opening_again() {
    let state = State::new();
    assert_eq!(admit(&state.open(), &[(-4, 1, 1), (i64::MAX, 1, 2)]), [true, true]);
    assert_eq!(
        admit(&state.open(), &[(-4, 1, 2), (0, 1, 1), (i64::MAX, 1, 2)]),
        [false, true, true]
    );
    assert_eq!(admit(&state.open(), &[(0, 1, 2)]), [false]);
}

#[test]
fn rows_out_of_order_are_not_recorded() {
    let state = State::new();
    let ledger = state.open();
    for rows in [[(2, 1, 1), (1, 1, 1)], [(2, 1, 1), (2, 1, 1)]] {
        let refused = try_admit(&ledger, &rows).expect_err("must be refused");
        assert!(matches!(refused.defect, LedgerDefect::Rows));
    }
    assert!(admit(&ledger, &[]).is_empty());
    assert_eq!(admit(&ledger, &[(2, 1, 9)]), [true]);
}

#[test]
fn parts_are_remembered_and_replaced_by_those_that_overlap_them() {
    let state = State::new();
    let ledger = state.open();
    for (index, first, last) in [(0, 1, 10), (2, 21, 30), (1, 11, 20)] {
        ledger.record_part(part(index, first, last)).expect("recorded");
    }
    assert_eq!(ledger.parts(), [part(0, 1, 10), part(1, 11, 20), part(2, 21, 30)]);
    ledger.record_part(part(7, 10, 12)).expect("recorded");
    assert_eq!(ledger.parts(), [part(7, 10, 12), part(2, 21, 30)]);
    ledger.record_part(part(2, 41, 50)).expect("recorded");
    let expected = [part(7, 10, 12), part(2, 41, 50)];
    assert_eq!(ledger.parts(), expected);
    drop(ledger);
    let again = state.open();
    assert_eq!((again.parts(), again.next_part_index()), (expected.to_vec(), 8));
}

#[test]
fn of_threads_with_other_contents_of_one_row_one_is_admitted() {
    let state = State::new();
    let ledger = state.open();
    let barrier = Barrier::new(4);
    let verdicts: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let run = |tag| {
            let (barrier, ledger) = (&barrier, &ledger);
            scope.spawn(move || {
                barrier.wait();
                let rows: Vec<Row> = (0..50).map(|id| (id, 1, tag)).collect();
                (0..50).step_by(10).flat_map(|at| admit(ledger, &rows[at..at + 10])).collect()
            })
        };
        let threads: Vec<_> = (0..4).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for row in 0..50 {
        assert_eq!(verdicts.iter().filter(|verdicts| verdicts[row]).count(), 1, "row {row}");
    }
    drop(ledger);
    state.open();
}

fn batch() -> impl Strategy<Value = Vec<Row>> {
    let rows = proptest::collection::btree_map(0..12_i64, (0..2_i64, 0..2_u8), 1..8);
    rows.prop_map(|rows| rows.into_iter().map(|(id, (version, tag))| (id, version, tag)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batches_are_judged_as_by_a_map(
        batches in proptest::collection::vec((batch(), any::<bool>()), 1..12),
    ) {
        let (state, mut model) = (State::new(), Model::default());
        let mut ledger = Some(state.open());
        for (rows, reopen) in batches {
            if reopen {
                drop(ledger.take());
                ledger = Some(state.open());
            }
            let open = ledger.as_ref().expect("open");
            prop_assert_eq!(admit(open, &rows), model.admit(&rows));
        }
    }
}
