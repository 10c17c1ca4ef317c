//! How much of a package a directory holds, closed or not. Only for figures.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use reshare_files::durable::is_temporary;
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::junk::is_passed_over;

use super::directory::{is_of_signature, part_name};
use super::{
    MANIFEST_NAME, ManifestContent, PackageDefect, PackageError, PartName, RECORDS_NAME, Totals,
    read_manifest,
};

/// The content of a package's directory.
#[derive(Debug, Clone, Default)]
pub struct PackageSurvey {
    /// Regular files with names of parts; in a closed package only the listed ones.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Unfinished files: being written, or left by a crash.
    pub unfinished: u64,
    /// Anything else.
    pub extra: u64,
    /// The manifest's claims; `None` while the package is open.
    pub closed: Option<Closed>,
}

/// What the manifest of a package claims. It is not verified, and a signature is not read.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The content.
    pub claims: ManifestContent,
    /// The sums.
    pub totals: Totals,
    /// Listed parts that are missing or have another size.
    pub missing: u64,
}

/// Examines a package's directory without opening a part or changing anything; `None` when there
/// is no such directory. Another process may be filling it.
///
/// # Errors
/// [`PackageError`] when the manifest or the directory cannot be read.
pub fn survey(directory: &Path) -> Result<Option<PackageSurvey>, PackageError> {
    // Read the manifest first: it is written last, so all parts that it lists are there by now.
    let manifest = match read_manifest(directory) {
        Ok(manifest) => Some(manifest),
        Err(PackageError::Defect { defect: PackageDefect::NotClosed, .. }) => None,
        Err(PackageError::File(error)) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let listed: Option<HashMap<PartName, u64>> = manifest.as_ref().map(|manifest| {
        manifest.claims().parts.iter().map(|part| (part.name, part.sealed_bytes)).collect()
    });
    let mut found = PackageSurvey::default();
    for entry in fs::read_dir(directory).on("list", directory)? {
        let entry = entry.on("list", directory)?;
        let name = entry.file_name();
        if is_passed_over(directory, &name) {
            continue;
        }
        let metadata = match entry.path().symlink_metadata() {
            Ok(metadata) => metadata,
            // A temporary file that has its final name by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::new("examine", entry.path(), error).into()),
        };
        let is_expected = |part: &PartName| match &listed {
            Some(listed) => listed.get(part) == Some(&metadata.len()),
            None => true,
        };
        if is_temporary(&name) {
            found.unfinished += 1;
        } else if !metadata.is_file() {
            found.extra += 1;
        } else if part_name(&name).is_some_and(|part| is_expected(&part)) {
            found.parts += 1;
            found.bytes += metadata.len();
        } else if name != MANIFEST_NAME && name != RECORDS_NAME && !is_of_signature(&name) {
            found.extra += 1;
        }
    }
    found.closed = manifest.map(|manifest| {
        let totals = manifest.claimed_totals();
        let missing = totals.parts.saturating_sub(found.parts);
        Closed { claims: manifest.claims().clone(), totals, missing }
    });
    Ok(Some(found))
}
