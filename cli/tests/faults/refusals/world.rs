//! Three parties with everything in place, made once and copied for each test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use tempfile::TempDir;

use super::authority::{ED25519, P256, RSA, Wanted, issue, make_authority};
use reshare_fixtures::network::{Run, files_in, program, psql};

use crate::{RESHARE, adopt_ledgers};

/// The receiver's name, in the session and for curl.
pub(crate) const RECEIVER: &str = "receiver.mpc.example";
/// The network file of all parties.
pub(crate) const NETWORK: &str = "network.toml";
/// Rows of every table, two of them a part.
pub(crate) const ROWS: usize = 6;

/// Parties 0 and 1 send, 2 receives. Packages of the session `session.toml` are in `package-0` and
/// `package-1`; `earlier.toml` has the same name and is over, `other.toml` has another name;
/// `earlier-0` and `other-0` are packages of them.
pub(crate) struct World {
    directory: TempDir,
    /// The database of sender 0, where it is not the one that all tests read.
    own_database: Option<String>,
}

/// What the tests copy; no test changes the senders' tables.
struct Made {
    cluster: ThrowAwayPostgres,
    files: Vec<Entry>,
}

/// A file with its mode, or a directory.
struct Entry {
    path: PathBuf,
    mode: u32,
    bytes: Option<Vec<u8>>,
}

static MADE: LazyLock<Made> = LazyLock::new(Made::new);

/// The URI names of the senders.
pub(crate) fn sender_name(sender: &str) -> String {
    format!("spiffe://mpc.example/{sender}")
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        for Entry { path, mode, bytes } in &MADE.files {
            let path = world.path_of(path);
            match bytes {
                None => fs::DirBuilder::new().mode(*mode).create(path).expect("made"),
                Some(bytes) => {
                    let mut options = fs::OpenOptions::new();
                    let file = options.write(true).create_new(true).mode(*mode).open(path);
                    std::io::Write::write_all(&mut file.expect("made"), bytes).expect("written");
                }
            }
        }
        for sender in ['0', '1'] {
            adopt_ledgers(&world.path(&format!("s-{sender}")));
        }
        world
    }

    /// One in which sender 0 has a database that no other test looks at.
    pub(crate) fn with_own_database() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("refusals_own_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} TEMPLATE refusals_0 STRATEGY file_copy");
        psql(&MADE.cluster.url("postgres"), &create);
        Self { own_database: Some(MADE.cluster.url(&name)), ..Self::new() }
    }

    fn empty() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), own_database: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path_of(Path::new(name))
    }

    fn path_of(&self, path: &Path) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The database of a sender, or the receiver's empty one: tests read the same.
    pub(crate) fn database(&self, party: &str) -> String {
        let own = self.own_database.as_ref().filter(|_| party == "0");
        own.cloned().unwrap_or_else(|| MADE.cluster.url(&format!("refusals_{party}")))
    }

    /// The program in this directory, with the certificate `certificate-WHO` and the state
    /// directory `s-WHO`.
    pub(crate) fn program_as(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = program(RESHARE);
        command.args(arguments).current_dir(&self.directory);
        command.env("RESHARE_SESSION", "session.toml").env("RESHARE_CA_FILE", "ca/ca.pem");
        command.env("RESHARE_STATE_DIR", format!("s-{who}")).env("RESHARE_NETWORK", NETWORK);
        command.env("RESHARE_CERTIFICATE", format!("certificate-{who}/certificate.pem"));
        command.env("RESHARE_CERTIFICATE_KEY", format!("certificate-{who}/certificate.key"));
        command
    }

    pub(crate) fn run_as(&self, who: &str, arguments: &[&str]) -> Run {
        Run::command(&mut self.program_as(who, arguments))
    }

    /// Issues a certificate of the parties' authority, for [`Self::program_as`].
    pub(crate) fn issue(&self, who: &str, wanted: Wanted<'_>) {
        self.issue_by("ca", who, wanted);
    }

    /// Issues a certificate of an authority in another directory.
    pub(crate) fn issue_by(&self, authority: &str, who: &str, wanted: Wanted<'_>) {
        issue(&self.path(authority), &self.path(&format!("certificate-{who}")), wanted);
    }

    /// Packs a sender's share file, of the session in a file; `more` may say other things.
    pub(crate) fn pack(&self, sender: &str, session: &str, to: &str, more: &[&str]) -> Run {
        let (input, key) = (format!("{sender}.rsh"), format!("{sender}.key"));
        let pack = ["pack", "--session", session, "--agreement-key", &key];
        let input = if more.contains(&"--in") { vec![] } else { vec!["--in", &input] };
        let rest = ["--to", to, "--batch-size", "2"];
        self.run_as(sender, &[&pack[..], &rest, &input, more].concat())
    }

    /// The approvals that a sender needs, as flags.
    pub(crate) fn approvals(sender: &str) -> [&'static str; 4] {
        let other = if sender == "0" { "approval-1.json" } else { "approval-0.json" };
        ["--approval", "approval-2.json", "--approval", other]
    }

    /// The flags of `reshare send` at a sender; without `--to` or `--server-url`.
    pub(crate) fn send_flags(&self, sender: &str) -> Vec<String> {
        let (key, url) = (format!("{sender}.key"), self.database(sender));
        let flags = ["send", "--agreement-key", &key, "--db-url", &url, "--batch-size", "2"];
        let flags = flags.into_iter().chain(Self::approvals(sender));
        flags.map(str::to_owned).collect()
    }

    /// Uploads a package as the owner of a certificate.
    pub(crate) fn upload(&self, who: &str, package: &str, address: &str, more: &[&str]) -> Run {
        let url = format!("https://{address}");
        let upload = ["upload", package, "--server-url", &url, "--uploads", "1"];
        self.run_as(who, &[&upload[..], &["--retry-for", "0"], more].concat())
    }

    /// Merges packages as the receiver does with removable media.
    pub(crate) fn merge(&self, packages: [&str; 2], out: &str) -> Run {
        let [lower, higher] = packages;
        let merge = ["merge", "--identity", "r.age", "--package", lower, "--package", higher];
        self.run_as("2", &[&merge[..], &["--out", out]].concat())
    }

    /// Every file but ledgers' notes of who uses them: what a refusal must leave as it was.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = contents_of(self.directory.path());
        files.retain(|path, _| path.extension().is_none_or(|end| end != "pid"));
        files
    }

    /// Runs what must be refused with this exit code, and checks that it changes nothing here.
    #[track_caller]
    pub(crate) fn refuses(&self, code: i32, run: impl FnOnce(&Self) -> Run) -> Run {
        let before = self.files();
        let run = run(self).ends_with(code);
        assert_eq!(self.files(), before, "{}", run.stderr);
        assert_eq!(run.stdout, "");
        run
    }

    fn agree(&self) {
        make_authority(&self.path("ca"), "/CN=the parties' authority");
        let names = [sender_name("0"), sender_name("1")].map(|name| format!("URI:{name}"));
        let [zero, one] = &names;
        self.issue("0", Wanted { key: P256, ..Wanted::named(zero) });
        self.issue("1", Wanted { key: ED25519, ..Wanted::named(one) });
        self.issue("2", Wanted { key: RSA, ..Wanted::named(&format!("DNS:{RECEIVER}")) });
        for sender in ["0", "1"] {
            let made =
                self.run_as(sender, &["keygen", "agreement", "--out", &format!("{sender}.key")]);
            fs::write(self.path(&format!("{sender}.pub")), made.ends_with(0).stdout)
                .expect("written");
        }
        let recipient = self.run_as("2", &["keygen", "recipient", "--out", "r.age"]).ends_with(0);
        fs::write(self.path("2.pub"), recipient.stdout).expect("written");
        self.make_network(NETWORK, &[]);
        for (file, id) in
            [("session.toml", "run"), ("earlier.toml", "run"), ("other.toml", "other")]
        {
            self.make_session(file, id, &[]);
            self.approve(file);
        }
    }

    /// Makes a network file of these parties; `more` may name others.
    pub(crate) fn make_network(&self, file: &str, more: &[&str]) {
        let mut new = vec!["network", "new", "--network", file, "--ca-file", "ca/ca.pem"];
        let names = Self::names(more);
        names.iter().for_each(|name| new.extend(["--certificate-name", name]));
        self.run_as("0", &[&new[..], more].concat()).ends_with(0);
    }

    /// `PARTY=NAME` of each party, but of those that are named in `more`.
    fn names(more: &[&str]) -> Vec<String> {
        let names = [("0", sender_name("0")), ("1", sender_name("1")), ("2", RECEIVER.to_owned())];
        let names = names.map(|(party, name)| format!("{party}={name}")).into_iter();
        names.filter(|name| !more.iter().any(|other| other[..2] == name[..2])).collect()
    }

    /// Makes a session of these parties; `more` may name others.
    pub(crate) fn make_session(&self, file: &str, id: &str, more: &[&str]) {
        let recipient = fs::read_to_string(self.path("2.pub")).expect("a recipient");
        let receiver = format!("2={}", recipient.trim());
        let mut new = vec!["session", "new", "--out", file, "--session-id", id];
        new.extend(["--environment", "dev", "--db-end", "1000", "--ca-file", "ca/ca.pem"]);
        new.extend(["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", &receiver]);
        let names = Self::names(more);
        names.iter().for_each(|name| new.extend(["--certificate-name", name]));
        new.extend(more);
        self.run_as("0", &new).ends_with(0);
    }

    /// Has a session approved by all three: `approval-N.json` for `session.toml`, and
    /// `SESSION-approval-N.json` for another one.
    fn approve(&self, session: &str) {
        let fingerprint = self.fingerprint_of(session);
        for party in ["0", "1", "2"] {
            let (own, out) = (format!("{party}.pub"), approval_of(session, party));
            let approve = ["session", "approve", "--session", session, "--out", &out, "--yes"];
            let flags = ["--own-public-key", &own, "--expect-fingerprint", &fingerprint];
            self.run_as(party, &[&approve[..], &flags].concat()).ends_with(0);
        }
    }

    /// The fingerprint of a session file.
    pub(crate) fn fingerprint_of(&self, session: &str) -> String {
        let mut show = program(RESHARE);
        show.args(["session", "show", "--json", "--session", session]);
        let shown = Run::command(show.current_dir(&self.directory)).ends_with(0).report();
        shown["fingerprint"].as_str().expect("text").to_owned()
    }

    fn pack_all(&self, databases: [&str; 2]) {
        for (sender, url) in ["0", "1"].into_iter().zip(databases) {
            let out = format!("{sender}.rsh");
            let export = ["export", "--party-id", sender, "--db-url", url, "--out", &out];
            self.run_as(sender, &export).ends_with(0);
            let to = format!("package-{sender}");
            self.pack(sender, "session.toml", &to, &Self::approvals(sender)).ends_with(0);
        }
        for session in ["earlier", "other"] {
            let (file, input) = (format!("{session}.toml"), format!("{session}.rsh"));
            let export = ["export", "--session", &file, "--party-id", "0", "--db-url"];
            let export = [&export[..], &[databases[0], "--out", &input]].concat();
            self.run_as("0", &export).ends_with(0);
            let [receiver, other] = ["2", "1"].map(|party| approval_of(&file, party));
            let flags = ["--approval", &receiver, "--approval", &other, "--in", &input];
            self.pack("0", &file, &format!("{session}-0"), &flags).ends_with(0);
        }
    }
}

/// The file of a party's approval.
pub(crate) fn approval_of(session: &str, party: &str) -> String {
    match session.strip_suffix(".toml") {
        Some("session") | None => format!("approval-{party}.json"),
        Some(other) => format!("{other}-approval-{party}.json"),
    }
}

impl Made {
    fn new() -> Self {
        let cluster = ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let [zero, one, target] = ["0", "1", "2"].map(|party| {
            let name = format!("refusals_{party}");
            runtime.block_on(cluster.create_database(&name)).expect("a database")
        });
        let world = World::empty();
        let rows = ROWS.to_string();
        let databases = [format!("0={zero}"), format!("1={one}")];
        let seed = ["seed", "--rows", &rows, "--db", &databases[0], "--db", &databases[1]];
        world.run_as("0", &seed).ends_with(0);
        psql(&target, "CREATE SCHEMA \"SMPC_dev_2\"");
        psql(&target, &IrisTable::Plain.create_sql("SMPC_dev_2", "irises"));
        world.agree();
        let mut made = Self { cluster, files: Vec::new() };
        world.pack_all([&zero, &one]);
        made.read(world.directory(), Path::new(""));
        made
    }

    fn read(&mut self, from: &Path, path: &Path) {
        let mut names: Vec<_> = fs::read_dir(from.join(path)).expect("readable").collect();
        names.sort_by_key(|entry| entry.as_ref().map(fs::DirEntry::file_name).ok());
        for entry in names {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("its metadata").permissions().mode();
            let path = path.join(entry.file_name());
            if entry.path().is_dir() {
                self.files.push(Entry { path: path.clone(), mode, bytes: None });
                self.read(from, &path);
            } else {
                let bytes = Some(fs::read(entry.path()).expect("readable"));
                self.files.push(Entry { path, mode, bytes });
            }
        }
    }
}

/// The files of a directory with their size, mode and when they were written; of directories
/// only that they are there, since a file that came and went leaves its trace on them.
pub(crate) fn contents_of(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = files_in(directory);
    for (path, facts) in &mut files {
        if path.is_dir() {
            "a directory".clone_into(facts);
        }
    }
    files
}
