//! Requests by the `curl` command: a client that is not ours.

use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use tokio::process::Command;

use crate::certificates::Files;
use crate::world::{RECEIVER, World};

/// The answer that curl received.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 when there was none.
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Curl's message about a failure.
    pub(crate) error: String,
}

impl Answer {
    pub(crate) fn assert_refused(&self, status: u16, reason: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.body.contains(&format!("{{\"error\":\"{reason}\",\"message\":\"")),
            "{self:?}"
        );
    }
}

/// `Repr-Digest` of a file, in SHA-256.
pub(crate) fn sha256_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let base64 = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("Repr-Digest: sha-256=:{base64}:")
}

/// The path of a sender's package in the URL.
pub(crate) fn place(world: &World, index: u8) -> String {
    format!("/v1/sessions/{}/parties/{index}", world.session.id())
}

/// Runs curl with a certificate, or with none, on a path at the receiver.
pub(crate) async fn curl(
    world: &World,
    port: u16,
    files: Option<&Files>,
    path: &str,
    more: &[&str],
) -> Answer {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--path-as-is", "--max-time", "60"])
        .args(["--write-out", "\n%{http_code}", "--cacert"])
        .arg(world.authority.pem())
        .args(["--resolve", &format!("{RECEIVER}:{port}:127.0.0.1")])
        .args(more);
    if let Some(Files { certificate, key }) = files {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    command.arg(format!("https://{RECEIVER}:{port}{path}"));
    let out = command.output().await;
    let Output { stdout, stderr, .. } = out.expect("the curl command is needed: run `make setup`");
    let stdout = String::from_utf8(stdout).unwrap();
    let (body, status) = stdout.rsplit_once('\n').unwrap();
    let error = String::from_utf8_lossy(&stderr).into_owned();
    Answer { status: status.parse().unwrap(), body: body.to_owned(), error }
}

/// Reads `/metrics` or `/health`.
pub(crate) async fn plain(url: String) -> String {
    let out = Command::new("curl").args(["--silent", "--show-error", "--fail", &url]).output();
    let out = out.await.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
