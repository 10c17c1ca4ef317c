//! What operating systems put into any directory without being asked.
//!
//! A stick that was in a Mac, a Windows machine or a desktop has such files, and a file system of
//! its own has `lost+found`. They are of no package and harm none.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Names that are compared as they are.
const NAMES: [&str; 12] = [
    "lost+found",
    ".DS_Store",
    ".Spotlight-V100",
    ".Trashes",
    ".fseventsd",
    ".TemporaryItems",
    ".DocumentRevisions-V100",
    ".apdisk",
    ".VolumeIcon.icns",
    ".Trash",
    ".snapshot",
    "@eaDir",
];

/// Names of Windows, in lower case: it does not tell the cases apart.
const WINDOWS_NAMES: [&str; 6] = [
    "system volume information",
    "$recycle.bin",
    "recycler",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];

/// Beginnings of names: what a Mac knows of a file, a desktop's trash of a user, and a file that
/// NFS keeps while it is open.
const BEGINNINGS: [&str; 3] = ["._", ".Trash-", ".nfs"];

/// Whether a file or directory of this name is an operating system's.
#[must_use]
pub fn is_junk(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name)
        || BEGINNINGS
            .iter()
            .any(|begin| name.strip_prefix(begin).is_some_and(|rest| !rest.is_empty()))
        || WINDOWS_NAMES.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether what is found in a directory is passed over as [`is_junk`]. The first one of a directory
/// is said, once.
#[must_use]
pub fn is_passed_over(directory: &Path, name: &OsStr) -> bool {
    static SAID: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !is_junk(name) {
        return false;
    }
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned()) {
        tracing::warn!(
            "{} is the operating system's: it and its like are passed over",
            directory.join(name).display()
        );
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_operating_system_makes_is_passed_over() {
        for name in [
            "lost+found",
            "System Volume Information",
            ".Trash-1000",
            "._part-00000000",
            ".DS_Store",
            "Thumbs.db",
            "THUMBS.DB",
            "$RECYCLE.BIN",
        ] {
            assert!(is_junk(name.as_ref()), "{name}");
        }
        for name in
            ["part-00000000", "manifest.json", "lost", "._", ".hidden", "", ".part.tmp-abcdefgh"]
        {
            assert!(!is_junk(name.as_ref()), "{name}");
        }
    }
}
