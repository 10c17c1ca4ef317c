//! Both senders and the receiver at once, over mutual TLS: from two databases into the third while
//! the parts arrive.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::Failure;
use crate::network::{Network, TARGET};
use crate::processes::{Peak, check_ended, cpu_of_children, output, spawn};

/// What one pass has cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// Seconds from the start of the senders until the receiver has ended.
    pub(crate) seconds: f64,
    /// CPU-seconds of both senders and of the receiver.
    pub(crate) cpu: [f64; 3],
    /// Seconds until the first rows were committed.
    pub(crate) first_rows: f64,
    /// The receiver's largest resident memory, in MiB.
    pub(crate) peak_mib: f64,
    /// Bytes that the receiver wrote to files.
    pub(crate) written: f64,
}

const SESSION: &str = "one-pass.toml";
const NETWORK: &str = "network.toml";
const PARTIES: [&str; 3] = ["0", "1", "2"];

impl Network {
    /// Makes an authority, three certificates, and a session with them.
    pub(crate) fn certify(&self) -> Result<(), Failure> {
        output(self.reshare().args(["pki", "ca", "--out", "ca"]))?;
        let mut new = self.reshare();
        new.args(["session", "new", "--out", SESSION, "--session-id", "one-pass", "--json"]);
        new.args(["--environment", "bench", "--sender", "0=0.pub", "--sender", "1=1.pub"]);
        new.args(["--receiver", &format!("2={}", self.recipient()?), "--ca-file", "ca/ca.pem"]);
        let mut network = self.reshare();
        network.args(["network", "new", "--network", NETWORK, "--ca-file", "ca/ca.pem"]);
        for party in PARTIES {
            let (name, out) = (name_of(party), format!("certificate-{party}"));
            let issue = ["pki", "issue", "--ca", "ca", "--name", &name, "--out", &out];
            output(self.reshare().args(issue))?;
            for command in [&mut new, &mut network] {
                command.args(["--certificate-name", &format!("{party}={name}")]);
            }
        }
        output(&mut network)?;
        new.args(["--network", NETWORK]);
        new.args(["--db-start", "1", "--db-end", &(self.rows() + 1).to_string()]);
        let report: Value = serde_json::from_str(&output(&mut new)?)?;
        let fingerprint = report["fingerprint"].as_str().ok_or("the session has no fingerprint")?;
        Ok(fs::write(self.path("one-pass.fingerprint"), fingerprint)?)
    }

    /// Sends from both parties and rebuilds, at the same time.
    pub(crate) fn one_pass(&self) -> Result<Pass, Failure> {
        self.approve_all()?;
        self.empty_target()?;
        let mut receiver = spawn(self.receive_command().stderr(Stdio::piped()))?;
        let address = match listening_at(&mut receiver) {
            Ok(address) => address,
            Err(error) => {
                receiver.kill()?;
                receiver.wait()?;
                return Err(error);
            }
        };
        let first_rows = spawn(&mut self.first_rows_command())?;
        let (began, cpu_before) = (Instant::now(), cpu_of_children()?);
        let url = format!("https://{address}");
        let senders = [self.deliver_command("0", &url), self.deliver_command("1", &url)]
            .map(|mut command| spawn(&mut command));
        let peak = Peak::watch(receiver.id());
        check_ended("reshare receive", receiver)?;
        let seconds = began.elapsed().as_secs_f64();
        let mut cpu = [0.0, 0.0, cpu_of_children()? - cpu_before];
        for (sender, cpu) in senders.into_iter().zip(&mut cpu) {
            let before = cpu_of_children()?;
            check_ended("reshare send", sender?)?;
            *cpu = cpu_of_children()? - before;
        }
        let first = check_ended("psql", first_rows)?;
        let first_rows = first.trim().parse::<f64>()? - unix_time_of(began)?;
        self.check_target()?;
        let Peak { resident_mib: peak_mib, written, .. } = peak.ended();
        Ok(Pass { seconds, cpu, first_rows, peak_mib, written })
    }

    /// New state directories: nothing is kept from earlier runs.
    pub(crate) fn approve_all(&self) -> Result<(), Failure> {
        let fingerprint = fs::read_to_string(self.path("one-pass.fingerprint"))?;
        for party in PARTIES {
            for old in [self.path(&state_of(party)), self.path("inbox")] {
                if old.exists() {
                    fs::remove_dir_all(old)?;
                }
            }
            let own = if party == "2" { "receiver.pub".to_owned() } else { format!("{party}.pub") };
            let mut approve = self.party(party, &["session", "approve"]);
            approve.args(["--party-id", party, "--own-public-key", &own]);
            approve.args(["--state-dir", &state_of(party)]);
            approve.args(["--yes", "--expect-fingerprint", &fingerprint]);
            output(approve.args(["--out", &approval_of(party)]))?;
        }
        Ok(())
    }

    fn receive_command(&self) -> Command {
        let mut command = self.party("2", &["receive", "--quiet"]);
        command.args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
        command.args(["--inbox", "inbox", "--rebuild", "--identity", "receiver.age"]);
        command.args(["--db-url", self.url(TARGET), "-j", &self.connections().to_string()]);
        command.stdout(Stdio::null());
        command
    }

    pub(crate) fn deliver_command(&self, party: &str, url: &str) -> Command {
        let mut command = self.send_flags(party);
        command.args(["--server-url", url]).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// A `send` without the place to send to.
    pub(crate) fn send_flags(&self, party: &str) -> Command {
        let (other, place) = if party == "0" { ("1", 0) } else { ("0", 1) };
        let mut command = self.party(party, &["send", "--quiet"]);
        command.args(["--party-id", party, "--agreement-key", &format!("file:{party}.key")]);
        command.args(["--state-dir", &state_of(party)]);
        command.args(["--approval", &approval_of(other), "--approval", &approval_of("2")]);
        command.args(["--db-url", self.url(place), "-j", &self.connections().to_string()]);
        command
    }

    /// Prints the time at which the first rows are in the table.
    fn first_rows_command(&self) -> Command {
        let name = self.name(TARGET);
        let mut command = self.psql(TARGET);
        command.args(["-A", "-t", "-c"]).arg(format!(
            "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM {name}) LOOP PERFORM pg_sleep(0.01); \
             END LOOP; END $$"
        ));
        command.args(["-c", "SELECT extract(epoch FROM clock_timestamp())"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command of one party, with its certificate.
    pub(crate) fn party(&self, party: &str, words: &[&str]) -> Command {
        let mut command = self.reshare();
        command.args(words).args(["--session", SESSION]).env("RESHARE_NETWORK", NETWORK);
        let certificate = format!("certificate-{party}/certificate");
        command.args(["--ca-file", "ca/ca.pem", "--certificate", &format!("{certificate}.pem")]);
        command.args(["--certificate-key", &format!("{certificate}.key")]);
        command
    }
}

/// The address in the line with which a receiver says that it is ready.
pub(crate) fn listening_at(receiver: &mut Child) -> Result<String, Failure> {
    let messages = receiver.stderr.take().ok_or("the receiver's messages are not read")?;
    let mut messages = BufReader::new(messages);
    let mut so_far = String::new();
    while messages.read_line(&mut so_far)? > 0 {
        let line = so_far.lines().last().unwrap_or_default();
        if let Some(rest) = line.strip_prefix("receiving on ") {
            let address = rest.split(',').next().unwrap_or_default().to_owned();
            // What else it says does not fill a pipe.
            receiver.stderr = Some(messages.into_inner());
            return Ok(address);
        }
    }
    Err(format!("the receiver ended: {}", so_far.trim()).into())
}

fn unix_time_of(instant: Instant) -> Result<f64, Failure> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok((now - instant.elapsed()).as_secs_f64())
}

fn name_of(party: &str) -> String {
    format!("spiffe://bench.example/{party}")
}

fn state_of(party: &str) -> String {
    format!("one-pass-state-{party}")
}

fn approval_of(party: &str) -> String {
    format!("approval-{party}.json")
}
