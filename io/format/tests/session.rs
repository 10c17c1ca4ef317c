//! Session files: read back, refused, and distinguished by their fingerprints.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use reshare_format::keys::{
    AgreementKey, AgreementPublicKey, DecapsulationKey, EncapsulationKey, Identity, Recipient,
    SealKind, SharedKey, parse_recipient,
};
use reshare_format::package::{rows_per_part_at_most, sealed_bytes_at_most};
use reshare_format::session::{
    IdList, NewSession, Receiver, Sender, Session, SessionError, SessionIds, parse_fingerprint,
};
use time::OffsetDateTime;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/vectors/session")
}

fn golden_text() -> String {
    let path = vectors().join("session.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn refuse(text: &str) -> SessionError {
    Session::parse(text).expect_err("must be refused")
}

/// The golden session with one piece of its text replaced.
fn changed(from: &str, to: &str) -> String {
    let text = golden_text();
    assert!(text.contains(from), "{from} is in the golden session");
    text.replacen(from, to, 1)
}

#[test]
fn the_golden_sessions_have_their_fingerprints() {
    let text = std::fs::read_to_string(vectors().join("fingerprints.json")).expect("read");
    let expected: HashMap<String, String> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(expected.len(), 2);
    for (file, fingerprint) in expected {
        let session = Session::load(&vectors().join(&file)).expect("valid");
        assert_eq!(session.fingerprint().to_string(), fingerprint, "{file}");
        assert_eq!(parse_fingerprint(&fingerprint), Ok(session.fingerprint()));
        let again = Session::parse(&session.to_toml()).expect("valid");
        assert_eq!(again, session, "{file}");
    }
}

#[test]
fn the_golden_list_is_the_one_its_session_names() {
    let session = Session::load(&vectors().join("list.toml")).expect("valid");
    let list = IdList::load_for(&vectors().join("ids.txt"), &session).expect("the same");
    assert_eq!(list.ids(), [-3, 1, 2, 70_000, i64::MAX]);
}

#[test]
fn spelling_of_the_file_does_not_matter() {
    let session = Session::parse(&golden_text()).expect("valid");
    let with = |from: &str, to: &str| Session::parse(&changed(from, to)).expect("valid");
    assert_eq!(with("version = 2", "# comment\n  version   =   2 # more"), session);
    assert_eq!(with("-----BEGIN", "\n\n   -----BEGIN"), session);
    assert_eq!(with("start = 1", "start = +1"), session);
    assert_eq!(with("name = \"irises\"", "name = 'irises'"), session);
    let moved = with("https://receiver.mpc.example:8443", "https://10.0.0.7");
    assert_ne!(moved, session);
    assert_eq!(moved.fingerprint(), session.fingerprint());
    let crlf = Session::parse(&golden_text().replace('\n', "\r\n")).expect("valid");
    assert_eq!(crlf, session);
}

#[test]
fn a_file_that_names_no_part_size_has_the_default() {
    let session = Session::parse(&changed("max_part_bytes = 67108864", "")).expect("valid");
    assert_eq!(session.max_part_bytes(), Session::DEFAULT_MAX_PART_BYTES);
    assert_eq!(session, Session::parse(&golden_text()).expect("valid"));
}

#[test]
fn unknown_repeated_and_missing_keys_are_refused_by_name() {
    for (from, to, name) in [
        ("version = 2", "version = 2\nverson = 1", "verson"),
        ("start = 1", "start = 1\nstop = 2", "stop"),
        ("name = \"irises\"", "name = \"irises\"\nschema = \"s\"", "schema"),
        ("kind = \"integer\"", "kind = \"integer\"\nnull = true", "null"),
        ("kind = \"integer\"", "kind = \"text\"", "text"),
        ("[receiver]", "[receiver]\nagreement_key = \"x\"", "agreement_key"),
        ("[[senders]]", "[[senders]]\nage_recipient = \"x\"", "age_recipient"),
        ("[trust]", "[trust]\nca_file = \"x\"", "ca_file"),
        ("[transport]", "[transport]\nurl = \"x\"", "url"),
        ("version = 2", "version = 2\nversion = 2", "duplicate key"),
        ("environment = ", "environment_ = ", "environment_"),
        ("version = 2", "", "version"),
        ("version = 2", "version = -1", "u64"),
        ("start = 1", "start = 9223372036854775808", "i64"),
        ("start = 1", "start = \"1\"", "i64"),
    ] {
        match refuse(&changed(from, to)) {
            SessionError::Syntax { message, line, .. } => {
                assert!(message.contains(name), "{to}: {message}");
                assert!(line <= golden_text().lines().count() + 1);
            }
            other => panic!("{to}: {other}"),
        }
    }
}

#[test]
fn a_syntax_error_points_to_its_place_and_shows_no_text() {
    let error = refuse("version = 1\nAGE-SECRET-KEY-1HUNTER2\n");
    assert!(matches!(error, SessionError::Syntax { line: 2, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("HUNTER2"), "{error:?}");
}

#[test]
fn values_that_break_a_rule_are_refused_by_key() {
    for (from, to, key) in [
        ("version = 2", "version = 1", "version"),
        ("session_id = \"golden", "session_id = \"../golden", "session_id"),
        ("environment = \"prod\"", "environment = \"Prod\"", "environment"),
        ("nonce = \"00", "nonce = \"", "nonce"),
        ("nonce = \"00", "nonce = \"AA", "nonce"),
        ("not_before = 2026-08-21T00:00:00Z", "not_before = 2026-08-21T00:00:00", "not_before"),
        ("not_before = 2026-08-21T00:00:00Z", "not_before = 2026-08-21", "not_before"),
        ("not_before = 2026-08-21T00:00:00Z", "not_before = 2026-08-21T00:00:00.5Z", "not_before"),
        ("not_after = 2026-09-20T23:59:59Z", "not_after = 2026-09-20T23:59:60Z", "not_after"),
        ("not_after = 2026-09-20T23:59:59Z", "not_after = 2026-09-20T23:59:59+01:00", "not_after"),
        ("not_after = 2026-09-20T23:59:59Z", "not_after = 2026-08-20T23:59:59Z", "not_after"),
        ("end = 10000001", "end = 1", "ids.end"),
        ("start = 1", "start = 1\nlist_count = 1", "ids"),
        ("start = 1\n", "", "ids"),
        ("id_column = \"id\"", "id_column = \"left_code\"", "table.id_column"),
        ("name = \"irises\"", "name = \"\"", "table.name"),
        ("column = \"left_mask\"", "column = \"left_code\"", "table.agree, table.share"),
        ("len_u16 = 12800", "len_u16 = 12801", "table.agree, table.share"),
        ("len_u16 = 12800", "len_u16 = 9223372036854775804", "table.agree, table.share"),
        ("party = 2", "party = 15", "senders.party"),
        ("party = 2", "party = 0", "party"),
        ("party = 1", "party = 300", "receiver.party"),
        ("-----BEGIN PUBLIC", "-----BEGIN PRIVATE", "senders.agreement_key"),
        ("certificate_name = \"spiffe:", "certificate_name = \"*", "senders.certificate_name"),
        ("age_recipient = \"age1", "age_recipient = \"AGE1", "receiver.age_recipient"),
        (
            "encapsulation_key = \"\"\"\n-----BEGIN PUBLIC",
            "encapsulation_key = \"\"\"\n-----BEGIN X",
            "senders.encapsulation_key",
        ),
        ("BglghkgBZQMEBAID", "BglghkgBZQMEBAMD", "senders.encapsulation_key"),
        ("shared_key_id = \"00", "shared_key_id = \"", "shared_key_id"),
        ("shared_key_id = \"00", "shared_key_id = \"AA", "shared_key_id"),
        ("ca_sha256 = \"", "ca_sha256 = \"00", "trust.ca_sha256"),
        ("max_part_bytes = 67108864", "max_part_bytes = 76800", "max_part_bytes"),
        ("max_part_bytes = 67108864", "max_part_bytes = 1073741825", "max_part_bytes"),
        ("https://", "http://", "transport.server_url"),
    ] {
        let error = refuse(&changed(from, to));
        assert!(error.to_string().starts_with(key), "{to}: {error}");
    }
}

#[test]
fn other_numbers_of_senders_than_two_are_refused() {
    let text = golden_text();
    let start = text.find("\n[[senders]]").expect("there");
    let end = start + 1 + text[start + 1..].find("\n[[senders]]").expect("two");
    let one = format!("{}{}", &text[..start], &text[end..]);
    assert!(matches!(refuse(&one), SessionError::SenderCount { got: 1 }));
    let three = format!("{}{}", &text[..end], &text[start..]);
    assert!(matches!(refuse(&three), SessionError::SenderCount { got: 3 }));
}

#[test]
fn files_that_are_no_small_text_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("session.toml");
    assert!(matches!(Session::load(&path), Err(SessionError::Unreadable(_))));
    std::fs::write(&path, [0xff]).expect("written");
    assert!(matches!(Session::load(&path), Err(SessionError::NoText)));
    let limit = Session::MAX_FILE_BYTES as usize;
    let padded = |len: usize| {
        let text = golden_text();
        format!("{text}{}", " ".repeat(len - text.len()))
    };
    std::fs::write(&path, padded(limit)).expect("written");
    assert!(Session::load(&path).is_ok());
    std::fs::write(&path, padded(limit + 1)).expect("written");
    assert!(matches!(Session::load(&path), Err(SessionError::TooLarge { .. })));
    assert!(matches!(Session::parse(&padded(limit + 1)), Err(SessionError::TooLarge { .. })));
    let deep = format!("version = {}", "[".repeat(200_000));
    assert!(matches!(refuse(&deep), SessionError::Syntax { .. }));
}

/// A few keys, generated once: the properties do not depend on them.
static KEYS: LazyLock<Vec<AgreementPublicKey>> = LazyLock::new(|| {
    (0..4).map(|_| *AgreementKey::generate().expect("made").public_key()).collect()
});

static ENCAPSULATION_KEY: LazyLock<EncapsulationKey> =
    LazyLock::new(|| DecapsulationKey::generate().expect("made").public_key().clone());

/// Recipients from the test vectors of age.
static RECIPIENTS: LazyLock<Vec<Recipient>> = LazyLock::new(|| {
    let kinds = [SealKind::Hybrid, SealKind::Classic, SealKind::Hybrid].into_iter();
    let own = kinds.map(|kind| Identity::generate(kind).to_public());
    own.map(|recipient| parse_recipient(&recipient.to_string()).expect("valid")).collect()
});

fn second() -> impl Strategy<Value = i64> {
    0..253_402_300_799_i64
}

fn ids() -> impl Strategy<Value = SessionIds> {
    prop_oneof![
        (any::<i64>(), any::<i64>()).prop_map(|(one, other)| {
            SessionIds::Range(IdRange::new(one.min(other), one.max(other)).expect("in order"))
        }),
        any::<i64>().prop_map(|start| SessionIds::from_start_end(start, None).expect("not empty")),
        (any::<[u8; 32]>(), 1..=i64::MAX as u64)
            .prop_map(|(digest, count)| SessionIds::List { digest, count }),
    ]
}

/// Any text that may name a column, including quotes and backslashes.
fn sql_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,20}", "\\PC{1,15}"]
}

fn layout() -> impl Strategy<Value = (Arc<RowLayout>, String)> {
    let names = prop::collection::hash_set(sql_name(), 2..8);
    (names, any::<u64>(), 1_usize..400).prop_map(|(names, kinds, len)| {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        let id_column = names.pop().expect("at least two");
        let shares = names.split_off(names.len() / 2);
        let agree = names.into_iter().enumerate().map(|(index, name)| {
            let uuid = kinds >> index & 1 == 1;
            AgreeColumn { name, kind: if uuid { AgreeKind::Uuid } else { AgreeKind::Integer } }
        });
        let shares = shares.into_iter().enumerate();
        let shares = shares.map(|(index, name)| ShareColumn { name, len: 4 * (len + index) });
        let layout = RowLayout::new(agree.collect(), shares.collect()).expect("a layout");
        (Arc::new(layout), id_column)
    })
}

prop_compose! {
    fn session()(
        session_id in "[A-Za-z0-9][A-Za-z0-9._:-]{0,127}",
        environment in "[a-z0-9_-]{1,55}",
        (one, other) in (second(), second()).prop_filter("differ", |(one, other)| one != other),
        ids in ids(),
        table in sql_name(),
        (layout, id_column) in layout(),
        max_part_bytes in 200_000_u64..=1 << 30,
        parties in Just((0..=14_u8).collect::<Vec<_>>()).prop_shuffle(),
        keys in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
        recipient in 0..3_usize,
        ca_sha256 in any::<Option<[u8; 32]>>(),
        encapsulation in any::<Option<()>>(),
        also_shared in any::<bool>(),
        server_url in prop::option::of("https://[a-z0-9.:\\[\\]\"\\\\/-]{0,9}[a-z]"),
    ) -> Session {
        let time = |second| OffsetDateTime::from_unix_timestamp(second).expect("in range");
        let name = |party: PartyId| {
            let name = format!("spiffe://mpc.example/party/{party}");
            ca_sha256.map(|_| name.parse().expect("a name"))
        };
        let party = |index: usize| PartyId::new(parties[index]).expect("a party");
        let sender = |index: usize| Sender {
            party: party(index),
            certificate_name: name(party(index)),
            agreement_key: KEYS[keys[index]],
            encapsulation_key: None,
        };
        let mut senders = [sender(0), sender(1)];
        senders.sort_by_key(|sender| sender.party);
        if ca_sha256.is_some() && encapsulation.is_some() {
            senders[0].encapsulation_key = Some(ENCAPSULATION_KEY.clone());
        }
        let facts = NewSession {
            session_id: session_id.parse().expect("an id"),
            environment: environment.parse().expect("an environment"),
            not_before: time(one.min(other)),
            not_after: time(one.max(other)),
            ids,
            table,
            id_column,
            layout,
            max_part_bytes,
            senders,
            receiver: Receiver {
                party: party(2),
                certificate_name: name(party(2)),
                recipient: RECIPIENTS[recipient].clone(),
            },
            shared_key_id: (encapsulation.is_none() || ca_sha256.is_none() || also_shared)
                .then(|| SharedKey::new([7; 32]).id()),
            ca_sha256,
            server_url: server_url.filter(|url| !url.starts_with("https:///")),
        };
        Session::create(facts).expect("valid")
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_with_its_fingerprint(session in session()) {
        let text = session.to_toml();
        let again = Session::parse(&text).map_err(|error| {
            TestCaseError::fail(format!("{error}\n{text}"))
        })?;
        prop_assert_eq!(again.fingerprint(), session.fingerprint());
        prop_assert_eq!(again.to_toml(), text);
        prop_assert_eq!(again, session);
    }

    #[test]
    fn a_part_of_the_most_rows_fits_and_little_room_is_left(session in session()) {
        let (layout, max) = (session.layout(), session.max_part_bytes());
        let (rows, most) = (session.part_rows_limit() as u64, rows_per_part_at_most(layout, max));
        prop_assert!(rows >= 1);
        prop_assert!(rows <= most, "{} of {} rows", rows, most);
        let bytes = sealed_bytes_at_most(layout, rows).expect("fits");
        let blocks = 2 + 2 * layout.agree().len() + layout.shares().len();
        // For a row of few bytes the overhead of sealing is rounded up to whole bytes.
        let spare = max / 10 + 4096 * (blocks as u64 + 2) + 2 * layout.row_share_bytes() as u64;
        prop_assert!(bytes <= max && bytes + spare > max, "{} of {} bytes", bytes, max);
    }

    #[test]
    fn any_text_gives_a_session_or_an_error(text in "\\PC*") {
        prop_assert!(Session::parse(&text).is_err());
    }

    #[test]
    fn a_changed_character_never_leaves_two_sessions_with_one_fingerprint(
        at in any::<prop::sample::Index>(),
        by in "[ -~]",
    ) {
        let text = golden_text();
        let golden = Session::parse(&text).expect("valid");
        let at = at.index(text.len());
        let changed = format!("{}{by}{}", &text[..at], &text[at + 1..]);
        if let Ok(session) = Session::parse(&changed) {
            let same = session.fingerprint() == golden.fingerprint();
            let spelling = session.server_url() == golden.server_url();
            prop_assert!(!same || !spelling || session == golden);
        }
    }
}
