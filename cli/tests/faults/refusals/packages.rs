//! Packages that are not what their sender made for this session: changed, foreign, replayed.

use std::fs;
use std::path::Path;

use super::attackers::{Answer, Door, curl, place, put, sha256_of};
use super::authority::openssl;
use reshare_fixtures::network::psql;

use super::world::World;

const PARTS: [&str; 3] = ["part-000000.age", "part-000001.age", "part-000002.age"];
const PROOFS: [(&str, &str); 3] = [
    ("manifest-chain.pem", "manifest-chain.pem"),
    ("manifest.sig", "manifest.sig"),
    ("manifest", "manifest.json"),
];

const MANIFEST: &str = "manifest.json";

/// Changes one byte of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// Puts a package's parts as sender 0, then what closes it as it is in these directories; returns
/// the answer to the manifest, before which the door settles.
fn deliver(world: &World, door: &mut Door, package: &str, proofs: [&str; 3]) -> Answer {
    let parts = PARTS.map(|part| (format!("parts/{part}"), format!("{package}/{part}")));
    let proofs = proofs.iter().zip(PROOFS);
    let proofs =
        proofs.map(|(directory, (at, name))| (at.to_owned(), format!("{directory}/{name}")));
    let mut last = None;
    for (at, file) in parts.into_iter().chain(proofs) {
        door.settle();
        let answer = put(world, door, "0", &format!("{}/{at}", place("0")), &file, &file);
        assert!(at == "manifest" || [201, 204].contains(&answer.status), "{at}: {answer:?}");
        last = Some(answer);
    }
    last.expect("the manifest")
}

/// Merges packages that came on removable media, which must be refused and write nothing.
#[track_caller]
fn merge(world: &World, package: &str, words: &[&str]) {
    let merge = |world: &World| world.merge([package, "package-1"], "merged.rsh");
    world.refuses(4, merge).says(words).says(&["hint: "]);
}

/// The same, where a rebuild does not even begin: the manifest shows it.
#[track_caller]
fn merge_refuses(world: &World, package: &str, words: &[&str]) {
    merge(world, package, words);
    let (url, before) = (world.database("2"), "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    let rebuild = ["rebuild", "--identity", "r.age", "--package", package, "--package"];
    let rebuild = [&rebuild[..], &["package-1", "--db-url", &url]].concat();
    world.refuses(4, |world| world.run_as("2", &rebuild)).says(words);
    assert_eq!(psql(&url, before).trim(), "0");
    assert_eq!(psql(&url, "SELECT to_regclass('\"SMPC_dev_2\".reshare_progress')").trim(), "");
}

#[test]
fn a_part_changed_on_the_senders_disk_is_refused() {
    let world = World::new();
    flip(&world.path("package-0/part-000000.age"), 100_000);
    let mut door = Door::open(&world, &[]);
    let refused = world.upload("0", "package-0", &door.address, &[]).ends_with(4);
    // The sender's certificates came before its parts, and nothing after them.
    for name in ["part-000000.age", MANIFEST] {
        assert!(!world.path("inbox/sender-0").join(name).exists(), "{name}");
    }
    door.settle();
    let words = ["parts/part-000000.age", "not what Repr-Digest says", "400 other-digest"];
    refused.says(&words).says(&["hint: ", "changed since it was made"]);
    door.refused(&["request refused", "other-digest", "sender=0", "parts/part-000000.age"]);
    merge(&world, "package-0", &["part-000000.age", "not those that the manifest lists"]);
}

#[test]
fn a_part_of_other_bytes_than_its_digest_never_appears() {
    let world = World::new();
    fs::copy(world.path("package-0/part-000000.age"), world.path("flipped")).expect("copied");
    flip(&world.path("flipped"), 5_000);
    let mut door = Door::open(&world, &[]);
    let path = format!("{}/parts/part-000000.age", place("0"));
    for (file, digest_of) in [
        ("flipped", "package-0/part-000000.age"),
        ("package-0/part-000000.age", "flipped"),
        ("package-0/part-000001.age", "package-0/part-000000.age"),
    ] {
        let answer = put(&world, &door, "0", &path, file, digest_of);
        answer.refuses(400, "other-digest", "not what Repr-Digest says");
        door.refused(&["request refused", "other-digest", "status=400", &path]);
    }
    // The same for what closes a package, and for our own kind of digest.
    for (at, name) in PROOFS {
        let (path, file) = (format!("{}/{at}", place("0")), format!("package-0/{name}"));
        put(&world, &door, "0", &path, &file, "flipped").refuses(400, "other-digest", "");
        door.refused(&["request refused", "other-digest", &path]);
    }
    let blake3 = format!("Repr-Digest: reshare-blake3=:{}=:", "A".repeat(43));
    let answer = curl(&world, &door, Some("0"), &path, &["-H", &blake3, "-T", "flipped"]);
    answer.refuses(400, "other-digest", "not what Repr-Digest says");
    door.refused(&["request refused", "other-digest"]);
}

#[test]
fn a_digest_that_is_none_is_refused() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let path = format!("{}/parts/part-000000.age", place("0"));
    let file = "package-0/part-000000.age";
    let right = sha256_of(&world.path(file));
    let value = right.trim_start_matches("Repr-Digest: ");
    let cases: [&[&str]; 8] = [
        &[],
        &["Repr-Digest: md5=:AAAAAAAAAAAAAAAAAAAAAA==:"],
        &["Repr-Digest: sha-256=:AAAA:"],
        &["Repr-Digest: sha-256=AAAA"],
        &["Repr-Digest;"],
        &[&right, &right],
        &[&format!("Content-Digest: {value}")],
        &[&right.replace("sha-256", "SHA-256")],
    ];
    for headers in cases {
        let mut more = vec!["-T", file];
        headers.iter().for_each(|header| more.extend(["-H", header]));
        let answer = curl(&world, &door, Some("0"), &path, &more);
        answer.refuses(400, "no-digest", "Repr-Digest is missing or holds neither");
        door.refused(&["request refused", "no-digest", "status=400", &path]);
    }
    for header in ["Content-Range: bytes 0-9/10", "Content-Encoding: gzip"] {
        let more = ["-T", file, "-H", &right, "-H", header];
        curl(&world, &door, Some("0"), &path, &more).refuses(400, "not-whole", "sent whole");
        door.refused(&["request refused", "not-whole"]);
    }
}

#[test]
fn a_manifest_signed_by_the_other_sender_does_not_close() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let words = ["request refused", "manifest", "status=422", "sender=0", "parties/0/manifest"];
    let mut refuses = |proofs: [&str; 3], why: &str| {
        let manifest = deliver(&world, &mut door, "package-0", proofs);
        manifest.refuses(422, "manifest", "signature is not accepted as sender 0's");
        let line = door.refused(&words);
        assert!(
            line.contains("signature is not accepted as sender 0's") && line.contains(why),
            "{line}"
        );
        assert!(!world.path("inbox/sender-0/manifest.json").exists());
    };
    // What the other sender signed, of its own package.
    refuses(["package-1", "package-1", "package-0"], "names");
    refuses(["package-0", "package-1", "package-0"], "signature");
    // The very manifest, signed by the other sender's key, as FORMAT.md has it.
    copy(&world, "package-0", "forged");
    let manifest = fs::read(world.path("forged/manifest.json")).expect("a manifest");
    let signed = [b"reshare/v1/manifest\0", manifest.as_slice()].concat();
    fs::write(world.path("signed.bin"), signed).expect("written");
    let key = ["-inkey", "certificate-1/certificate.key", "-out", "forged/manifest.sig"];
    let sign = ["pkeyutl", "-sign", "-rawin", "-in", "signed.bin"];
    openssl(world.directory(), &[&sign[..], &key].concat());
    let chain = fs::read(world.path("package-1/manifest-chain.pem")).expect("a chain");
    fs::write(world.path("forged/manifest-chain.pem"), chain).expect("written");
    refuses(["forged", "forged", "forged"], "spiffe://mpc.example/1");
    merge_refuses(
        &world,
        "forged",
        &["signature is not accepted as sender 0's", "spiffe://mpc.example/1"],
    );
    // With the sender's own certificate next to it, it is no signature of that key.
    refuses(["package-0", "forged", "forged"], "signature");
    // Files that make no signature at all; the receiver does not report where it keeps them.
    copy(&world, "package-0", "none");
    fs::write(world.path("none/manifest-chain.pem"), "no certificate\n").expect("written");
    let manifest = deliver(&world, &mut door, "package-0", ["none", "none", "none"]);
    manifest.refuses(422, "signature", "no PEM text with a block");
    assert!(!manifest.body.contains("inbox"), "{manifest:?}");
    door.refused(&["request refused", "signature", "no PEM text with a block", "status=422"]);
    // Nothing of this keeps the sender's own package out.
    let manifest = deliver(&world, &mut door, "package-0", ["package-0"; 3]);
    assert_eq!(manifest.status, 201, "{manifest:?}");
}

/// Copies a package.
fn copy(world: &World, from: &str, to: &str) {
    fs::create_dir(world.path(to)).expect("made");
    for entry in fs::read_dir(world.path(from)).expect("a package") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), world.path(to).join(entry.file_name())).expect("copied");
    }
}

#[test]
fn a_manifest_changed_after_it_was_signed_is_refused() {
    let world = World::new();
    let path = world.path("package-0/manifest.json");
    let text = fs::read_to_string(&path).expect("a manifest");
    let (before, after) = text.split_once("\"key_check\":\"").expect("a key check");
    let changed = if after.starts_with('0') { "1" } else { "0" };
    fs::write(&path, format!("{before}\"key_check\":\"{changed}{}", &after[1..])).expect("written");
    let why = "signature is not accepted as sender 0's";
    let mut door = Door::open(&world, &[]);
    let refused = world.refuses(4, |world| world.upload("0", "package-0", &door.address, &[]));
    refused.says(&["package-0/manifest.json", why, "hint: "]);
    door.untouched();
    merge_refuses(&world, "package-0", &["package-0/manifest.json", why]);
    let manifest = deliver(&world, &mut door, "package-0", ["package-0"; 3]);
    manifest.refuses(422, "manifest", why);
    door.refused(&["request refused", "manifest", why]);
}

#[test]
fn a_package_of_another_session_is_refused() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let upload =
        |more: &[&str]| world.refuses(4, |world| world.upload("0", "other-0", &door.address, more));
    upload(&[]).says(&["other-0/manifest.json", "belongs to session \"other\"", "hint: "]);
    door.untouched();
    // Its sender believes in it: the receiver does not.
    let refused = upload(&["--session", "other.toml"]);
    refused.says(&["this receiver has another session", "404 other-session", "hint: compare"]);
    door.refused(&["request refused", "other-session", "status=404", "sessions/other/"]);
    merge_refuses(&world, "other-0", &["other-0/manifest.json", "belongs to session \"other\""]);
    // One package of each session has no meaning for the receiver of either.
    let merge = ["merge", "--session", "other.toml", "--identity", "r.age", "--out", "merged.rsh"];
    let merge = [&merge[..], &["--package", "other-0", "--package", "package-1"]].concat();
    let refused = world.refuses(4, |world| world.run_as("2", &merge));
    refused.says(&["package-1/manifest.json", "belongs to session \"run\""]);
}

#[test]
fn an_old_package_of_a_session_of_the_same_name_is_refused() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let upload = |package: &str, more: &[&str]| world.upload("0", package, &door.address, more);
    let why = "belongs to the session with fingerprint";
    let refused = world.refuses(4, |_| upload("earlier-0", &[]));
    refused.says(&["earlier-0/manifest.json", why, "hint: "]);
    door.untouched();
    merge_refuses(&world, "earlier-0", &["earlier-0/manifest.json", why]);
    // Who replays it says that it is of this session: the records of its parts show that it is not.
    let refused = upload("earlier-0", &["--session", "earlier.toml"]).ends_with(4);
    refused.says(&["/parts/part-00000", why, "422 part-record", "hint: compare"]);
    let inbox = world.path("inbox/sender-0");
    assert!(!inbox.join("manifest.json").exists());
    door.settle();
    door.refused(&["request refused", "part-record", "status=422", why, "sender=0"]);
    // What the sender means takes their place.
    let address = door.address.clone();
    world.upload("0", "package-0", &address, &[]).ends_with(0);
    for part in PARTS {
        let [sent, kept] = [world.path("package-0"), inbox.clone()].map(|at| at.join(part));
        assert!(fs::read(sent).expect("sent") == fs::read(kept).expect("kept"));
    }
    // Closed, it takes nothing else: neither the replay nor single files of it.
    door.settle();
    let replay = ["--session", "earlier.toml"];
    let refused = world.upload("0", "earlier-0", &address, &replay).ends_with(4);
    refused.says(&["the receiver has part-000000.age of this sender", "hint: is the ledger lost"]);
    door.unchanged();
    for (at, name) in [("parts/part-000000.age", "part-000000.age"), PROOFS[1], PROOFS[2]] {
        let (path, file) = (format!("{}/{at}", place("0")), format!("earlier-0/{name}"));
        put(&world, &door, "0", &path, &file, &file).refuses(
            409,
            "closed",
            "nothing in it changes",
        );
        door.refused(&["request refused", "closed", "status=409", &path]);
    }
}

#[test]
fn parts_in_other_places_than_the_manifest_says_are_refused() {
    let world = World::new();
    for (package, from, to) in [
        ("swapped", "package-0/part-000001.age", "part-000000.age"),
        ("crossed", "package-1/part-000000.age", "part-000000.age"),
        ("replayed", "earlier-0/part-000002.age", "part-000002.age"),
    ] {
        copy(&world, "package-0", package);
        fs::copy(world.path(from), world.path(package).join(to)).expect("copied");
        merge(&world, package, &[package, to]);
        let mut door = Door::open_as(&world, "2", &format!("inbox-{package}"), &[]);
        let manifest = deliver(&world, &mut door, package, [package; 3]);
        manifest.refuses(409, "other-part", &format!("{to} is not the part"));
        door.refused(&["request refused", "other-part", "status=409", to]);
    }
    copy(&world, "package-0", "extra");
    fs::copy(world.path("0.pub"), world.path("extra/part-000003.age")).expect("copied");
    merge_refuses(&world, "extra", &["extra/part-000003.age", "is no part of the package"]);
    copy(&world, "package-0", "less");
    fs::remove_file(world.path("less/part-000001.age")).expect("removed");
    merge_refuses(&world, "less", &["less/part-000001.age", "missing"]);
}
