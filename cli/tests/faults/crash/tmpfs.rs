//! A disk of a few megabytes with a file that takes most of it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A tmpfs that only its holder has mounted; everybody else reaches it through `/proc`. That
/// needs no rights but those to a user namespace, and nothing is left behind.
pub(crate) struct SmallDisk {
    holder: Child,
    said: Lines<BufReader<ChildStdout>>,
    at: TempDir,
}

/// Mounts, fills, and makes room on request.
const SCRIPT: &str = "set -e; mount -t tmpfs -o size=4m,mode=700 none \"$1\"; \
    mkdir \"$1/space\"; chmod 700 \"$1/space\"; head -c \"$2\" /dev/zero > \"$1/ballast\"; \
    echo ready; read -r line; rm \"$1/ballast\"; echo room; read -r line";

impl SmallDisk {
    /// A disk of 4 MiB with so much room; for another user than us, if there is one.
    pub(crate) fn with_room(bytes: u64, owner: Option<(u32, u32)>) -> Self {
        let at = tempfile::tempdir().expect("a directory");
        let ballast = ((4 << 20) - bytes).to_string();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "holder"]);
        command.arg(at.path()).arg(ballast).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((uid, gid)) = owner {
            chown(at.path(), Some(uid), Some(gid)).expect("changed");
            command.uid(uid).gid(gid).current_dir("/");
        }
        let mut holder = command.spawn().expect("util-linux: unshare");
        let said = BufReader::new(holder.stdout.take().expect("piped")).lines();
        let mut disk = Self { holder, said, at };
        disk.says("ready");
        disk
    }

    #[track_caller]
    fn says(&mut self, word: &str) {
        let line = self.said.next().and_then(Result::ok);
        let needs = "this test needs user namespaces in which a tmpfs can be mounted";
        assert_eq!(line.as_deref(), Some(word), "{needs}");
    }

    /// An empty directory on the disk.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.path().strip_prefix("/").expect("absolute")).join("space")
    }

    pub(crate) fn make_room(&mut self) {
        self.holder.stdin.as_mut().expect("piped").write_all(b"\n").expect("it reads");
        self.says("room");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // With its last process the mount is gone, too.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
