//! Three parties with seeded databases, an empty target, keys and a session.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reshare_fixtures::postgres::{Durability, ThrowAwayPostgres};
use serde_json::Value;
use tempfile::TempDir;

use crate::Failure;
use crate::processes::{output, seconds};
use crate::psql::{Table, from_file, pipe, psql, to_file};

/// Parties 0 and 1 send, party 2 receives.
pub(crate) struct Network {
    program: PathBuf,
    directory: TempDir,
    rows: usize,
    connections: usize,
    /// Of parties 0, 1 and 2, and the one to rebuild into.
    urls: [String; 4],
    fingerprint: String,
    _cluster: ThrowAwayPostgres,
}

const SCHEMAS: [&str; 4] = ["SMPC_bench_0", "SMPC_bench_1", "SMPC_bench_2", "SMPC_bench_2"];
const NAMES: [&str; 4] = [
    "\"SMPC_bench_0\".irises",
    "\"SMPC_bench_1\".irises",
    "\"SMPC_bench_2\".irises",
    "\"SMPC_bench_2\".irises",
];
pub(crate) const TARGET: usize = 3;

impl Network {
    /// Starts a PostgreSQL of its own with empty databases, and makes keys and a session.
    pub(crate) fn make(
        program: &Path,
        parent: &Path,
        rows: usize,
        connections: usize,
        sync: bool,
    ) -> Result<Self, Failure> {
        if rows < connections {
            return Err(format!("{rows} rows are too few for {connections} connections").into());
        }
        let directory = tempfile::Builder::new().prefix("reshare-bench-").tempdir_in(parent)?;
        let durability = if sync { Durability::Full } else { Durability::None };
        let cluster = ThrowAwayPostgres::start_with(durability)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let create = |name: &str| runtime.block_on(cluster.create_database(name));
        let urls = [create("party_0")?, create("party_1")?, create("party_2")?, create("target")?];
        let program = program.to_owned();
        let fingerprint = String::new();
        let mut network =
            Self { program, directory, rows, connections, urls, fingerprint, _cluster: cluster };
        network.agree()?;
        Ok(network)
    }

    /// Makes the rows of parties 0, 1 and 2, and the table to rebuild.
    pub(crate) fn seed(&self) -> Result<(), Failure> {
        self.seed_parties(&[0, 1, 2])?;
        self.make_target()
    }

    /// Makes the rows of some of the parties, and has the server finish what it put off.
    pub(crate) fn seed_parties(&self, parties: &[usize]) -> Result<(), Failure> {
        let mut seed = self.reshare();
        seed.args(["seed", "--quiet", "--environment", "bench"]);
        for &party in parties {
            seed.args(["--db", &format!("{party}={}", self.urls[party])]);
        }
        output(seed.args(["--rows", &self.rows.to_string()]))?;
        parties.iter().try_for_each(|&party| {
            self.table(party).sql("VACUUM ANALYZE")?;
            self.table(party).sql("CHECKPOINT").map(drop)
        })
    }

    /// Makes a table of the very same kind as the others.
    pub(crate) fn make_target(&self) -> Result<(), Failure> {
        let mut target = self.reshare();
        target.args(["seed", "--quiet", "--environment", "bench", "--rows", "1"]);
        output(target.args(["--db", &format!("2={}", self.urls[TARGET])])).map(drop)
    }

    /// Gives the disk back that a party's rows take.
    pub(crate) fn drop_rows(&self, party: usize) -> Result<(), Failure> {
        let table = self.table(party);
        table.sql(&format!("TRUNCATE {}", table.name))?;
        table.sql("CHECKPOINT").map(drop)
    }

    /// Packs party 0's rows, then party 1's; returns the seconds of the first.
    ///
    /// The second is for the rebuild, and is not measured.
    pub(crate) fn send(&self) -> Result<f64, Failure> {
        let zero = self.send_of(0)?;
        self.send_of(1)?;
        Ok(zero)
    }

    /// Packs one party's rows.
    pub(crate) fn send_of(&self, party: usize) -> Result<f64, Failure> {
        self.before_sending(party)?;
        seconds([self.send_command(party)])
    }

    /// Rebuilds from what was sent last.
    pub(crate) fn rebuild(&self) -> Result<f64, Failure> {
        self.empty_target()?;
        let took = seconds([self.rebuild_command()])?;
        self.check_target()?;
        Ok(took)
    }

    /// Loads a file of the rows that were sent last, which is made before.
    pub(crate) fn load(&self) -> Result<f64, Failure> {
        let rebuilt = self.path("rebuilt.share");
        if rebuilt.exists() {
            fs::remove_file(&rebuilt)?;
        }
        output(self.of_packages("merge").arg("--out").arg(&rebuilt))?;
        self.empty_target()?;
        let mut load = self.reshare();
        load.args(["load", "--quiet", "--session", "session.toml", "--db-url", &self.urls[TARGET]]);
        load.args(["-j", &self.connections.to_string(), "--in"]).arg(&rebuilt);
        load.stdout(Stdio::null());
        let took = seconds([load])?;
        self.check_target()?;
        fs::remove_file(&rebuilt)?;
        Ok(took)
    }

    /// The same, held against the packages: no table is left that has the rows. They are
    /// removed.
    pub(crate) fn rebuild_alone(&self) -> Result<f64, Failure> {
        self.empty_target()?;
        let took = seconds([self.rebuild_command()])?;
        self.check_count()?;
        let mut verify = self.reshare();
        verify.args(["verify", "--quiet", "--session", "session.toml"]);
        verify.args(["--identity", "receiver.age", "--db-url", &self.urls[TARGET]]);
        for party in 0..2 {
            verify.arg("--package").arg(self.package(party));
        }
        output(&mut verify)?;
        (0..2).try_for_each(|party| fs::remove_dir_all(self.package(party)))?;
        Ok(took)
    }

    /// Sends from both parties at the same time, and rebuilds.
    pub(crate) fn through(&self) -> Result<f64, Failure> {
        self.before_sending(0)?;
        self.before_sending(1)?;
        self.empty_target()?;
        let sent = seconds([self.send_command(0), self.send_command(1)])?;
        let took = sent + seconds([self.rebuild_command()])?;
        self.check_target()?;
        Ok(took)
    }

    /// Copies party 0's rows to nowhere, with as many connections.
    pub(crate) fn psql_out(&self) -> Result<f64, Failure> {
        let table = self.table(0);
        let commands = self.shares().map(|[first, last]| table.copy_out(first, last));
        seconds(commands)
    }

    /// Copies party 2's rows into the target from files, which are made before.
    pub(crate) fn psql_in(&self) -> Result<f64, Failure> {
        self.psql_in_from(self.table(2))
    }

    /// Copies the rows of the target into it again, from files, which are made before.
    pub(crate) fn psql_in_again(&self) -> Result<f64, Failure> {
        self.psql_in_from(self.table(TARGET))
    }

    fn psql_in_from(&self, from: Table<'_>) -> Result<f64, Failure> {
        let to = self.table(TARGET);
        let mut files = Vec::new();
        for [first, last] in self.shares() {
            let path = self.path(&format!("copy-{first}"));
            let mut out = from.copy_out(first, last);
            to_file(&mut out, &path)?;
            seconds([out])?;
            files.push(path);
        }
        self.empty_target()?;
        let into = files.iter().map(|path| {
            let mut into = to.copy_in();
            from_file(&mut into, path).map(|()| into)
        });
        let took = seconds(into.collect::<Result<Vec<_>, _>>()?)?;
        files.iter().try_for_each(fs::remove_file)?;
        self.check_count()?;
        Ok(took)
    }

    /// Copies party 2's rows through pipes into the target.
    pub(crate) fn psql_through(&self) -> Result<f64, Failure> {
        self.psql_through_with(|_| Vec::new())
    }

    /// The same while party 0's rows are copied out to nowhere: what the databases do in a pass, and
    /// nothing else.
    pub(crate) fn psql_of_a_pass(&self) -> Result<f64, Failure> {
        let other = self.table(0);
        self.psql_through_with(|[first, last]| vec![other.copy_out(first, last)])
    }

    fn psql_through_with(
        &self,
        others: impl Fn([usize; 2]) -> Vec<Command>,
    ) -> Result<f64, Failure> {
        self.empty_target()?;
        let (from, to) = (self.table(2), self.table(TARGET));
        let mut commands = Vec::new();
        for share in self.shares() {
            commands.extend(pipe(&from, &to, share)?);
            commands.extend(others(share));
        }
        let took = seconds(commands)?;
        self.check_count()?;
        Ok(took)
    }

    fn agree(&mut self) -> Result<(), Failure> {
        for party in ["0", "1"] {
            let key = format!("{party}.key");
            let public = output(self.reshare().args(["keygen", "agreement", "--out", &key]))?;
            fs::write(self.path(&format!("{party}.pub")), public)?;
        }
        let keygen = ["keygen", "recipient", "--out", "receiver.age"];
        fs::write(self.path("receiver.pub"), output(self.reshare().args(keygen))?)?;
        let receiver = format!("2={}", self.recipient()?);
        let mut new = self.reshare();
        new.args(["session", "new", "--out", "session.toml", "--session-id", "bench", "--json"]);
        new.args(["--environment", "bench", "--sender", "0=0.pub", "--sender", "1=1.pub"]);
        let shared = output(self.reshare().args(["keygen", "shared", "--out", "shared.key"]))?;
        new.args(["--shared-key-id", shared.trim()]);
        new.args(["--receiver", &receiver, "--db-start", "1", "--db-end"]);
        let report: Value = serde_json::from_str(&output(new.arg((self.rows + 1).to_string()))?)?;
        let fingerprint = report["fingerprint"].as_str().ok_or("the session has no fingerprint")?;
        self.fingerprint = fingerprint.to_owned();
        Ok(())
    }

    /// Removes a sender's package and ledger, and makes a new ledger: nothing is kept from
    /// earlier runs.
    fn before_sending(&self, party: usize) -> Result<(), Failure> {
        let state = format!("state-{party}");
        for directory in [self.package(party), self.path(&state)] {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
        }
        let mut approve = self.reshare();
        approve.args(["session", "approve", "--session", "session.toml"]);
        approve.args(["--party-id", &party.to_string(), "--state-dir", &state]);
        approve.args(["--yes", "--expect-fingerprint", &self.fingerprint]);
        approve.args(["--target-party-id", "2", "--new-party", "2"]);
        output(approve.args(["--own-public-key", &format!("{party}.pub")])).map(drop)
    }

    fn send_command(&self, party: usize) -> Command {
        let mut command = self.reshare();
        command.args(["send", "--quiet", "--session", "session.toml"]);
        command.args(["--party-id", &party.to_string(), "--state-dir", &format!("state-{party}")]);
        command.args(["--agreement-key", &format!("file:{party}.key")]);
        command.args(["--shared-key", "shared.key"]);
        command.args(["--expect-fingerprint", &self.fingerprint, "--target-party-id", "2"]);
        command.args(["--db-url", &self.urls[party], "-j", &self.connections.to_string()]);
        command.arg("--to").arg(self.package(party)).stdout(Stdio::null());
        command
    }

    fn rebuild_command(&self) -> Command {
        let mut command = self.of_packages("rebuild");
        command.args(["--db-url", &self.urls[TARGET], "-j", &self.connections.to_string()]);
        command.stdout(Stdio::null());
        command
    }

    /// A command that opens both packages.
    fn of_packages(&self, name: &str) -> Command {
        let mut command = self.reshare();
        command.args([name, "--quiet", "--session", "session.toml"]);
        command.args(["--identity", "receiver.age"]);
        command.arg("--package").arg(self.package(0)).arg("--package").arg(self.package(1));
        command
    }

    /// Empties the target, forgets what was loaded, and has the server finish what it put off.
    pub(crate) fn empty_target(&self) -> Result<(), Failure> {
        let table = self.table(TARGET);
        table.sql(&format!("TRUNCATE {}", table.name))?;
        table.sql(&format!("DROP TABLE IF EXISTS \"{}\".reshare_progress", SCHEMAS[TARGET]))?;
        table.sql("CHECKPOINT")?;
        Ok(())
    }

    /// Compares the rebuilt table with the original, bit by bit.
    pub(crate) fn check_target(&self) -> Result<(), Failure> {
        self.check_count()?;
        let mut verify = self.reshare();
        verify.args(["verify", "--quiet", "--session", "session.toml"]);
        verify.args(["--db-url", &self.urls[2], "--db-url", &self.urls[TARGET]]);
        output(&mut verify).map(|_| ())
    }

    fn check_count(&self) -> Result<(), Failure> {
        let table = self.table(TARGET);
        let count = table.sql(&format!("SELECT count(*) FROM {}", table.name))?;
        if count == self.rows.to_string() {
            return Ok(());
        }
        Err(format!("{count} rows arrived, not {}", self.rows).into())
    }

    /// The ids of each connection, first and last.
    fn shares(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        let bound = |n: usize| n * self.rows / self.connections;
        (0..self.connections).map(move |n| [bound(n) + 1, bound(n + 1)])
    }

    /// The receiver's public key.
    pub(crate) fn recipient(&self) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.path("receiver.pub"))?.trim().to_owned())
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    pub(crate) fn url(&self, place: usize) -> &str {
        &self.urls[place]
    }

    pub(crate) fn name(&self, place: usize) -> &'static str {
        NAMES[place]
    }

    pub(crate) fn psql(&self, place: usize) -> Command {
        psql(self.url(place))
    }

    fn table(&self, place: usize) -> Table<'_> {
        Table { url: &self.urls[place], name: NAMES[place] }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn package(&self, party: usize) -> PathBuf {
        self.path(&format!("package-{party}"))
    }

    /// The program, in the directory of the keys and untouched by the caller's settings.
    pub(crate) fn reshare(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let theirs = name.starts_with("RESHARE_") || name.starts_with("PG");
            if theirs || name == "DATABASE_URL" || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        command.current_dir(&self.directory);
        command
    }
}
