//! A party that still has its share makes a session in which it receives once more, under another
//! number: with shares at two evaluation points it could compute every record alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::attackers::Door;
use super::world::{RECEIVER, World, approval_of, sender_name};
use reshare_fixtures::network::{Network, Run, Setup};

use crate::RESHARE;

/// The network file of somebody who says what it likes.
const FORGED: [&str; 2] = ["--network", "forged.toml"];

/// Makes `second.toml` as party 2, with its own certificate name and a new age key of its own, and
/// approves it for all three, as if nobody kept a network file: approvals and ledgers are there.
///
/// `parties` are the numbers that sender 0, sender 1 and party 2 get.
fn second_session(world: &World, parties: [&str; 3]) -> String {
    let recipient = world.run_as("2", &["keygen", "recipient", "--out", "second.age"]).ends_with(0);
    fs::write(world.path("second.pub"), &recipient.stdout).expect("written");
    let [zero, one, two] = parties;
    let receiver = format!("{two}={}", recipient.stdout.trim());
    let names = [
        format!("{zero}={}", sender_name("0")),
        format!("{one}={}", sender_name("1")),
        format!("{two}={RECEIVER}"),
    ];
    let names: Vec<&str> = names.iter().flat_map(|name| ["--certificate-name", name]).collect();
    let new = ["network", "new", "--ca-file", "ca/ca.pem"];
    world.run_as("2", &[&new[..], &FORGED, &names].concat()).ends_with(0);
    let (zero, one) = (format!("{zero}=0.pub"), format!("{one}=1.pub"));
    let new = ["session", "new", "--out", "second.toml", "--session-id", "second"];
    let facts = ["--environment", "dev", "--db-end", "1000", "--receiver", &receiver];
    let senders = ["--sender", &zero, "--sender", &one];
    world.run_as("2", &[&new[..], &facts, &senders, &names, &FORGED].concat()).ends_with(0);
    let fingerprint = world.fingerprint_of("second.toml");
    for who in ["0", "1", "2"] {
        let (own, out) = (own_key(world, who), format!("second-{who}.json"));
        let approve = ["session", "approve", "--session", "second.toml", "--out", &out, "--yes"];
        let state = format!("careless-{who}");
        let flags = ["--own-public-key", &own, "--expect-fingerprint", &fingerprint];
        let state = ["--state-dir", &state];
        world.run_as(who, &[&approve[..], &flags, &state, &FORGED].concat()).ends_with(0);
    }
    fingerprint
}

fn own_key(world: &World, who: &str) -> String {
    match who {
        "2" => fs::read_to_string(world.path("second.pub")).expect("a recipient").trim().to_owned(),
        _ => format!("{who}.pub"),
    }
}

/// The command lines with which a sender would blind and send in `second.toml`.
fn sending(world: &World, sender: &str, door: &Door) -> [Vec<String>; 3] {
    let (key, url, server) =
        (format!("{sender}.key"), world.database(sender), format!("https://{}", door.address));
    let other = if sender == "0" { "second-1.json" } else { "second-0.json" };
    let session = ["--session", "second.toml", "--agreement-key", &key];
    let approvals = ["--approval", "second-2.json", "--approval", other];
    let state = format!("careless-{sender}");
    let common = [&session[..], &approvals, &["--state-dir", &state]].concat();
    let (input, to) = (format!("{sender}.rsh"), format!("second-{sender}"));
    [
        [&["send", "--db-url", &url, "--to", &to], &common[..]].concat(),
        [&["send", "--db-url", &url, "--server-url", &server], &common[..]].concat(),
        [&["pack", "--in", &input, "--to", &to], &common[..]].concat(),
    ]
    .map(|words| words.into_iter().map(str::to_owned).collect())
}

/// Checks that nobody whose network file is the true one approves, checks or sends.
#[track_caller]
fn nobody_takes_part(world: &World, fingerprint: &str, words: &[&str]) {
    let door = Door::open_as(world, "2", "second-inbox", &second_door());
    for who in ["0", "1"] {
        let (own, out) = (own_key(world, who), format!("fresh-{who}.json"));
        let approve = ["session", "approve", "--session", "second.toml", "--out", &out, "--yes"];
        let flags = ["--own-public-key", &own, "--expect-fingerprint", fingerprint];
        let refused = world.refuses(4, |world| world.run_as(who, &[&approve[..], &flags].concat()));
        refused.says(words).says(&["evaluation point", "hint: neither approve this session"]);
        for line in sending(world, who, &door) {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            let refused = world.refuses(4, |world| world.run_as(who, &line));
            refused.says(words).says(&["evaluation point", "hint: neither approve"]);
        }
        let key = format!("{who}.key");
        let check = ["check", "sender", "--json", "--session", "second.toml"];
        let flags = ["--agreement-key", &key, "--state-dir", &format!("careless-{who}")];
        let found = world.run_as(who, &[&check[..], &flags].concat()).ends_with(4).report();
        let checks = found["checks"].as_array().expect("checks").clone();
        let network = checks.iter().find(|check| check["what"] == "network").expect("a line");
        assert_eq!(network["state"], "not_ok", "{found:#}");
        assert!(
            network["detail"].as_str().expect("text").contains("evaluation point"),
            "{network}"
        );
    }
    door.untouched();
}

fn second_door() -> Vec<&'static str> {
    [&["--session", "second.toml"], &FORGED[..]].concat()
}

#[test]
fn a_party_gets_no_second_share_under_another_number() {
    let world = World::new();
    let fingerprint = second_session(&world, ["0", "1", "3"]);
    let words = format!("the session has {RECEIVER} as party 3, but in the network it is party 2");
    nobody_takes_part(&world, &fingerprint, &[&words]);
    // Everything else in that session is in order: it is the network file that stands in the way.
    for (sender, other) in [("0", "1"), ("1", "0")] {
        let (key, to, state) =
            (format!("{sender}.key"), format!("second-{sender}"), format!("careless-{sender}"));
        let approval = format!("second-{other}.json");
        let send = ["send", "--session", "second.toml", "--agreement-key", &key, "--to", &to];
        let flags = ["--approval", "second-2.json", "--approval", &approval];
        let (url, state) = (world.database(sender), ["--state-dir", &state]);
        let send = [&send[..], &flags, &state, &["--db-url", &url], &FORGED].concat();
        world.run_as(sender, &send).ends_with(0);
    }
    let merge = |more: &[&str]| {
        let merge = ["merge", "--session", "second.toml", "--identity", "second.age", "--out"];
        let packages = ["second.rsh", "--package", "second-0", "--package", "second-1"];
        world.run_as("2", &[&merge[..], &packages, more].concat())
    };
    merge(&FORGED).ends_with(0);
    fs::remove_file(world.path("second.rsh")).expect("it was the second share");
    // A receiver that is led to such a session by somebody else loads nothing, either.
    world.refuses(4, |_| merge(&[])).says(&[&words, "evaluation point"]);
    let url = world.database("2");
    let packages = ["--package", "second-0", "--package", "second-1", "--identity", "second.age"];
    for command in [&["rebuild"][..], &["load", "--in", "second.rsh"]] {
        let packages = if command[0] == "rebuild" { &packages[..] } else { &[] };
        let flags = ["--session", "second.toml", "--db-url", &url];
        let run = |world: &World| world.run_as("2", &[command, &flags, packages].concat());
        world.refuses(4, run).says(&[&words, "evaluation point"]);
    }
    let receive = ["receive", "--session", "second.toml", "--inbox", "new-inbox"];
    let receive = [&receive[..], &["--listen", "127.0.0.1:0"]].concat();
    world.refuses(4, |world| world.run_as("2", &receive)).says(&[&words, "evaluation point"]);
    let upload = ["--session", "second.toml", "--server-url", "https://127.0.0.1:1"];
    let upload = [&["upload", "second-0"], &upload[..]].concat();
    world.refuses(4, |world| world.run_as("0", &upload)).says(&[&words, "evaluation point"]);
}

#[test]
fn a_sender_that_is_renumbered_gives_no_second_share_either() {
    let world = World::new();
    // The weights, and so the point of what arrives, follow from all three numbers.
    let fingerprint = second_session(&world, ["0", "3", "2"]);
    let one = sender_name("1");
    let words = format!("the session has {one} as party 3, but in the network it is party 1");
    nobody_takes_part(&world, &fingerprint, &[&words]);
}

#[test]
fn a_party_that_is_in_no_network_file_takes_no_number() {
    let world = World::new();
    let names = ["--certificate-name", "2=party-7.mpc.example"];
    world.make_network("other.toml.network", &names);
    let network = ["--network", "other.toml.network"];
    world.make_session("strange.toml", "run", &[names, network].concat());
    let show = ["session", "show", "--session", "strange.toml"];
    // It is shown, since that is when it is looked at.
    let shown = world.run_as("0", &show).ends_with(4);
    shown.says(&["in the network party 2 is receiver.mpc.example", "evaluation point"]);
    let shown = world.run_as("0", &[&show[..], &network].concat()).ends_with(0);
    assert!(shown.stdout.contains("\nnetwork      as in other.toml.network\n"), "{}", shown.stdout);
    let names = ["--certificate-name", "2=party-7.mpc.example", "--session-id", "run"];
    let maker = ["session", "new", "--out", "x.toml", "--environment", "dev", "--receiver"];
    let recipient = fs::read_to_string(world.path("2.pub")).expect("a recipient");
    let (zero, one) = (format!("0={}", sender_name("0")), format!("1={}", sender_name("1")));
    let receiver = format!("2={}", recipient.trim());
    let senders = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--certificate-name", &zero];
    let new = [&maker[..], &[&receiver], &senders, &["--certificate-name", &one], &names].concat();
    world.refuses(4, |world| world.run_as("0", &new)).says(&["evaluation point"]);
}

#[test]
fn a_session_without_certificates_is_no_way_around_the_network_file() {
    let world = World::new();
    let recipient = fs::read_to_string(world.path("2.pub")).expect("a recipient");
    let receiver = format!("3={}", recipient.trim());
    let new = ["session", "new", "--out", "bare.toml", "--session-id", "bare", "--receiver"];
    let facts = [&receiver, "--environment", "dev", "--sender", "0=0.pub", "--sender", "1=1.pub"];
    let facts = [&facts[..], &["--shared-key-id", "00112233445566778899aabbccddeeff"]].concat();
    let bare = |network: &str| {
        let mut command = world.program_as("2", &[&new[..], &facts].concat());
        Run::command(command.env_remove("RESHARE_CA_FILE").env("XDG_CONFIG_HOME", network))
    };
    world.refuses(4, |_| bare("/nowhere")).says(&["uses no certificates", "evaluation point"]);
    let mut command = world.program_as("2", &[&new[..], &facts].concat());
    command.env_remove("RESHARE_CA_FILE").env_remove("RESHARE_NETWORK");
    Run::command(&mut command).ends_with(0);
    let fingerprint = world.fingerprint_of("bare.toml");
    let approve = ["session", "approve", "--session", "bare.toml", "--own-public-key", "0.pub"];
    let flags = ["--party-id", "0", "--target-party-id", "3", "--new-party", "3", "--yes"];
    let approve = [&approve[..], &flags, &["--expect-fingerprint", &fingerprint]].concat();
    // A file at the default place counts as well as one that is named.
    let home = world.path("home");
    fs::create_dir_all(home.join(".config/reshare")).expect("made");
    let default = home.join(".config/reshare/network.toml");
    fs::copy(world.path("network.toml"), &default).expect("copied");
    let run = |world: &World| {
        let mut command = world.program_as("0", &approve);
        command.env_remove("RESHARE_CA_FILE").env_remove("RESHARE_NETWORK");
        Run::command(command.env_remove("XDG_CONFIG_HOME").env("HOME", &home))
    };
    world.refuses(4, run).says(&["uses no certificates", "hint: this party's network has"]);
    fs::remove_file(&default).expect("removed");
    run(&world).ends_with(0);
}

#[test]
fn a_sender_without_a_sound_network_file_sends_nothing() {
    let world = World::new();
    let sends = |path: Option<&str>| {
        let flags = world.send_flags("0");
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut command = world.program_as("0", &[&flags[..], &["--to", "new"]].concat());
        command.env_remove("RESHARE_NETWORK");
        path.map(|path| command.env("RESHARE_NETWORK", path));
        Run::command(&mut command)
    };
    let missing = world.refuses(2, |_| sends(None));
    missing.says(&["/nowhere/reshare/network.toml", "hint: `reshare network new --ca-file"]);
    world.refuses(2, |_| sends(Some("none.toml"))).says(&["none.toml", "hint: check --network"]);
    let writable = world.path("writable.toml");
    fs::copy(world.path("network.toml"), &writable).expect("copied");
    fs::set_permissions(&writable, fs::Permissions::from_mode(0o664)).expect("changed");
    let refused = world.refuses(4, |_| sends(Some("writable.toml")));
    refused.says(&["its mode is 0664", "hint: who may write it"]);
    let text = fs::read_to_string(world.path("network.toml")).expect("a network file");
    let other = text.replace("ca_sha256 = \"", "ca_sha256 = \"00").replacen("00\"", "\"", 1);
    fs::write(world.path("broken.toml"), other).expect("written");
    world.refuses(4, |_| sends(Some("broken.toml"))).says(&["trust.ca_sha256", "hint: make it"]);
    sends(Some("network.toml")).ends_with(0);
}

/// Makes `NAME.toml` of a network without certificates, with these numbers and the key of `r.age`
/// or a new one; returns its fingerprint.
fn bare_session(network: &Network, name: &str, parties: [&str; 3], recipient: &str) -> String {
    let (file, [zero, one, two]) = (format!("{name}.toml"), parties);
    let new = ["session", "new", "--out", &file, "--session-id", name, "--environment", "dev"];
    let (zero, one) = (format!("{zero}=0.pub"), format!("{one}=1.pub"));
    let receiver = format!("{two}={recipient}");
    let shared = network.shared_key_id();
    let parties = ["--sender", &zero, "--sender", &one, "--receiver", &receiver];
    let parties = [&parties[..], &["--shared-key-id", &shared]].concat();
    network.run(&[&new[..], &parties, &["--db-end", "1000"]].concat()).ends_with(0);
    network.fingerprint_of(&file)
}

#[test]
fn without_certificates_the_state_directory_knows_who_has_which_number() {
    // Both senders have approved a session in which party 2 receives.
    let network = Setup::of(RESHARE).rows(6).make();
    let new_recipient = || {
        let _ = fs::remove_file(network.path("second.age"));
        let made = network.run(&["keygen", "recipient", "--out", "second.age"]).ends_with(0);
        made.stdout.trim().to_owned()
    };
    let approve = |name: &str, fingerprint: &str, more: &[&str]| {
        let file = format!("{name}.toml");
        let approve = ["session", "approve", "--session", &file, "--own-public-key", "0.pub"];
        let flags = ["--yes", "--expect-fingerprint", fingerprint, "--state-dir", "state-0"];
        let own = ["--party-id", "0"];
        network.run(&[&approve[..], &flags, &own, more].concat())
    };
    let send = |name: &str, fingerprint: &str, more: &[&str]| {
        let (file, to) = (format!("{name}.toml"), format!("{name}-0"));
        let send = ["send", "--session", &file, "--agreement-key", "0.key", "--to", &to];
        let flags = ["--expect-fingerprint", fingerprint, "--state-dir", "state-0"];
        network.run(&[&send[..], &flags, &["--db-url", &network.databases[0]], more].concat())
    };
    let refuses = |run: &dyn Fn() -> Run, code: i32, words: &[&str]| {
        let before = network.files();
        run().ends_with(code).says(words).says(&["hint: "]);
        assert_eq!(network.files(), before);
    };
    let point = "evaluation point";
    for (name, recipient, why) in [
        ("same", network.recipient(), "this session's recipient has received as party 2 before"),
        ("new", new_recipient(), "nobody has received as party 3"),
    ] {
        let print = bare_session(&network, name, ["0", "1", "3"], &recipient);
        let as_three = ["--target-party-id", "3"];
        refuses(&|| approve(name, &print, &[]), 2, &["--target-party-id is needed", point]);
        refuses(&|| send(name, &print, &[]), 2, &["--target-party-id is needed", point]);
        let two = ["--target-party-id", "2"];
        refuses(&|| approve(name, &print, &two), 4, &["is 2, but the session says 3", point]);
        refuses(&|| send(name, &print, &two), 4, &["is 2, but the session says 3"]);
        refuses(&|| approve(name, &print, &as_three), 4, &[why, point, "--new-party 3"]);
        refuses(&|| send(name, &print, &as_three), 4, &[why, point, "--new-party 3"]);
        let other = [&as_three[..], &["--new-party", "2"]].concat();
        refuses(&|| approve(name, &print, &other), 4, &["the receiving party is 2"]);
    }
    // Once is enough: the number is then known, and so is its recipient.
    let print = network.fingerprint_of("new.toml");
    let three = ["--target-party-id", "3"];
    approve("new", &print, &[&three[..], &["--new-party", "3"]].concat()).ends_with(0);
    send("new", &print, &three).ends_with(0);
    approve("new", &print, &three).ends_with(0);
    // The recipient of party 2 is still no party 3's, though somebody has received under that
    // number.
    let print = network.fingerprint_of("same.toml");
    refuses(&|| approve("same", &print, &three), 4, &["has received as party 2 before", point]);
    // A party may have a new key; then its operator is to be asked.
    let print = bare_session(&network, "again", ["0", "1", "2"], &new_recipient());
    let two = ["--target-party-id", "2"];
    let noted = approve("again", &print, &two).ends_with(0);
    noted.says(&["note: party 2 has received with another age recipient before"]);
    // A sender with another number would move the receiver's point, too.
    let print = bare_session(&network, "moved", ["4", "1", "2"], &network.recipient());
    let approve = |number: &str| {
        let approve = ["session", "approve", "--session", "moved.toml", "--own-public-key"];
        let flags = ["--yes", "--expect-fingerprint", &print, "--state-dir", "state-0"];
        let own = ["0.pub", "--party-id", number, "--target-party-id", "2"];
        network.run(&[&approve[..], &own, &flags].concat())
    };
    refuses(&|| approve("4"), 4, &["this state directory is party 0's", point]);
    refuses(&|| approve("0"), 4, &["the sending party is 0, but the session says 1 and 4"]);
}

#[test]
fn a_certificate_and_a_key_of_two_parties_are_named() {
    let world = World::new();
    let [receiver, other] = ["2", "1"].map(|party| approval_of("session.toml", party));
    let approvals = ["--approval", &receiver, "--approval", &other];
    let key = ["--agreement-key", "1.key"];
    let words = "the certificate is party 0's, but the agreement key is party 1's";
    let refused = world.refuses(4, |world| {
        world.run_as(
            "0",
            &[&["pack", "--in", "0.rsh", "--to", "new"], &key[..], &approvals].concat(),
        )
    });
    refused
        .says(&[words, "hint: give --certificate, --certificate-key and --agreement-key of one"]);
    let check = [&["check", "sender", "--json"], &key[..], &approvals].concat();
    let report = world.run_as("0", &check).ends_with(4).report();
    let of = |what: &str| {
        let checks = report["checks"].as_array().expect("checks").iter();
        checks.filter(|check| check["what"] == what).cloned().collect::<Vec<_>>()
    };
    let certificate = of("certificate");
    assert_eq!(certificate.len(), 1, "{report:#}");
    assert_eq!(certificate[0]["detail"], words);
    assert_eq!(of("approvals")[0]["state"], "skipped", "no approval is said to be missing");
}
