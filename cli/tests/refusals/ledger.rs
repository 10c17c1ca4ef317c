//! A sender without its ledger, or with another one; and two processes with the same.

use std::fs;

use crate::attackers::Door;
use crate::network::Run;
use crate::world::World;

fn ledgers(world: &World, who: &str) -> Vec<std::path::PathBuf> {
    let state = fs::read_dir(world.path(&format!("s-{who}"))).expect("a state directory");
    let mut ledgers: Vec<_> =
        state.map(|entry| entry.expect("an entry").path().join(format!("ledger-{who}"))).collect();
    ledgers.retain(|path| path.exists());
    ledgers.sort();
    ledgers
}

fn fingerprint(world: &World, session: &str) -> String {
    let shown = world.run_as("0", &["session", "show", "--session", session, "--json"]);
    let shown = shown.ends_with(0).report();
    shown["fingerprint"].as_str().expect("text").to_owned()
}

#[test]
fn a_ledger_that_is_not_whole_or_of_another_session_blinds_nothing() {
    let world = World::new();
    let door = Door::open(&world, &[]);
    let url = format!("https://{}", door.address);
    let flags = world.send_flags("0");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let flags = [&flags[..], &["--server-url", &url, "--retry-for", "0"]].concat();
    let own = fingerprint(&world, "session.toml");
    let other = fingerprint(&world, "other.toml");
    let ledger = world.path("s-0").join(&own).join("ledger-0");
    assert!(ledgers(&world, "0").contains(&ledger));
    let whole = fs::read(&ledger).expect("a ledger");
    let refuses = |words: &[&str]| {
        world.refuses(4, |world| world.run_as("0", &flags)).says(words);
        door.untouched();
    };
    fs::write(&ledger, &whole[..whole.len() - 1]).expect("cut");
    refuses(&["ledger-0", "truncated", "hint: "]);
    fs::copy(world.path("s-0").join(&other).join("ledger-0"), &ledger).expect("copied");
    refuses(&["ledger-0", "belongs to the session"]);
    fs::remove_file(&ledger).expect("removed");
    refuses(&["no ledger of this session", "session approve"]);
    assert!(!ledger.exists(), "it was made anew in silence");
}

#[test]
fn two_processes_with_one_ledger_blind_no_row_twice() {
    let world = World::new();
    let flags = world.send_flags("0");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let start = |to: &str| {
        let mut command = world.program_as("0", &[&flags[..], &["--to", to, "--json"]].concat());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("it starts")
    };
    let runs = ["first", "second"].map(start);
    let runs = runs.map(|child| Run::of(child.wait_with_output().expect("it ends")));
    let mut packages = Vec::new();
    for (run, to) in runs.into_iter().zip(["first", "second"]) {
        match run.code {
            0 => packages.push(to),
            // It waited for the other one and gave up: nothing of it is left.
            1 => {
                let run = run.says(&["ledger", "hint: "]);
                assert!(!world.path(to).join("manifest.json").exists(), "{}", run.stderr);
            }
            code => panic!("{code}: {}", run.stderr),
        }
    }
    assert!(!packages.is_empty(), "neither has sent");
    // Whoever comes later says the same of every row.
    let later = [&flags[..], &["--to", "later", "--json"]].concat();
    let report = world.run_as("0", &later).ends_with(0).report();
    assert_eq!(report["changed_without_version"], serde_json::json!([]));
    packages.push("later");
    let contents = |package: &str| {
        let text = fs::read_to_string(world.path(package).join("manifest.json")).expect("closed");
        let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let parts = manifest["parts"].as_array().expect("parts").clone();
        parts.into_iter().map(|part| part["content_digest"].clone()).collect::<Vec<_>>()
    };
    for package in &packages {
        assert_eq!(contents(package), contents("package-0"), "{package}");
    }
}
