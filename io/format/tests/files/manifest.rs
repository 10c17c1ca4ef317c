//! The manifest: its canonical form, and what it must not say.

use proptest::prelude::*;
use reshare_engine::fingerprint::Fingerprint;
use reshare_format::package::{
    MAX_MANIFEST_BYTES, MAX_PARTS, Manifest, ManifestContent, ManifestError as M,
    PackageExpectations, PartEntry, PartName, UnverifiedManifest,
};
use reshare_format::session::StatementError as S;

use crate::common::*;

fn entry(index: u64, first: i64, last: i64) -> PartEntry {
    PartEntry {
        name: PartName::new(index),
        ids: range(first, last),
        rows: 5,
        sealed_bytes: 10_000,
        sealed_digest: blake3::hash(b"sealed"),
        content_digest: blake3::hash(b"content"),
        exported_at: "2026-01-31T23:59:59Z".parse().unwrap(),
    }
}

fn content() -> ManifestContent {
    ManifestContent {
        session_id: "test-session".to_owned(),
        fingerprint: FINGERPRINT,
        sender: party(1),
        receiver: party(2),
        key_check: [0xab; 16],
        parts: vec![entry(1, -9, 20), entry(0, 21, 50), entry(7, 60, 64)],
        signed_at: "2026-02-01T00:00:00Z".parse().unwrap(),
    }
}

fn verify(content: &ManifestContent, session: &PackageExpectations) -> Result<Manifest, M> {
    UnverifiedManifest::read(content.to_bytes()?)?.verify(session, None)
}

/// The error for a manifest with one thing changed.
fn refused(change: impl FnOnce(&mut ManifestContent)) -> M {
    let mut content = content();
    change(&mut content);
    verify(&content, &session(&small_layout())).expect_err("must be refused")
}

/// The error for a manifest with one piece of its text changed.
fn refused_text(from: &str, to: &str) -> M {
    let text = String::from_utf8(content().to_bytes().unwrap()).unwrap();
    assert!(text.contains(from), "{text}");
    let read = UnverifiedManifest::read(text.replacen(from, to, 1).into_bytes());
    read.expect_err("must be refused")
}

#[test]
fn a_manifest_is_read_back_with_its_exact_bytes() {
    let content = content();
    let manifest = verify(&content, &session(&small_layout())).unwrap();
    assert_eq!(manifest.content(), &content);
    assert_eq!(manifest.bytes(), content.to_bytes().unwrap());
    assert_eq!(manifest.totals().rows, 15);
    let none = ManifestContent { parts: vec![], ..content };
    assert_eq!(verify(&none, &session(&small_layout())).unwrap().parts(), []);
}

#[test]
fn the_documented_example_is_canonical() {
    let format = include_str!("../../../../docs/format.md");
    let example = format.lines().find(|line| line.starts_with("{\"format\":"));
    let example = example.expect("docs/format.md shows a manifest");
    let mut content = content();
    content.parts.truncate(1);
    let bytes = content.to_bytes().unwrap();
    assert_eq!(format!("{example}\n"), String::from_utf8(bytes).unwrap());
}

#[test]
fn parts_that_overlap_repeat_or_are_out_of_order_are_refused() {
    let overlap = refused(|content| content.parts[1].ids = range(20, 50));
    assert!(matches!(overlap, M::PartOrder { .. }), "{overlap:?}");
    let order = refused(|content| content.parts.swap(0, 2));
    assert!(matches!(order, M::PartOrder { .. }), "{order:?}");
    let twice = refused(|content| content.parts[2].name = PartName::new(1));
    assert!(matches!(twice, M::RepeatedPart { name } if name == PartName::new(1)), "{twice:?}");
    let renamed = refused_text("\"index\":0,", "\"index\":3,");
    assert!(matches!(renamed, M::PartName { index: 3, .. }), "{renamed:?}");
    let backward = refused_text("\"first_id\":60,", "\"first_id\":65,");
    assert!(matches!(backward, M::BackwardRange { first: 65, last: 64, .. }), "{backward:?}");
}

#[test]
fn numbers_that_do_not_add_up_are_refused() {
    for (from, to) in [
        ("{\"parts\":3,", "{\"parts\":4,"),
        ("\"rows\":15,", "\"rows\":16,"),
        ("\"sealed_bytes\":30000}", "\"sealed_bytes\":29999}"),
    ] {
        let totals = refused_text(from, to);
        assert!(matches!(totals, M::Totals { expected: Some(_), .. }), "{from}: {totals:?}");
    }
    let overflow = refused(|content| content.parts[0].sealed_bytes = u64::MAX);
    assert!(matches!(overflow, M::Totals { expected: None, .. }), "{overflow:?}");
    for rows in [0, 31] {
        let rows = refused(|content| content.parts[0].rows = rows);
        assert!(matches!(rows, M::PartRows { .. }), "{rows:?}");
    }
}

#[test]
fn parts_beyond_the_limits_of_the_session_are_refused() {
    let large = refused(|content| content.parts[0].sealed_bytes = (64 << 20) + 1);
    assert!(matches!(large, M::PartTooLarge { .. }), "{large:?}");
    let outside = refused(|content| content.parts[0].ids = range(-1001, 0));
    assert!(matches!(outside, M::PartOutsideSession { .. }), "{outside:?}");
    let packed = refused(|content| content.parts[0].sealed_bytes = 5 * 24 - 1);
    assert!(matches!(packed, M::MoreRowsThanBytes { .. }), "{packed:?}");
}

#[test]
fn a_manifest_of_another_session_sender_or_receiver_is_refused() {
    let session = refused(|content| content.session_id.push('x'));
    assert!(matches!(session, M::OtherSessionId { .. }), "{session:?}");
    let fingerprint = refused(|content| content.fingerprint = Fingerprint([8; 32]));
    assert!(matches!(fingerprint, M::OtherSession { .. }), "{fingerprint:?}");
    let sender = refused(|content| content.sender = party(0));
    assert!(matches!(sender, M::OtherSender { .. }), "{sender:?}");
    let receiver = refused(|content| content.receiver = party(0));
    assert!(matches!(receiver, M::OtherReceiver { .. }), "{receiver:?}");
    let nobody = refused_text("\"sender\":1", "\"sender\":15");
    assert!(matches!(nobody, M::Statement(S::UnknownParty(_))), "{nobody:?}");
}

#[test]
fn a_manifest_in_any_other_form_is_refused() {
    let format = refused_text("reshare-manifest/1", "reshare-manifest/2");
    assert!(matches!(format, M::Statement(S::Format { .. })), "{format:?}");
    for (from, to) in [
        ("{\"format\"", "{\"extra\":1,\"format\""),
        ("\"rows\":5", "\"rows\":5,\"rows\":5"),
        ("\"rows\":5", "\"rows\":5.0"),
        ("\"rows\":5", "\"rows\":-5"),
        ("\"rows\":5", "\"rows\":18446744073709551616"),
        ("abab", "ABAB"),
        ("abab", "ab"),
        ("part-000001.age", "part-1.age"),
        ("part-000001.age", "../../x.age"),
        ("2026-02-01T00:00:00Z", "2026-02-01T00:00:00+00:00"),
        ("}\n", "}\n{}"),
    ] {
        let json = refused_text(from, to);
        assert!(matches!(json, M::Statement(S::Json(_))), "{from} {to}: {json:?}");
    }
    for (from, to) in [
        ("{\"format\"", " {\"format\""),
        ("}\n", "}"),
        ("}\n", "}\n\n"),
        ("\"sender\":1,\"receiver\":2", "\"receiver\":2,\"sender\":1"),
        ("test-session", "test\\u002dsession"),
        ("\"first_id\":-9", "\"first_id\": -9"),
    ] {
        let form = refused_text(from, to);
        assert!(matches!(form, M::NotCanonical { .. }), "{from} {to}: {form:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = UnverifiedManifest::read(bytes);
    }

    #[test]
    fn a_manifest_with_any_byte_changed_is_read_canonically_or_not_at_all(
        position in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = content().to_bytes().unwrap();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        if let Ok(manifest) = UnverifiedManifest::read(bytes.clone()) {
            prop_assert_eq!(manifest.claims().to_bytes().unwrap(), bytes);
        }
    }
}

#[test]
fn a_manifest_of_as_many_parts_as_a_package_may_have_can_be_read() {
    let longest = entry(u64::MAX, i64::MIN, i64::MIN);
    let longest = PartEntry { rows: u64::MAX, sealed_bytes: u64::MAX, ..longest };
    let length = |parts: Vec<PartEntry>| {
        let content = ManifestContent { parts, ..content() };
        content.to_bytes().unwrap().len()
    };
    let bytes = length(vec![longest]) - length(vec![]) + ",".len();
    assert!((bytes * MAX_PARTS) as u64 + 4096 <= MAX_MANIFEST_BYTES, "{bytes} bytes an entry");
}
