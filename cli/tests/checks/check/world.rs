//! Three parties with certificates, approvals and databases; what a check prints.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::network::Run;
use crate::network::files_in;

static CLUSTER: LazyLock<ThrowAwayPostgres> =
    LazyLock::new(|| ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`"));

/// Parties 0 and 1 send, 2 receives; all that a run needs is there.
pub(crate) struct World {
    directory: TempDir,
    pub(crate) databases: [String; 3],
    pub(crate) fingerprint: String,
}

/// One line of a report.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) detail: String,
    hint: String,
}

impl Line {
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.detail.contains(words), "{words:?} is not in {:?}", self.detail);
        self
    }

    #[track_caller]
    pub(crate) fn hints(self, words: &str) -> Self {
        assert!(self.hint.contains(words), "{words:?} is not in the hint {:?}", self.hint);
        self
    }
}

/// The one line about a thing, which must be in this state.
#[track_caller]
pub(crate) fn line(report: &Value, what: &str, state: &str) -> Line {
    let checks = report["checks"].as_array().expect("checks");
    let all: Vec<&Value> = checks.iter().filter(|check| check["what"] == what).collect();
    let found = all.iter().find(|check| check["state"] == state);
    let found = found.unwrap_or_else(|| panic!("{what} is not {state}: {all:#?} in {report:#}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Line { detail: text("detail"), hint: text("hint") }
}

/// What is not ok.
pub(crate) fn not_ok(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().expect("checks").iter();
    let not_ok = checks.filter(|check| check["state"] == "not_ok");
    not_ok.map(|check| check["what"].as_str().expect("text").to_owned()).collect()
}

/// The flags of one role, each of which a test may change.
#[derive(Clone)]
pub(crate) struct Flags {
    party: &'static str,
    role: &'static str,
    flags: Vec<(String, Option<String>)>,
}

impl Flags {
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.remove(name).add(name, Some(value))
    }

    pub(crate) fn add(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        self.flags.push((name.to_owned(), value.map(str::to_owned)));
        self
    }

    pub(crate) fn remove(&mut self, name: &str) -> &mut Self {
        self.flags.retain(|(other, _)| other != name);
        self
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let pairs = self.flags.iter();
        pairs.flat_map(|(name, value)| [Some(name.as_str()), value.as_deref()]).flatten()
    }

    /// The same flags for the command that they are meant for.
    pub(crate) fn command<'a>(&'a self, command: &'a str) -> Vec<&'a str> {
        std::iter::once(command).chain(self.words()).collect()
    }
}

/// A receiver that does not outlive its test.
pub(crate) struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // It has ended by itself where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_rows(20)
    }

    /// The same with so many rows at each sender, and none at the receiver.
    pub(crate) fn with_rows(rows: u32) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let create = |name: &str| {
            let name = format!("check_{number}_{name}");
            runtime.block_on(CLUSTER.create_database(&name)).expect("a database")
        };
        let databases = [create("zero"), create("one"), create("target")];
        let directory = tempfile::tempdir().expect("a directory");
        let mut world = Self { directory, databases, fingerprint: String::new() };
        world.make_keys();
        world.fingerprint = world.make_session("session.toml", &[]);
        world.approve("session.toml", "approval");
        let databases = [0, 1].map(|party: usize| format!("{party}={}", world.databases[party]));
        let [zero, one] = &databases;
        world
            .run("0", &["seed", "--rows", &rows.to_string(), "--db", zero, "--db", one])
            .ends_with(0);
        world.sql(2, &IrisTable::Plain.create_sql("SMPC_dev_2", "irises"));
        world
    }

    fn make_keys(&self) {
        for sender in ["0", "1"] {
            let made =
                self.run(sender, &["keygen", "agreement", "--out", &format!("{sender}.key")]);
            std::fs::write(self.path(&format!("{sender}.pub")), made.ends_with(0).stdout)
                .expect("written");
        }
        let made = self.run("2", &["keygen", "recipient", "--out", "r.age"]).ends_with(0);
        std::fs::write(self.path("r.pub"), made.stdout).expect("written");
        self.run("0", &["pki", "ca", "--out", "ca"]).ends_with(0);
        for party in ["0", "1", "2"] {
            let name = format!("spiffe://mpc.example/{party}");
            let out = format!("certificate-{party}");
            let issue = ["pki", "issue", "--ca", "ca", "--name", &name, "--out", &out];
            self.run(party, &issue).ends_with(0);
        }
    }

    /// Has all parties approve a session, in files that begin so.
    pub(crate) fn approve(&self, session: &str, approval: &str) {
        for (party, own_key) in [("0", "0.pub"), ("1", "1.pub"), ("2", "r.pub")] {
            let out = format!("{approval}-{party}.json");
            let approve = ["session", "approve", "--session", session, "--out", &out];
            let own_key = ["--own-public-key", own_key];
            self.run(party, &[&approve[..], &own_key].concat()).ends_with(0);
        }
    }

    /// Makes a session of these parties, and returns its fingerprint.
    pub(crate) fn make_session(&self, out: &str, more: &[&str]) -> String {
        let recipient = std::fs::read_to_string(self.path("r.pub")).expect("a recipient");
        let receiver = format!("2={}", recipient.trim());
        let names = ["0", "1", "2"].map(|party| format!("{party}=spiffe://mpc.example/{party}"));
        let mut new = vec!["session", "new", "--json", "--out", out];
        if !more.contains(&"--session-id") {
            new.extend(["--session-id", "check"]);
        }
        if !more.contains(&"--db-end") {
            new.extend(["--db-end", "1001"]);
        }
        new.extend(["--environment", "dev", "--ca-file", "ca/ca.pem"]);
        new.extend(["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", &receiver]);
        names.iter().for_each(|name| new.extend(["--certificate-name", name]));
        new.extend(more);
        let report = self.run("0", &new).ends_with(0).report();
        report["fingerprint"].as_str().expect("text").to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn program(&self, party: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reshare"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["RESHARE_", "PG", "RUST_LOG", "DATABASE_URL"];
            if ours.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.args(arguments).current_dir(&self.directory);
        command.env("RESHARE_CA_FILE", "ca/ca.pem").env("RESHARE_STATE_DIR", format!("s-{party}"));
        command.env("RESHARE_CERTIFICATE", format!("certificate-{party}/certificate.pem"));
        command.env("RESHARE_CERTIFICATE_KEY", format!("certificate-{party}/certificate.key"));
        command
    }

    pub(crate) fn run(&self, party: &str, arguments: &[&str]) -> Run {
        Run::of(self.program(party, arguments).output().expect("it starts"))
    }

    /// The flags of a sender that makes a package.
    pub(crate) fn sender(&self, party: usize) -> Flags {
        let (me, other) = [("0", "1"), ("1", "0")][party];
        let mut flags = Flags { party: me, role: "sender", flags: vec![] };
        flags.set("--session", "session.toml").set("--agreement-key", &format!("file:{me}.key"));
        flags.add("--approval", Some("approval-2.json"));
        flags.add("--approval", Some(&format!("approval-{other}.json")));
        flags.set("--db-url", &self.databases[party]).set("--to", &format!("package-{me}"));
        flags
    }

    /// The flags of the receiver.
    pub(crate) fn receiver(&self) -> Flags {
        let mut flags = Flags { party: "2", role: "receiver", flags: vec![] };
        flags.set("--session", "session.toml").set("--identity", "r.age").set("--inbox", "inbox");
        flags.set("--listen", "127.0.0.1:0").set("--health-listen", "127.0.0.1:0");
        flags.set("--db-url", &self.databases[2]).set("--keep-free-bytes", "0");
        flags
    }

    /// Runs `check` with JSON for its report.
    pub(crate) fn check(&self, flags: &Flags) -> Run {
        let words = ["check", flags.role, "--json"].into_iter().chain(flags.words());
        self.run(flags.party, &words.collect::<Vec<_>>())
    }

    /// Starts a receiver with an inbox of its own, and says its URL.
    pub(crate) fn receive(&self) -> (Receiver, String) {
        let listen = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
        let rest = ["receive", "--session", "session.toml", "--inbox", "live-inbox"];
        let mut command = self.program("2", &[&rest[..], &listen].concat());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("text");
        // The rest is read, so that the program never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let address = first.strip_prefix("receiving on ").and_then(|rest| rest.split_once(','));
        let address = address.map(|(address, _)| address.to_owned());
        (Receiver(child), format!("https://{}", address.expect("it says where it listens")))
    }

    /// Runs SQL as the superuser in one party's database.
    pub(crate) fn sql(&self, party: usize, sql: &str) -> String {
        let psql =
            ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"];
        let mut command = Command::new("psql");
        command.args(psql).args(["--command", sql, &self.databases[party]]);
        Run::of(command.output().expect("psql: run `make setup`")).ends_with(0).stdout
    }

    /// Makes a role, and returns the URL of a database for it.
    pub(crate) fn url_as(&self, party: usize, rights: &str) -> (String, String) {
        let (before, parameters) = self.databases[party].split_once('?').expect("parameters");
        let name = before.rsplit('/').next().expect("a name");
        let role = format!("{name}_role");
        self.sql(party, &format!("CREATE ROLE {role} LOGIN"));
        if !rights.is_empty() {
            self.sql(party, &rights.replace("ROLE", &role));
        }
        (format!("{before}?{}", parameters.replace("user=postgres", &format!("user={role}"))), role)
    }

    /// All files with their size, mode and when they were written, and all tables with their
    /// rights, columns and rows.
    pub(crate) fn everything(&self) -> (BTreeMap<PathBuf, String>, Vec<String>) {
        let files = files_in(self.directory.path());
        let catalog = "SELECT string_agg(concat_ws(' ', n.nspname, n.nspacl, c.relname, c.relkind, \
            c.relacl, a.attname, a.atttypid), ';' ORDER BY n.nspname, c.relname, a.attnum) \
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            JOIN pg_attribute a ON a.attrelid = c.oid";
        let databases = (0..3).map(|party| {
            let rows =
                format!("SELECT md5(string_agg(r::text, ';')) FROM \"SMPC_dev_{party}\".irises r");
            self.sql(party, catalog) + &self.sql(party, &rows)
        });
        (files, databases.collect())
    }
}
