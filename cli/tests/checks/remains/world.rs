//! Three parties with certificates whose sessions have state and approvals of their own.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use reshare_fixtures::network::{Network, Run, Running, Setup, is_run_report};

use crate::RESHARE;

pub(crate) const ROWS: usize = 60;

/// A network with the session `run.toml`, in which no party knows its state directory by itself.
pub(crate) struct World(Network);

impl Deref for World {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.0
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let setup = Setup::of(RESHARE).with_certificates().without_lost_table();
        let world = Self(setup.rows(ROWS as u64).without_session().make());
        world.agree("run");
        world
    }

    pub(crate) fn command(&self, party: &str, arguments: &[&str]) -> Command {
        let mut command = self.program_as(party, arguments);
        for name in ["RESHARE_STATE_DIR", "XDG_STATE_HOME", "HOME"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run_as(&self, party: &str, arguments: &[&str]) -> Run {
        Run::command(&mut self.command(party, arguments))
    }

    /// Runs as the receiver.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_as("2", arguments)
    }

    /// Makes the session `NAME.toml`, with approvals `NAME-0.json` and so on.
    pub(crate) fn agree(&self, name: &str) {
        let file = format!("{name}.toml");
        self.make_session(&file, &["--session-id", name]);
        self.approve_session(&file, name);
    }

    pub(crate) fn database(&self, sender: usize) -> &str {
        &self.databases[sender]
    }

    /// The flags of a sender, without a destination.
    pub(crate) fn sender(&self, session: &str, sender: &str) -> Vec<String> {
        let other = if sender == "0" { "1" } else { "0" };
        let file = format!("{session}.toml");
        let flags = [
            ("--session", file),
            ("--agreement-key", format!("{sender}.key")),
            ("--approval", format!("{session}-2.json")),
            ("--approval", format!("{session}-{other}.json")),
            ("--state-dir", format!("state-{sender}")),
        ];
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    pub(crate) fn send(&self, session: &str, sender: &str, to: &str, more: &[&str]) -> Run {
        let index: usize = sender.parse().expect("a number");
        let flags = self.sender(session, sender);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let to = ["--to", to, "--db-url", &self.databases[index]];
        self.run_as(sender, &[&["send"], &flags[..], &to, more].concat())
    }

    /// Both packages, `p0` and `p1`.
    pub(crate) fn packages(&self) {
        for (sender, to) in [("0", "p0"), ("1", "p1")] {
            self.send("run", sender, to, &["--batch-size", "7"]).ends_with(0);
        }
    }

    pub(crate) fn rebuild(&self, more: &[&str]) -> Run {
        let packages = ["--identity", "r.age", "--package", "p0", "--package", "p1"];
        let target = ["--session", "run.toml", "--db-url", &self.target];
        self.run(&[&["rebuild"], &packages[..], &target, more].concat())
    }

    /// Merges the packages into `m.rsh` and compares it with the table.
    pub(crate) fn verify(&self) -> Run {
        if !self.path("m.rsh").exists() {
            let packages = ["--identity", "r.age", "--package", "p0", "--package", "p1"];
            let merge = ["merge", "--session", "run.toml", "--out", "m.rsh"];
            let merged = self.run(&[&merge[..], &packages].concat());
            assert!(merged.stdout.contains("merged "), "{}", merged.stderr);
        }
        let target = ["--file", "m.rsh", "--db-url", &self.target, "--json"];
        self.run(&[&["verify", "--session", "run.toml"], &target[..]].concat())
    }

    /// Starts the receiver with the inbox `inbox`, and says where it listens.
    pub(crate) fn receive(&self) -> (Running, String) {
        let mut running = self.0.receive("run.toml", "inbox", &[]);
        let address = running.address();
        (running, address)
    }

    /// Every file below the directory but run reports, with its bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut files, mut left) = (BTreeMap::new(), vec![self.path("")]);
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).expect("there").flatten() {
                match entry.file_type().expect("known") {
                    kind if kind.is_dir() => left.push(entry.path()),
                    kind if kind.is_file() && !is_run_report(&entry.path()) => {
                        let bytes = std::fs::read(entry.path()).expect("readable");
                        files.insert(entry.path(), bytes);
                    }
                    _ => {}
                }
            }
        }
        files
    }
}
