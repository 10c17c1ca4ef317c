//! Certificates that open no door, on the wire and at one's own end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::attackers::{Door, curl, place, put, talk};
use super::authority::{ED25519, OVER, RSA, TO_COME, Wanted, make_authority};
use super::world::{RECEIVER, World, sender_name};
use reshare_fixtures::network::{Run, Running, TIME_LIMIT};

/// The names of sender 0, as openssl takes them.
fn zero() -> String {
    format!("URI:{}", sender_name("0"))
}

#[test]
fn a_client_without_a_certificate_is_turned_away() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let words = ["connection refused", "the client shows no certificate", "no-certificate"];
    curl(&world, &door, None, &place("0"), &[]).alerts("certificate required");
    door.refused(&words);
    let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", place("0"));
    let (answer, why) = talk(&world, &door, None, request.as_bytes());
    assert!(answer.is_empty() && why.contains("alert certificate required"), "{answer}{why}");
    door.refused(&words);
}

#[test]
fn certificates_that_are_no_senders_are_turned_away() {
    let world = World::new();
    make_authority(&world.path("foreign"), "/CN=somebody else's authority");
    make_authority(&world.path("namesake"), "/CN=the parties' authority");
    let mut door = Door::open(&world, &[]);
    let zero = zero();
    let name = Wanted::named;
    let both = format!("{zero},URI:{}", sender_name("1"));
    let and_receiver = format!("{zero},DNS:{RECEIVER}");
    let upper = zero.replace("spiffe", "SPIFFE");
    let subject = format!("/CN={}", sender_name("0").replace('/', "\\/"));
    let cn_only = Wanted { names: None, subject: &subject, ..name("") };
    let as_dns = format!("DNS:{}", sender_name("0"));
    let (unknown, denied) = ("unknown ca", "access denied");
    let other = "another authority than the session's made the certificate";
    let stranger = "the certificate is that of no sender of this session";
    let cases = [
        ("foreign", name(&zero), unknown, "unknown-issuer", other),
        ("namesake", name(&zero), "decrypt error", "certificate", "did not sign the client's"),
        ("ca", Wanted { life: Some(OVER), ..name(&zero) }, "certificate expired", "expired", ""),
        (
            "ca",
            Wanted { life: Some(TO_COME), ..name(&zero) },
            "certificate expired",
            "not-yet-valid",
            "is not valid yet",
        ),
        ("ca", name("URI:spiffe://mpc.example/7"), denied, "not-a-sender", stranger),
        ("ca", Wanted { key: RSA, ..name("DNS:receiver.mpc.example") }, denied, "not-a-sender", ""),
        ("ca", name(&both), denied, "not-a-sender", stranger),
        ("ca", name(&and_receiver), denied, "not-a-sender", stranger),
        ("ca", name("URI:spiffe://mpc.example/*"), denied, "not-a-sender", stranger),
        ("ca", name("DNS:*.mpc.example"), denied, "not-a-sender", stranger),
        ("ca", name("DNS:mpc.example"), denied, "not-a-sender", stranger),
        ("ca", name(&upper), denied, "not-a-sender", stranger),
        ("ca", name(&as_dns), denied, "not-a-sender", stranger),
        ("ca", Wanted { key: ED25519, ..cn_only }, denied, "not-a-sender", stranger),
        (
            "ca",
            Wanted { purposes: "serverAuth", ..name(&zero) },
            "certificate",
            "reason=\"certificate\"",
            "not fit",
        ),
    ];
    for (number, (authority, wanted, alert, reason, words)) in cases.into_iter().enumerate() {
        let who = format!("attacker-{number}");
        world.issue_by(authority, &who, wanted);
        curl(&world, &door, Some(&who), &place("0"), &[]).alerts(alert);
        // Its claim is reported, too, and not believed.
        let claimed = wanted.names.unwrap_or("names=");
        let claimed = claimed.split(',').next().expect("one").split_once(':');
        let claimed = claimed.map_or("names=", |(_, name)| name);
        door.refused(&["connection refused", reason, words, claimed, "address=127.0.0.1:"]);
    }
}

#[test]
fn a_sender_has_no_part_in_the_other_senders_package() {
    let world = World::new();
    let mut door = Door::open(&world, &[]);
    let mut meets_a_wall = |who: &str, other: &str| {
        let at = place(other);
        let answer = curl(&world, &door, Some(who), &at, &[]);
        answer.refuses(403, "other-party", &format!("that of party {who}"));
        let sender = format!("sender={who}");
        door.refused(&["request refused", "other-party", "status=403", &sender, &at, "GET"]);
        let package =
            if other == "2" { "package-0".to_owned() } else { format!("package-{other}") };
        for (place, file) in [
            ("parts/part-000000.age", "part-000000.age"),
            ("manifest-chain.pem", "manifest-chain.pem"),
            ("manifest.sig", "manifest.sig"),
            ("manifest", "manifest.json"),
        ] {
            let (path, file) = (format!("{at}/{place}"), format!("{package}/{file}"));
            let answer = put(&world, &door, who, &path, &file, &file);
            answer.refuses(403, "other-party", "may touch no other package");
            door.refused(&["request refused", "other-party", "PUT", &path, &sender]);
        }
    };
    meets_a_wall("0", "1");
    meets_a_wall("1", "0");
    meets_a_wall("0", "2");
}

#[test]
fn a_package_is_uploaded_with_its_own_senders_certificate_only() {
    let world = World::new();
    make_authority(&world.path("foreign"), "/CN=somebody else's authority");
    let zero = zero();
    let door = Door::open(&world, &[]);
    let upload = |who: &str, more: &[&str], words: &[&str]| {
        let run = world.refuses(4, |world| world.upload(who, "package-0", &door.address, more));
        run.says(words).says(&["hint: "]);
    };
    let name = sender_name("0");
    upload("1", &[], &[&format!("must have the name {name}"), &sender_name("1")]);
    upload("2", &[], &[&format!("must have the name {name}"), RECEIVER]);
    let cases: [(&str, &str, Wanted<'_>, &[&str]); 6] = [
        (
            "foreign",
            "ca",
            Wanted { names: Some("DNS:*.mpc.example"), ..Wanted::named("") },
            &["must have the name", "*.mpc.example"],
        ),
        ("foreign", "foreign", Wanted::named(&zero), &["not come from the session's authority"]),
        (
            "over",
            "ca",
            Wanted { life: Some(OVER), ..Wanted::named(&zero) },
            &["valid until 2020-01-02"],
        ),
        (
            "to-come",
            "ca",
            Wanted { life: Some(TO_COME), ..Wanted::named(&zero) },
            &["valid from 2090-01-01"],
        ),
        (
            "server",
            "ca",
            Wanted { purposes: "serverAuth", ..Wanted::named(&zero) },
            &["extended key usage does not allow this use"],
        ),
        (
            "nobody",
            "ca",
            Wanted { names: None, ..Wanted::named("") },
            &["must have the name", "none"],
        ),
    ];
    for (number, (who, authority, wanted, words)) in cases.into_iter().enumerate() {
        let who = format!("{who}-{number}");
        world.issue_by(authority, &who, wanted);
        upload(&who, &[], words);
    }
    upload("0", &["--ca-file", "foreign/ca.pem"], &["another authority: its SHA-256 is"]);
    let key = ["--certificate-key", "certificate-1/certificate.key"];
    upload("0", &key, &["certificate-1/certificate.key does not belong to the certificate"]);
    let certificate = ["--certificate", "certificate-1/certificate.pem"];
    upload("0", &certificate, &["certificate-0/certificate.key does not belong"]);
    upload("0", &["--certificate-key", "0.pub"], &["0.pub"]);
    let key = world.path("certificate-0/certificate.key");
    for mode in [0o644, 0o646, 0o604] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("changed");
        let mode = format!("has mode {mode:04o}");
        upload("0", &[], &["certificate-0/certificate.key", &mode, "chmod 600"]);
    }
    door.untouched();
}

#[test]
fn a_receiver_that_cannot_prove_its_name_does_not_start() {
    let world = World::new();
    let name = format!("DNS:{RECEIVER}");
    world.issue("over", Wanted { life: Some(OVER), ..Wanted::named(&name) });
    world.issue("client", Wanted { purposes: "clientAuth", ..Wanted::named(&name) });
    let subject = format!("/CN={RECEIVER}");
    world.issue("cn", Wanted { subject: &subject, names: None, ..Wanted::named("") });
    world.issue("wild", Wanted::named("DNS:*.mpc.example"));
    let receive = ["receive", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    let receive = [&receive[..], &["--inbox", "inbox"]].concat();
    let refuses = |who: &str, more: &[&str], words: &[&str]| {
        let all = [&receive[..], more].concat();
        world.refuses(4, |world| world.run_as(who, &all)).says(words).says(&["hint: "]);
    };
    refuses("0", &[], &["must have the name receiver.mpc.example", "spiffe://mpc.example/0"]);
    refuses("wild", &[], &["must have the name receiver.mpc.example", "*.mpc.example"]);
    refuses("cn", &[], &["must have the name receiver.mpc.example", "none"]);
    refuses("over", &[], &["valid until 2020-01-02"]);
    refuses("client", &[], &["extended key usage does not allow this use"]);
    let key = ["--certificate-key", "certificate-0/certificate.key"];
    refuses("2", &key, &["does not belong to the certificate"]);
    let key = world.path("certificate-2/certificate.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("changed");
    refuses("2", &[], &["has mode 0644", "chmod 600"]);
}

#[test]
fn a_sender_believes_no_other_party_that_it_is_the_receiver() {
    let world = World::new();
    // In its own session the impostor is the receiver; its certificate is the authority's.
    world.issue("7", Wanted::named("DNS:party-7.mpc.example"));
    let name = ["--certificate-name", "2=party-7.mpc.example"];
    world.make_network("impostors.toml", &name);
    let network = ["--network", "impostors.toml"];
    world.make_session("impostor.toml", "run", &[name, network].concat());
    let session = ["--session", "impostor.toml"];
    let mut impostor = Door::open_as(&world, "7", "inbox", &[session, network].concat());
    let why = ["does not prove that it is the receiver of this session", "party-7.mpc.example"];
    let address = impostor.address.clone();
    let refused = world.refuses(4, |world| world.upload("0", "package-0", &address, &[]));
    refused.says(&why).says(&["receiver.mpc.example", "hint: check --server-url"]);
    impostor.refused(&["connection refused", "handshake", "the client refuses this receiver"]);
    // In one pass nothing is blinded for it, either: the ledger is as it was.
    let server = format!("https://{address}");
    let mut send = world.send_flags("1");
    send.extend(["--server-url".to_owned(), server]);
    let send: Vec<&str> = send.iter().map(String::as_str).collect();
    world.refuses(4, |world| world.run_as("1", &send)).says(&why);
    impostor.refused(&["connection refused", "the client refuses this receiver"]);
}

#[test]
fn a_sender_believes_no_server_with_another_certificate() {
    let world = World::new();
    make_authority(&world.path("foreign"), "/CN=somebody else's authority");
    let name = format!("DNS:{RECEIVER}");
    let also_sender = format!("{name},{}", zero());
    world.issue("over", Wanted { life: Some(OVER), ..Wanted::named(&name) });
    world.issue("client", Wanted { purposes: "clientAuth", ..Wanted::named(&name) });
    world.issue("both", Wanted::named(&also_sender));
    world.issue_by("foreign", "foreign", Wanted::named(&name));
    for (who, words, alert) in [
        ("1", sender_name("1").as_str(), "certificate unknown"),
        ("both", "spiffe://mpc.example/0", "certificate unknown"),
        ("over", "expired", "certificate expired"),
        ("foreign", "authority", "unknown ca"),
        ("client", "serverAuth", "unsupported certificate"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let mut command = Command::new("openssl");
        command.args(["s_server", "-naccept", "1", "-accept", &address]);
        command
            .args(["-CAfile", "ca/ca.pem", "-Verify", "3", "-www"])
            .current_dir(world.directory());
        let file = |end: &str| format!("certificate-{who}/certificate.{end}");
        command.args(["-cert", &file("pem"), "-key", &file("key")]).stdin(Stdio::null());
        let mut server = Running::start(&mut command);
        // Stock OpenSSL before 3.5 knows no hybrid key exchange.
        let upload = |world: &World| world.upload("0", "package-0", &address, &["--classic-tls"]);
        let run = world.refuses(4, |world| retried(|| upload(world)));
        run.says(&["does not prove that it is the receiver", words, "hint: check --server-url"]);
        server.says(&["alert", alert]);
    }
}

/// Runs again until something listens at the other end.
fn retried(run: impl Fn() -> Run) -> Run {
    let start = std::time::Instant::now();
    loop {
        let run = run();
        if !run.stderr.contains("Connection refused") {
            return run;
        }
        assert!(start.elapsed() < TIME_LIMIT, "no server: {}", run.stderr);
    }
}
