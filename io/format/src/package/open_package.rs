//! A package that its sender has not closed, as far as its part records go.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use reshare_files::durable::is_temporary;
use reshare_files::file_error::OnFile;
use reshare_files::junk::is_passed_over;

use super::directory::{is_of_signature, part_name};
use super::{
    PackageDefect, PackageError, PackageExpectations, PackageRecords, PartEntry, PartFiles,
    PartName, RECORDS_NAME,
};

/// Parts whose records are there without a gap from the session's first id on.
///
/// The bytes of a part are checked when the part is opened.
#[derive(Debug)]
pub struct OpenPackage {
    files: PartFiles,
    parts: Vec<PartEntry>,
    covered_up_to: Option<i64>,
    key_check: Option<[u8; 16]>,
}

impl OpenPackage {
    /// Reads and verifies the records, and looks which parts are there. A part without its record,
    /// or of another size, ends what is covered: it may be on its way.
    ///
    /// # Errors
    /// [`PackageError`] when there is no record, a record is refused, or something is there that no
    /// package has.
    pub fn open(
        directory: impl Into<PathBuf>,
        session: PackageExpectations,
    ) -> Result<Self, PackageError> {
        let directory = directory.into();
        let records = match session.trust {
            Some(_) => PackageRecords::load(&directory, &session)?,
            None => None,
        };
        let records = records.ok_or_else(|| PackageDefect::NotClosed.at(&directory))?;
        let mut there: HashMap<PartName, u64> = HashMap::new();
        for entry in fs::read_dir(&directory).on("list", &directory)? {
            let entry = entry.on("list", &directory)?;
            let (name, path) = (entry.file_name(), entry.path());
            if is_passed_over(&directory, &name) {
                continue;
            }
            if is_temporary(&name) || name == RECORDS_NAME || is_of_signature(&name) {
                continue;
            }
            let Some(part) = part_name(&name) else {
                return Err(PackageDefect::ExtraFile.at(path));
            };
            let metadata = fs::symlink_metadata(&path).on("examine", &path)?;
            if !metadata.is_file() {
                return Err(PackageDefect::NotRegular.at(path));
            }
            there.insert(part, metadata.len());
        }
        let is_there = |part: &PartEntry| there.get(&part.name) == Some(&part.sealed_bytes);
        let (parts, covered_up_to) = records.covered(session.ids.first(), is_there);
        let key_check = records.key_check();
        let files = PartFiles::new(directory, session);
        Ok(Self { files, parts, covered_up_to, key_check })
    }

    /// The files of its parts.
    #[must_use]
    pub fn files(&self) -> &PartFiles {
        &self.files
    }

    /// The parts with rows that are covered, by ascending ids.
    #[must_use]
    pub fn parts(&self) -> &[PartEntry] {
        &self.parts
    }

    /// The last id that is covered; `None` where the first part is missing.
    #[must_use]
    pub fn covered_up_to(&self) -> Option<i64> {
        self.covered_up_to
    }

    /// What both senders must have in common; `None` where there is no record.
    #[must_use]
    pub fn key_check(&self) -> Option<[u8; 16]> {
        self.key_check
    }
}
