//! A pod of Kubernetes without a cluster: a user without a name and a home, secrets as links, a
//! volume that an fsGroup was let into, a root file system that cannot be written, and signals to
//! the first process.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use reshare_fixtures::network::{Network, Run, Running, Setup};

use crate::RESHARE;

/// The original's user, and a group for the volumes. Neither has an entry in `/etc/passwd` or
/// `/etc/group`.
const USER: u32 = 40_500;
const GROUP: u32 = 40_501;

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

/// Mounts a secret as Kubernetes does: files in a directory named by time, `..data` that links to
/// it, and a link for each.
fn mount_secret(world: &Network, directory: &str, files: &[(&str, &str)]) {
    let at = world.path(directory);
    let data = at.join("..2026_01_01_00_00_00.1");
    fs::create_dir_all(&data).expect("made");
    symlink("..2026_01_01_00_00_00.1", at.join("..data")).expect("a link");
    for (name, from) in files {
        fs::copy(world.path(from), data.join(name)).expect("copied");
        chown(data.join(name), Some(0), Some(GROUP)).expect("changed");
        fs::set_permissions(data.join(name), Permissions::from_mode(0o440)).expect("changed");
        symlink(Path::new("..data").join(name), at.join(name)).expect("a link");
    }
    for directory in [&at, &data] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("changed");
    }
}

/// Makes a volume writable for the group, as an fsGroup does at each start.
fn open_to_group(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("there");
    let mode = if metadata.is_dir() { 0o2770 } else { metadata.permissions().mode() | 0o060 };
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("readable") {
            open_to_group(&entry.expect("an entry").path());
        }
    }
    chown(path, Some(USER), Some(GROUP)).expect("changed");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
}

/// The program as the pod's user: without a home, a name, rights, or a place to write but its
/// volume.
fn in_pod(world: &Network, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        format!("--reuid={USER}"),
        format!("--regid={USER}"),
        format!("--groups={GROUP}"),
    ]);
    command.args(["--inh-caps=-all", "--no-new-privs", "--", RESHARE]).args(words);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(world.path("volume"));
    for (name, file) in [
        ("RESHARE_SESSION", "../config/session.toml"),
        ("RESHARE_NETWORK", "../config/network.toml"),
        ("RESHARE_CA_FILE", "../config/ca.pem"),
        ("RESHARE_CERTIFICATE", "../secret/tls.crt"),
        ("RESHARE_CERTIFICATE_KEY", "../secret/tls.key"),
        ("RESHARE_SHARED_KEY", "../secret/shared.key"),
        ("RESHARE_STATE_DIR", "state"),
    ] {
        command.env(name, file);
    }
    command.env("DATABASE_URL", &world.databases[0]);
    command
}

fn pod() -> Network {
    let world = Setup::certified(RESHARE).rows(60).make();
    fs::set_permissions(world.directory(), Permissions::from_mode(0o755)).expect("changed");
    let certificate = ["certificate-0/certificate.pem", "certificate-0/certificate.key"];
    mount_secret(
        &world,
        "secret",
        &[
            ("tls.crt", certificate[0]),
            ("tls.key", certificate[1]),
            ("agreement.key", "0.key"),
            ("shared.key", "shared.key"),
        ],
    );
    let config = ["session.toml", "network.toml", "approval-1.json", "approval-2.json"];
    let config = config.map(|name| (name, name));
    mount_secret(&world, "config", &[&config[..], &[("ca.pem", "ca/ca.pem")]].concat());
    fs::create_dir(world.path("volume")).expect("made");
    let mut copy = Command::new("cp");
    copy.args(["-a", "state-0", "volume/state"]).current_dir(world.directory());
    assert!(copy.status().expect("cp").success());
    open_to_group(&world.path("volume"));
    world
}

const SEND: [&str; 9] = [
    "send",
    "--agreement-key",
    "../secret/agreement.key",
    "--approval",
    "../config/approval-1.json",
    "--approval",
    "../config/approval-2.json",
    "--db-url",
    "env:DATABASE_URL",
];

#[test]
fn a_pod_with_a_nameless_user_and_mounted_secrets_sends_and_goes_on_after_a_restart() {
    assert!(is_root(), "this test changes owners: run it as root");
    let world = pod();
    let to = [&SEND[..], &["--to", "package"]].concat();
    let adopt = [&to[..], &["--adopt-ledger"]].concat();
    let first = Run::command(&mut in_pod(&world, &adopt)).ends_with(0);
    assert!(first.stderr.contains("it is private again"), "{}", first.stderr);
    // The next pod on the same volume.
    open_to_group(&world.path("volume"));
    let again = Run::command(&mut in_pod(&world, &to)).ends_with(0);
    assert!(again.stdout.contains("is complete already"), "{}", again.stdout);
    let mode = |path: &str| fs::metadata(world.path(path)).expect("there").permissions().mode();
    let ledger = format!("volume/state/{}/ledger-0", world.fingerprint);
    assert_eq!(mode(&ledger) & 0o777, 0o600);
    // Nothing but the volume can be written.
    let elsewhere = [&SEND[..], &["--to", "/package"]].concat();
    Run::command(&mut in_pod(&world, &elsewhere)).ends_with(1).says(&["/package"]);
    // Without a state directory there is no home to find one in.
    let mut homeless = in_pod(&world, &to);
    let homeless = Run::command(homeless.env_remove("RESHARE_STATE_DIR"));
    homeless.ends_with(2).says(&["no home directory", "--state-dir"]);
}

/// Makes everything read-only but the volume and `scratch`, an empty directory in memory, then runs
/// a command.
const READ_ONLY_ROOT: &str = "set -e; mount --make-rprivate /; mount -o remount,bind,ro /; \
    for at in /tmp /dev/shm \"$1\"; do mount --bind \"$at\" \"$at\"; mount -o remount,bind,ro \"$at\"; done; \
    cd \"$1\"; mount --bind volume volume; mount -o remount,bind,rw \"$1/volume\"; \
    mount -t tmpfs -o mode=1777 tmpfs scratch; \
    for at in / /tmp /dev/shm; do if touch \"$at/reshare-test\" 2>/dev/null; then exit 99; fi; done; \
    cd \"$1/volume\"; shift; exec \"$@\"";

/// The program as the pod's user, with `readOnlyRootFilesystem`.
fn in_read_only_pod(world: &Network, words: &[&str]) -> Command {
    let inner = in_pod(world, words);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", READ_ONLY_ROOT, "sh"]);
    command.arg(world.directory()).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_pod_whose_root_cannot_be_written_writes_to_its_volumes_alone() {
    assert!(is_root(), "this test makes a mount namespace: run it as root");
    let world = pod();
    for open_to_all in ["scratch", "elsewhere"] {
        fs::create_dir(world.path(open_to_all)).expect("made");
        let all = Permissions::from_mode(0o777);
        fs::set_permissions(world.path(open_to_all), all).expect("changed");
    }
    let to = |place| [&SEND[..], &["--adopt-ledger", "--to", place]].concat();
    let refused = Run::command(&mut in_read_only_pod(&world, &to("../elsewhere/package")));
    refused.ends_with(1).says(&["../elsewhere/package", "Read-only file system"]);
    assert_eq!(fs::read_dir(world.path("elsewhere")).expect("there").count(), 0);
    // The ledger is at home since the first run.
    for place in ["package", "../scratch/package"] {
        let send = [&SEND[..], &["--to", place]].concat();
        Run::command(&mut in_read_only_pod(&world, &send)).ends_with(0);
    }
    assert!(world.path("volume/package/manifest.json").exists());
    let export = ["export", "--party-id", "0", "--db-url", "env:DATABASE_URL"];
    let out = |place| [&export[..], &["--out", place]].concat();
    Run::command(&mut in_read_only_pod(&world, &out("rows.rsh"))).ends_with(0);
    assert!(world.path("volume/rows.rsh").exists());
    let refused = Run::command(&mut in_read_only_pod(&world, &out("../elsewhere/rows.rsh")));
    refused.ends_with(2).says(&["../elsewhere/rows.rsh", "--out"]);
}

#[test]
fn a_first_process_that_is_asked_to_end_ends_in_time_and_leaves_no_zombie() {
    assert!(is_root(), "this test makes a process namespace: run it as root");
    let world = pod();
    let receive = ["receive", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    let rest = ["--session", "session.toml", "--inbox", "inbox", "--keep-free-bytes", "0"];
    let program = world.program_as("2", &[&receive[..], &rest].concat());
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    unshare.arg(program.get_program()).args(program.get_args());
    unshare.current_dir(world.directory());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => unshare.env(name, value),
            None => unshare.env_remove(name),
        };
    }
    let mut receiver = Running::start(&mut unshare);
    receiver.address();
    let children = format!("/proc/{0}/task/{0}/children", receiver.id());
    let first = fs::read_to_string(&children).expect("its child");
    let asked = Command::new("kill").args(["-TERM", first.trim()]).status();
    assert!(asked.expect("kill").success());
    receiver.ends_with(143);
}
