//! Damage to a ledger is found. What a crash leaves is not damage.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use reshare_engine::fingerprint::Fingerprint;
use reshare_files::fault::Refusable;
use reshare_pipeline::ledger::{Ledger, LedgerDefect};

use crate::support::{SESSION, State, admit, part, party};

/// A ledger with two batches of tags and a part.
fn used() -> State {
    let state = State::new();
    let ledger = state.open();
    admit(&ledger, &[(1, 1, 1), (2, 1, 2)]);
    ledger.record_part(part(0, 1, 2)).expect("recorded");
    admit(&ledger, &[(3, 1, 3)]);
    state
}

#[test]
fn a_ledger_that_is_missing_is_not_created_again() {
    let state = used();
    fs::remove_file(state.file()).expect("removed");
    let error = state.try_open().expect_err("must be refused");
    assert!(matches!(error.defect, LedgerDefect::Lost) && error.is_refusal());
    let error = Ledger::create(state.path(), &SESSION, party(1)).expect_err("must be refused");
    assert!(matches!(error.defect, LedgerDefect::Lost) && error.is_refusal());
    assert!(!state.file().exists());
    // Of another session or sender nothing was lost.
    let other = Ledger::open(state.path(), &Fingerprint([4; 32]), party(1)).expect_err("none");
    assert!(matches!(other.defect, LedgerDefect::Missing) && other.is_refusal());
    assert!(Ledger::create(state.path(), &SESSION, party(2)).expect("made"));
}

#[test]
fn a_ledger_truncated_at_any_byte_is_refused() {
    let state = used();
    let whole = state.bytes();
    for length in 0..whole.len() {
        state.write(&whole[..length]);
        let error = state.try_open().expect_err("must be refused");
        assert!(matches!(error.defect, LedgerDefect::Truncated { .. }), "{length}: {error:?}");
        assert!(error.is_refusal());
        assert_eq!(state.bytes().len(), length, "it was changed");
    }
    state.write(&whole);
    state.open();
}

#[test]
fn a_ledger_with_any_bit_flipped_is_refused() {
    let state = used();
    let whole = state.bytes();
    for byte in 0..whole.len() {
        let mut changed = whole.clone();
        changed[byte] ^= 1 << (byte % 8);
        state.write(&changed);
        let error = state.try_open().expect_err("must be refused");
        assert!(error.is_refusal(), "{byte}: {error:?}");
        assert!(state.bytes() == changed, "{byte}: it was changed");
    }
}

#[test]
fn a_ledger_of_another_session_or_sender_is_refused() {
    let state = used();
    let other = Fingerprint([4; 32]);
    for (fingerprint, sender) in [(other, party(1)), (SESSION, party(2))] {
        let path = Ledger::path_in(state.path(), &fingerprint, sender);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::copy(state.file(), &path).expect("copied");
        let defect = Ledger::open(state.path(), &fingerprint, sender).expect_err("refused").defect;
        let expected =
            matches!(defect, LedgerDefect::OtherSession { .. } | LedgerDefect::OtherSender { .. });
        assert!(expected, "{defect:?}");
    }
}

#[test]
fn a_ledger_that_is_there_is_never_replaced() {
    let state = used();
    let before = state.bytes();
    assert!(!Ledger::create(state.path(), &SESSION, party(1)).expect("kept"));
    assert!(state.bytes() == before);
    state.write(&before[..before.len() - 1]);
    assert!(Ledger::create(state.path(), &SESSION, party(1)).expect_err("refused").is_refusal());
    assert_eq!(state.bytes().len(), before.len() - 1);
}

/// The file at each step of a commit: after each step, everything acknowledged is known.
#[test]
fn a_crash_at_any_byte_of_an_append_loses_nothing_acknowledged() {
    let state = State::new();
    admit(&state.open(), &[(1, 1, 1)]);
    let before = state.bytes();
    admit(&state.open(), &[(2, 1, 2), (3, 1, 3)]);
    let after = state.bytes();
    for length in before.len()..=after.len() {
        // The entry is written in part or completely, but not the slot that counts it.
        let torn = [&before[..], &after[before.len()..length]].concat();
        state.write(&torn);
        // The run of before has not opened this file.
        state.forget();
        let ledger = state.open();
        assert_eq!(admit(&ledger, &[(1, 1, 9)]), [false]);
        let whole = length == after.len();
        assert_eq!(admit(&ledger, &[(2, 1, 9)]), [!whole], "{length} bytes");
        drop(ledger);
        assert_eq!(admit(&state.open(), &[(1, 1, 1), (2, 1, 9)]), [true, !whole]);
    }
}

/// A file that was longer than committed, with a length that its blocks do not have.
#[test]
fn zeros_behind_the_last_entry_are_cut_off() {
    let state = used();
    let sound = state.bytes();
    state.write(&[&sound[..], &[0; 200]].concat());
    drop(state.open());
    assert_eq!(state.bytes().len(), sound.len());
    assert_eq!(admit(&state.open(), &[(3, 1, 9)]), [false]);
}

#[test]
fn a_ledger_serves_one_at_a_time_and_the_other_learns_whom() {
    let state = used();
    let ledger = state.open();
    let error = state.try_open().expect_err("in use");
    assert!(!error.is_refusal());
    let LedgerDefect::InUse { process } = error.defect else { panic!("{error:?}") };
    assert_eq!(process, std::process::id().to_string());
    drop(ledger);
    state.open();
}

#[test]
fn links_pipes_and_files_for_everybody_are_refused() {
    let state = used();
    fs::set_permissions(state.file(), Permissions::from_mode(0o644)).expect("changed");
    assert!(matches!(state.defect(), LedgerDefect::Permissions { mode: 0o644 }));
    fs::set_permissions(state.file(), Permissions::from_mode(0o600)).expect("changed");
    let elsewhere = state.path().join("elsewhere");
    fs::rename(state.file(), &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, state.file()).expect("linked");
    state.try_open().expect_err("a link");
    fs::remove_file(state.file()).expect("removed");
    assert!(Command::new("mkfifo").arg(state.file()).status().expect("mkfifo").success());
    assert!(matches!(state.defect(), LedgerDefect::NotALedger));
}

#[test]
fn a_ledger_that_its_group_was_let_into_is_private_again() {
    let state = used();
    let mode = || fs::metadata(state.file()).expect("there").permissions().mode() & 0o777;
    // What an fsGroup of Kubernetes does to every file of a volume.
    fs::set_permissions(state.file(), Permissions::from_mode(0o660)).expect("changed");
    drop(state.open());
    assert_eq!(mode(), 0o600);
}

#[test]
fn the_ledger_is_private() {
    let state = used();
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&state.file()), 0o600);
    assert_eq!(mode(state.file().parent().expect("a parent")), 0o700);
}
