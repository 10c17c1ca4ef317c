//! Requests that no client of ours makes: paths that lead elsewhere, bodies that are longer or
//! shorter than they say, senders that stall.

use std::io::Read;
use std::net::TcpStream;

use super::attackers::{Door, curl, place, sha256_of, talk};
use super::world::World;

/// What stands in the place of one segment of a path.
fn tricks(segment: &str) -> Vec<String> {
    let mut tricks: Vec<String> = ["", ".", "..", "%2e", "%2e%2e", "%2E%2e", "%252e%252e"]
        .into_iter()
        .chain(["..%2f..", "%2f", "%5c..%5c", "..;", "%00", "%ff", "%c0%ae%c0%ae", "~", "*"])
        .map(str::to_owned)
        .collect();
    for more in [".", "..", "%00", "%20", "%2f", "%2f..", "/.", "/..", "//", ";a", "%0d%0a", "%7f"]
    {
        tricks.push(format!("{segment}{more}"));
    }
    tricks.push(format!("..%2f{segment}"));
    tricks.push(format!("%2e%2e/{segment}"));
    tricks.push(format!("./{segment}"));
    tricks.push("a".repeat(8000));
    let upper = segment.to_uppercase();
    if upper != segment {
        tricks.push(upper);
    }
    tricks
}

#[test]
fn paths_that_lead_elsewhere_reach_no_file() {
    let world = World::new();
    let part = ["v1", "sessions", "run", "parties", "0", "parts", "part-000000.age"];
    let closing = ["v1", "sessions", "run", "parties", "0", "manifest.sig"];
    let others = [
        (2, ["other", "RUN", "run2", "ru", "inbox"].as_slice()),
        (4, &["1", "2", "00", "+0", "-1", "0x0", "15", "99999999999999999999", "sender-0"]),
        (
            6,
            &[
                "manifest.json",
                "manifest.sig",
                "PART-000000.AGE",
                "part-000000.AGE",
                "part-0.age",
                "part-0000000.age",
                "part-99999999999999999999.age",
                ".part-000000.age.tmp-Abcd1234",
                "part-000000.age.tmp",
                "session",
            ],
        ),
    ];
    let digest = sha256_of(&world.path("package-0/manifest.sig"));
    let body = std::fs::read(world.path("package-0/manifest.sig")).expect("a signature");
    for (path, at) in (0..part.len()).map(|at| (&part[..], at)).chain([(&closing[..], 5)]) {
        let more = others.iter().filter(|(index, _)| *index == at && path.len() == part.len());
        let more = more.flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned()));
        let paths: Vec<String> = tricks(path[at])
            .into_iter()
            .chain(more)
            .map(|trick| {
                let mut path: Vec<&str> = path.to_vec();
                path[at] = &trick;
                format!("/{}", path.join("/"))
            })
            .collect();
        let mut door = Door::open(&world, &[]);
        // One connection for all of them; each has its answer, and its reason in it.
        let mut said = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let last = if index + 1 == paths.len() { "Connection: close\r\n" } else { "" };
            let length = body.len();
            let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n");
            said.extend(format!("{head}{last}{digest}\r\n\r\n").as_bytes());
            said.extend(&body);
        }
        let (answers, alert) = talk(&world, &door, Some("0"), &said);
        let statuses: Vec<&str> =
            answers.lines().filter_map(|line| line.split("HTTP/1.1 ").nth(1)).collect();
        assert_eq!(statuses.len(), paths.len(), "{path:?} {at}: {answers} {alert}");
        for (status, path) in statuses.iter().zip(&paths) {
            assert!(status.starts_with('4'), "{path}: {status}");
        }
        let reasons = answers.matches("{\"error\":\"").count();
        assert_eq!(reasons, paths.len(), "{answers}");
        door.refused(&["request refused", "status=4", "sender=0", "path=/"]);
    }
}

#[test]
fn what_is_no_path_is_no_request() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let at = place("0");
    for path in [
        format!("{at}/parts/part-000000.age\0"),
        format!("{at}\0/manifest.sig"),
        format!("{at}/parts/part 000000.age"),
        format!("{at}/parts/\x1b[2Jpart-000000.age"),
        format!("{at}/parts/part-000000.age\x7f"),
        format!("/{}", "a".repeat(40_000)),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let (answer, _) = talk(&world, &door, Some("0"), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{path:?}: {answer:?}");
        door.refused(&["connection refused", "not-http", "spiffe://mpc.example/0"]);
    }
    // Another root than the receiver's: absolute forms and other hosts lead to the same names.
    for path in ["http://elsewhere/v1/../../etc/passwd", "//etc/passwd", "/../../etc/passwd", "*"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let (answer, _) = talk(&world, &door, Some("0"), request.as_bytes());
        let refused = answer.starts_with("HTTP/1.1 404") && answer.contains("\"no-route\"");
        assert!(refused, "{path}: {answer}");
        door.refused(&["request refused", "no-route", "status=404"]);
    }
    for method in ["DELETE", "POST", "PATCH", "TRACE", "OPTIONS", "MOVE"] {
        let path = format!("{at}/parts/part-000000.age");
        let more = ["--request", method, "--header", "Destination: /v1/x"];
        let answer = curl(&world, &door, Some("0"), &path, &more);
        answer.refuses(405, "method", "takes no such method");
        door.refused(&["request refused", "method", "status=405", method]);
    }
}

#[test]
fn bodies_longer_or_shorter_than_announced_never_appear() {
    let world = World::new();
    let mut door = Door::open(&world, &["--body-timeout", "2"]);
    let path = format!("{}/parts/part-000000.age", place("0"));
    let file = "package-0/part-000000.age";
    let digest = sha256_of(&world.path(file));
    let body = std::fs::read(world.path(file)).expect("a part");
    let request = |length: usize, body: &[u8]| {
        let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n");
        [format!("{head}{digest}\r\n\r\n").as_bytes(), body].concat()
    };
    // Longer: what was announced is not what the digest is of; the rest is no request. The answer
    // is read even by a client that continues to write when the connection ends.
    let longer = [&body[..], &[b'x'; 900 << 10]].concat();
    for (length, body) in [(0, &body), (1, &body), (body.len() - 1, &body), (1, &longer)] {
        let (answer, _) = talk(&world, &door, Some("0"), &request(length, body));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("{\"error\":\"other-digest\""), "{answer}");
        door.refused(&["request refused", "other-digest", "status=400", &path]);
    }
    // In HTTP/2 a body has an end of its own, which may come late.
    let length = format!("Content-Length: {}", body.len() - 1);
    let more = ["--http2", "-T", file, "-H", &digest, "-H", &length];
    let answer = curl(&world, &door, Some("0"), &path, &more);
    assert!(![201, 204].contains(&answer.status), "{answer:?}");
    // Shorter: the rest never comes.
    let (answer, _) = talk(&world, &door, Some("0"), &request(body.len() + 1, &body));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("{\"error\":\"slow\"") && answer.contains("close"), "{answer}");
    door.refused(&["request refused", "slow", "status=408", &path, "sender=0"]);
    // Larger than any part of this session, said and not said.
    let huge = request(100 << 20, b"");
    let (answer, _) = talk(&world, &door, Some("0"), &huge);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("too-large"), "{answer}");
    door.refused(&["request refused", "too-large", "status=413"]);
    let more = ["-T", file, "-H", &digest, "-H", "Transfer-Encoding: chunked"];
    curl(&world, &door, Some("0"), &path, &more).refuses(411, "no-length", "Content-Length");
    door.refused(&["request refused", "no-length", "status=411"]);
    for header in ["Content-Length: -1", "Content-Length: 9, 10", "Content-Length: 0x10"] {
        let request = format!("PUT {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n{digest}\r\n\r\n");
        let (answer, _) = talk(&world, &door, Some("0"), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{header}: {answer}");
        door.unchanged();
    }
}

#[test]
fn a_sender_that_stalls_is_let_go() {
    let world = World::new();
    let mut door = Door::open(&world, &["--body-timeout", "1", "--header-timeout", "3"]);
    let path = format!("{}/parts/part-000000.age", place("0"));
    let digest = sha256_of(&world.path("package-0/part-000000.age"));
    let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n{digest}\r\n");
    for said in [format!("{head}\r\n"), format!("{head}\r\nhalf")] {
        let (answer, _) = talk(&world, &door, Some("0"), said.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("the body stalled or was too slow"), "{answer}");
        door.refused(&["request refused", "slow", "status=408", "sender=0", &path]);
    }
    // No handshake: no peer can be given a reason, and the connection ends.
    let mut silent = TcpStream::connect(&door.address).expect("it listens");
    let mut end = Vec::new();
    silent.read_to_end(&mut end).expect("it hangs up");
    assert_eq!(end, b"");
    door.refused(&["connection refused", "slow-handshake", "no handshake in time"]);
}
