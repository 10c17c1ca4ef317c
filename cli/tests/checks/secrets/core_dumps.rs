//! A crash writes no key to a disk.

use std::fs;
use std::process::Command;

use reshare_fixtures::network::Running;

use crate::{RESHARE, network};

#[test]
fn a_program_dumps_no_core_whatever_limit_it_is_started_with() {
    let world = network();
    let receive = ["receive", "--session", "session.toml", "--inbox", "inbox", "--listen"];
    let rest = ["127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--keep-free-bytes", "0"];
    let as_receiver = world.program_as("2", &[]);
    let mut shell = Command::new("sh");
    // As large as it may be.
    shell.args(["-c", "ulimit -c $(ulimit -H -c); exec \"$0\" \"$@\"", RESHARE]);
    shell.args(receive).args(rest).current_dir(world.directory()).env_clear();
    let given = as_receiver.get_envs().filter_map(|(name, value)| Some((name, value?)));
    shell.envs(given).envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
    let mut receiver = Running::start(&mut shell);
    receiver.address();
    let limits = fs::read_to_string(format!("/proc/{}/limits", receiver.id())).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let words: Vec<&str> = line.expect("a limit").split_whitespace().collect();
    assert_eq!(words, ["0", "0", "bytes"]);
}
