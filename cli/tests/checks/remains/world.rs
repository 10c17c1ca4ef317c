//! Three parties with certificates, approvals and seeded databases, and an empty target.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ROWS: usize = 60;

static CLUSTER: LazyLock<ThrowAwayPostgres> =
    LazyLock::new(|| ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`"));

pub(crate) struct World {
    pub(crate) directory: TempDir,
    databases: [String; 2],
    pub(crate) target: String,
}

/// What a run printed and returned.
pub(crate) struct Run {
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code();
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("a JSON report on standard output")
    }
}

/// A process that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let create = |name: &str| {
            let name = format!("remains_{number}_{name}");
            runtime.block_on(CLUSTER.create_database(&name)).expect("a database")
        };
        let databases = [create("zero"), create("one")];
        let world = Self { directory, databases, target: create("target") };
        world.keys();
        world.agree("run");
        world.seed();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, party: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reshare"));
        command.args(arguments).current_dir(&self.directory).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("RESHARE_CA_FILE", "ca/ca.pem");
        command.env("RESHARE_CERTIFICATE", format!("certificate-{party}/certificate.pem"));
        command.env("RESHARE_CERTIFICATE_KEY", format!("certificate-{party}/certificate.key"));
        command
    }

    pub(crate) fn run_as(&self, party: &str, arguments: &[&str]) -> Run {
        Run::of(self.command(party, arguments).output().expect("it starts"))
    }

    /// Runs as the receiver.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_as("2", arguments)
    }

    fn keys(&self) {
        self.run(&["pki", "ca", "--out", "ca"]).ends_with(0);
        for party in ["0", "1", "2"] {
            let (name, out) = (certificate_name(party), format!("certificate-{party}"));
            let issue = ["pki", "issue", "--ca", "ca", "--name", &name, "--out", &out];
            self.run(&issue).ends_with(0);
            let made = match party {
                "2" => self.run(&["keygen", "recipient", "--out", "r.age"]),
                _ => self.run(&["keygen", "agreement", "--out", &format!("{party}.key")]),
            };
            let public = made.ends_with(0).stdout;
            std::fs::write(self.path(&format!("{party}.pub")), public).expect("written");
        }
    }

    /// Makes the session `NAME.toml`, with state and approvals of its own.
    pub(crate) fn agree(&self, name: &str) {
        let recipient = std::fs::read_to_string(self.path("2.pub")).expect("a key");
        let (receiver, file) = (format!("2={}", recipient.trim()), format!("{name}.toml"));
        let mut new = vec!["session", "new", "--out", &file, "--session-id", name];
        new.extend(["--environment", "dev", "--sender", "0=0.pub", "--sender", "1=1.pub"]);
        new.extend(["--receiver", &receiver, "--db-end", "1000", "--ca-file", "ca/ca.pem"]);
        let names = ["0", "1", "2"].map(|party| format!("{party}={}", certificate_name(party)));
        names.iter().for_each(|name| new.extend(["--certificate-name", name]));
        self.run(&new).ends_with(0);
        for (party, own_key) in [("0", "0.pub"), ("1", "1.pub"), ("2", recipient.trim())] {
            let (state, out) = (format!("state-{party}"), format!("{name}-{party}.json"));
            let flags = ["--session", &file, "--own-public-key", own_key, "--out", &out];
            let state = ["--state-dir", &state];
            let state = if party == "2" { &[][..] } else { &state[..] };
            self.run_as(party, &[&["session", "approve"], &flags[..], state].concat()).ends_with(0);
        }
    }

    fn seed(&self) {
        let rows = ROWS.to_string();
        let [zero, one] = [0, 1].map(|party| format!("{party}={}", self.databases[party]));
        self.run(&["seed", "--rows", &rows, "--db", &zero, "--db", &one]).ends_with(0);
        self.sql("CREATE SCHEMA \"SMPC_dev_2\"");
        self.sql(&IrisTable::Triggers.create_sql("SMPC_dev_2", "irises"));
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        query(&self.target, sql)
    }

    pub(crate) fn sql_at(&self, sender: usize, sql: &str) -> String {
        query(&self.databases[sender], sql)
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
        let listen = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
        let receive = ["receive", "--session", "run.toml", "--inbox", "inbox"];
        let mut command = self.command("2", &[&receive[..], &listen].concat());
        let mut running = Running(command.stderr(Stdio::piped()).spawn().expect("it starts"));
        let stderr = std::io::BufReader::new(running.0.stderr.take().expect("piped"));
        let mut lines = std::io::BufRead::lines(stderr);
        let first = lines.next().expect("a line").expect("text");
        // The rest is read, so that the program never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let address = first.strip_prefix("receiving on ").and_then(|rest| rest.split_once(','));
        (running, address.expect("it says where it listens").0.to_owned())
    }

    /// Every file below the directory, with its bytes.
    pub(crate) fn files(&self) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let (mut files, mut left) = (std::collections::BTreeMap::new(), vec![self.path("")]);
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).expect("there").flatten() {
                match entry.file_type().expect("known") {
                    kind if kind.is_dir() => left.push(entry.path()),
                    kind if kind.is_file() => {
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

fn certificate_name(party: &str) -> String {
    format!("spiffe://mpc.example/{party}")
}

fn query(url: &str, sql: &str) -> String {
    let psql = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", sql, url];
    let run = Run::of(Command::new("psql").args(psql).output().expect("psql: run `make setup`"));
    run.ends_with(0).stdout
}
