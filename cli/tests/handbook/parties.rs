//! Three parties that do what a page says, each in a directory of its own with a PostgreSQL of
//! its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reshare_fixtures::network::{Run, Running};
use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;
use tempfile::TempDir;

use crate::pages::{Block, Page};

/// Rows of every party.
pub(crate) const ROWS: u64 = 60;

/// The folders that stand in the handbook for what travels between the parties.
const TRAVELS: [&str; 2] = ["/media/usb", "/mnt/public"];
/// The folder that stands for what travels between the senders alone.
const SENDERS: &str = "/media/senders";
/// Where the receiver of the handbook listens, and what the senders call it.
const LISTENS: &str = "--listen 0.0.0.0:8443";
const RECEIVER_URL: &str = "https://receiver.mpc.example:8443";

/// The parties, their databases with the roles and tables of the page on databases, and what
/// runs in the background.
pub(crate) struct Parties {
    directory: TempDir,
    servers: Vec<ThrowAwayPostgres>,
    receiving: Option<(String, Running)>,
    receiver_url: Option<String>,
    /// Blocks that run while others do.
    running: Vec<Child>,
}

impl Parties {
    /// Seeds the senders' tables, and runs the SQL of the handbook at all three.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let start = |_| ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`");
        let servers = (0..3).map(start).collect();
        let parties =
            Self { directory, servers, receiving: None, receiver_url: None, running: vec![] };
        std::fs::create_dir(parties.travels()).expect("made");
        std::fs::create_dir(parties.between_senders()).expect("made");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        for (party, server) in parties.servers.iter().enumerate() {
            // The receiver's lost table is kept in another database, to compare with.
            let database = if party == 2 { "lost" } else { "iris" };
            let seeded = runtime.block_on(server.create_database(database)).expect("a database");
            parties.seed(party, &seeded);
        }
        runtime.block_on(parties.servers[2].create_database("iris")).expect("a database");
        let sql = Page::of_handbook("database.md").blocks("sql");
        assert_eq!(sql.len(), 4, "two senders' roles, the receiver's, and its table");
        sql.iter().for_each(|block| parties.run_sql(block));
        parties
    }

    fn seed(&self, party: usize, url: &str) {
        let rows = ROWS.to_string();
        let database = format!("{party}={url}");
        let mut seed = Command::new(env!("CARGO_BIN_EXE_reshare"));
        seed.args(["seed", "--environment", "prod", "--rows", &rows, "--db", &database]);
        Run::of(seed.output().expect("it starts")).ends_with(0);
    }

    fn run_sql(&self, block: &Block) {
        let who = block.who("-- party ").expect("who runs it");
        let party: usize = who.parse().expect("a party");
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", &block.text]);
        psql.arg(self.servers[party].url("iris"));
        Run::of(psql.output().expect("psql: run `make setup`")).ends_with(0);
    }

    /// Runs the blocks of a page that say who runs them, in their order, as they are written.
    ///
    /// A block that receives runs until the next one of the same party, or to the end of the page.
    /// One of a party "while" another one does something runs at the same time as the next. Every
    /// block must end with exit code 0. Returns what they printed on standard output.
    pub(crate) fn run(&mut self, page: &Page) -> String {
        let mut printed = String::new();
        for block in page.blocks("sh") {
            let Some(who) = block.who("# ") else { continue };
            let (who, at_the_same_time) = match who.split_once(", while ") {
                Some((who, _)) => (who.replace(' ', ""), true),
                None => (who.replace(' ', ""), false),
            };
            if self.receiving.as_ref().is_some_and(|(receiver, _)| *receiver == who) {
                self.end_receiving();
            }
            let text = self.with_its_own_names(&block.text);
            if text.contains("\nreshare receive ") {
                self.begin_receiving(&who, &text);
                continue;
            }
            if at_the_same_time {
                let text = text.replace("\nreshare send ", "\nexec reshare send ");
                let mut bash = self.bash(&who, &text);
                bash.stdout(Stdio::piped()).stderr(Stdio::piped());
                self.running.push(bash.spawn().expect("bash"));
                continue;
            }
            let run = Run::of(self.bash(&who, &text).output().expect("bash"));
            let Run { code, stdout, stderr } = &run;
            assert_eq!(*code, Some(0), "{}:{}:\n{text}\n{stdout}\n{stderr}", page.name, block.line);
            printed.push_str(&run.stdout);
        }
        for child in std::mem::take(&mut self.running) {
            Run::of(child.wait_with_output().expect("it ends")).ends_with(0);
        }
        self.end_receiving();
        printed
    }

    /// Replaces the handbook's examples of a folder, a database, an address and a fingerprint with
    /// those of this test. Nothing else of a page is changed.
    fn with_its_own_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for folder in TRAVELS {
            text = text.replace(folder, self.travels().to_str().expect("UTF-8"));
        }
        text = text.replace(SENDERS, self.between_senders().to_str().expect("UTF-8"));
        for (party, server) in self.servers.iter().enumerate() {
            let host = format!("db.party{party}.example");
            let example = format!("postgres://reshare@{host}/iris?sslmode=verify-full");
            text = text.replace(&example, &server.url("iris").replace("=postgres", "=reshare"));
        }
        text = text.replace(LISTENS, "--listen 127.0.0.1:0 --health-listen 127.0.0.1:0");
        if let Some(url) = &self.receiver_url {
            text = text.replace(RECEIVER_URL, url);
        }
        match fingerprint_in(&text) {
            Some(example) => text.replace(&example, &self.fingerprint()),
            None => text,
        }
    }

    /// What the operators read to each other.
    fn fingerprint(&self) -> String {
        let mut show = Command::new(env!("CARGO_BIN_EXE_reshare"));
        show.args(["session", "show", "--json", "--session"]).arg(self.session());
        let shown = Run::of(show.output().expect("it starts")).ends_with(0).report();
        shown["fingerprint"].as_str().expect("text").to_owned()
    }

    /// A shell of one party, with what its earlier blocks exported.
    fn bash(&self, who: &str, text: &str) -> Command {
        let home = self.home(who);
        std::fs::create_dir_all(&home).expect("made");
        let programs = Path::new(env!("CARGO_BIN_EXE_reshare")).parent().expect("a directory");
        let path = std::env::var("PATH").expect("a PATH");
        let script = format!(
            "set -euo pipefail\n[ ! -e .exported ] || . ./.exported\n{text}\nexport -p > .exported\n"
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(&home).env_clear().env("HOME", &home);
        bash.env("PATH", format!("{}:{path}", programs.display()));
        bash
    }

    fn begin_receiving(&mut self, who: &str, text: &str) {
        // It takes the shell's place, so that it ends with the test.
        let text = text.replace("\nreshare receive ", "\nexec reshare receive ");
        let mut running = Running::start(&mut self.bash(who, &text));
        self.receiver_url = Some(format!("https://{}", running.address()));
        self.receiving = Some((who.to_owned(), running));
    }

    fn end_receiving(&mut self) {
        if let Some((_, mut running)) = self.receiving.take() {
            running.ends_with(0);
        }
    }

    /// Compares the rebuilt table with the one that was lost.
    pub(crate) fn compare_with_lost(&self) -> Value {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_reshare"));
        verify.args(["verify", "--json", "--session"]).arg(self.session());
        verify.args(["--db-url", &self.servers[2].url("iris")]);
        verify.args(["--db-url", &self.servers[2].url("lost")]);
        Run::of(verify.output().expect("it starts")).ends_with(0).report()
    }

    fn home(&self, who: &str) -> PathBuf {
        self.directory.path().join(who)
    }

    fn travels(&self) -> PathBuf {
        self.directory.path().join("travels")
    }

    fn between_senders(&self) -> PathBuf {
        self.directory.path().join("senders")
    }

    fn session(&self) -> PathBuf {
        let own = self.home("party2").join("session.toml");
        if own.exists() { own } else { self.travels().join("session.toml") }
    }

    /// The names of what is on the media.
    pub(crate) fn left_on_media(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.travels()).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("UTF-8")).collect()
    }
}

/// The first run of 64 hexadecimal digits.
fn fingerprint_in(text: &str) -> Option<String> {
    let mut words = text.split(|character: char| !character.is_ascii_alphanumeric());
    let is_hex =
        |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    words.find(is_hex).map(str::to_owned)
}

/// What a party has in the folder of its settings.
impl Parties {
    pub(crate) fn has_settings_file(&self, who: &str, name: &str) -> bool {
        self.home(who).join(".config/reshare").join(name).is_file()
    }
}

impl Drop for Parties {
    fn drop(&mut self) {
        // Only those that a failed test has left.
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
