//! The ledgers that were made in a state directory, and how far each had come when a run wrote in
//! it.
//!
//! A ledger cannot show that it is missing or that it is an older state of itself. This file next
//! to all ledgers of a sender can. Its format is in `docs/format.md`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::durable::{self, DurableFile, DurableLog};

use super::LedgerDefect;

const FILE_NAME: &str = "register";
const LABEL: &[u8] = b"reshare/v1/register\0";
const CHECK_DIGITS: usize = 16;
/// About a million runs.
const MAX_BYTES: u64 = 128 << 20;

/// The lines of a register. The file is locked while they are in use.
pub(super) struct Register {
    file: DurableLog,
    /// Bytes of its whole lines: a crash may have left a piece of one after them.
    bytes: u64,
    /// By fingerprint and party: the highest sequence.
    sequences: BTreeMap<(String, u8), u64>,
}

impl Register {
    /// The path in a state directory.
    pub(super) fn path_in(state: &Path) -> PathBuf {
        state.join(FILE_NAME)
    }

    /// Opens the register of a state directory to write it, and makes it where there is none.
    pub(super) fn open(state: &Path) -> Result<Self, LedgerDefect> {
        let path = Self::path_in(state);
        let opened = match when_free(|| DurableLog::open(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                durable::create_directory(state)?;
                match DurableFile::create(&path)?.commit_new() {
                    // Another process was first.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => when_free(|| DurableLog::open(&path)),
                }
            }
            opened => opened,
        };
        let file = opened?;
        let (_, mode) = file.size_and_private_mode()?;
        Self::read(file, mode)
    }

    /// Reads a register without changing anything; `None` where there is none.
    pub(super) fn look(state: &Path) -> Result<Option<Self>, LedgerDefect> {
        match when_free(|| DurableLog::open_read_only(&Self::path_in(state))) {
            Ok(file) => {
                let mode = file.mode_to_be()?;
                Self::read(file, mode).map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a register with these permission bits.
    fn read(file: DurableLog, mode: u32) -> Result<Self, LedgerDefect> {
        super::check_private(mode)?;
        let (size, _) = file.size_and_mode()?;
        if size > MAX_BYTES {
            return Err(LedgerDefect::Register { line: 0 });
        }
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut text, 0)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut sequences = BTreeMap::new();
        for (line, text) in (1..).zip(text[..whole].split_inclusive(|byte| *byte == b'\n')) {
            let (key, sequence) = parse(text).ok_or(LedgerDefect::Register { line })?;
            let highest = sequences.entry(key).or_insert(sequence);
            *highest = sequence.max(*highest);
        }
        Ok(Self { file, bytes: whole as u64, sequences })
    }

    /// How far the ledger of a session and sender had come; `None` if there was none here.
    pub(super) fn sequence(&self, fingerprint: &Fingerprint, party: PartyId) -> Option<u64> {
        self.sequences.get(&(fingerprint.to_string(), party.index())).copied()
    }

    /// Writes down, durably, how far a ledger has come.
    pub(super) fn note(
        &mut self,
        fingerprint: &Fingerprint,
        party: PartyId,
        sequence: u64,
    ) -> Result<(), LedgerDefect> {
        let text = format!("{fingerprint} {party} {sequence}");
        let line = format!("{text} {}\n", check_of(text.as_bytes()));
        if self.file.size_and_mode()?.0 != self.bytes {
            self.file.truncate(self.bytes)?;
        }
        self.file.write_all_at(line.as_bytes(), self.bytes)?;
        self.file.sync()?;
        self.bytes += line.len() as u64;
        self.sequences.insert((fingerprint.to_string(), party.index()), sequence);
        Ok(())
    }
}

/// Opens the register when no other process has it. That takes as long as a few writes.
fn when_free(open: impl Fn() -> io::Result<DurableLog>) -> io::Result<DurableLog> {
    let mut attempt = 1;
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempt < ATTEMPTS => {
                attempt += 1;
            }
            opened => return opened,
        }
    }
}

/// Each waits for half a second.
const ATTEMPTS: usize = 20;

/// Reads a line: which ledger, and its sequence.
fn parse(line: &[u8]) -> Option<((String, u8), u64)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (text, check) = line.rsplit_once(' ')?;
    let mut words = text.split(' ');
    let [fingerprint, party, sequence] = [words.next()?, words.next()?, words.next()?];
    let fits = check == check_of(text.as_bytes()) && words.next().is_none();
    fits.then_some(((fingerprint.to_owned(), party.parse().ok()?), sequence.parse().ok()?))
}

fn check_of(text: &[u8]) -> String {
    let hash = blake3::Hasher::new().update(LABEL).update(text).finalize();
    hash.to_hex()[..CHECK_DIGITS].to_owned()
}
