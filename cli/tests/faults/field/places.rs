//! File systems and volumes that are not as a disk with ext4.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use reshare_fixtures::network::{Network, Run, Setup};

use super::with_answers;
use crate::RESHARE;

fn world() -> Network {
    Setup::certified(RESHARE).rows(9).make()
}

fn send(world: &Network, party: usize, answers: &[&str]) -> Run {
    let flags = world.sender_flags(party);
    let mut command = world.program_as(["0", "1"][party], &flags.command("send"));
    match answers {
        [] => Run::command(&mut command),
        answers => Run::command(&mut with_answers(answers, &mut command)),
    }
}

fn rebuild(world: &Network) -> Run {
    let rebuild = ["rebuild", "--session", "session.toml", "--identity", "r.age", "--json"];
    let packages = ["--package", "package-0", "--package", "package-1", "--db-url", &world.target];
    world.run_as("2", &[&rebuild[..], &packages].concat())
}

#[test]
fn a_file_system_that_knows_no_fsync_of_a_directory_is_as_good_as_another() {
    for answer in ["fsync:error=EINVAL", "fsync:error=EOPNOTSUPP"] {
        let world = world();
        let directory = format!("{answer}:when=2+2");
        // Every second one is a directory's: a file is synced before its name is.
        let key = ["keygen", "agreement", "--out", "new.key"];
        let mut keygen = world.program_as("0", &key);
        Run::command(&mut with_answers(&[&directory], &mut keygen)).ends_with(0);
        assert!(world.path("new.key").exists());
        // A file that cannot be synced is another matter.
        let mut keygen = world.program_as("0", &["keygen", "agreement", "--out", "other.key"]);
        Run::command(&mut with_answers(&[answer], &mut keygen)).ends_with(1);
        assert!(!world.path("other.key").exists());
    }
}

#[test]
fn a_file_system_without_links_and_a_rename_that_keeps_what_is_there_is_enough() {
    let world = world();
    let no_rename = "renameat2:error=EINVAL";
    let no_link = "linkat:error=EPERM";
    let old_link = "link:error=EPERM";
    send(&world, 0, &[no_rename, no_link, old_link]).ends_with(0);
    send(&world, 1, &[]).ends_with(0);
    assert_eq!(rebuild(&world).ends_with(0).number("rows"), 9);
    // What is there is not replaced.
    let mut again = world.program_as("0", &["keygen", "agreement", "--out", "0.key"]);
    let before = fs::read(world.path("0.key")).expect("there");
    let refused = Run::command(&mut with_answers(&[no_rename, no_link, old_link], &mut again));
    refused.ends_with(1).says(&["exists already"]);
    assert_eq!(fs::read(world.path("0.key")).expect("there"), before);
}

#[test]
fn what_operating_systems_leave_everywhere_is_passed_over_and_said_once() {
    let world = world();
    let litter = |directory: &str| {
        for name in ["lost+found", "System Volume Information", ".Trash-1000"] {
            fs::create_dir_all(world.path(directory).join(name)).expect("a directory");
        }
        for name in ["._part-000000", ".DS_Store", "Thumbs.db", "desktop.ini"] {
            fs::write(world.path(directory).join(name), "junk").expect("written");
        }
    };
    // A medium's first directory is the package, before anything is in it.
    fs::create_dir(world.path("package-0")).expect("a directory");
    litter("package-0");
    send(&world, 0, &[]).ends_with(0).says(&["passed over"]);
    send(&world, 1, &[]).ends_with(0);
    litter("package-1");
    let run = rebuild(&world).ends_with(0);
    assert_eq!(run.number("rows"), 9);
    let said = run.stderr.lines().filter(|line| line.contains("passed over")).count();
    assert_eq!(said, 2, "once a package: {}", run.stderr);
    world.run_as("2", &["inspect", "package-1"]).ends_with(0);
    // What is of no operating system is refused as before.
    fs::write(world.path("package-1/notes.txt"), "x").expect("written");
    rebuild(&world).ends_with(4).says(&["notes.txt"]);
    fs::remove_file(world.path("package-1/notes.txt")).expect("removed");
    let purge = ["purge", "--session", "session.toml", "--package", "package-1"];
    let verified = ["--receiver-verified", &world.fingerprint];
    world.run_as("1", &[&purge[..], &verified].concat()).ends_with(0).says(&["stays"]);
    assert!(!world.path("package-1/manifest.json").exists());
    assert!(world.path("package-1/.DS_Store").exists());
}

#[test]
fn a_volume_that_a_pod_opened_to_its_group_is_private_again() {
    let world = world();
    let export = ["export", "--session", "session.toml", "--party-id", "0", "--out", "0.shares"];
    world.run_as("0", &[&export[..], &["--db-url", &world.databases[0]]].concat()).ends_with(0);
    let ledger = world.path("state-0").join(&world.fingerprint).join("ledger-0");
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    for path in [ledger.clone(), world.path("0.shares")] {
        fs::set_permissions(path, Permissions::from_mode(0o660)).expect("changed");
    }
    let mut pack = world.sender_flags(0);
    pack.remove("--db-url").set("--in", "0.shares");
    let run = world.run_as("0", &pack.command("pack")).ends_with(0);
    let warnings = run.stderr.matches("it is private again").count();
    assert_eq!(warnings, 2, "{}", run.stderr);
    assert_eq!((mode(&ledger), mode(&world.path("0.shares"))), (0o600, 0o600));
    // A network file says who is who: what its group may have written into it does not count.
    fs::set_permissions(world.path("network.toml"), Permissions::from_mode(0o660))
        .expect("changed");
    world.run_as("0", &pack.command("pack")).ends_with(4).says(&["network.toml"]);
}
