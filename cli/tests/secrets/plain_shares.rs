//! Plain shares of `send` never reach a disk, and rebuilt ones reach the database alone.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::needles::Needles;
use crate::world::World;

const ROWS: u32 = 200;
const COLUMNS: [&str; 4] = ["left_code", "left_mask", "right_code", "right_mask"];
/// Of each row: at its beginning, somewhere within, and at its end.
const WINDOW_BYTES: usize = 32;

/// Pieces of one party's shares, of several rows and all columns, as they lie in the table.
fn plain_shares(world: &World, party: usize) -> Needles {
    let mut needles = Needles::default();
    for column in COLUMNS {
        let last = format!("length({column}) - {}", WINDOW_BYTES - 1);
        for place in ["1", "4001", &last] {
            let pieces = world.sql(
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

/// A program whose every directory for files of its own lies in the world's.
fn program(world: &World, party: &str, words: &[&str]) -> Command {
    let mut command = world.program(party, words);
    for (name, directory) in [("TMPDIR", "tmp"), ("HOME", "home")] {
        let path = world.path(directory);
        std::fs::create_dir_all(&path).expect("a directory");
        command.env(name, path);
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
        let target = std::fs::read_link(directory.join("fd").join(&name)).ok()?;
        (writes && target.is_absolute() && !target.starts_with("/dev")).then_some(target)
    });
    written.collect()
}

/// Waits for a process, and checks that it writes below one directory only, and in no file that
/// has lost its name; returns how many files it was seen to write.
#[track_caller]
fn writes_below(directory: &Path, mut child: Child) -> usize {
    let mut seen = BTreeSet::new();
    loop {
        seen.extend(open_for_writing(child.id()));
        if let Some(status) = child.try_wait().expect("waited for") {
            assert_eq!(status.code(), Some(0));
            break;
        }
    }
    for path in &seen {
        assert!(path.starts_with(directory), "{path:?} is not below {directory:?}");
        let is_deleted = path.to_string_lossy().ends_with(" (deleted)");
        assert!(!is_deleted, "{path:?}");
    }
    seen.len()
}

/// With no file of the test's own open.
fn start(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

/// Starts a receiver, and says where it listens.
fn receive(world: &World) -> (Child, String) {
    let mut flags = world.receiver();
    flags.add("--rebuild", None);
    let mut command = program(world, "2", &flags.command("receive"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = lines.find_map(|line| {
        let line = line.expect("text");
        let (address, _) = line.strip_prefix("receiving on ")?.split_once(',')?;
        Some(address.to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    (child, format!("https://{}", address.expect("it says where it listens")))
}

#[test]
fn no_plain_share_is_in_any_file_that_a_sender_or_the_receiver_writes() {
    let world = World::with_rows(ROWS);
    let directory = world.path("").canonicalize().expect("a directory");
    let few_at_once = ["--batch-size", "10"];
    let mut written = 0;
    for party in [0, 1] {
        let send = world.sender(party);
        let words = [&send.command("send")[..], &few_at_once].concat();
        let child = start(&mut program(&world, ["0", "1"][party], &words));
        written += writes_below(&directory, child);
    }
    assert!(written > 2, "{written} files were seen: nothing was watched");
    let (receiver, url) = receive(&world);
    let receiver = std::thread::spawn({
        let directory = directory.clone();
        move || writes_below(&directory, receiver)
    });
    for party in [0, 1] {
        let mut send = world.sender(party);
        send.remove("--to").set("--server-url", &url);
        let words = [&send.command("send")[..], &few_at_once].concat();
        let child = start(&mut program(&world, ["0", "1"][party], &words));
        writes_below(&directory, child);
    }
    assert!(receiver.join().expect("it writes where it may") > 0);
    let loaded = world.sql(2, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    assert_eq!(loaded.trim(), ROWS.to_string());
    for party in [0, 1, 2] {
        let needles = plain_shares(&world, party);
        let (found, searched) = needles.found_below(&directory, &[]);
        assert_eq!(found, [""; 0]);
        // Two packages on a stick and two in the inbox.
        assert!(searched > 4 * u64::from(ROWS) * 76_800, "{searched} bytes");
    }
    // The same search finds what `export` is asked to write.
    let export = ["export", "--session", "session.toml", "--party-id", "0", "--out", "0.shares"];
    let words = [&export[..], &["--db-url", &world.databases[0]]].concat();
    let child = start(&mut program(&world, "0", &words));
    writes_below(&directory, child);
    let (found, _) = plain_shares(&world, 0).found_below(&directory, &[]);
    assert!(found.len() == 1 && found[0].contains("0.shares"), "{found:?}");
}
