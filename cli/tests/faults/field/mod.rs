//! What the machines, disks, file systems and shells of real places do.

mod delivered;
mod limits;
mod places;
mod pod;
mod streams;
mod texts;
mod written;

use std::process::{Command, Stdio};

use reshare_fixtures::network::{Run, program};

use crate::RESHARE;

/// Runs the program through a shell's redirections, in a directory.
fn shell(directory: &std::path::Path, script: &str) -> Run {
    let mut bash = program("/bin/bash");
    bash.args(["-c", script]).env("RESHARE", RESHARE).current_dir(directory);
    Run::command(bash.stdin(Stdio::null()))
}

/// The program under strace (`make setup` installs it), which has system calls answer as some file
/// systems do.
fn with_answers(answers: &[&str], command: &mut Command) -> Command {
    let mut strace = program("strace");
    strace.args(["--follow-forks", "--quiet=all", "--output=/dev/null", "--seccomp-bpf"]);
    strace.args(["--trace=renameat2,link,linkat,fsync"]);
    strace.args(answers.iter().map(|answer| format!("--inject={answer}")));
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        strace.current_dir(directory);
    }
    strace
}
