//! The digests of an open package's parts, stored next to it, so that a restart does not have to
//! read all parts again.
//!
//! A record says that a certain file had this digest when it was durable. The file is identified by
//! inode, length and time of last change (ctime): every write, copy or restore changes one of them.
//! A record is written after its part is durable, and withdrawn before the part is replaced. So any
//! state after a crash is safe: a part without a matching record is read and digested, and a record
//! without a part or with a wrong checksum is skipped. Records need no fsync: a lost one only costs
//! reading its part.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_files::durable::{self, DurableLog};
use reshare_format::package::PartName;

/// The identity of a digested file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    inode: u64,
    bytes: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
}

impl FileIdentity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed_seconds: metadata.ctime(),
            changed_nanoseconds: metadata.ctime_nsec(),
        }
    }

    /// An identity that no file has, for a withdrawn record.
    const NONE: Self = Self { inode: 0, bytes: 0, changed_seconds: 0, changed_nanoseconds: 0 };
}

/// A file and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) file: FileIdentity,
    pub(super) blake3: blake3::Hash,
}

/// The content of a journal when it was opened.
pub(super) type Records = BTreeMap<PartName, Record>;

/// The journal of one open package, held by this process.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    log: Option<DurableLog>,
    records: u64,
}

impl Journal {
    /// Reads a journal. One that is missing or of another session counts as empty.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(super) fn read(path: &Path, session: Fingerprint) -> io::Result<Records> {
        let file = match durable::open_regular(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(io::ErrorKind::InvalidInput.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Records::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes)?;
        Ok(decode(&bytes, session))
    }

    /// Writes a new journal with these records and replaces an existing file.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(super) fn begin<'a>(
        path: PathBuf,
        session: Fingerprint,
        records: impl IntoIterator<Item = (&'a PartName, Record)>,
    ) -> io::Result<Self> {
        let mut bytes = header(session).to_vec();
        for (name, record) in records {
            bytes.extend_from_slice(&encode(*name, &record));
        }
        durable::write_whole(&path, &bytes)?;
        let log = DurableLog::open(&path)?;
        let records = (bytes.len() / RECORD_BYTES) as u64 - 1;
        Ok(Self { path, log: Some(log), records })
    }

    /// The number of records, including those that later ones replace.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Records a durable part. If that fails, the journal ends, and later parts are digested after a
    /// restart.
    pub(super) fn record(&mut self, name: PartName, record: &Record) {
        if let Err(error) = self.append(name, record) {
            self.give_up(&error);
        }
    }

    /// Withdraws the records of parts, durably, before the parts are replaced or removed.
    ///
    /// # Errors
    /// Any error of the file system: then the parts must stay as they are.
    pub(super) fn withdraw(&mut self, names: &[PartName]) -> io::Result<()> {
        let nothing = Record { file: FileIdentity::NONE, blake3: [0; 32].into() };
        for name in names {
            self.append(*name, &nothing)?;
        }
        self.log.as_ref().map_or(Ok(()), DurableLog::sync)
    }

    fn append(&mut self, name: PartName, record: &Record) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        // Always at a multiple of the record size: the next record overwrites a partial one.
        let offset = (self.records + 1) * RECORD_BYTES as u64;
        log.write_all_at(&encode(name, record), offset)?;
        self.records += 1;
        Ok(())
    }

    /// Removes a journal that is no longer needed.
    pub(super) fn remove(path: &Path) {
        match durable::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            _ => {}
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        let path = self.path.display();
        tracing::warn!("{path} takes no more records, a restart will read more parts: {error}");
        // Not left behind: it could hold records of parts that are replaced later.
        self.log = None;
        Self::remove(&self.path);
    }
}

const MAGIC: &[u8; 16] = b"reshare-journal\0";
const VERSION: u64 = 1;
/// Bytes of the header, and of each record.
const RECORD_BYTES: usize = 96;
const CHECKED_BYTES: usize = RECORD_BYTES - CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 16;
/// More records than any package needs.
const MAX_BYTES: u64 = 1 << 30;

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

fn sealed(fields: [&[u8]; 6]) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    let mut at = 0;
    for field in fields {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    let checksum = checksum(&bytes[..CHECKED_BYTES]);
    bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
    bytes
}

fn header(session: Fingerprint) -> [u8; RECORD_BYTES] {
    sealed([MAGIC, &VERSION.to_le_bytes(), &session.0, &[], &[], &[]])
}

fn encode(name: PartName, record: &Record) -> [u8; RECORD_BYTES] {
    let FileIdentity { inode, bytes, changed_seconds, changed_nanoseconds } = record.file;
    sealed([
        &name.index().to_le_bytes(),
        &inode.to_le_bytes(),
        &bytes.to_le_bytes(),
        &changed_seconds.to_le_bytes(),
        &changed_nanoseconds.to_le_bytes(),
        record.blake3.as_bytes(),
    ])
}

/// Reads every record with a valid checksum. The last record of a part counts.
fn decode(bytes: &[u8], session: Fingerprint) -> Records {
    let mut blocks = bytes.chunks_exact(RECORD_BYTES);
    if blocks.next() != Some(&header(session)) {
        return Records::new();
    }
    let mut records = Records::new();
    for block in blocks {
        let (fields, sum) = block.split_at(CHECKED_BYTES);
        if checksum(fields) != sum {
            continue;
        }
        let number = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&fields[8 * at..8 * at + 8]);
            u64::from_le_bytes(field)
        };
        let file = FileIdentity {
            inode: number(1),
            bytes: number(2),
            changed_seconds: number(3).cast_signed(),
            changed_nanoseconds: number(4).cast_signed(),
        };
        let mut digest = [0; 32];
        digest.copy_from_slice(&fields[40..72]);
        records.insert(PartName::new(number(0)), Record { file, blake3: digest.into() });
    }
    records.retain(|_, record| record.file != FileIdentity::NONE);
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Fingerprint {
        Fingerprint([7; 32])
    }

    fn record(seed: u8) -> Record {
        let seconds = i64::from(seed) - 100;
        let (bytes, inode) = (u64::from(seed) << 20, u64::from(seed) + 1);
        let file = FileIdentity {
            inode,
            bytes,
            changed_seconds: seconds,
            changed_nanoseconds: seconds * 7,
        };
        Record { file, blake3: blake3::hash(&[seed]) }
    }

    fn whole() -> (Vec<u8>, Records) {
        let mut bytes = header(session()).to_vec();
        let mut records = Records::new();
        for seed in 0..5 {
            let (name, record) = (PartName::new(u64::from(seed) * 1000), record(seed));
            bytes.extend(encode(name, &record));
            records.insert(name, record);
        }
        (bytes, records)
    }

    #[test]
    fn what_is_recorded_is_read_and_what_is_withdrawn_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let name = PartName::new;
        assert!(Journal::read(&path, session()).unwrap().is_empty());
        let first = [(&name(3), record(3))];
        let mut journal = Journal::begin(path.clone(), session(), first).unwrap();
        journal.record(name(4), &record(4));
        journal.record(name(5), &record(5));
        journal.withdraw(&[name(4)]).unwrap();
        journal.record(name(5), &record(6));
        assert_eq!(journal.records(), 5);
        let read = Journal::read(&path, session()).unwrap();
        assert_eq!(read, Records::from([(name(3), record(3)), (name(5), record(6))]));
        assert!(Journal::read(&path, Fingerprint([8; 32])).unwrap().is_empty());
    }

    #[test]
    fn a_journal_cut_at_any_byte_holds_the_whole_records_before_the_cut() {
        let (bytes, records) = whole();
        for cut in 0..=bytes.len() {
            let read = decode(&bytes[..cut], session());
            let whole = (cut / RECORD_BYTES).saturating_sub(1);
            let expected: Records = records.clone().into_iter().take(whole).collect();
            assert_eq!(read, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_loses_its_record_and_no_other() {
        let (bytes, records) = whole();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = decode(&flipped, session());
            let lost = bit / 8 / RECORD_BYTES;
            let expected = match lost {
                0 => Records::new(),
                _ => {
                    let mut others = records.clone();
                    let name = *records.keys().nth(lost - 1).unwrap();
                    others.remove(&name);
                    others
                }
            };
            assert_eq!(read, expected, "bit {bit}");
        }
    }

    #[test]
    fn a_journal_that_takes_no_more_is_taken_away() {
        use reshare_files::durable::faults::{Call, Fault, Faults, Plan};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::begin(path.clone(), session(), []).unwrap();
        let fault = Fault::Error(io::ErrorKind::StorageFull);
        let plan = |calls| Plan { calls, nth: 1, count: 1, fault };
        let faults = Faults::plan(directory.path(), plan(vec![Call::Sync]));
        assert!(journal.withdraw(&[PartName::new(1)]).is_err());
        drop(faults);
        let faults = Faults::plan(directory.path(), plan(vec![Call::Write]));
        journal.record(PartName::new(1), &record(1));
        drop(faults);
        assert!(!path.exists());
        journal.record(PartName::new(2), &record(2));
        journal.withdraw(&[PartName::new(2)]).unwrap();
    }
}
