//! A session of a network's three parties, and what they run in it.

use reshare_fixtures::network::{Network, Run};

/// A session that both senders have approved, in `NAME.toml`; packages are `NAME-0`, `NAME-1`.
pub(crate) struct Agreed<'a> {
    network: &'a Network,
    name: String,
    fingerprint: String,
    list: Option<String>,
}

/// A party's table.
pub(crate) fn table(party: usize) -> String {
    format!("\"SMPC_dev_{party}\".irises")
}

/// The ids in a party's table, ascending.
pub(crate) fn ids_in(network: &Network, url: &str, party: usize) -> Vec<i64> {
    let rows = network.sql(url, &format!("SELECT id FROM {} ORDER BY id", table(party)));
    rows.lines().map(|id| id.parse().expect("an id")).collect()
}

/// Empties the receiver's table for another session.
pub(crate) fn empty_target(network: &Network) {
    network.sql(&network.target, &format!("TRUNCATE {}", table(2)));
}

impl<'a> Agreed<'a> {
    /// Makes a session; `ids` are the flags of `session new` that say which rows it is about.
    pub(crate) fn on(network: &'a Network, name: &str, ids: &[&str]) -> Self {
        let file = format!("{name}.toml");
        let flags = [&["--session-id", name], ids].concat();
        let fingerprint = network.make_session(&file, &flags);
        let list = ids.iter().skip_while(|flag| **flag != "--ids-from").nth(1);
        let list = list.map(|list| (*list).to_owned());
        network.approve_as_senders(&file, &fingerprint);
        Self { network, name: name.to_owned(), fingerprint, list }
    }

    /// Runs a command in the session, with the list of ids for each command that takes one.
    fn run(&self, command: &[&str], flags: &[&str]) -> Run {
        let file = format!("{}.toml", self.name);
        let list = self.list.iter().filter(|_| command[0] != "session");
        let list: Vec<&str> = list.flat_map(|list| ["--ids-from", list]).collect();
        self.network.run(&[command, &["--session", &file], &list, flags].concat())
    }

    /// The directory of a sender's package.
    pub(crate) fn package(&self, sender: usize) -> String {
        format!("{}-{sender}", self.name)
    }

    /// Sends to the sender's package, or elsewhere if the flags have another `--db-url` or `--to`.
    pub(crate) fn send(&self, sender: usize, more: &[&str]) -> Run {
        let flags = self.send_flags(sender, more);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.network.run(&flags)
    }

    /// The whole command line of a sender.
    pub(crate) fn send_flags(&self, sender: usize, more: &[&str]) -> Vec<String> {
        let (file, key) = (format!("{}.toml", self.name), format!("file:{sender}.key"));
        let (state, to) = (format!("state-{sender}"), self.package(sender));
        let mut flags = vec!["send", "--session", &file, "--agreement-key", &key];
        flags.extend(["--expect-fingerprint", &self.fingerprint, "--state-dir", &state]);
        flags.extend(["--target-party-id", "2"]);
        for (flag, value) in [("--db-url", &self.network.databases[sender]), ("--to", &to)] {
            if !more.contains(&flag) {
                flags.extend([flag, value]);
            }
        }
        flags.extend(self.list.iter().flat_map(|list| ["--ids-from", list]));
        flags.extend(more);
        flags.into_iter().map(str::to_owned).collect()
    }

    /// Has both senders send, each in parts of another size.
    pub(crate) fn send_both(&self) {
        self.send(0, &["--batch-size", "7"]).ends_with(0);
        self.send(1, &["--batch-size", "11"]).ends_with(0);
    }

    fn packages(&self) -> [String; 6] {
        let [lower, higher] = [0, 1].map(|sender| self.package(sender));
        let flags = ["--identity", "r.age", "--package", &lower, "--package", &higher];
        flags.map(str::to_owned)
    }

    /// Rebuilds from the session's two packages.
    pub(crate) fn rebuild(&self, more: &[&str]) -> Run {
        let packages = self.packages();
        let mut flags: Vec<&str> = packages.iter().map(String::as_str).collect();
        flags.extend(["--db-url", &self.network.target]);
        self.run(&["rebuild"], &[&flags[..], more].concat())
    }

    /// Rebuilds from packages that are named, each with its flag.
    pub(crate) fn rebuild_from(&self, packages: &[&str]) -> Run {
        let flags = ["--identity", "r.age", "--db-url", &self.network.target];
        self.run(&["rebuild"], &[&flags[..], packages].concat())
    }

    /// Compares the target with the table that was lost.
    pub(crate) fn verify(&self) -> Run {
        let urls = ["--db-url", &self.network.target, "--db-url", &self.network.databases[2]];
        self.run(&["verify"], &urls)
    }

    /// Compares the target with the packages.
    pub(crate) fn verify_packages(&self) -> Run {
        let packages = self.packages();
        let mut flags: Vec<&str> = packages.iter().map(String::as_str).collect();
        flags.extend(["--db-url", &self.network.target]);
        self.run(&["verify"], &flags)
    }

    /// Checks that the target is bit for bit the table that was lost, of so many rows.
    #[track_caller]
    pub(crate) fn is_equal(&self, rows: usize) {
        let verified = self.verify().ends_with(0);
        let summary = format!("equal: all {rows} rows, bit for bit");
        assert!(verified.stdout.contains(&summary), "{}", verified.stdout);
    }
}
