//! The part records of a package: `part-records`, next to its parts.
//!
//! Without a manifest they say what a package covers so far. With one, they must be just what it
//! lists.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use reshare_files::durable::open_regular;
use reshare_files::file_error::{FileError, OnFile};

use super::record_map::{OfPart, RecordMap, covered_up_to};
use super::{
    ManifestContent, PackageDefect, PackageError, PackageExpectations, PartEntry, PartName,
    PartRecord, PartRecordError, RecordLine, SignedPartRecord,
};
use crate::keys::certificate::CertificateChain;

/// The file's name.
pub const RECORDS_NAME: &str = "part-records";
/// More than the records of any package need.
const MAX_BYTES: u64 = 4 << 30;

/// The records of a package that are in force, each signed by its sender.
#[derive(Debug, Clone, Default)]
pub struct PackageRecords {
    records: RecordMap<RecordedPart>,
    /// The bytes of all whole lines.
    pub(super) bytes: u64,
    /// Whether each line counts.
    pub(super) is_exact: bool,
}

/// A record and what proves it.
#[derive(Debug, Clone)]
pub struct RecordedPart {
    /// What it says.
    pub record: PartRecord,
    /// As it travels.
    pub signed: SignedPartRecord,
    /// The certificates that verify it.
    pub chain: Arc<CertificateChain>,
}

impl OfPart for RecordedPart {
    fn part(&self) -> &PartEntry {
        &self.record.part
    }
}

impl PackageRecords {
    /// Reads and verifies the records of a package; `None` where there is no such file, as in
    /// packages of earlier versions and in an inbox, which keeps its records elsewhere. A last line
    /// that was cut off is passed over: a record more may have been on its way.
    ///
    /// # Errors
    /// [`PackageError::Record`] with the first line that is damaged or not signed by the sender;
    /// what the file system says.
    pub fn load(
        directory: &Path,
        session: &PackageExpectations,
    ) -> Result<Option<Self>, PackageError> {
        let path = directory.join(RECORDS_NAME);
        let Some(text) = read(&path)? else { return Ok(None) };
        let mut records = Self { is_exact: true, ..Self::default() };
        let mut chain: Option<Arc<CertificateChain>> = None;
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if !line.ends_with(b"\n") {
                records.is_exact = false;
                break;
            }
            let refused =
                |source| PackageError::Record { path: path.clone(), line: index + 1, source };
            match RecordLine::read(session.fingerprint, line) {
                Some(RecordLine::Chain(Some(next))) => chain = Some(Arc::new(next)),
                Some(RecordLine::Part(signed)) => {
                    let chain = chain.clone().ok_or(refused(PartRecordError::Damaged))?;
                    let record = signed.verify(session, &chain).map_err(refused)?;
                    let keys = records.key_check();
                    if keys.is_some_and(|keys| keys != record.key_check) {
                        return Err(refused(PartRecordError::OtherKeys));
                    }
                    let replaces = records.records.insert(RecordedPart { record, signed, chain });
                    records.is_exact &= !replaces;
                }
                _ => return Err(refused(PartRecordError::Damaged)),
            }
            records.bytes += line.len() as u64;
        }
        Ok(Some(records))
    }

    /// What both senders must have in common; `None` where there is no record.
    #[must_use]
    pub fn key_check(&self) -> Option<[u8; 16]> {
        self.iter().next().map(|recorded| recorded.record.key_check)
    }

    /// The records by ascending ids.
    pub fn iter(&self) -> impl Iterator<Item = &RecordedPart> {
        self.records.iter()
    }

    /// The record of a part.
    #[must_use]
    pub fn get(&self, name: PartName) -> Option<&RecordedPart> {
        self.records.get(name)
    }

    /// The parts with rows from an id on, as far as the records have no gap and the files of parts
    /// are there, and the last id that is covered.
    pub fn covered(
        &self,
        begin: i64,
        is_there: impl Fn(&PartEntry) -> bool,
    ) -> (Vec<PartEntry>, Option<i64>) {
        let wanted = |of: &RecordedPart| of.part().rows == 0 || is_there(of.part());
        let parts: Vec<&PartEntry> =
            self.records.tiles_from(begin, wanted).map(OfPart::part).collect();
        let up_to = covered_up_to(parts.iter().copied());
        (parts.into_iter().filter(|part| part.rows > 0).cloned().collect(), up_to)
    }

    /// Checks that the manifest of a closed package lists exactly the parts with rows that are
    /// recorded.
    ///
    /// # Errors
    /// The first part with no record, with another one, or that is not listed.
    pub fn check_listed(&self, manifest: &ManifestContent) -> Result<(), PackageDefect> {
        let mut recorded = self.iter().map(OfPart::part).filter(|part| part.rows > 0).peekable();
        for listed in &manifest.parts {
            match self.get(listed.name).map(OfPart::part) {
                None => return Err(PackageDefect::RecordMissing { name: listed.name }),
                Some(part) if part != listed => {
                    return Err(PackageDefect::RecordDiffers { name: listed.name });
                }
                Some(_) => {}
            }
            // Both are by ascending ids.
            if let Some(extra) = recorded.next_if(|part| part.name != listed.name) {
                return Err(PackageDefect::RecordExtra { name: extra.name });
            }
            recorded.next();
        }
        if let Some(extra) = recorded.next() {
            return Err(PackageDefect::RecordExtra { name: extra.name });
        }
        match self.iter().next() {
            Some(first) if first.record.key_check != manifest.key_check => {
                Err(PackageDefect::RecordDiffers { name: first.part().name })
            }
            _ if !self.is_exact => Err(PackageDefect::RecordsNotSettled),
            _ => Ok(()),
        }
    }
}

/// Reads what the records of a package of any session claim, to show it; nothing is verified. Empty
/// where there is no record.
///
/// # Errors
/// What the file system says.
pub fn read_record_claims(directory: &Path) -> Result<Vec<PartRecord>, PackageError> {
    let text = read(&directory.join(RECORDS_NAME))?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let signed = lines.filter_map(|line| SignedPartRecord::parse(line.split(' ').nth(1)?));
    let mut claims = RecordMap::default();
    for record in signed.filter_map(|signed| signed.claims().ok()) {
        claims.insert(record);
    }
    Ok(claims.iter().cloned().collect())
}

impl OfPart for PartRecord {
    fn part(&self) -> &PartEntry {
        &self.part
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PackageError> {
    let file = match open_regular(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(PackageDefect::NotRegular.at(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("read", path, error).into()),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).on("read", path)?;
    Ok(Some(text))
}
