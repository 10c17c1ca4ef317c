//! Plain shares of `send` never reach a disk, and rebuilt ones reach the database alone.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::needles::Needles;
use crate::RESHARE;
use reshare_fixtures::network::{Network, Running, Setup};

const ROWS: u64 = 200;
const COLUMNS: [&str; 4] = ["left_code", "left_mask", "right_code", "right_mask"];
/// Of each row: at its beginning, somewhere within, and at its end.
const WINDOW_BYTES: usize = 32;

/// Pieces of one party's shares, of several rows and all columns, as they are in the table.
fn plain_shares(world: &Network, party: usize) -> Needles {
    let mut needles = Needles::default();
    for column in COLUMNS {
        let last = format!("length({column}) - {}", WINDOW_BYTES - 1);
        for place in ["1", "4001", &last] {
            let pieces = world.sql_at(
                party,
                &format!(
                    "SELECT encode(substring({column} FROM {place} FOR {WINDOW_BYTES}), 'hex') \
                     FROM \"SMPC_dev_{party}\".irises WHERE id IN (1, 2, 17, 100, {ROWS})"
                ),
            );
            assert_eq!(pieces.lines().count(), 5);
            for piece in pieces.lines() {
                let bytes = hex::decode(piece).expect("hex");
                assert_eq!(bytes.len(), WINDOW_BYTES);
                needles.add_raw(&format!("{column} of party {party}"), &bytes);
            }
        }
    }
    needles
}

/// What the receiver rebuilds of both packages, found out by doing it once unwatched.
fn rebuilt_shares(world: &Network) -> Needles {
    let words = ["rebuild", "--session", "session.toml", "--identity", "r.age"];
    let packages = ["--package", "package-0", "--package", "package-1"];
    let words = [&words[..], &packages, &["--db-url", &world.target]].concat();
    world.run_as("2", &words).ends_with(0);
    let needles = plain_shares(world, 2);
    world.sql_at(2, "TRUNCATE \"SMPC_dev_2\".irises; DROP TABLE \"SMPC_dev_2\".reshare_progress");
    needles
}

/// A program without a directory for files of its own: it can make them only where a flag says.
fn program(world: &Network, party: &str, words: &[&str]) -> Command {
    let mut command = world.program_as(party, words);
    for name in ["TMPDIR", "HOME"] {
        command.env(name, world.path("nowhere"));
    }
    for name in ["XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command
}

/// The regular files that a process has open for writing now.
fn open_for_writing(process: u32) -> BTreeSet<PathBuf> {
    let directory = Path::new("/proc").join(process.to_string());
    // It may end at any moment.
    let Ok(entries) = std::fs::read_dir(directory.join("fd")) else { return BTreeSet::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let written = names.filter_map(|name| {
        let info = std::fs::read_to_string(directory.join("fdinfo").join(&name)).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let writes = u32::from_str_radix(flags.trim(), 8).ok()? & 0o3 != 0;
        let file = directory.join("fd").join(&name);
        let target = std::fs::read_link(&file).ok()?;
        let is_regular = std::fs::metadata(&file).is_ok_and(|metadata| metadata.is_file());
        (writes && target.is_absolute() && is_regular).then_some(target)
    });
    written.collect()
}

/// What was searched already: a file's number, length and time of the last write.
type Searched = BTreeSet<(u64, u64, i64, i64)>;

/// Searches all files below a directory that were written since the last look.
fn look_below(directory: &Path, needles: &Needles, searched: &mut Searched) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            found.extend(look_below(&path, needles, searched));
            continue;
        }
        let times = (metadata.mtime(), metadata.mtime_nsec());
        if metadata.is_file() && searched.insert((metadata.ino(), metadata.len(), times.0, times.1))
        {
            // It may be gone by now.
            let bytes = std::fs::read(&path).unwrap_or_default();
            found.extend(needles.found_in(&bytes).map(|name| format!("{name} in {path:?}")));
        }
    }
    found
}

/// Waits for a process that must end well.
///
/// It runs for a moment, and is frozen while all files below a directory are examined: every file
/// that exists for more than a few such moments is searched, even if it is gone in the end. Returns
/// which files the process was seen to write and what was found.
#[track_caller]
fn watch(
    directory: &Path,
    mut child: Running,
    needles: &Needles,
) -> (BTreeSet<PathBuf>, Vec<String>) {
    let (mut seen, mut found, mut searched) = (BTreeSet::new(), Vec::new(), Searched::new());
    loop {
        child.signal("-STOP");
        seen.extend(open_for_writing(child.id()));
        found.extend(look_below(directory, needles, &mut searched));
        child.signal("-CONT");
        let moment = Instant::now();
        while moment.elapsed() < MOMENT {
            seen.extend(open_for_writing(child.id()));
            if !child.is_running() {
                child.ends_with(0);
                return (seen, found);
            }
        }
    }
}

/// A small part of any run that is watched.
const MOMENT: Duration = Duration::from_millis(10);

/// Watches a process, and checks that it writes below one directory only, in no file that has
/// lost its name, and nothing that must be nowhere; returns how many files it was seen to write.
#[track_caller]
fn writes_below(directory: &Path, child: Running, needles: &Needles) -> usize {
    let (seen, found) = watch(directory, child, needles);
    assert_eq!(found, [""; 0], "while it ran");
    for path in &seen {
        assert!(path.starts_with(directory), "{path:?} is not below {directory:?}");
        let is_deleted = path.to_string_lossy().ends_with(" (deleted)");
        assert!(!is_deleted, "{path:?}");
    }
    seen.len()
}

/// Starts a receiver.
fn receive(world: &Network) -> Running {
    let mut flags = world.receiver_flags();
    flags.add("--rebuild", None).add("--keep-packages", None);
    Running::start(&mut program(world, "2", &flags.command("receive")))
}

#[test]
fn no_plain_share_is_in_any_file_that_a_sender_or_the_receiver_writes() {
    let world = Setup::certified(RESHARE).rows(ROWS).make();
    let directory = world.path("").canonicalize().expect("a directory");
    let few_at_once = ["--batch-size", "10"];
    let mut written = 0;
    for party in [0, 1] {
        let send = world.sender_flags(party);
        let words = [&send.command("send")[..], &few_at_once].concat();
        let needles = plain_shares(&world, party);
        let child = Running::start(&mut program(&world, ["0", "1"][party], &words));
        written += writes_below(&directory, child, &needles);
    }
    assert!(written > 2, "{written} files were seen: nothing was watched");
    let rebuilt = rebuilt_shares(&world);
    let mut receiver = receive(&world);
    let url = receiver.url();
    let receiver = std::thread::spawn({
        let directory = directory.clone();
        move || writes_below(&directory, receiver, &rebuilt)
    });
    for party in [0, 1] {
        let mut send = world.sender_flags(party);
        send.remove("--to").set("--server-url", &url);
        let words = [&send.command("send")[..], &few_at_once].concat();
        let needles = plain_shares(&world, party);
        let child = Running::start(&mut program(&world, ["0", "1"][party], &words));
        writes_below(&directory, child, &needles);
    }
    assert!(receiver.join().expect("it writes where it may") > 0);
    let loaded = world.sql_at(2, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    assert_eq!(loaded.trim(), ROWS.to_string());
    for party in [0, 1, 2] {
        let needles = plain_shares(&world, party);
        let (found, searched) = needles.found_below(&directory, &[]);
        assert_eq!(found, [""; 0]);
        // Two packages on removable media and two in the inbox.
        assert!(searched > 4 * ROWS * 76_800, "{searched} bytes");
    }
    // The same search finds what `export` is asked to write.
    let export = ["export", "--session", "session.toml", "--party-id", "0", "--out", "0.shares"];
    let words = [&export[..], &["--db-url", &world.databases[0]]].concat();
    let needles = plain_shares(&world, 0);
    let child = Running::start(&mut program(&world, "0", &words));
    let (_, found) = watch(&directory, child, &needles);
    assert!(!found.is_empty(), "nothing was found in a file of plain shares while it was written");
    let (found, _) = needles.found_below(&directory, &[]);
    assert!(found.len() == 1 && found[0].contains("0.shares"), "{found:?}");
}
