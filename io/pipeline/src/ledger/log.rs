//! The ledger's file: append-only entries, each chained to all entries before it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::durable::{DurableLog, FileBirth};

use super::LedgerDefect;
use super::format::{
    CHAIN_BYTES, Chain, Committed, DigestKey, ENTRY_BYTES, HEADER_BYTES, Header, Home, RawEntry,
    chain_of, home_block, read_at, read_header, slot,
};

/// An open ledger file.
///
/// An entry counts when it is *committed*: first its bytes are made durable, then the slot in the
/// header with the committed length. So a file that is shorter than its slot says was truncated,
/// and bytes that a crash left after that length have never been used.
pub(super) struct Log {
    file: DurableLog,
    header: Chain,
    digest_key: DigestKey,
    home: Home,
    adoptions: u64,
    committed: Mutex<Committed>,
    failed: AtomicBool,
}

/// Where the next entry goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) file_bytes: u64,
    entries: u64,
    chain: Chain,
}

/// An entry that was read.
pub(super) struct Entry {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) head: RawEntry,
    /// Head and payload.
    bytes: Vec<u8>,
}

impl Entry {
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[ENTRY_BYTES as usize..]
    }
}

impl Log {
    /// The key of this ledger's content digests.
    pub(super) fn digest_key(&self) -> &DigestKey {
        &self.digest_key
    }

    /// Checks the committed part of the file and passes every entry in it to `each`. Returns its
    /// end and the end of the file. Writes nothing.
    pub(super) fn check(
        file: DurableLog,
        fingerprint: &Fingerprint,
        party: PartyId,
        mut each: impl FnMut(&Entry) -> Result<(), LedgerDefect>,
    ) -> Result<(Self, Tail, u64), LedgerDefect> {
        let (size, _) = file.size_and_mode()?;
        if size < HEADER_BYTES {
            return Err(LedgerDefect::Truncated { expected: HEADER_BYTES, got: size });
        }
        let mut block = vec![0; HEADER_BYTES as usize];
        file.read_exact_at(&mut block, 0)?;
        let Header { chain: header, committed, digest_key, home, adoptions } =
            read_header(&block, fingerprint, party)?;
        if size < committed.file_bytes {
            return Err(LedgerDefect::Truncated { expected: committed.file_bytes, got: size });
        }
        let mut tail = Tail { file_bytes: HEADER_BYTES, entries: 0, chain: header };
        let mut buffer = Vec::new();
        while tail.file_bytes < committed.file_bytes {
            let entry = read_entry(&file, tail, committed.file_bytes, buffer)?;
            each(&entry)?;
            tail = tail.behind(&entry);
            buffer = entry.bytes;
        }
        if (tail.entries, tail.chain) != (committed.entries, committed.chain) {
            return Err(LedgerDefect::Corrupt { what: "chain", offset: tail.file_bytes });
        }
        let failed = AtomicBool::new(false);
        let committed = Mutex::new(committed);
        let log = Self { file, header, digest_key, home, adoptions, committed, failed };
        Ok((log, tail, size))
    }

    /// The machine and the file that it says it belongs to.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// The file that it is.
    pub(super) fn birth(&self) -> io::Result<FileBirth> {
        self.file.birth()
    }

    /// Writes down, durably, that it belongs elsewhere now.
    pub(super) fn move_home(&mut self, home: Home) -> Result<(), LedgerDefect> {
        let adoptions = self.adoptions.saturating_add(1);
        let (bytes, offset) = home_block(&home, adoptions, &self.header);
        self.file.write_all_at(&bytes, offset)?;
        self.file.sync()?;
        (self.home, self.adoptions) = (home, adoptions);
        Ok(())
    }

    /// Takes the complete entries after the committed ones, cuts off the rest, and commits.
    ///
    /// An entry that was not committed when its process died is kept if it is complete: a record of
    /// a row that never left is harmless. An incomplete one is cut off.
    pub(super) fn begin(
        &self,
        mut tail: Tail,
        size: u64,
        mut each: impl FnMut(&Entry) -> Result<(), LedgerDefect>,
    ) -> Result<Tail, LedgerDefect> {
        if tail.file_bytes == size {
            return Ok(tail);
        }
        while let Ok(entry) = read_entry(&self.file, tail, size, Vec::new()) {
            each(&entry)?;
            // Write it again: bytes that a failed fsync left in memory may not be on the disk.
            tail = self.write_entry(tail, &entry.bytes)?;
        }
        self.file.truncate(tail.file_bytes)?;
        self.commit(tail)?;
        Ok(tail)
    }

    /// Appends an entry. It counts when [`Self::commit`] has returned for its tail.
    ///
    /// The caller holds the lock on the tail.
    pub(super) fn append(
        &self,
        tail: Tail,
        head: &RawEntry,
        payload: &[&[u8]],
    ) -> Result<Tail, LedgerDefect> {
        let mut bytes = Vec::with_capacity((ENTRY_BYTES + head.payload_bytes) as usize + 32);
        bytes.extend_from_slice(bytemuck::bytes_of(head));
        payload.iter().for_each(|piece| bytes.extend_from_slice(piece));
        self.check_usable()?;
        self.write_entry(tail, &bytes)
    }

    fn write_entry(&self, tail: Tail, entry: &[u8]) -> Result<Tail, LedgerDefect> {
        let chain = chain_of(&tail.chain, entry);
        let bytes = [entry, &chain].concat();
        self.or_fail(self.file.write_all_at(&bytes, tail.file_bytes))?;
        let file_bytes = tail.file_bytes + bytes.len() as u64;
        Ok(Tail { file_bytes, entries: tail.entries + 1, chain })
    }

    /// Makes everything up to `tail` durable: the entries first, then the slot that counts them.
    ///
    /// A caller that waits for another commit may find that this commit covers its entries too.
    pub(super) fn commit(&self, tail: Tail) -> Result<(), LedgerDefect> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_usable()?;
        if tail.file_bytes <= committed.file_bytes {
            return Ok(());
        }
        self.or_fail(self.file.sync())?;
        let Tail { file_bytes, entries, chain } = tail;
        let next = Committed { sequence: committed.sequence + 1, file_bytes, entries, chain };
        let (bytes, offset) = slot(&next, &self.header);
        self.or_fail(self.file.write_all_at(&bytes, offset))?;
        self.or_fail(self.file.sync())?;
        *committed = next;
        Ok(())
    }

    /// The number of the last commit.
    pub(super) fn sequence(&self) -> u64 {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).sequence
    }

    /// Reads and checks an entry again.
    pub(super) fn read(&self, offset: u64, end: u64) -> Result<Entry, LedgerDefect> {
        let mut chain = self.header;
        if offset > HEADER_BYTES {
            self.file.read_exact_at(&mut chain, offset - CHAIN_BYTES)?;
        }
        let tail = Tail { file_bytes: offset, entries: 0, chain };
        read_entry(&self.file, tail, end, Vec::new())
    }

    /// After a failed write the state of the disk is unknown, and nothing more is acknowledged.
    fn or_fail(&self, result: io::Result<()>) -> Result<(), LedgerDefect> {
        if result.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        Ok(result?)
    }

    fn check_usable(&self) -> Result<(), LedgerDefect> {
        if self.failed.load(Ordering::SeqCst) { Err(LedgerDefect::FailedBefore) } else { Ok(()) }
    }
}

impl Tail {
    fn behind(self, entry: &Entry) -> Self {
        let chain = chain_of(&self.chain, &entry.bytes);
        let file_bytes = entry.offset + entry.bytes.len() as u64 + CHAIN_BYTES;
        Self { file_bytes, entries: self.entries + 1, chain }
    }
}

/// Reads the entry at a tail and checks its chain value. Allocates no more than `end` allows.
fn read_entry(
    file: &DurableLog,
    tail: Tail,
    end: u64,
    mut bytes: Vec<u8>,
) -> Result<Entry, LedgerDefect> {
    let offset = tail.file_bytes;
    let corrupt = || LedgerDefect::Corrupt { what: "entry", offset };
    let room = end
        .checked_sub(offset)
        .and_then(|room| room.checked_sub(ENTRY_BYTES + CHAIN_BYTES))
        .ok_or_else(corrupt)?;
    let mut head = [0; ENTRY_BYTES as usize];
    file.read_exact_at(&mut head, offset)?;
    let head: RawEntry = read_at(&head, 0).ok_or_else(corrupt)?;
    if head.payload_bytes > room || head.reserved != 0 {
        return Err(corrupt());
    }
    let length = ENTRY_BYTES + head.payload_bytes;
    bytes.resize(usize::try_from(length).map_err(|_| corrupt())?, 0);
    file.read_exact_at(&mut bytes, offset)?;
    let mut chain = [0; CHAIN_BYTES as usize];
    file.read_exact_at(&mut chain, offset + length)?;
    if chain != chain_of(&tail.chain, &bytes) {
        return Err(corrupt());
    }
    Ok(Entry { offset, head, bytes })
}
