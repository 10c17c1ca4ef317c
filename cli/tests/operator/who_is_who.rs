//! The network file as operators keep it, and what `session approve` asks.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use reshare_fixtures::network::{Network, Run, Setup, certificate_name, files_in, program};

use crate::RESHARE;

fn certified() -> Network {
    Setup::of(RESHARE).without_databases().with_certificates().make()
}

#[test]
fn a_network_file_is_made_once_extended_and_compared() {
    let network = certified();
    let names = ["0", "1", "2"].map(|party| format!("{party}={}", certificate_name(party)));
    let home = network.path("home");
    // In its default place, with the variables of the environment.
    let run = |arguments: &[&str]| {
        let mut command = program(RESHARE);
        command.args(arguments).current_dir(network.directory());
        command.env("RESHARE_CA_FILE", "ca/ca.pem").env("RESHARE_PARTY_ID", "0");
        Run::command(command.env("XDG_CONFIG_HOME", &home))
    };
    run(&["network", "show"]).ends_with(1).says(&["network.toml", "hint: `reshare network new"]);
    let add = |party: &str, more: &[&str]| {
        run(&[&["network", "add", "--party-id", party], more].concat())
    };
    add("0", &["--name", "a.example"]).ends_with(1).says(&["hint: `reshare network new"]);
    let made = run(&["network", "new"]).ends_with(0).stdout;
    assert!(made.contains("parties      none yet"), "{made}");
    let file = home.join("reshare/network.toml");
    assert!(made.contains(&format!("network      {}\n", file.display())), "{made}");
    run(&["network", "new"]).ends_with(2).says(&["exists already", "hint: it is made once"]);
    let missing = add("0", &[]).ends_with(2);
    missing.says(&["--name <NAME>"]);
    add("0", &["--name", &certificate_name("0")]).ends_with(0);
    // The name may come from the certificate.
    add("1", &["--certificate", "certificate-1/certificate.pem"]).ends_with(0);
    let before = std::fs::read(&file).expect("a network file");
    let taken = add("2", &["--name", &certificate_name("1")]).ends_with(4);
    taken.says(&["is party 1 already", "evaluation point", "hint: a party keeps its number"]);
    add("1", &["--name", "b.example"])
        .ends_with(4)
        .says(&["party 1 is spiffe://", "hint: a party"]);
    add("15", &["--name", "b.example"]).ends_with(2).says(&["party 15 is out of range"]);
    add("2", &["--certificate", "ca/ca.pem"]).ends_with(4).says(&["0 alternative names", "--name"]);
    assert_eq!(std::fs::read(&file).expect("a network file"), before);
    add("1", &["--name", &certificate_name("1")]).ends_with(0);
    assert_eq!(std::fs::read(&file).expect("a network file"), before, "it is there already");
    add("2", &["--name", &certificate_name("2")]).ends_with(0);
    // All at once makes the same file: it is this that the operators compare.
    let mut new = vec!["network", "new", "--json", "--network", "other.toml"];
    names.iter().for_each(|name| new.extend(["--certificate-name", name]));
    let report = run(&new).ends_with(0).report();
    assert_eq!(report["parties"]["1"], certificate_name("1"));
    let fingerprint = report["fingerprint"].as_str().expect("text").to_owned();
    let show = ["network", "show", "--words", "--expect-fingerprint", &fingerprint];
    let shown = run(&show).ends_with(0).stdout;
    let words = words_in(&shown);
    let again = ["network", "show", "--network", "other.toml", "--expect-fingerprint", &words];
    run(&again).ends_with(0);
    add("3", &["--name", "new.example"]).ends_with(0);
    run(&show).ends_with(4).says(&["the network file has another fingerprint", "hint: compare"]);
    // A session of three of them passes, with the default file.
    let session = ["session", "show", "--session", "session.toml"];
    let shown = run(&session).ends_with(0).stdout;
    assert!(shown.contains(&format!("network      as in {}", file.display())), "{shown}");
}

/// The words that follow `words`, on three lines.
fn words_in(shown: &str) -> String {
    let (_, words) = shown.split_once("\nwords        ").expect("words");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_flag_takes_the_fingerprint_as_digits_and_as_words() {
    let network = certified();
    let show = ["session", "show", "--session", "session.toml", "--words"];
    let shown = network.run(&show).ends_with(0).stdout;
    let (_, groups) = shown.split_once("\nfingerprint  ").expect("a fingerprint");
    let groups = groups.lines().next().expect("a line").to_owned();
    assert_eq!(groups.replace(' ', ""), network.fingerprint);
    assert!(groups.split(' ').count() == 16 && groups.split(' ').all(|group| group.len() == 4));
    let words = words_in(&shown);
    assert_eq!(words.split(' ').count(), 24);
    let approve = |given: &str| {
        let approve = ["session", "approve", "--session", "session.toml", "--yes"];
        let own = ["--own-public-key", "0.pub", "--expect-fingerprint", given];
        network.run_as("0", &[&approve[..], &own].concat())
    };
    let forms = [network.fingerprint.clone(), groups.clone(), words.clone(), words.to_uppercase()];
    for given in &forms {
        approve(given).ends_with(0);
        let status = ["status", "--session", "session.toml", "--expect-fingerprint", given];
        let status = [&status[..], &["--state-dir", "state-0"]].concat();
        network.run(&status).ends_with(0);
        let purge = ["purge", "--session", "session.toml", "--receiver-verified", given];
        let purge = [&purge[..], &["--package", "none", "--dry-run"]].concat();
        let purged = network.run(&purge);
        assert!(!purged.stderr.contains("fingerprint"), "{}", purged.stderr);
        let check = ["check", "sender", "--json", "--session", "session.toml"];
        let check = [&check[..], &["--party-id", "0", "--expect-fingerprint", given]].concat();
        let checks = network.run_as("0", &check).report();
        let lines = checks["checks"].as_array().expect("checks");
        let line = lines.iter().find(|line| line["what"] == "fingerprint").expect("a line");
        assert_eq!(line["detail"], format!("{groups}, as expected"));
    }
    let wrong = approve("abandon abandon").ends_with(2);
    wrong.says(&["a fingerprint has 24 words, these are 2"]);
    let swapped = words.split(' ').rev().collect::<Vec<_>>().join(" ");
    assert_eq!(approve(&swapped).code, Some(2));
    // A group that was heard wrong is named, and nothing is cut off.
    let last = groups.rsplit(' ').next().expect("a group");
    let other = if last == "0000" { "0001" } else { "0000" };
    let wrong = format!("{} {other}", &groups[..groups.len() - 5]);
    let refused = approve(&wrong).ends_with(4);
    refused.says(&[&format!("number 16 of 16, {last} in place of {other}"), &groups, &wrong]);
}

/// Runs a command on a terminal of its own, and types.
fn on_a_terminal(network: &Network, command: &str, typed: &str) -> Run {
    let mut script = Command::new("script");
    let program = Path::new(RESHARE).parent().expect("a directory").display();
    let path = format!("{program}:{}", std::env::var("PATH").expect("a PATH"));
    script.args(["--quiet", "--return", "--command", command, "/dev/null"]);
    script.current_dir(network.directory()).env("PATH", path).env("SHELL", "/bin/sh");
    for (name, value) in [("RESHARE_NETWORK", "network.toml"), ("RESHARE_CA_FILE", "ca/ca.pem")] {
        script.env(name, value);
    }
    script.env("RESHARE_CERTIFICATE", "certificate-0/certificate.pem");
    script.env("RESHARE_CERTIFICATE_KEY", "certificate-0/certificate.key");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().expect("the script command is needed: apt-get install bsdutils");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(typed.as_bytes()).expect("typed");
    let run = Run::of(child.wait_with_output().expect("it ends"));
    drop(stdin);
    run
}

#[test]
fn an_operator_sees_who_receives_and_is_asked_before_anything_is_signed() {
    let network = certified();
    let state = network.path("fresh");
    let approve = "reshare session approve --session session.toml --own-public-key 0.pub \
                   --state-dir fresh --out fresh.json";
    for typed in ["no\n", "\n", "y\n", "\x04"] {
        let before = files_in(network.directory());
        let run = on_a_terminal(&network, approve, typed).ends_with(4);
        assert!(
            run.stdout.contains("not approved: nothing was signed"),
            "{typed:?}: {}",
            run.stdout
        );
        assert_eq!(files_in(network.directory()), before);
    }
    let run = on_a_terminal(&network, approve, "yes\n").ends_with(0);
    let (shown, rest) = run.stdout.split_once("Type yes to approve: ").expect("a question");
    let lines: Vec<&str> = shown.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.iter().find(|line| line.contains("  ")).expect("a session");
    assert_eq!(first.trim_end(), "receiver     party 2", "{shown}");
    assert!(shown.contains("\nrecipient    hybrid, age1pq1"), "{shown}");
    assert!(shown.contains("Party 2 gets its share of every record"), "{shown}");
    let groups = shown.split_once("\nfingerprint  ").expect("a fingerprint").1.trim_start();
    assert!(groups.replace(' ', "").starts_with(&network.fingerprint), "{shown}");
    assert!(rest.contains("approved     by party 0"), "{rest}");
    assert!(network.path("fresh.json").exists() && state.join("receivers").exists());
}

#[test]
fn a_script_approves_only_a_fingerprint_that_it_gives() {
    let network = certified();
    let refuses = |more: &[&str], words: &[&str]| {
        let approve = ["session", "approve", "--session", "session.toml", "--own-public-key"];
        let flags = ["0.pub", "--state-dir", "fresh", "--out", "fresh.json"];
        let before = files_in(network.directory());
        let run = network.run_as("0", &[&approve[..], &flags, more].concat());
        run.ends_with(2).says(words).says(&["hint: "]);
        assert_eq!(files_in(network.directory()), before);
    };
    let print = network.fingerprint.as_str();
    refuses(&[], &["there is no terminal", "--yes, and --expect-fingerprint"]);
    refuses(&["--expect-fingerprint", print], &["there is no terminal"]);
    refuses(&["--yes"], &["--yes needs --expect-fingerprint"]);
    refuses(&["--new-party", "2", "--yes"], &["--new-party is given, but this session uses"]);
}
