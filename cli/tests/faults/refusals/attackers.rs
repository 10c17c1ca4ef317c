//! The receiver's door, and who knocks: stock `curl` and `openssl s_client`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::world::{RECEIVER, World, contents_of};
use reshare_fixtures::network::{Run, Running};

/// A receiver at work, and what lay in its inbox before somebody came.
pub(crate) struct Door {
    running: Running,
    pub(crate) address: String,
    health: String,
    inbox: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Door {
    /// Starts the receiver.
    pub(crate) fn open(world: &World, more: &[&str]) -> Self {
        Self::open_as(world, "2", "inbox", more)
    }

    /// Starts a receiver with another certificate or inbox.
    pub(crate) fn open_as(world: &World, who: &str, inbox: &str, more: &[&str]) -> Self {
        let at = ["receive", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
        let rest = ["--inbox", inbox, "--keep-free-bytes", "0"];
        let mut command = world.program_as(who, &[&at[..], &rest, more].concat());
        let mut running = Running::start(&mut command);
        let line = running.says(&["receiving on ", "health on "]);
        let line = line.trim_start_matches("receiving on ").split_once(", health on ");
        let (address, health) = line.expect("both addresses");
        let (address, health) = (address.to_owned(), health.to_owned());
        let inbox = world.path(inbox);
        let before = contents_of(&inbox);
        Self { running, address, health, inbox, before }
    }

    /// Waits until the receiver has logged a refusal with all these words, and checks that
    /// nothing in the inbox has changed.
    #[track_caller]
    pub(crate) fn refused(&mut self, words: &[&str]) -> String {
        let line = self.running.says(words);
        self.unchanged();
        line
    }

    #[track_caller]
    pub(crate) fn unchanged(&self) {
        assert_eq!(contents_of(&self.inbox), self.before);
    }

    /// Takes what is in the inbox now for what must stay.
    pub(crate) fn settle(&mut self) {
        self.before = contents_of(&self.inbox);
    }

    /// Checks that no client has come: nothing was served, nothing refused.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        let url = format!("http://{}/metrics", self.health);
        let out = Command::new("curl").args(["--silent", "--fail", &url]).output().expect("curl");
        let metrics = Run::of(out).ends_with(0).stdout;
        assert!(metrics.contains("\nreshare_requests_accepted_total 0\n"), "{metrics}");
        assert!(!metrics.contains("reshare_refused_total{"), "{metrics}");
        self.unchanged();
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 when there was none.
    pub(crate) status: u16,
    pub(crate) body: String,
    /// What curl says of a failure.
    error: String,
}

impl Answer {
    /// Checks that it is a refusal that says why.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, reason: &str, words: &str) {
        let prefix = format!("{{\"error\":\"{reason}\",\"message\":\"");
        let says = self.body.starts_with(&prefix) && self.body.contains(words);
        assert!(self.status == status && says, "{status} {reason} {words:?}: {self:?}");
    }

    /// Checks that the connection ended with an alert.
    #[track_caller]
    pub(crate) fn alerts(&self, alert: &str) {
        assert!(self.status == 0 && self.error.contains(alert), "{alert}: {self:?}");
    }
}

/// Runs curl with a certificate, or none, on a path at the receiver.
pub(crate) fn curl(
    world: &World,
    door: &Door,
    who: Option<&str>,
    path: &str,
    more: &[&str],
) -> Answer {
    let port = door.address.rsplit(':').next().expect("a port");
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--path-as-is", "--globoff", "--max-time", "60"])
        .args(["--write-out", "\n%{http_code}", "--cacert", "ca/ca.pem"])
        .args(["--resolve", &format!("{RECEIVER}:{port}:127.0.0.1")])
        .args(more)
        .current_dir(world.directory());
    if let Some(who) = who {
        let [certificate, key] = files_of(who);
        command.args(["--cert", &certificate, "--key", &key]);
    }
    command.arg(format!("https://{RECEIVER}:{port}{path}"));
    let out = command.output().expect("the curl command is needed: run `make setup`");
    let stdout = String::from_utf8(out.stdout).expect("UTF-8");
    let (body, status) = stdout.rsplit_once('\n').expect("a status");
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    Answer { status: status.parse().expect("a number"), body: body.to_owned(), error }
}

/// Puts a file with the digest of another one, or its own.
pub(crate) fn put(
    world: &World,
    door: &Door,
    who: &str,
    path: &str,
    file: &str,
    digest_of: &str,
) -> Answer {
    let digest = sha256_of(&world.path(digest_of));
    curl(world, door, Some(who), path, &["-H", &digest, "-T", file])
}

/// `Repr-Digest` of a file, as the openssl command makes it.
pub(crate) fn sha256_of(file: &Path) -> String {
    let script = "openssl dgst -sha256 -binary \"$1\" | base64";
    let out = Command::new("sh").args(["-c", script, "sh"]).arg(file).output().expect("a shell");
    let digest = Run::of(out).ends_with(0).stdout;
    format!("Repr-Digest: sha-256=:{}:", digest.trim())
}

/// Says so much over TLS and nothing more, and returns what is answered until the receiver
/// hangs up, and what openssl says.
pub(crate) fn talk(world: &World, door: &Door, who: Option<&str>, said: &[u8]) -> (String, String) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-CAfile", "ca/ca.pem", "-connect", &door.address]);
    if let Some(who) = who {
        let [certificate, key] = files_of(who);
        command.args(["-cert", &certificate, "-key", &key]);
    }
    command.current_dir(world.directory());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the openssl command is needed: run `make setup`");
    let mut stdin = child.stdin.take().expect("piped");
    // It may have been turned away before it has said all.
    let _ = stdin.write_all(said).and_then(|()| stdin.flush());
    let out = child.wait_with_output().expect("it ends");
    drop(stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr))
}

fn files_of(who: &str) -> [String; 2] {
    ["pem", "key"].map(|end| format!("certificate-{who}/certificate.{end}"))
}

/// The path of a sender's package in the URL.
pub(crate) fn place(sender: &str) -> String {
    format!("/v1/sessions/run/parties/{sender}")
}
