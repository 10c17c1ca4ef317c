//! Requests that no sender makes: tricks with paths and lengths, and senders that stall.

use crate::attackers::{Door, curl, place, put, sha256_of, talk};
use crate::world::World;

#[test]
fn no_trick_with_a_path_reaches_the_disk() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let file = "package-0/part-000000.age";
    let long = "a".repeat(5_000);
    let upper = place("0").to_uppercase();
    let names = [
        "..",
        "%2e%2e",
        "%2e%2e%2fsession",
        "..%2f..%2fsession",
        "part-000000.age%00",
        "%00",
        "part-000000.age.",
        "part-000000.age%20",
        "PART-000000.AGE",
        "part-0.age",
        "part-0000000.age",
        "part-%30%30000x.age",
        ".part-000000.age.tmp",
        "manifest.json",
        "part-000000.age%2f",
        "part--00001.age",
        "part-99999999999999999999.age",
        &long,
    ];
    for name in names {
        let path = format!("{}/parts/{name}", place("0"));
        let answer = put(&world, &door, "0", &path, file, file);
        assert!(matches!(answer.status(), 400 | 404 | 405), "{name}: {answer:?}");
        door.refused(&["request refused", "sender=0"]);
    }
    let paths = [
        format!("{}/../1/parts/part-000000.age", place("0")),
        format!("{}%2f..%2f1/parts/part-000000.age", place("0")),
        "/v1/sessions/..%2frun/parties/0/parts/part-000000.age".to_owned(),
        "/v1/sessions/run/parties/00/parts/part-000000.age".to_owned(),
        "/v1/sessions/run/parties/-0/parts/part-000000.age".to_owned(),
        "/v1/sessions/run/parties/256/parts/part-000000.age".to_owned(),
        "/v1/sessions//parties/0/parts/part-000000.age".to_owned(),
        "/v1/sessions/RUN/parties/0/parts/part-000000.age".to_owned(),
        format!("/v1/sessions/{long}/parties/0/parts/part-000000.age"),
        format!("{upper}/parts/part-000000.age"),
        format!("//{}/parts/part-000000.age", place("0")),
        format!("{}/parts/part-000000.age/", place("0")),
        "/etc/passwd".to_owned(),
    ];
    for path in paths {
        let answer = put(&world, &door, "0", &path, file, file);
        assert!(matches!(answer.status(), 400 | 403 | 404), "{path}: {answer:?}");
        door.refused(&["request refused", "sender=0"]);
    }
    let answer = curl(&world, &door, Some("0"), &place("0"), &["-X", "POST", "-d", "x"]);
    answer.refuses(405, "method", "");
    door.refused(&["request refused", "method", "sender=0"]);
}

#[test]
fn a_body_of_another_length_than_announced_is_no_part() {
    let world = World::new();
    let mut door = Door::open(&world, &["--body-timeout", "2"]);
    let path = format!("{}/parts/part-000000.age", place("0"));
    let file = "package-0/part-000000.age";
    let part = std::fs::read(world.path(file)).expect("a part");
    let digest = sha256_of(&world.path(file));
    let request = |length: usize, body: &[u8]| {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{digest}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    // More than announced: what is announced is not what the digest is of.
    let (answer, _) = talk(&world, &door, Some("0"), &request(part.len() - 1, &part));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("other-digest"), "{answer}");
    door.refused(&["request refused", "other-digest", "sender=0", &path]);
    // Less than announced, and then silence: the sender stalls.
    let (answer, _) = talk(&world, &door, Some("0"), &request(part.len(), &part[..1_000]));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("slow"), "{answer}");
    door.refused(&["request refused", "slow", "status=408", "sender=0", &path]);
    // More than any part of the session may have.
    let (answer, _) = talk(&world, &door, Some("0"), &request(1 << 40, b"x"));
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("too-large"), "{answer}");
    door.refused(&["request refused", "too-large", "status=413", "sender=0", &path]);
    let answer = curl(&world, &door, Some("0"), &path, &["-X", "PUT", "-H", &digest]);
    answer.refuses(411, "no-length", "Content-Length");
    door.refused(&["request refused", "no-length", "sender=0", &path]);
    // Nothing of all this is in the way of the true sender.
    world.upload("0", "package-0", &door.address, &[]).ends_with(0);
}
