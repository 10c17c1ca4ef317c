//! Signed packages: what is refused, and how other programs check them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::{CertificateError, PartyCertificate};
use reshare_format::keys::pki::KeyKind;
use reshare_format::package::{
    CHAIN_NAME, MANIFEST_NAME, ManifestContent, ManifestError as M, Package, PackageDefect as D,
    PackageError as E, PackageExpectations, PackageWriter, PartEntry, SIGNATURE_NAME, Timestamp,
};
use reshare_format::session::StatementError as S;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::{Packages, expectations};
use time::{Duration, OffsetDateTime};

use crate::support::{NAMES, World, now, party};

fn expected(world: &World) -> PackageExpectations {
    expectations(&world.session, party(0), Some(&world.trust)).expect("the session's authority")
}

/// Writes party 0's package of one part; a certificate signs it.
fn write(
    world: &World,
    name: &str,
    certificate: Option<PartyCertificate>,
    signed_at: OffsetDateTime,
) -> Result<PathBuf, E> {
    let directory = world.path().join(name);
    let recipient = world.identity.to_public();
    let mut writer = PackageWriter::create(&directory, expected(world), recipient)?;
    if let Some(certificate) = certificate {
        writer = writer.signed_by(certificate);
    }
    let layout = world.session.layout();
    let mut batch = RowBatch::with_capacity(Arc::clone(layout), 1);
    batch.push_bytes(7, &[AgreeValue::Integer(1)], &[&[9; 32]]).expect("fits");
    let mut blinded = RowBatch::with_capacity(Arc::clone(layout), 1);
    let keys = reshare_engine::key_schedule::KeySchedule::derive(
        &world.keys[0].shared_secret(world.keys[1].public_key()).expect("agreed"),
        world.session.id().as_str(),
        &world.session.fingerprint(),
    );
    let blinder = reshare_engine::blind::Blinder::new(
        &keys,
        &world.session.fingerprint(),
        party(0),
        party(1),
        party(2),
    );
    let mut tags = Vec::new();
    blinder
        .expect("they differ")
        .tag_and_blind(&batch.rows(), &mut blinded, &mut tags)
        .expect("blinded");
    let ids = IdRange::new(1, 10).expect("in order");
    let part = writer.seal(0, ids, &blinded.rows())?;
    let digest = blake3::hash(b"tags");
    writer.close(&ManifestContent {
        session_id: world.session.id().to_string(),
        fingerprint: world.session.fingerprint(),
        sender: party(0),
        receiver: party(2),
        key_check: keys.key_check().0,
        parts: vec![PartEntry::new(&part, ids, 1, digest, Timestamp::from(signed_at))],
        signed_at: Timestamp::from(signed_at),
    })?;
    Ok(directory)
}

fn open(world: &World, directory: &Path) -> Result<Package, E> {
    Package::open(directory, expected(world))
}

/// Why a manifest is refused.
fn manifest_error(result: Result<impl std::fmt::Debug, E>) -> M {
    match result {
        Err(E::Manifest { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signed_package_is_opened_and_every_bit_of_manifest_signature_and_chain_counts() {
    let world = World::new();
    let directory = write(&world, "package", Some(world.certificate(0)), now()).unwrap();
    open(&world, &directory).unwrap();
    for name in [MANIFEST_NAME, SIGNATURE_NAME, CHAIN_NAME] {
        let path = directory.join(name);
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, changed).unwrap();
            assert!(open(&world, &directory).is_err(), "{name}: bit {bit} does not count");
        }
        fs::write(&path, &bytes).unwrap();
        open(&world, &directory).unwrap();
        fs::write(&path, [&bytes[..], b"\n"].concat()).unwrap();
        assert!(open(&world, &directory).is_err(), "{name}: one byte more");
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_package_without_its_signature_is_refused_and_cannot_be_closed() {
    let world = World::new();
    let unsigned = write(&world, "unsigned", None, now());
    assert!(matches!(manifest_error(unsigned), M::NotSigned));
    let directory = write(&world, "package", Some(world.certificate(0)), now()).unwrap();
    for name in [SIGNATURE_NAME, CHAIN_NAME] {
        let bytes = fs::read(directory.join(name)).unwrap();
        fs::remove_file(directory.join(name)).unwrap();
        assert!(matches!(manifest_error(open(&world, &directory)), M::NotSigned), "{name}");
        fs::write(directory.join(name), bytes).unwrap();
    }
    let mut without = expected(&world);
    without.trust = None;
    let extra = Package::open(&directory, without);
    assert!(matches!(extra, Err(E::Defect { defect: D::ExtraFile, .. })), "{extra:?}");
    let directories = [directory.clone(), directory];
    let refused = Packages::open(&world.session, directories, world.identity.clone()).err();
    assert!(matches!(refused, Some(PipelineError::NoAuthority)), "{refused:?}");
}

#[test]
fn a_package_signed_by_the_other_sender_or_the_receiver_is_refused() {
    let world = World::new();
    for index in [1, 2] {
        let closed = write(&world, "package", Some(world.certificate(index)), now());
        let M::Signature { sender, source } = manifest_error(closed) else { panic!() };
        assert_eq!(sender, party(0));
        assert!(matches!(source, CertificateError::OtherName { .. }), "{source:?}");
    }
    // The other sender signs a manifest in party 0's name, in a package that party 0 closed.
    let directory = write(&world, "closed", Some(world.certificate(0)), now()).unwrap();
    let manifest = fs::read(directory.join(MANIFEST_NAME)).unwrap();
    let forged =
        reshare_format::package::ManifestSignature::sign(&world.certificate(1), &manifest).unwrap();
    fs::write(directory.join(SIGNATURE_NAME), forged.bytes()).unwrap();
    let M::Signature { source, .. } = manifest_error(open(&world, &directory)) else { panic!() };
    assert!(matches!(source, CertificateError::Signature(_)), "{source:?}");
    fs::write(directory.join(CHAIN_NAME), forged.chain().to_pem()).unwrap();
    let M::Signature { source, .. } = manifest_error(open(&world, &directory)) else { panic!() };
    assert!(matches!(source, CertificateError::OtherName { .. }), "{source:?}");
}

#[test]
fn a_certificate_may_end_while_the_package_travels_but_not_before_it_was_signed() {
    let world = World::new();
    let ended = |from| world.issue(NAMES[0], from, Duration::hours(1), KeyKind::EcdsaP256);
    let yesterday = now() - Duration::days(1);
    let travelled = write(&world, "travelled", Some(ended(yesterday)), yesterday).unwrap();
    open(&world, &travelled).unwrap();
    let late = write(&world, "late", Some(ended(yesterday)), now());
    let M::Signature { source, .. } = manifest_error(late) else { panic!() };
    assert!(matches!(source, CertificateError::Expired { .. }), "{source:?}");
    let early = yesterday - Duration::hours(1);
    let early = write(&world, "early", Some(ended(yesterday)), early);
    let M::Signature { source, .. } = manifest_error(early) else { panic!() };
    assert!(matches!(source, CertificateError::NotYetValid { .. }), "{source:?}");
}

#[test]
fn a_signature_from_the_future_or_outside_the_session_is_refused() {
    let world = World::new();
    let from = now() - Duration::days(5);
    let long = || world.issue(NAMES[0], from, Duration::days(9), KeyKind::Ed25519);
    let future = write(&world, "future", Some(long()), now() + Duration::hours(1));
    assert!(matches!(manifest_error(future), M::Statement(S::InFuture { .. })));
    let before = write(&world, "before", Some(long()), now() - Duration::days(4));
    assert!(matches!(manifest_error(before), M::SignedOutsideSession { .. }));
}

#[test]
fn a_replayed_package_of_an_earlier_session_is_refused() {
    let mut world = World::new();
    let directory = write(&world, "package", Some(world.certificate(0)), now()).unwrap();
    let next = world.another_session();
    let anchor = world.authority.anchor().clone();
    world.trust = reshare_format::session::SessionTrust::new(&next, anchor).unwrap();
    world.session = next;
    let replayed = manifest_error(open(&world, &directory));
    assert!(matches!(replayed, M::OtherSession { .. }), "{replayed:?}");
}

#[test]
fn the_documented_openssl_commands_check_a_signature_and_refuse_a_changed_manifest() {
    let format = include_str!("../../../../docs/format.md");
    let section = format.split("#### With openssl").nth(1).expect("docs/format.md shows how");
    let script = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let script = script.expect("a shell block");
    let world = World::new();
    for (name, kind) in
        [("p256", KeyKind::EcdsaP256), ("p384", KeyKind::EcdsaP384), ("ed25519", KeyKind::Ed25519)]
    {
        let from = now() - Duration::days(1);
        let certificate = world.issue(NAMES[0], from, Duration::days(2), kind);
        let directory = write(&world, name, Some(certificate), now()).unwrap();
        let run = || {
            let work = tempfile::tempdir().unwrap();
            let mut sh = Command::new("sh");
            sh.args(["-e", "-c", script]).current_dir(work.path());
            sh.env("package", &directory).env("ca", world.ca_file());
            sh.output().expect("sh")
        };
        let output = run();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}");
        assert!(text.contains(NAMES[0]) && text.contains("Digital Signature"), "{text}");
        let path = directory.join(MANIFEST_NAME);
        let changed = fs::read_to_string(&path).unwrap().replace("\"rows\":1", "\"rows\":2");
        fs::write(&path, changed).unwrap();
        assert!(!run().status.success(), "{name}: a changed manifest");
    }
}
