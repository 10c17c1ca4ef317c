//! Part records: signed by their sender, about their session, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_files::ids::IdRange;
use reshare_format::package::{
    ManifestError as M, PackageExpectations, PartEntry, PartName, PartRecord, PartRecordError as E,
    SealedPart, SignedPartRecord, Timestamp,
};
use reshare_pipeline::packages::expectations;
use time::Duration;

use crate::support::{World, now, party};

fn expected(world: &World) -> PackageExpectations {
    expectations(&world.session, party(0), Some(&world.trust)).expect("the session's authority")
}

fn range(first: i64, last: i64) -> IdRange {
    IdRange::new(first, last).expect("in order")
}

/// Changes one thing.
type Change = fn(&mut PartRecord);

/// A part of three rows among the ids 1 to 10.
fn record(world: &World) -> PartRecord {
    let sealed_digest = blake3::hash(b"sealed");
    let sealed = SealedPart { name: PartName::new(3), sealed_bytes: 4000, sealed_digest };
    let exported_at = Timestamp::from(now());
    let part = PartEntry::new(&sealed, range(1, 10), 3, blake3::hash(b"tags"), exported_at);
    PartRecord {
        session_id: world.session.id().to_string(),
        fingerprint: world.session.fingerprint(),
        sender: party(0),
        receiver: party(2),
        key_check: [7; 16],
        part,
        bounds: Some(range(2, 9)),
        signed_at: Timestamp::from(now()),
    }
}

/// Signs as a party whose certificate is made for it, and verifies it as sender 0's.
fn verify(world: &World, record: &PartRecord, signer: usize) -> Result<PartRecord, E> {
    let certificate = world.certificate(signer);
    let signed = record.sign(&certificate).expect("signed");
    signed.verify(&expected(world), certificate.chain())
}

#[test]
fn a_record_travels_as_one_line_and_every_bit_of_it_counts() {
    let world = World::new();
    let (record, certificate) = (record(&world), world.certificate(0));
    let signed = record.sign(&certificate).unwrap();
    let verify = |signed: &SignedPartRecord| signed.verify(&expected(&world), certificate.chain());
    let text = signed.to_text();
    assert!(text.is_ascii() && !text.contains(['\n', ' ']) && text.len() < 2000, "{text}");
    assert_eq!(SignedPartRecord::parse(&text).as_ref(), Some(&signed));
    assert_eq!(verify(&signed).unwrap(), record);
    let parts: Vec<Vec<u8>> = text.split('.').map(|part| STANDARD.decode(part).unwrap()).collect();
    for (changed_part, bytes) in parts.iter().enumerate() {
        for bit in 0..bytes.len() * 8 {
            let mut changed = parts.clone();
            changed[changed_part][bit / 8] ^= 1 << (bit % 8);
            let text =
                changed.iter().map(|part| STANDARD.encode(part)).collect::<Vec<_>>().join(".");
            let signed = SignedPartRecord::parse(&text).unwrap();
            assert!(verify(&signed).is_err(), "bit {bit} of part {changed_part}");
        }
    }
    for other in ["", ".", "AA", "AA.BB.CC", "AA.!", &format!("{text}\n"), &"A".repeat(10_000)] {
        let read = SignedPartRecord::parse(other);
        assert!(read.is_none_or(|signed| verify(&signed).is_err()), "{other}");
    }
}

#[test]
fn a_record_of_another_party_session_or_time_is_refused() {
    let world = World::new();
    assert!(matches!(verify(&world, &record(&world), 1), Err(E::Signature(_))));
    let signed = record(&world).sign(&world.certificate(0)).unwrap();
    let other_key = signed.verify(&expected(&world), world.certificate(0).chain());
    assert!(matches!(other_key, Err(E::Signature(_))), "another certificate of the same party");
    let changed: [(&str, Change); 9] = [
        ("session", |record| record.session_id.push('x')),
        ("fingerprint", |record| record.fingerprint.0[0] ^= 1),
        ("sender", |record| record.sender = party(1)),
        ("receiver", |record| record.receiver = party(1)),
        ("rows without bounds", |record| record.bounds = None),
        ("no rows with bounds", |record| record.part.rows = 0),
        ("more rows than ids", |record| record.part.rows = 9),
        ("bounds outside", |record| record.bounds = Some(range(2, 11))),
        ("rows that do not fit", |record| record.part.sealed_bytes = 10),
    ];
    for (what, change) in changed {
        let mut record = record(&world);
        change(&mut record);
        assert!(matches!(verify(&world, &record, 0), Err(E::Content(_))), "{what}");
    }
    let mut later = record(&world);
    later.signed_at = Timestamp::from(now() + Duration::minutes(5));
    let refused = verify(&world, &later, 0).unwrap_err();
    assert!(matches!(refused, E::Content(M::Statement(_))), "{refused:?}");
}

#[test]
fn a_record_may_cover_ids_without_a_row() {
    let world = World::new();
    let mut empty = record(&world);
    let none = blake3::Hash::from_bytes([0; 32]);
    (empty.bounds, empty.part.rows, empty.part.sealed_bytes) = (None, 0, 0);
    (empty.part.sealed_digest, empty.part.content_digest) = (none, none);
    assert_eq!(verify(&world, &empty, 0).unwrap(), empty);
}
