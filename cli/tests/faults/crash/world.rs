//! Two senders and a receiver with certificates and databases; processes in the middle of work.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;
use tempfile::TempDir;

use crate::way::Way;

/// Rows of every sender, about 50 KB each.
pub(crate) const ROWS: u64 = 40;
/// Parts that a sender's flags make of them.
pub(crate) const PARTS: u64 = 10;

/// How long anything may take that must come in the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

static SHARED: LazyLock<Arc<ThrowAwayPostgres>> = LazyLock::new(|| Arc::new(start_cluster()));

pub(crate) fn start_cluster() -> ThrowAwayPostgres {
    ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`")
}

/// Parties 0 and 1 send, 2 receives.
pub(crate) struct World {
    directory: TempDir,
    pub(crate) cluster: Arc<ThrowAwayPostgres>,
    pub(crate) databases: [String; 3],
}

/// What a run printed and returned.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
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
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} is not in {}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// A number of the report.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let report = self.report();
        report[name].as_u64().unwrap_or_else(|| panic!("no number {name}: {report}"))
    }
}

/// A process that does not outlive its test.
pub(crate) struct Job(Option<Child>);

impl Job {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().expect("it starts")))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not waited for")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child().try_wait().expect("a child").is_none()
    }

    /// Waits until something is so; says whether it came before the process ended, or so long
    /// after that it never will.
    pub(crate) fn runs_until(&mut self, is_so: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if is_so() {
                return true;
            }
            if !self.is_running() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Waits until the way's bytes are spent, which the process must live to see.
    #[track_caller]
    pub(crate) fn is_held_on(&mut self, way: &Way) {
        if !self.runs_until(|| way.is_spent()) {
            let ended = !self.is_running();
            self.end();
            panic!("not within {PATIENCE:?}, it ended by itself: {ended}; {:?}", self.finish());
        }
    }

    pub(crate) fn signal(&mut self, signal: &str) {
        let process = self.child().id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.expect("procps: kill").success());
    }

    /// Kills it with SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.end();
        self.child().wait().expect("it ends");
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child().kill();
    }

    pub(crate) fn finish(&mut self) -> Run {
        Run::of(self.0.take().expect("not waited for").wait_with_output().expect("it ends"))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A receiver at work.
pub(crate) struct Receiver {
    pub(crate) job: Job,
    said: Arc<Mutex<Vec<String>>>,
}

/// What a receiver says first, and then its address.
const LISTENS: &str = "receiving on ";

impl Receiver {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().expect("no panic").push(line);
            }
        });
        Self { job: Job(Some(child)), said }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        let said = self.said.lock().expect("no panic");
        let address = said.iter().find_map(|line| line.strip_prefix(LISTENS)?.split_once(','));
        address.expect("it listens").0.to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Waits until it listens, or until something else comes first; says whether it listens.
    pub(crate) fn listens_before(&mut self, is_over: impl Fn() -> bool) -> bool {
        let said = Arc::clone(&self.said);
        let listens =
            || said.lock().expect("no panic").iter().any(|line| line.starts_with(LISTENS));
        self.job.runs_until(|| is_over() || listens()) && listens()
    }

    #[track_caller]
    pub(crate) fn runs_until_it_says(&mut self, words: &str) {
        let said = Arc::clone(&self.said);
        let has_said = || said.lock().expect("no panic").iter().any(|line| line.contains(words));
        let in_time = self.job.runs_until(has_said);
        let runs = self.job.is_running();
        assert!(in_time || has_said(), "running: {runs}; {words:?} is not in {:#?}", self.said);
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Arc::clone(&SHARED))
    }

    /// With databases of a certain cluster.
    pub(crate) fn on(cluster: Arc<ThrowAwayPostgres>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let create = |name: &str| {
            let name = format!("crash_{number}_{name}");
            runtime.block_on(cluster.create_database(&name)).expect("a database")
        };
        let databases = [create("zero"), create("one"), create("target")];
        let directory = tempfile::tempdir().expect("a directory");
        let world = Self { directory, cluster, databases };
        world.agree();
        let databases = [0, 1].map(|party: usize| format!("{party}={}", world.databases[party]));
        let [zero, one] = &databases;
        let (rows, two) = (ROWS.to_string(), format!("2={}", world.databases[2]));
        let seed = ["seed", "--rows", &rows, "--db", zero, "--db", one, "--db", &two];
        world.run("0", &seed).ends_with(0);
        // What party 2 had is kept to compare with.
        world.sql("ALTER SCHEMA \"SMPC_dev_2\" RENAME TO reference; CREATE SCHEMA \"SMPC_dev_2\"");
        world.sql(&IrisTable::Plain.create_sql("SMPC_dev_2", "irises"));
        world
    }

    fn agree(&self) {
        let run = |arguments: &[&str]| self.run("0", arguments).ends_with(0).stdout;
        for sender in ["0", "1"] {
            let public = run(&["keygen", "agreement", "--out", &format!("{sender}.key")]);
            std::fs::write(self.path(&format!("{sender}.pub")), public).expect("written");
        }
        let recipient = run(&["keygen", "recipient", "--out", "r.age"]).trim().to_owned();
        run(&["pki", "ca", "--out", "ca"]);
        let receiver = format!("2={recipient}");
        let mut new = vec!["session", "new", "--out", "session.toml", "--session-id", "crash"];
        new.extend(["--environment", "dev", "--db-end", "1001", "--ca-file", "ca/ca.pem"]);
        new.extend(["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", &receiver]);
        let names = ["0", "1", "2"].map(|party| format!("{party}=spiffe://mpc.example/{party}"));
        for name in &names {
            let (party, name_alone) = name.split_once('=').expect("both");
            let out = format!("certificate-{party}");
            run(&["pki", "issue", "--ca", "ca", "--name", name_alone, "--out", &out]);
            new.extend(["--certificate-name", name]);
        }
        run(&new);
        for (party, own_key) in [("0", "0.pub"), ("1", "1.pub"), ("2", &recipient)] {
            self.run(party, &["session", "approve", "--own-public-key", own_key]).ends_with(0);
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program as a party runs it.
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
        if arguments.first() != Some(&"keygen") && arguments.get(1) != Some(&"new") {
            command.env("RESHARE_SESSION", "session.toml");
        }
        command.env("RESHARE_CA_FILE", "ca/ca.pem").env("RESHARE_STATE_DIR", format!("s-{party}"));
        command.env("RESHARE_CERTIFICATE", format!("certificate-{party}/certificate.pem"));
        command.env("RESHARE_CERTIFICATE_KEY", format!("certificate-{party}/certificate.key"));
        command
    }

    pub(crate) fn run(&self, party: &str, arguments: &[&str]) -> Run {
        Run::of(self.program(party, arguments).output().expect("it starts"))
    }

    pub(crate) fn start(&self, party: &str, arguments: &[&str]) -> Job {
        Job::start(&mut self.program(party, arguments))
    }

    /// A sender's command with its keys; `more` says where to.
    pub(crate) fn sender<'a>(command: &'a str, sender: &str, more: &[&'a str]) -> Vec<&'a str> {
        let (key, approval) = match sender {
            "0" => ("file:0.key", "approval-1.json"),
            _ => ("file:1.key", "approval-0.json"),
        };
        let keys = [command, "--agreement-key", key, "--json", "--batch-size", "4"];
        let approvals = ["--approval", "approval-2.json", "--approval", approval];
        [&keys[..], &approvals, more].concat()
    }

    /// `send --to`, from a database. One connection, here and below: one part after the other
    /// comes, and what has gone before a way ends are whole parts and some of one.
    pub(crate) fn send<'a>(url: &'a str, sender: &str, to: &'a str) -> Vec<&'a str> {
        Self::sender("send", sender, &["-j", "1", "--db-url", url, "--to", to])
    }

    /// Makes both packages.
    pub(crate) fn send_both(&self) {
        for (sender, to) in [("0", "p0"), ("1", "p1")] {
            let url = &self.databases[usize::from(sender == "1")];
            self.run(sender, &Self::send(url, sender, to)).ends_with(0);
        }
    }

    pub(crate) fn rebuild(url: &str) -> Vec<&str> {
        let packages = ["--package", "p0", "--package", "p1", "--identity", "r.age"];
        [&["rebuild", "-j", "1", "--json", "--batch-size", "4", "--db-url", url], &packages[..]]
            .concat()
    }

    pub(crate) fn merge() -> Vec<&'static str> {
        let packages = ["--package", "p0", "--package", "p1", "--identity", "r.age"];
        [&["merge", "--json", "--batch-size", "4", "--out", "files/m.rsh"], &packages[..]].concat()
    }

    pub(crate) fn load(url: &str) -> Vec<&str> {
        vec![
            "load",
            "-j",
            "1",
            "--json",
            "--batch-size",
            "4",
            "--in",
            "files/m.rsh",
            "--db-url",
            url,
        ]
    }

    pub(crate) fn export(url: &str) -> Vec<&str> {
        let flags = ["--party-id", "0", "--batch-size", "4", "--out", "files/e.rsh"];
        [&["export", "-j", "1", "--json", "--db-url", url], &flags[..]].concat()
    }

    /// The receiver's command.
    pub(crate) fn receiving(&self, inbox: &str) -> Command {
        let at = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--inbox", inbox];
        self.program("2", &[&["receive", "--keep-free-bytes", "0"], &at[..]].concat())
    }

    /// Starts the receiver.
    pub(crate) fn receive(&self, inbox: &str) -> Receiver {
        let mut receiver = Receiver::start(&mut self.receiving(inbox));
        assert!(receiver.listens_before(|| false), "{:?}", receiver.said);
        receiver
    }

    /// Runs SQL as the superuser in the receiver's database.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let psql =
            ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"];
        let mut command = Command::new("psql");
        command.args(psql).args(["--command", sql, &self.databases[2]]);
        let run = Run::of(command.output().expect("psql: run `make setup`"));
        run.ends_with(0).stdout.trim().to_owned()
    }

    /// How many rows are in the target: just as many as are recorded, in one snapshot.
    #[track_caller]
    pub(crate) fn loaded_rows(&self) -> u64 {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
            AND datname = current_database() AND pid <> pg_backend_pid()";
        // A server process may outlive its client by a moment, and commit in it.
        let start = Instant::now();
        while self.sql(others) != "0" {
            assert!(start.elapsed() < PATIENCE, "a server process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let progress = "\"SMPC_dev_2\".reshare_progress";
        let rows = "SELECT count(*) FROM \"SMPC_dev_2\".irises";
        if self.sql(&format!("SELECT to_regclass('{progress}') IS NULL")) == "t" {
            assert_eq!(self.sql(rows), "0");
            return 0;
        }
        let recorded = format!("SELECT coalesce(sum(rows), 0) FROM {progress}");
        let both = self.sql(&format!("SELECT ({rows}), ({recorded})"));
        let (rows, recorded) = both.split_once('|').expect("two columns");
        assert_eq!(rows, recorded, "rows, and rows by the progress table");
        rows.parse().expect("a number")
    }

    /// The target is what party 2 had, and every row is recorded once.
    #[track_caller]
    pub(crate) fn assert_rebuilt(&self) {
        assert_eq!(self.loaded_rows(), ROWS);
        let columns = "id, left_code, left_mask, right_code, right_mask, version_id";
        let rows = |schema: &str| format!("SELECT {columns} FROM {schema}.irises");
        let (target, reference) = (rows("\"SMPC_dev_2\""), rows("reference"));
        let differing = self.sql(&format!(
            "SELECT count(*) FROM (({target} EXCEPT {reference}) UNION ALL \
             ({reference} EXCEPT {target})) d"
        ));
        assert_eq!(differing, "0");
    }
}

/// The names in a directory, sorted; none where there is no directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().into_string().expect("a plain name")).collect();
    names.sort();
    names
}

/// Parts under their final names, and their bytes.
pub(crate) fn parts(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let is_part = |name: &String| name.starts_with("part-") && name.ends_with(".age");
    let named = names(directory).into_iter().filter(is_part);
    // One that is replaced or on its way may be gone by now.
    let read = |name: String| Some((name.clone(), std::fs::read(directory.join(&name)).ok()?));
    named.filter_map(read).collect()
}

/// The content digests of a closed package, whose files are just what its manifest lists.
#[track_caller]
pub(crate) fn contents(directory: &Path) -> Vec<String> {
    let manifest = std::fs::read(directory.join("manifest.json")).expect("closed");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let listed = manifest["parts"].as_array().expect("parts");
    assert_eq!(parts(directory).len(), listed.len());
    let hidden = names(directory).into_iter().filter(|name| name.starts_with('.'));
    assert_eq!(hidden.collect::<Vec<_>>(), Vec::<String>::new());
    for part in listed {
        let bytes = std::fs::read(directory.join(part["name"].as_str().expect("a name")));
        let digest = blake3::hash(&bytes.expect("a part")).to_hex();
        assert!(part.to_string().contains(digest.as_str()), "{part}");
    }
    let text = |part: &Value| part["content_digest"].as_str().expect("a digest").to_owned();
    listed.iter().map(text).collect()
}
