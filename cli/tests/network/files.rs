//! The content of a directory, to be compared with its later content.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything in a directory with its size, mode and when it was written.
pub(crate) fn files_in(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    list(directory, &mut files);
    files
}

fn list(directory: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("its metadata");
        let written = metadata.modified().expect("a time");
        let mode = metadata.permissions();
        files.insert(entry.path(), format!("{written:?} {} {mode:?}", metadata.len()));
        if metadata.is_dir() {
            list(&entry.path(), files);
        }
    }
}
