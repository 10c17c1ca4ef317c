//! An authority or a certificate whose creation is interrupted at any call is created by the next
//! run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use reshare_files::durable;
use reshare_files::durable::faults::{Fault, Faults, Plan};
use reshare_format::keys::PrivateFileError;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::keys::pki::{CertificateAuthority, KeyKind, PkiError};
use time::Duration;

use crate::support::{NAMES, now};

const DAY: Duration = Duration::days(1);

fn authority(directory: &Path) -> Result<CertificateAuthority, PkiError> {
    CertificateAuthority::create(directory, "test", KeyKind::default(), DAY, now())
}

fn certificate(authority: &CertificateAuthority, out: &Path) -> Result<(), PkiError> {
    let name = NAMES[0].parse().expect("a name");
    let issued = authority.issue(out, &name, KeyKind::default(), DAY, now())?;
    let loaded = PartyCertificate::load(&issued.certificate, &issued.key);
    assert!(loaded.is_ok(), "key and certificate do not belong together: {loaded:?}");
    Ok(())
}

fn exists_already<T: std::fmt::Debug>(result: Result<T, PkiError>) -> bool {
    matches!(result, Err(PkiError::File(PrivateFileError::Exists { .. })))
}

#[test]
fn what_ends_at_any_call_is_made_when_it_is_asked_for_again() {
    for nth in 1.. {
        let scratch = tempfile::tempdir().expect("a directory");
        let (ca, party) = (scratch.path().join("ca"), scratch.path().join("party"));
        let gone =
            Plan { calls: Vec::new(), nth, count: u64::MAX, fault: Fault::Error(ErrorKind::Other) };
        let faults = Faults::plan(scratch.path(), gone);
        let first = authority(&ca).and_then(|authority| certificate(&authority, &party));
        let is_over = faults.seen() < nth;
        drop(faults);
        assert_eq!(first.is_ok(), is_over, "{nth}: {first:?}");
        // Its last call may have failed when all was there already.
        let again = authority(&ca);
        assert!(again.is_ok() || exists_already(again), "{nth}");
        let made = CertificateAuthority::load(&ca).expect("an authority");
        let again = certificate(&made, &party);
        assert!(again.is_ok() || exists_already(again), "{nth}");
        assert!(exists_already(certificate(&made, &party)) && exists_already(authority(&ca)));
        if is_over {
            assert!(nth > 12, "{nth} calls make no two pairs of files");
            break;
        }
    }
}

#[test]
fn a_key_of_another_kind_is_kept_and_one_that_was_never_finished_goes() {
    let scratch = tempfile::tempdir().expect("a directory");
    let ca = scratch.path().join("ca");
    authority(&ca).expect("made");
    fs::remove_file(ca.join("ca.pem")).expect("there");
    let key = fs::read(ca.join("ca.key")).expect("there");
    let other = CertificateAuthority::create(&ca, "test", KeyKind::Ed25519, DAY, now());
    assert!(exists_already(other.map(drop)));
    assert_eq!(fs::read(ca.join("ca.key")).expect("there"), key);
    fs::remove_file(ca.join("ca.key")).expect("there");
    let unfinished = ca.join(".ca.key.tmp-aB3dE6fG");
    assert!(durable::is_temporary(unfinished.file_name().expect("a name")));
    fs::write(&unfinished, "a key").expect("written");
    authority(&ca).expect("made");
    assert!(!unfinished.exists());
}
