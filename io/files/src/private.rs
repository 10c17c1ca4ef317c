//! Files that belong to this process and that their group was let into.
//!
//! Kubernetes does that at each start of a pod with an `fsGroup`: every file of a volume becomes
//! readable and writable by that group. A file that this process has made is then made private
//! again, and not refused.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, fchmod};
use rustix::process::geteuid;

/// The permission bits of the group.
const GROUP_BITS: u32 = 0o070;
/// The permission bits of others.
const OTHERS_BITS: u32 = 0o007;

/// Takes the bits of the group away, with a warning, where a file of this user has some of
/// `forbidden` and others have none of them. Returns the permission bits that the file has now.
///
/// # Errors
/// Any error of the file system. One that cannot change the bits is none.
pub fn close_to_group(file: &File, path: &Path, forbidden: u32) -> io::Result<u32> {
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o7777;
    if !is_opened_to_group(mode, forbidden) || metadata.uid() != geteuid().as_raw() {
        return Ok(mode);
    }
    let closed = mode & !GROUP_BITS;
    if fchmod(file, Mode::from_raw_mode(closed)).is_err() {
        // On a read-only file system it stays as it is, and its reader says what is wrong with it.
        return Ok(mode);
    }
    tracing::warn!(
        "{} had mode {mode:04o}, as an fsGroup makes it: it is private again, mode {closed:04o}",
        path.display()
    );
    Ok(closed)
}

/// As [`close_to_group`], but changes nothing: the permission bits that the file would have.
///
/// # Errors
/// Any error of the file system.
pub fn as_closed_to_group(file: &File, forbidden: u32) -> io::Result<u32> {
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o7777;
    let is_own = metadata.uid() == geteuid().as_raw();
    Ok(if is_own && is_opened_to_group(mode, forbidden) { mode & !GROUP_BITS } else { mode })
}

/// Who else than this user and root may write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtherWriters {
    /// Its owner.
    #[error("it belongs to user {owner}: it must belong to this user, {user}, or to root")]
    Owner {
        /// The file's owner.
        owner: u32,
        /// This process's user.
        user: u32,
    },
    /// Its group, or everybody.
    #[error("its mode is {mode:04o}: only its owner may write it (chmod go-w)")]
    Others {
        /// Its permission bits.
        mode: u32,
    },
}

/// Says who else than this process's user and root may write a file; `None` where nobody may.
#[must_use]
pub fn other_writers(metadata: &Metadata) -> Option<OtherWriters> {
    writers_other_than(geteuid().as_raw(), metadata)
}

/// Says who else than `user` and root may write a file; `None` where nobody may.
#[must_use]
pub fn writers_other_than(user: u32, metadata: &Metadata) -> Option<OtherWriters> {
    let owner = metadata.uid();
    let mode = metadata.mode() & 0o7777;
    if owner != user && owner != ROOT {
        Some(OtherWriters::Owner { owner, user })
    } else if mode & OTHERS_WRITE_BITS != 0 {
        Some(OtherWriters::Others { mode })
    } else {
        None
    }
}

/// The permission bits that let users other than the owner write.
pub const OTHERS_WRITE_BITS: u32 = 0o022;
const ROOT: u32 = 0;

fn is_opened_to_group(mode: u32, forbidden: u32) -> bool {
    mode & forbidden & GROUP_BITS != 0 && mode & forbidden & OTHERS_BITS == 0
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_the_group_may_is_taken_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, b"x").expect("written");
        let file = File::open(&path).expect("opened");
        let mode = || file.metadata().expect("its metadata").mode() & 0o7777;
        for (before, forbidden, after) in [
            (0o660, 0o077, 0o600),
            (0o640, 0o077, 0o600),
            (0o640, 0o022, 0o640),
            (0o664, 0o022, 0o604),
            (0o666, 0o077, 0o666),
            (0o600, 0o077, 0o600),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(before)).expect("changed");
            assert_eq!(as_closed_to_group(&file, forbidden).expect("looked at"), after);
            assert_eq!(mode(), before, "looking changes nothing");
            assert_eq!(close_to_group(&file, &path, forbidden).expect("closed"), after);
            assert_eq!(mode(), after, "{before:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_or_open_to_writers_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let metadata = |mode| {
            fs::set_permissions(file.path(), Permissions::from_mode(mode)).expect("set");
            file.as_file().metadata().expect("its metadata")
        };
        assert_eq!(other_writers(&metadata(0o644)), None);
        for mode in [0o664, 0o602] {
            assert_eq!(other_writers(&metadata(mode)), Some(OtherWriters::Others { mode }));
        }
        let other = geteuid().as_raw() + 1;
        let named = writers_other_than(other, &metadata(0o644));
        // What is root's is anyone's to read.
        let is_root = geteuid().is_root();
        assert!(is_root || matches!(named, Some(OtherWriters::Owner { .. })), "{named:?}");
    }
}
