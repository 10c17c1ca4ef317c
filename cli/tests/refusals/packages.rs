//! Packages that are not what they claim, on the wire and on a stick.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::attackers::{Door, curl, place, put, sha256_of};
use crate::network::Run;
use crate::world::World;

/// Changes one byte of a file, in the middle.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// Delivers the parts of a package and what signs it, all but the manifest.
fn deliver(world: &World, door: &Door, who: &str, package: &str, signed_by: &str) {
    let mut names: Vec<String> = fs::read_dir(world.path(package))
        .expect("a package")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with("part-"))
        .collect();
    names.sort();
    for name in names {
        let (path, file) = (format!("{}/parts/{name}", place(who)), format!("{package}/{name}"));
        put(world, door, who, &path, &file, &file).is(201);
    }
    for name in ["manifest-chain.pem", "manifest.sig"] {
        let (path, file) = (format!("{}/{name}", place(who)), format!("{signed_by}/{name}"));
        put(world, door, who, &path, &file, &file).is(201);
    }
}

#[test]
fn a_part_that_changed_on_the_disk_does_not_arrive() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    // Put back at the end: what lay there before is compared.
    let part = world.path("package-0/part-000000.age");
    flip(&part);
    let upload = |world: &World| world.upload("0", "package-0", &door.address, &[]);
    let refused = world.refuses(4, upload);
    refused.says(&["part-000000.age", "hint: "]);
    door.refused(&["request refused", "other-digest", "sender=0", "/parts/part-000000.age"]);
}

#[test]
fn bytes_that_are_not_those_of_the_digest_are_not_stored() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let path = format!("{}/parts/part-000000.age", place("0"));
    let (sent, other) = ("package-0/part-000000.age", "package-0/part-000001.age");
    put(&world, &door, "0", &path, sent, other).refuses(400, "other-digest", "digest");
    door.refused(&["request refused", "other-digest", "status=400", "sender=0", &path]);
    for (header, words) in [
        ("Accept: nothing", "Repr-Digest"),
        ("Repr-Digest: md5=:AAAA:", "Repr-Digest"),
        ("Repr-Digest: sha-256=:not base64:", "Repr-Digest"),
        ("Repr-Digest: sha-256=:AAAA:", "Repr-Digest"),
    ] {
        let answer = curl(&world, &door, Some("0"), &path, &["-H", header, "-T", sent]);
        answer.refuses(400, "no-digest", words);
        door.refused(&["request refused", "no-digest", "sender=0", &path]);
    }
}

#[test]
fn a_manifest_that_another_party_signed_closes_nothing() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    // Sender 1's true signature of sender 0's manifest.
    fs::create_dir(world.path("forged")).expect("made");
    let script = "{ printf 'reshare/v1/manifest\\0'; cat package-0/manifest.json; } > forged/signed \
        && openssl pkeyutl -sign -rawin -inkey certificate-1/certificate.key \
            -in forged/signed -out forged/manifest.sig \
        && cp certificate-1/certificate.pem forged/manifest-chain.pem && rm forged/signed";
    let made = Command::new("sh").args(["-c", script]).current_dir(world.directory()).output();
    Run::of(made.expect("a shell")).ends_with(0);
    deliver(&world, &door, "0", "package-0", "forged");
    door.settle();
    let (path, file) = (format!("{}/manifest", place("0")), "package-0/manifest.json");
    let answer = put(&world, &door, "0", &path, file, file);
    answer.refuses(422, "manifest", "sign");
    door.refused(&["request refused", "manifest", "status=422", "sender=0", &path]);
    // A stick is looked at in the same way.
    for name in ["manifest.sig", "manifest-chain.pem"] {
        fs::copy(world.path("forged").join(name), world.path("package-0").join(name))
            .expect("copied");
    }
    let merged = world.refuses(4, |world| world.merge(["package-0", "package-1"], "merged"));
    merged.says(&["package-0", "sign"]);
}

#[test]
fn a_package_of_another_session_or_an_earlier_one_closes_nothing() {
    for (package, words) in [("other-0", "session"), ("earlier-0", "fingerprint")] {
        let world = World::new();
        let mut door = Door::open(&world, &[]);
        let upload = |world: &World| world.upload("0", package, &door.address, &[]);
        world.refuses(4, upload).says(&[package, words]);
        door.unchanged();
        let merged = world.refuses(4, |world| world.merge([package, "package-1"], "merged"));
        merged.says(&[package, words]);
        // A client of the sender's own would get as far as the manifest.
        deliver(&world, &door, "0", package, package);
        door.settle();
        let (path, file) = (format!("{}/manifest", place("0")), format!("{package}/manifest.json"));
        let answer = put(&world, &door, "0", &path, &file, &file);
        answer.refuses(422, "manifest", words);
        door.refused(&["request refused", "manifest", "sender=0", &path]);
    }
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    // In the other session's own place there is nobody.
    let path = "/v1/sessions/other/parties/0/manifest";
    let answer = put(&world, &door, "0", path, "other-0/manifest.json", "other-0/manifest.json");
    answer.refuses(404, "other-session", "session");
    door.refused(&["request refused", "other-session", "status=404", path]);
}

#[test]
fn a_closed_package_is_never_replaced() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    world.upload("0", "package-0", &door.address, &[]).ends_with(0);
    door.settle();
    let path = format!("{}/parts/part-000000.age", place("0"));
    let other = "package-0/part-000001.age";
    put(&world, &door, "0", &path, other, other).refuses(409, "closed", "closed");
    door.refused(&["request refused", "closed", "status=409", "sender=0", &path]);
    let path = format!("{}/manifest", place("0"));
    let other = "earlier-0/manifest.json";
    put(&world, &door, "0", &path, other, other).refuses(409, "closed", "closed");
    door.refused(&["request refused", "closed", "sender=0", &path]);
    // The same once more is success, and changes nothing.
    world.upload("0", "package-0", &door.address, &[]).ends_with(0);
    door.unchanged();
    assert!(sha256_of(&world.path("inbox/sender-0/manifest.json")).contains("sha-256"));
}

#[test]
fn a_part_that_changed_on_a_stick_is_not_merged() {
    let world = World::new();
    flip(&world.path("package-1/part-000001.age"));
    let refused = world.refuses(4, |world| world.merge(["package-0", "package-1"], "merged"));
    refused.says(&["part-000001.age"]);
}
