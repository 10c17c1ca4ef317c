//! Other programs, run to their end.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// Starts a program.
pub(crate) fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| not_started(command, &error))
}

/// Waits for a program that must succeed, and returns what it has printed.
pub(crate) fn check_ended(program: &str, child: Child) -> Result<String, Failure> {
    let output = child.wait_with_output()?;
    check(program, &output)?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The unit of times in /proc, on every architecture: USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU-seconds of all processes that this one has started and waited for.
pub(crate) fn cpu_of_children() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may have spaces; user and system time of children come 14th and 15th.
    let fields = stat.rsplit_once(')').ok_or("/proc/self/stat is not understood")?.1;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.collect::<Result<Vec<_>, _>>()?.iter().sum();
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// The largest figures of a process while it runs.
#[derive(Debug)]
pub(crate) struct Peak {
    pub(crate) resident_mib: f64,
    /// Bytes that it wrote to files.
    pub(crate) written: f64,
    watching: Option<JoinHandle<[f64; 2]>>,
}

impl Peak {
    /// Looks at a process until it has ended.
    pub(crate) fn watch(process: u32) -> Self {
        let watching = std::thread::spawn(move || {
            let mut last = [0.0; 2];
            loop {
                let resident = figure(process, "status", "VmHWM:").map(|kib| kib / 1024.0);
                let Some(resident) = resident else { return last };
                let written = figure(process, "io", "write_bytes:").unwrap_or(last[1]);
                last = [resident, written];
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { resident_mib: 0.0, written: 0.0, watching: Some(watching) }
    }

    /// What was seen, once the process has ended.
    pub(crate) fn ended(mut self) -> Self {
        let seen = self.watching.take().and_then(|watching| watching.join().ok());
        [self.resident_mib, self.written] = seen.unwrap_or([f64::NAN; 2]);
        self
    }
}

/// A number in a file of /proc; nothing when the process is gone.
fn figure(process: u32, file: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
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
