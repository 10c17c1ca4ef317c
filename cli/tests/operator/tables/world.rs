//! Three parties whose tables have epochs; the receiver's has iris-mpc's newer trigger, too.

use reshare_fixtures::iris_table::IrisTable;

use crate::network;
use reshare_fixtures::network::{Network, Run};

const SESSION: &str = "newer.toml";

pub(crate) struct Newer {
    pub(crate) network: Network,
    fingerprint: String,
}

impl Newer {
    /// With a session about these agree columns. All rows are of epoch 0.
    pub(crate) fn agreeing_on(columns: &[&str]) -> Self {
        let network = network();
        for (party, url) in network.databases.iter().enumerate() {
            // The parties would not agree on a semantic_id of their own; here they do.
            let sql = format!(
                "ALTER TABLE \"SMPC_dev_{party}\".irises ADD semantic_id uuid, \
                 ADD rerand_epoch integer NOT NULL DEFAULT 0; \
                 UPDATE \"SMPC_dev_{party}\".irises SET semantic_id = md5(id::text)::uuid"
            );
            network.sql(url, &sql);
        }
        network.sql(&network.target, "DROP SCHEMA \"SMPC_dev_2\" CASCADE");
        let table = IrisTable::EpochTriggers.create_sql("SMPC_dev_2", "irises");
        network.sql(&network.target, &table);
        let mut world = Self { network, fingerprint: String::new() };
        world.agree(columns);
        world
    }

    fn agree(&mut self, columns: &[&str]) {
        let mut flags = vec!["--session-id", "newer"];
        columns.iter().for_each(|column| flags.extend(["--agree-column", column]));
        self.fingerprint = self.network.make_session(SESSION, &flags);
        self.network.approve_as_senders(SESSION, &self.fingerprint);
    }

    /// Runs SQL over `irises` of both senders and of the table that the target is to be equal to.
    pub(crate) fn everywhere(&self, sql: &str) {
        for (party, url) in self.network.databases.iter().enumerate() {
            let sql = format!("SET search_path = \"SMPC_dev_{party}\"; {sql}");
            self.network.sql(url, &sql);
        }
    }

    /// Makes both packages.
    pub(crate) fn send(&self) {
        for (sender, url) in ["0", "1"].into_iter().zip(&self.network.databases) {
            let (key, to) = (format!("file:{sender}.key"), format!("p{sender}"));
            let state = format!("state-{sender}");
            let mut send = vec!["send", "--session", SESSION, "--agreement-key", &key];
            send.extend(["--expect-fingerprint", &self.fingerprint, "--state-dir", &state]);
            send.extend([
                "--target-party-id",
                "2",
                "--db-url",
                url,
                "--to",
                &to,
                "--batch-size",
                "7",
            ]);
            self.network.run(&send).ends_with(0);
        }
    }

    /// Merges both packages into a share file, once.
    fn merge(&self) {
        if !self.network.path("m.rsh").exists() {
            self.with_packages(&["merge", "--session", SESSION, "--out", "m.rsh"]).ends_with(0);
        }
    }

    fn with_packages(&self, arguments: &[&str]) -> Run {
        let packages = ["--package", "p0", "--package", "p1", "--identity", "r.age"];
        self.network.run(&[arguments, &packages[..]].concat())
    }

    pub(crate) fn rebuild(&self, more: &[&str]) -> Run {
        let rebuild = ["rebuild", "--session", SESSION, "--json", "--batch-size", "7"];
        let target = ["--db-url", &self.network.target];
        self.with_packages(&[&rebuild[..], &target[..], more].concat())
    }

    /// Loads the merged file.
    pub(crate) fn load(&self, more: &[&str]) -> Run {
        self.merge();
        let load = ["load", "--session", SESSION, "--json", "--in", "m.rsh", "--batch-size", "7"];
        let target = ["--db-url", &self.network.target];
        self.network.run(&[&load[..], &target[..], more].concat())
    }

    /// How many rows of the target are equal, shares and agree columns: all, if there is no
    /// difference.
    pub(crate) fn verified(&self) -> u64 {
        let urls = ["--db-url", &self.network.target, "--db-url", &self.network.databases[2]];
        let verify = ["verify", "--session", SESSION, "--json"];
        let report = self.network.run(&[&verify[..], &urls[..]].concat()).ends_with(0).report();
        report["rows_equal"].as_u64().expect("a number")
    }

    /// Runs SQL at the target.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.network.sql(&self.network.target, sql).trim().to_owned()
    }
}
