//! Other programs, run to their end.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::Failure;

/// Runs a program and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| not_started(command, &error))?;
    check(&name(command), &output)?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs programs at the same time, and returns the seconds until the last one has ended.
///
/// Each command sets its own standard output. A command is dropped as soon as its program runs: a
/// reader sees the end of a pipe only when no other process can write to it.
pub(crate) fn seconds(commands: impl IntoIterator<Item = Command>) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut children = Vec::new();
    for mut command in commands {
        let child = command.stderr(Stdio::piped()).spawn();
        children.push((child.map_err(|error| not_started(&command, &error))?, name(&command)));
    }
    let ended = children.into_iter().map(|(child, name)| (child.wait_with_output(), name));
    let ended: Vec<_> = ended.collect();
    let took = began.elapsed().as_secs_f64();
    ended.into_iter().try_for_each(|(output, name)| check(&name, &output?))?;
    Ok(took)
}

fn name(command: &Command) -> String {
    command.get_program().display().to_string()
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    format!("{} does not start: {error}", name(command)).into()
}

fn check(program: &str, output: &Output) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed ({}): {}", output.status, said.trim()).into())
}
