//! Which file a name stands for: a copy of a file is another file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

/// The inode of a file and when that was created. Both stay as they are when the file is written,
/// renamed within its file system, or mounted again, and a copy has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileBirth {
    /// The inode's number.
    pub inode: u64,
    /// When the inode was created, in nanoseconds since 1970; 0 where the file system does not say.
    pub created_nanos: u64,
}

impl FileBirth {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let created = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let nanos = created.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Self { inode: metadata.ino(), created_nanos: nanos.unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_written_or_renamed_is_the_same_and_its_copy_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        fs::write(&one, b"first").unwrap();
        let of = |path: &std::path::Path| FileBirth::of(&fs::metadata(path).unwrap());
        let birth = of(&one);
        fs::write(&one, b"second").unwrap();
        fs::rename(&one, &other).unwrap();
        assert_eq!(of(&other), birth);
        fs::copy(&other, &one).unwrap();
        assert_ne!(of(&one), birth);
    }
}
