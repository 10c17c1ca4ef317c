//! A network whose processes are killed and whose server is restarted, and what they leave.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::network::{Network, Running, Setup, TIME_LIMIT, shared_postgres};
use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;

use crate::RESHARE;

/// Rows of every sender, about 50 KB each.
pub(crate) const ROWS: u64 = 40;
/// Parts that a sender's flags make of them.
pub(crate) const PARTS: u64 = 10;

pub(crate) fn start_cluster() -> ThrowAwayPostgres {
    ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`")
}

/// Parties 0 and 1 send, 2 receives.
pub(crate) struct World {
    network: Network,
    pub(crate) cluster: Arc<ThrowAwayPostgres>,
    /// Those of the senders, and the target.
    pub(crate) databases: [String; 3],
}

impl Deref for World {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(shared_postgres())
    }

    /// With databases of a certain cluster.
    pub(crate) fn on(cluster: Arc<ThrowAwayPostgres>) -> Self {
        let session = ["--session-id", "crash", "--db-end", "1001"];
        let setup = Setup::of(RESHARE).on(Arc::clone(&cluster)).rows(ROWS).without_lost_table();
        let setup = setup.with_certificates().session_in_environment().session_flags(&session);
        let network = setup.target_table(IrisTable::Plain).make();
        let [zero, one, _] = network.databases.clone();
        let databases = [zero, one, network.target.clone()];
        let world = Self { network, cluster, databases };
        // What party 2 had is kept next to the target, to compare with.
        world.sql("DROP SCHEMA \"SMPC_dev_2\" CASCADE");
        let seed = ["seed", "--rows", &ROWS.to_string(), "--db", &format!("2={}", world.target)];
        world.network.run(&seed).ends_with(0);
        world.sql("ALTER SCHEMA \"SMPC_dev_2\" RENAME TO reference");
        world.sql(&IrisTable::Plain.create_sql("SMPC_dev_2", "irises"));
        world
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
            self.run_as(sender, &Self::send(url, sender, to)).ends_with(0);
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
        self.program_as("2", &[&["receive", "--keep-free-bytes", "0"], &at[..]].concat())
    }

    /// Starts the receiver.
    pub(crate) fn receive(&self, inbox: &str) -> Running {
        let mut receiver = Running::start(&mut self.receiving(inbox));
        receiver.address();
        receiver
    }

    /// Runs SQL as the superuser in the receiver's database.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.sql_at(2, sql)
    }

    /// How many rows are in the target: just as many as are recorded, in one snapshot.
    #[track_caller]
    pub(crate) fn loaded_rows(&self) -> u64 {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
            AND datname = current_database() AND pid <> pg_backend_pid()";
        // A server process may outlive its client by a moment, and commit in it.
        let start = Instant::now();
        while self.sql(others) != "0" {
            assert!(start.elapsed() < TIME_LIMIT, "a server process does not end");
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
