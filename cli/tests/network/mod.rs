//! Three parties as operators run them, for the tests of several programs: keys, sessions,
//! certificates, databases, and the receiver.

#![allow(dead_code, unused_imports, reason = "each test program uses some of it")]

use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use reshare_fixtures::postgres::ThrowAwayPostgres;
use tempfile::TempDir;

mod files;
mod run;
mod running;

pub(crate) use files::files_in;
pub(crate) use run::{Run, program};
pub(crate) use running::{PATIENCE, Running};

pub(crate) const ROWS: usize = 60;

static CLUSTER: LazyLock<ThrowAwayPostgres> =
    LazyLock::new(|| ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`"));

/// Three parties with keys, a session and seeded databases, and an empty target.
pub(crate) struct Network {
    pub(crate) directory: TempDir,
    pub(crate) databases: [String; 3],
    pub(crate) target: String,
    pub(crate) fingerprint: String,
}

/// A receiver that does not outlive its test.
pub(crate) struct Receiver(pub(crate) Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // It has ended by itself where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Network {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let create = |name: &str| {
            let name = format!("network_{number}_{name}");
            runtime.block_on(CLUSTER.create_database(&name)).expect("a database")
        };
        let databases = [create("zero"), create("one"), create("two")];
        let target = create("target");
        let mut network = Self { directory, databases, target, fingerprint: String::new() };
        network.agree();
        network.seed();
        network
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the program in the network's directory.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let mut command = program();
        command.args(arguments).current_dir(&self.directory);
        Run::of(command.output().expect("it starts"))
    }

    fn agree(&mut self) {
        for sender in ["0", "1"] {
            let made = self.run(&["keygen", "agreement", "--out", &format!("{sender}.key")]);
            let public = made.ends_with(0).stdout;
            std::fs::write(self.path(&format!("{sender}.pub")), public).expect("written");
        }
        let recipient = self.run(&["keygen", "recipient", "--out", "r.age"]).ends_with(0).stdout;
        let receiver = format!("2={}", recipient.trim());
        let new = [
            "session",
            "new",
            "--out",
            "session.toml",
            "--session-id",
            "run",
            "--environment",
            "dev",
            "--sender",
            "0=0.pub",
            "--sender",
            "1=1.pub",
            "--receiver",
            &receiver,
            "--db-end",
            "1000",
            "--json",
        ];
        let session = self.run(&new).ends_with(0).report();
        self.fingerprint = session["fingerprint"].as_str().expect("text").to_owned();
        for sender in ["0", "1"] {
            let made = self.approve(sender, &format!("state-{sender}")).ends_with(0).report();
            assert_eq!(made["ledger_made"], true);
        }
    }

    pub(crate) fn approve(&self, sender: &str, state: &str) -> Run {
        let session = ["session", "approve", "--session", "session.toml", "--party-id", sender];
        let flags = ["--expect-fingerprint", &self.fingerprint, "--state-dir", state, "--json"];
        let own_key = ["--own-public-key", &format!("{sender}.pub")];
        self.run(&[&session[..], &flags[..], &own_key[..]].concat())
    }

    /// Makes an authority, a certificate for each party, a session that names them, and the
    /// approvals of all three.
    pub(crate) fn certify(&self) {
        self.run(&["pki", "ca", "--out", "ca"]).ends_with(0);
        let recipient = std::fs::read_to_string(self.path("r.age")).expect("an identity");
        let recipient = recipient.split("public key: ").nth(1).expect("a comment");
        let receiver = format!("2={}", recipient.lines().next().expect("a line"));
        let mut new = vec![
            "session",
            "new",
            "--out",
            "certified.toml",
            "--session-id",
            "certified",
            "--environment",
            "dev",
            "--sender",
            "0=0.pub",
            "--sender",
            "1=1.pub",
            "--receiver",
            &receiver,
            "--db-end",
            "1000",
            "--ca-file",
            "ca/ca.pem",
        ];
        let names = ["0", "1", "2"].map(|party| format!("{party}=spiffe://mpc.example/{party}"));
        for name in &names {
            let (party, name_alone) = name.split_once('=').expect("both");
            let out = format!("certificate-{party}");
            let issue = ["pki", "issue", "--ca", "ca", "--name", name_alone, "--out", &out];
            self.run(&issue).ends_with(0);
            new.extend(["--certificate-name", name]);
        }
        self.run(&new).ends_with(0);
        let recipient = receiver.trim_start_matches("2=");
        for (party, own_key) in [("0", "0.pub"), ("1", "1.pub"), ("2", recipient)] {
            let approve = ["session", "approve", "--session", "certified.toml"];
            let own_key = ["--own-public-key", own_key];
            self.run_as(party, &[&approve[..], &own_key[..]].concat()).ends_with(0);
        }
    }

    /// The program with one party's certificate, the authority and a state directory.
    pub(crate) fn program_as(&self, party: &str, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(&self.directory);
        command.env("RESHARE_CA_FILE", "ca/ca.pem").env("RESHARE_STATE_DIR", format!("s-{party}"));
        command.env("RESHARE_CERTIFICATE", format!("certificate-{party}/certificate.pem"));
        command.env("RESHARE_CERTIFICATE_KEY", format!("certificate-{party}/certificate.key"));
        command
    }

    pub(crate) fn run_as(&self, party: &str, arguments: &[&str]) -> Run {
        Run::of(self.program_as(party, arguments).output().expect("it starts"))
    }

    /// Starts the receiver of the session with certificates, and says where it listens.
    pub(crate) fn receive(&self) -> (Receiver, String) {
        let arguments = [
            "receive",
            "--session",
            "certified.toml",
            "--listen",
            "127.0.0.1:0",
            "--health-listen",
            "127.0.0.1:0",
            "--inbox",
            "inbox",
            "--rebuild",
            "--identity",
            "r.age",
            "--db-url",
            &self.target,
        ];
        let mut command = self.program_as("2", &arguments);
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
        let mut lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("text");
        // The rest is read, so that the program never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let address = first.strip_prefix("receiving on ").and_then(|rest| rest.split_once(','));
        let address = address.map(|(address, _)| address.to_owned());
        (Receiver(child), address.expect("it says where it listens"))
    }

    fn seed(&self) {
        let rows = ROWS.to_string();
        let mut arguments = vec!["seed".to_owned(), "--rows".to_owned(), rows];
        for (party, url) in self.databases.iter().enumerate() {
            arguments.extend(["--db".to_owned(), format!("{party}={url}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments).ends_with(0);
        self.sql(&self.target, "CREATE SCHEMA \"SMPC_dev_2\"");
        let table = reshare_fixtures::iris_table::IrisTable::Triggers;
        self.sql(&self.target, &table.create_sql("SMPC_dev_2", "irises"));
    }

    pub(crate) fn sql(&self, url: &str, sql: &str) -> String {
        let psql = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", sql, url];
        let run =
            Run::of(Command::new("psql").args(psql).output().expect("psql: run `make setup`"));
        run.ends_with(0).stdout
    }

    pub(crate) fn send(&self, sender: usize, to: &str) -> Run {
        let key = format!("file:{sender}.key");
        self.run(&[
            "send",
            "--session",
            "session.toml",
            "--agreement-key",
            &key,
            "--expect-fingerprint",
            &self.fingerprint,
            "--state-dir",
            &format!("state-{sender}"),
            "--db-url",
            &self.databases[sender],
            "--to",
            to,
            "--batch-size",
            ["7", "11"][sender],
            "--json",
        ])
    }

    pub(crate) fn rebuild(&self, more: &[&str]) -> Run {
        let mut arguments = vec![
            "rebuild",
            "--session",
            "session.toml",
            "--identity",
            "r.age",
            "--package",
            "p0",
            "--package",
            "p1",
            "--db-url",
            &self.target,
            "--json",
        ];
        arguments.extend(more);
        self.run(&arguments)
    }

    pub(crate) fn verify(&self) -> Run {
        let urls = ["--db-url", &self.target, "--db-url", &self.databases[2]];
        self.run(&[&["verify", "--session", "session.toml", "--json"], &urls[..]].concat())
    }
}
