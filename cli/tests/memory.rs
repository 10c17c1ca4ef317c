//! Peak memory of real processes: bounded by parts in flight, independent of the number of rows.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use reshare_fixtures::network::{Flags, Network, Running, Setup};

const RESHARE: &str = env!("CARGO_BIN_EXE_reshare");

const FEW: u64 = 2_000;
const MORE: u64 = 8_000;
/// So many that four threads make parts of the full size.
const MANY: u64 = 20_000;
const MIB: u64 = 1 << 20;
/// What README.md promises without any flag.
const DEFAULT_BOUND: u64 = 600 * MIB;
/// What a row may add to a peak, for what is kept of rows and parts until the end: ids and tags
/// of the ledger, ranges, lists of parts. Measured are less than 200 bytes; a row has 77 KB.
const BYTES_A_ROW: u64 = 1 << 10;
/// How much of eight concurrent uploads is in a receiver's memory at once is chance, and the peak
/// grows with the number of uploads: by up to 22 MiB, independent of the rows.
const RECEIVE_NOISE: u64 = 24 * MIB;
/// In a longer run more parts are uploaded at once if the line rewards it: some parts of 5 MB.
const UPLOADS_NOISE: u64 = 48 * MIB;
/// How many bytes of parts wait in a receiver's memory depends on which sender is ahead.
const HELD_BYTES: u64 = 128 * MIB;
/// So small that all that may be in flight is in flight long before the last of few rows.
const SMALL_PARTS: [&str; 2] = ["--batch-size", "64"];

/// The most memory that a process has had, in bytes; nothing once it has ended.
fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Looks at a process until it ends, which must be well, and returns its peak: the kernel keeps
/// it, so that only what is new in the last moment can be missed.
#[track_caller]
fn peak_until_end(mut running: Running) -> u64 {
    let mut peak = 0;
    while running.is_running() {
        peak = peak_of(running.id()).unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    running.ends_with(0);
    assert!(peak > MIB, "{peak} bytes: nothing was measured");
    peak
}

/// Peaks in bytes of the commands of one session.
#[derive(Debug, Clone, Copy)]
struct Peaks {
    send_to_directory: u64,
    send_to_receiver: u64,
    receive: u64,
    receive_and_rebuild: u64,
    rebuild: u64,
    merge: u64,
}

impl Peaks {
    fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("send --to", self.send_to_directory),
            ("send --server-url", self.send_to_receiver),
            ("receive", self.receive),
            ("receive --rebuild", self.receive_and_rebuild),
            ("rebuild", self.rebuild),
            ("merge", self.merge),
        ]
    }
}

/// A session over the first rows, and how its commands are run.
struct Migration<'a> {
    world: &'a Network,
    name: &'static str,
    rows: u64,
    work: &'a [&'a str],
    threads: &'static str,
}

impl Migration<'_> {
    fn start(&self, party: &str, words: &[&str]) -> Running {
        Running::start(&mut self.program(party, words))
    }

    fn program(&self, party: &str, words: &[&str]) -> Command {
        let mut command = self.world.program_as(party, words);
        command.env("RAYON_NUM_THREADS", self.threads).arg("--quiet");
        command
    }

    fn file(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Sends to a directory and to a receiver; what has arrived is rebuilt and merged.
    fn run(&self) -> Peaks {
        self.agree("session", self.name);
        let package = self.file("package");
        let send_to_directory = peak_until_end(self.send("session", 0, &["--to", &package]));
        std::fs::remove_dir_all(self.world.path(&package)).expect("removed");
        let mut receiver = self.receive("session", "inbox", &[]);
        let send_to_receiver = self.send_both("session", &receiver.url());
        let receive = peak_of(receiver.id()).expect("it still runs");
        drop(receiver);
        let (rebuild, merge) = (self.rebuild(), self.merge());
        std::fs::remove_dir_all(self.world.path(&self.file("inbox"))).expect("removed");
        let receive_and_rebuild = self.one_pass();
        Peaks { send_to_directory, send_to_receiver, receive, receive_and_rebuild, rebuild, merge }
    }

    /// Makes a session over the rows, and approves it for all.
    fn agree(&self, session: &str, id: &str) {
        let (file, end) = (self.file(&format!("{session}.toml")), (self.rows + 1).to_string());
        self.world.make_session(&file, &["--session-id", id, "--db-end", &end]);
        self.world.approve_session(&file, &self.file(&format!("{session}-approval")));
    }

    /// Sends from both senders at the same time, and returns the larger peak.
    fn send_both(&self, session: &str, url: &str) -> u64 {
        let senders = [0, 1].map(|party| {
            let sender = self.send(session, party, &["--server-url", url]);
            std::thread::spawn(move || peak_until_end(sender))
        });
        let peaks = senders.map(|watcher| watcher.join().expect("it ends well"));
        peaks.into_iter().max().expect("two")
    }

    /// Sends and rebuilds at the same time, and returns the receiver's peak.
    fn one_pass(&self) -> u64 {
        self.agree("pass", &format!("{}-pass", self.name));
        let rebuild = ["--rebuild", "--identity", "r.age", "--db-url", &self.world.target];
        let mut receiver = self.receive("pass", "pass-inbox", &[&rebuild[..], self.work].concat());
        let url = receiver.url();
        let watcher = std::thread::spawn(move || peak_until_end(receiver));
        self.send_both("pass", &url);
        let peak = watcher.join().expect("it ends well");
        self.check_and_empty();
        peak
    }

    fn check_and_empty(&self) {
        let count = "SELECT count(*) FROM \"SMPC_dev_2\".irises";
        assert_eq!(self.world.sql_at(2, count).trim(), self.rows.to_string());
        self.world.sql_at(2, "TRUNCATE \"SMPC_dev_2\".irises");
    }

    fn send(&self, session: &str, party: usize, to: &[&str]) -> Running {
        let approval = self.file(&format!("{session}-approval"));
        let session = self.file(&format!("{session}.toml"));
        let mut flags = self.world.sender_flags(party);
        flags.set("--session", &session).remove("--approval").remove("--to");
        for other in ["0", "1", "2"].iter().filter(|other| **other != party.to_string()) {
            flags.add("--approval", Some(&format!("{approval}-{other}.json")));
        }
        let words = [&flags.command("send")[..], self.work, to].concat();
        self.start(["0", "1"][party], &words)
    }

    fn receive(&self, session: &str, inbox: &str, more: &[&str]) -> Running {
        let (session, inbox) = (self.file(&format!("{session}.toml")), self.file(inbox));
        let listen = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
        let words = ["receive", "--session", &session, "--inbox", &inbox];
        self.start("2", &[&words[..], &listen, more].concat())
    }

    fn receiver(&self, command: &'static str, more: &[&str]) -> u64 {
        let (session, inbox) = (self.file("session.toml"), self.file("inbox"));
        let [zero, one] = [0, 1].map(|sender| format!("{inbox}/sender-{sender}"));
        let words = [command, "--session", &session, "--identity", "r.age"];
        let packages = ["--package", &zero, "--package", &one];
        peak_until_end(self.start("2", &[&words[..], &packages, self.work, more].concat()))
    }

    fn rebuild(&self) -> u64 {
        let database = self.world.target.clone();
        let peak = self.receiver("rebuild", &["--db-url", &database]);
        self.check_and_empty();
        peak
    }

    fn merge(&self) -> u64 {
        let out = self.file("rebuilt");
        let peak = self.receiver("merge", &["--out", &out]);
        let path = self.world.path(&out);
        assert!(path.metadata().expect("its size").len() > self.rows * 76_800);
        std::fs::remove_file(path).expect("removed");
        peak
    }
}

#[test]
fn memory_is_bounded_by_parts_in_flight_and_does_not_grow_with_rows_or_cores() {
    let world = Setup::certified(RESHARE).rows(MANY).make();
    let run = |name, rows, work: &[&str], threads| {
        let started = std::time::Instant::now();
        let peaks = Migration { world: &world, name, rows, work, threads }.run();
        let mib = peaks.named().map(|(command, peak)| format!("{command} {} MiB", peak / MIB));
        println!("{name}, {rows} rows: {} ({:?})", mib.join(", "), started.elapsed());
        peaks
    };
    let few = run("few", FEW, &SMALL_PARTS, "4");
    let many = run("many", MORE, &SMALL_PARTS, "4");
    for ((command, few), (_, many)) in few.named().into_iter().zip(many.named()) {
        let noise = match command {
            "send --server-url" => UPLOADS_NOISE,
            "receive" => RECEIVE_NOISE,
            "receive --rebuild" => HELD_BYTES,
            _ => 0,
        };
        let bound = few + (MORE - FEW) * BYTES_A_ROW + noise;
        assert!(many <= bound, "{command}: {few} bytes for few rows, {many} for many");
    }
    // Parts of the full size, and more threads than there are rows for, as on a machine of 16
    // cores.
    for (name, rows, threads) in [("full", MANY, "4"), ("threads", MORE, "16")] {
        for (command, peak) in run(name, rows, &[], threads).named() {
            assert!(peak < DEFAULT_BOUND, "{command}, {threads} threads: {peak} bytes");
        }
    }
}

/// How many connect and say little.
const CROWD: usize = 1_000;
/// A receiver without such clients needs half of it.
const CROWDED_BOUND: u64 = 96 * MIB;

#[test]
fn a_thousand_slow_connections_keep_no_sender_out_and_take_little_memory() {
    let world = Setup::certified(RESHARE).make();
    let mut receiver = world.start_as("2", &world_receive(&world).command("receive"));
    let url = receiver.url();
    // The largest record there is, but for its last byte: all of it has to be kept.
    let mut record = vec![0; 5 + (1 << 14) - 1];
    record[..5].copy_from_slice(&[22, 3, 1, 0x40, 0]);
    let address = url.strip_prefix("https://").expect("a URL");
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|index| {
            let mut stream = TcpStream::connect(address).expect("connected");
            let words = [&record[..], &record[..3], &[]][index % 3];
            // It may have been let go already.
            let _ = stream.write_all(words);
            stream
        })
        .collect();
    for party in [0, 1] {
        let mut send = world.sender_flags(party);
        send.remove("--to").set("--server-url", &url);
        world.run_as(["0", "1"][party], &send.command("send")).ends_with(0);
    }
    let peak = peak_of(receiver.id()).expect("it still runs");
    drop(receiver);
    assert!((MIB..CROWDED_BOUND).contains(&peak), "{peak} bytes with {} connections", crowd.len());
    println!("receive, {CROWD} slow connections: {} MiB", peak / MIB);
}

/// A receiver that only receives.
fn world_receive(world: &Network) -> Flags {
    let mut flags = world.receiver_flags();
    flags.remove("--identity").remove("--db-url");
    flags
}
