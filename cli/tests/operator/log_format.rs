//! Standard error for programs: `--log-format json`, and errors with `--json`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use reshare_fixtures::network::{Run, Running, Setup, program};
use serde_json::Value;

use crate::{RESHARE, ROWS};

/// What a command says on standard error, each line parsed.
fn lines(run: &Run) -> Vec<Value> {
    let parsed = run.stderr.lines().map(|line| serde_json::from_str(line).expect(line));
    parsed.collect()
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command: Command = program(RESHARE);
    let output = command.args(arguments).envs(variables.iter().copied()).output();
    let output = output.expect("it starts");
    let stderr = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    Run { stderr, ..Run::of(output) }
}

fn only_error(run: &Run) -> Value {
    let lines = lines(run);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0]["error"].clone()
}

#[test]
fn an_error_is_one_json_object_with_json() {
    let run = run(&["session", "show", "--session", "/nowhere/a\u{1b}[31m.toml", "--json"], &[]);
    let run = run.ends_with(2);
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
    let error = only_error(&run);
    assert_eq!((&error["code"], &error["exit_code"]), (&"usage".into(), &2.into()), "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("/nowhere/a")), "{error}");
    assert!(error["hint"].as_str().is_some_and(|text| text.contains("--session")), "{error}");
    assert!(error["causes"].is_array(), "{error}");
}

#[test]
fn what_the_command_line_gets_wrong_is_json_too() {
    let wrong = ["status", "--json", "--sesion", "x"];
    let error = only_error(&run(&wrong, &[]).ends_with(2));
    assert_eq!(error["message"], "unexpected argument '--sesion' found");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--session")), "{error}");
    let missing = run(&["status", "--log-format=json"], &[]).ends_with(2);
    let lines = lines(&missing);
    assert_eq!(lines[0]["level"], "ERROR");
    assert!(lines[0]["error"]["message"].as_str().is_some_and(|text| text.contains("--session")));
    let none = only_error(&run(&["--json"], &[]).ends_with(2));
    assert_eq!(none["message"], "a command is missing");
}

#[test]
fn every_line_is_a_json_object_with_log_format_json() {
    let network = Setup::of(RESHARE).rows(ROWS as u64).with_certificates().make();
    let flags = network.receiver_flags();
    let mut receiver = network.program_as("2", &flags.command("receive"));
    receiver.env("RESHARE_LOG_FORMAT", "json").env("RESHARE_RECEIVE_REBUILD", "true");
    let mut receiver = Running::start(&mut receiver);
    receiver.says(&["receiving on"]);
    receiver.signal("-TERM");
    let stopped = receiver.finish().ends_with(143);
    let said = lines(&stopped);
    assert_eq!(said.last().expect("a line")["error"]["code"], "terminated", "{said:?}");
    // A log of a library: others may read this password file.
    let open = network.path("pgpass");
    fs::write(&open, "").expect("written");
    fs::set_permissions(&open, Permissions::from_mode(0o644)).expect("set");
    let export = ["export", "--session", "session.toml", "--party-id", "0", "--out", "x"];
    let url = ["--db-url", "postgres://alice@127.0.0.1:1/db?connect_timeout=1"];
    let mut export = network.program_as("0", &[&export[..], &url].concat());
    export.env("RESHARE_LOG_FORMAT", "json").env("PGPASSFILE", &open);
    let failed = Run::command(&mut export).ends_with(1);
    let logged = lines(&failed);
    let warned = logged.iter().any(|line| line["level"] == "WARN");
    assert!(warned, "no warning: {logged:?}");
    for line in said.iter().chain(&logged) {
        let time = line["timestamp"].as_str().expect("a timestamp");
        assert!(time.starts_with("20") && time.contains('T') && time.ends_with('Z'), "{line}");
        let level = line["level"].as_str().expect("a level");
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
        assert!(line["message"].is_string(), "{line}");
    }
}

#[test]
fn a_settings_file_says_how_lines_are_written_and_a_flag_goes_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("reshare.toml");
    fs::write(&file, "log_format = 'json'\n").expect("written");
    let config = ["--config", file.to_str().expect("text")];
    let inspect = ["inspect", "/nowhere/at-all"];
    let by_file = run(&[&inspect[..], &config].concat(), &[]).ends_with(2);
    assert_eq!(lines(&by_file)[0]["error"]["code"], "usage");
    let text = run(&[&inspect[..], &config, &["--log-format", "text"]].concat(), &[]).ends_with(2);
    assert!(text.stderr.starts_with("error: "), "{}", text.stderr);
    let unknown = run(&inspect, &[("RESHARE_LOG_FORMAT", "xml")]).ends_with(2);
    unknown.refuses("--log-format comes from RESHARE_LOG_FORMAT");
}
