//! `--compression` of `send` and `pack`: with every setting the stock `age` and `zstd` open the
//! parts and find the same bytes, and blinded shares are never compressed.

use std::process::Command;

use crate::{RESHARE, ROWS, network};
use reshare_fixtures::network::{Network, Run, Setup};

/// Every way of writing a package, from the database and from a share file.
const WAYS: [&str; 4] = ["off", "auto", "1", "19"];

/// Of 60 rows, seven in a part.
const PARTS: usize = 9;

/// What these tests do with a network.
trait Packed {
    fn packed(&self, command: &str, to: &str, compression: &str) -> Run;
    fn export(&self);
    fn opened(&self, package: &str, part: usize) -> (Vec<u8>, Vec<u8>);
    fn stock(&self, script: &str) -> Vec<u8>;
}

impl Packed for Network {
    /// Makes a package of sender 0's rows.
    fn packed(&self, command: &str, to: &str, compression: &str) -> Run {
        let from = match command {
            "send" => ["--db-url", &self.databases[0]],
            _ => ["--in", "plain.rsh"],
        };
        let key = ["--agreement-key", "file:0.key", "--expect-fingerprint", &self.fingerprint];
        let session = ["--session", "session.toml", "--state-dir", "state-0", "--batch-size", "7"];
        let how = ["--to", to, "--compression", compression];
        let target = ["--target-party-id", "2"];
        self.run(&[&[command][..], &session, &key, &target, &from, &how].concat())
    }

    fn export(&self) {
        let export = ["export", "--session", "session.toml", "--party-id", "0"];
        let table = ["--db-url", &self.databases[0], "--out", "plain.rsh"];
        self.run(&[&export[..], &table].concat()).ends_with(0);
    }

    /// What a part is to `age`, and what that is to `zstd`: the stream and its content.
    fn opened(&self, package: &str, part: usize) -> (Vec<u8>, Vec<u8>) {
        let part = format!("{package}/part-{part:06}.age");
        let stream = self.stock(&format!("age --decrypt -i r.age {part} | tee stream"));
        let content = self.stock("zstd --decompress --stdout < stream");
        (stream, content)
    }

    fn stock(&self, script: &str) -> Vec<u8> {
        let mut command = Command::new("sh");
        let out = command.args(["-c", script]).current_dir(self.directory()).output();
        let out = out.expect("age and zstd are needed: run `make setup`");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && said.is_empty(), "{script}: {said}");
        out.stdout
    }
}

/// One frame of a zstd stream, as RFC 8878 has it.
struct Frame {
    /// Whether each block is a raw one.
    is_stored: bool,
    /// The blocks, one after the other.
    blocks: Vec<u8>,
}

/// Takes a stream apart without decoding it.
fn frames(mut stream: &[u8]) -> Vec<Frame> {
    let mut frames = vec![];
    while !stream.is_empty() {
        assert_eq!(&take(&mut stream, 4), &[0x28, 0xB5, 0x2F, 0xFD], "the magic number");
        let descriptor = take(&mut stream, 1)[0];
        let (size, is_single) = (descriptor >> 6, descriptor & 0x20 != 0);
        assert_eq!(descriptor & 3, 0, "no dictionary");
        let size_bytes = match size {
            0 => usize::from(is_single),
            size => 1 << size,
        };
        take(&mut stream, size_bytes + usize::from(!is_single));
        let mut frame = Frame { is_stored: true, blocks: vec![] };
        loop {
            let head = take(&mut stream, 3);
            let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
            let (is_last, kind, size) = (head & 1 == 1, head >> 1 & 3, (head >> 3) as usize);
            assert!(kind < 3, "a kind of block that there is not");
            frame.is_stored &= kind == 0;
            // A block that repeats one byte holds that byte alone.
            frame.blocks.extend(take(&mut stream, if kind == 1 { 1 } else { size }));
            if is_last {
                break;
            }
        }
        take(&mut stream, if descriptor & 4 != 0 { 4 } else { 0 });
        frames.push(frame);
    }
    frames
}

fn take(stream: &mut &[u8], count: usize) -> Vec<u8> {
    let (taken, rest) = stream.split_at(count);
    *stream = rest;
    taken.to_vec()
}

/// Where the first share column of a share file begins: its place in the header says it.
fn first_share(content: &[u8]) -> usize {
    let mut places = content[256..3328].chunks(96);
    let place = places.find(|place| place[64] == 2).expect("a share column");
    let offset = u64::from_le_bytes(place[72..80].try_into().expect("eight bytes"));
    usize::try_from(offset).expect("it fits")
}

#[test]
fn stock_age_and_zstd_find_the_same_bytes_however_a_part_was_compressed() {
    let network = Setup::of(RESHARE).rows(ROWS as u64).with_classic_recipient().make();
    network.export();
    let mut packages = vec![];
    for command in ["send", "pack"] {
        for way in WAYS {
            let package = format!("{command}-{way}");
            network.packed(command, &package, way).ends_with(0);
            packages.push((package, way));
        }
    }
    for part in 0..PARTS {
        let expected = network.opened("send-off", part).1;
        for (package, way) in &packages {
            let (stream, content) = network.opened(package, part);
            assert!(content == expected, "{package} has other bytes in part {part}");
            let [prefix, shares] = <[Frame; 2]>::try_from(frames(&stream))
                .unwrap_or_else(|frames| panic!("{package}: {} frames", frames.len()));
            // The blinded columns are in the stream as they are, and nothing else of them.
            let begin = first_share(&content);
            assert!(shares.is_stored && shares.blocks == content[begin..], "{package}");
            let is_as_it_was = prefix.is_stored && prefix.blocks == content[..begin];
            assert_eq!(is_as_it_was, *way == "off", "{package}");
            let is_smaller = prefix.blocks.len() < begin / 4;
            assert_eq!(is_smaller, *way != "off", "{package}: {} bytes", prefix.blocks.len());
        }
    }
    let last = network.path(&format!("send-auto/part-{:06}.age", PARTS));
    assert!(!last.exists(), "there are more parts than were opened");
}

#[test]
fn packages_that_were_compressed_in_different_ways_are_rebuilt_together() {
    let network = network();
    network.packed("send", "p0", "off").ends_with(0);
    // The other sender's way is its own business.
    network.send(1, "p1").ends_with(0);
    assert_eq!(network.rebuild(&[]).ends_with(0).report()["rows"], ROWS);
    network.verify().ends_with(0);
}

#[test]
fn a_way_that_there_is_not_is_refused_with_those_that_there_are() {
    let network = network();
    network.export();
    for command in ["send", "pack"] {
        for way in ["brotli", "Auto", "", "0", "-1", "20", "3.5", "1000000000000"] {
            let why = "for '--compression <HOW>': expected auto, off or a level from 1 to 19";
            let refused = network.packed(command, "none", way).ends_with(2);
            refused.says(&[&format!("invalid value '{way}' {why}")]);
        }
    }
    assert!(!network.path("none").exists(), "a package was begun");
}
