//! Ledgers that are copied, moved, restored or lost are noticed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reshare_files::fault::Refusable;
use reshare_fixtures::network::copy_directory;
use reshare_pipeline::ledger::{Ledger, LedgerDefect, LedgerError};

use crate::support::{SESSION, State, admit, part, party};

/// Where the home of a ledger is in its header, by docs/format.md.
const HOME: usize = 3072;
const MACHINE: std::ops::Range<usize> = HOME + 32..HOME + 64;

fn used() -> State {
    let state = State::new();
    let ledger = state.open();
    admit(&ledger, &[(1, 1, 1), (2, 1, 2)]);
    ledger.record_part(part(0, 1, 2)).expect("recorded");
    state
}

fn open(state: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(state, &SESSION, party(1))
}

fn adopt(state: &Path) -> Result<Ledger, LedgerError> {
    Ledger::adopt(state, &SESSION, party(1))
}

#[track_caller]
fn assert_elsewhere(result: Result<impl Sized, LedgerError>, expected: (bool, bool)) {
    let error = result.err().expect("must be refused");
    assert!(error.is_refusal());
    let LedgerDefect::Elsewhere { machine, file } = error.defect else { panic!("{error:?}") };
    assert_eq!((machine, file), expected);
}

/// Writes another machine into the header, as one there would.
fn move_to_another_machine(state: &State) {
    let mut bytes = state.bytes();
    bytes[MACHINE].fill(7);
    let mut checksum = blake3::Hasher::new();
    checksum.update(&bytes[96..128]).update(&bytes[HOME..HOME + 64]);
    bytes[HOME + 64..HOME + 96].copy_from_slice(checksum.finalize().as_bytes());
    state.write(&bytes);
}

#[test]
fn a_copy_is_refused_wherever_it_is() {
    let state = used();
    let elsewhere = tempfile::tempdir().expect("a directory");
    copy_directory(state.path(), elsewhere.path());
    assert_elsewhere(open(elsewhere.path()), (false, true));
    assert_elsewhere(Ledger::examine(elsewhere.path(), &SESSION, party(1)), (false, true));
    assert_elsewhere(Ledger::create(elsewhere.path(), &SESSION, party(1)), (false, true));
    // For figures it does not matter.
    let figures = Ledger::glance(elsewhere.path(), &SESSION, party(1)).expect("sound");
    assert_eq!((figures.rows_blinded, figures.parts.len()), (2, 1));
    // In the place of the original it is a copy, too.
    let copied = Ledger::path_in(elsewhere.path(), &SESSION, party(1));
    fs::remove_file(state.file()).expect("removed");
    fs::copy(copied, state.file()).expect("copied");
    assert_elsewhere(state.try_open(), (false, true));
}

#[test]
fn a_ledger_whose_directory_is_renamed_is_the_same() {
    let state = used();
    let other = state.path().join("other");
    fs::create_dir(&other).expect("made");
    fs::rename(state.file().parent().expect("a parent"), other.join(SESSION.to_string()))
        .expect("renamed");
    fs::rename(state.register(), other.join("register")).expect("renamed");
    drop(open(&other).expect("the same file"));
    assert!(matches!(adopt(&other).expect_err("no copy").defect, LedgerDefect::AtHome));
}

#[test]
fn a_ledger_of_another_machine_is_refused() {
    let state = used();
    move_to_another_machine(&state);
    assert_elsewhere(state.try_open(), (true, false));
    assert_elsewhere(Ledger::examine(state.path(), &SESSION, party(1)), (true, false));
}

#[test]
fn an_adopted_ledger_is_at_home_and_its_original_is_not_changed() {
    let state = used();
    let elsewhere = tempfile::tempdir().expect("a directory");
    copy_directory(state.path(), elsewhere.path());
    let before = state.bytes();
    let adopted = adopt(elsewhere.path()).expect("adopted");
    assert_eq!(admit(&adopted, &[(1, 1, 1), (2, 1, 9), (3, 1, 3)]), [true, false, true]);
    drop(adopted);
    let again = open(elsewhere.path()).expect("at home");
    assert_eq!(admit(&again, &[(3, 1, 9)]), [false]);
    drop(again);
    let error = adopt(elsewhere.path()).expect_err("nothing to adopt");
    assert!(matches!(error.defect, LedgerDefect::AtHome) && !error.is_refusal());
    assert!(state.bytes() == before);
    // Brought back over the original, it is a copy once more.
    fs::remove_file(state.file()).expect("removed");
    fs::copy(Ledger::path_in(elsewhere.path(), &SESSION, party(1)), state.file()).expect("copied");
    assert_elsewhere(state.try_open(), (false, true));
    move_to_another_machine(&state);
    assert_elsewhere(state.try_open(), (true, true));
    drop(adopt(state.path()).expect("adopted"));
    state.open();
}

#[test]
fn a_ledger_that_is_written_back_to_an_older_state_is_refused_and_not_adopted() {
    let state = used();
    let older = state.bytes();
    // A run that writes nothing makes no older state of it.
    drop(state.open());
    state.write(&older);
    assert_eq!(admit(&state.open(), &[(7, 1, 1)]), [true]);
    state.write(&older);
    let error = state.try_open().expect_err("must be refused");
    assert!(matches!(error.defect, LedgerDefect::RolledBack { .. }) && error.is_refusal());
    let examined = Ledger::examine(state.path(), &SESSION, party(1)).expect_err("refused");
    assert!(matches!(examined.defect, LedgerDefect::RolledBack { .. }));
    assert!(state.bytes() == older, "it was changed");
    fs::remove_file(state.file()).expect("removed");
    fs::write(state.file(), &older).expect("written");
    fs::set_permissions(state.file(), Permissions::from_mode(0o600)).expect("changed");
    let error = adopt(state.path()).expect_err("must be refused");
    assert!(matches!(error.defect, LedgerDefect::RolledBack { .. }), "{error:?}");
}

#[test]
fn a_ledger_without_a_register_is_entered_when_it_is_opened() {
    let state = used();
    state.forget();
    drop(state.open());
    fs::remove_file(state.file()).expect("removed");
    let error = Ledger::create(state.path(), &SESSION, party(1)).expect_err("must be refused");
    assert!(matches!(error.defect, LedgerDefect::Lost));
}

#[test]
fn a_register_is_private_grows_and_is_refused_where_it_was_changed() {
    let state = used();
    let text = || fs::read(state.register()).expect("a register");
    let mode = fs::metadata(state.register()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = text();
    drop(state.open());
    assert_eq!(text(), before, "nothing was written in the ledger");
    assert_eq!(admit(&state.open(), &[(100, 1, 1), (101, 1, 1)]), [true, true]);
    let whole = text();
    assert!(whole.starts_with(&before) && whole.len() > before.len(), "lines are only added");
    // A crash leaves a piece of a line: the last commit is then not known of, and no other one.
    for length in before.len()..whole.len() {
        fs::write(state.register(), &whole[..length]).expect("written");
        assert_eq!(admit(&state.open(), &[(1000 + length as i64, 1, 1)]), [true]);
        assert_eq!(text().last(), Some(&b'\n'), "{length}");
    }
    let whole = text();
    // Without its line feed the last line would be what a crash leaves.
    for byte in 0..whole.len() - 1 {
        let mut changed = whole.clone();
        changed[byte] ^= 1;
        fs::write(state.register(), &changed).expect("written");
        let error = state.try_open().expect_err("must be refused");
        assert!(matches!(error.defect, LedgerDefect::Register { .. }), "{byte}: {error:?}");
        assert_eq!((error.path.clone(), error.is_refusal()), (state.register(), true));
    }
}

#[test]
fn files_that_were_recorded_are_known_for_good() {
    let state = used();
    let ledger = state.open();
    let (first, other) = (part(0, 1, 2), blake3::hash(b"sealed again"));
    assert!(ledger.has_sealed(first.name(), &first.sealed_digest));
    assert!(!ledger.has_sealed(first.name(), &other));
    let mut again = part(0, 1, 2);
    again.sealed_digest = other;
    ledger.record_part(again).expect("recorded");
    ledger.record_part(part(9, 1, 50)).expect("recorded");
    drop(ledger);
    let ledger = state.open();
    assert_eq!(ledger.parts().len(), 1);
    for digest in [first.sealed_digest, other] {
        assert!(ledger.has_sealed(first.name(), &digest));
        assert!(!ledger.has_sealed(part(1, 1, 2).name(), &digest));
    }
    drop(ledger);
    let sealed = Ledger::glance(state.path(), &SESSION, party(1)).expect("sound").sealed;
    assert!(sealed.had_size(first.name(), 1000) && !sealed.had_size(first.name(), 1001));
    assert!(!sealed.had_size(part(1, 1, 2).name(), 1000));
}
