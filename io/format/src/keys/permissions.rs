//! Private files: regular, small, and readable by their owner only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reshare_files::durable::{self, DurableFile};
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::input_file::{is_not_regular, open_input};
use reshare_files::private::close_to_group;
use zeroize::Zeroizing;

/// The largest private file in bytes: a key takes a few hundred.
const MAX_PRIVATE_FILE_BYTES: u64 = 16 * 1024;

/// The permission bits that must not be set on a private file.
const OTHERS_MODE_BITS: u32 = 0o077;

/// Reads a private text file, after checking that only its owner can.
///
/// The checks are made on the opened file, not on its name, so it cannot be swapped in between.
///
/// # Secrecy
/// The text is read into one buffer that is wiped when dropped.
///
/// # Errors
/// A [`PrivateFileError`] when the file is missing, not regular, open to group or others, larger
/// than 16 KiB, or not text.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    let path_of = || path.to_owned();
    let file = open_private(path)?;
    // Allocate the whole buffer at once: growing it would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PRIVATE_FILE_BYTES as usize + 1));
    let mut limited = file.take(MAX_PRIVATE_FILE_BYTES + 1);
    limited.read_to_end(&mut bytes).on("read", path)?;
    if bytes.len() as u64 > MAX_PRIVATE_FILE_BYTES {
        return Err(PrivateFileError::TooLarge { path: path_of() });
    }
    let text =
        std::str::from_utf8(&bytes).map_err(|_| PrivateFileError::NoText { path: path_of() })?;
    // What a Windows editor puts before a text is no part of a key.
    Ok(Zeroizing::new(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()))
}

/// Opens a file and checks that it is regular and closed to group and others; of root's, a group
/// may read.
fn open_private(path: &Path) -> Result<File, PrivateFileError> {
    let path_of = || path.to_owned();
    let file = open_input(path).map_err(|error| match is_not_regular(&error) {
        true => PrivateFileError::NotRegular { path: path_of() },
        false => FileError::new("read", path, error).into(),
    })?;
    let metadata = file.metadata().on("read", path)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let forbidden = forbidden_bits(owner);
    // A root-owned file is never made private: root may want it as it is.
    let mode = match owner {
        ROOT => mode,
        _ => close_to_group(&file, path, forbidden).on("read", path)?,
    };
    if mode & forbidden != 0 {
        return Err(PrivateFileError::Permissions { path: path_of(), mode });
    }
    Ok(file)
}

/// The bits that a private file must not have. Root may let a group read its own, as libpq takes
/// keys: a secret that Kubernetes mounts for an `fsGroup` belongs to root and has mode 0440.
const fn forbidden_bits(owner: u32) -> u32 {
    if owner == ROOT { OTHERS_MODE_BITS & !GROUP_READ_BIT } else { OTHERS_MODE_BITS }
}

const ROOT: u32 = 0;
const GROUP_READ_BIT: u32 = 0o040;

/// Writes a new private file, mode 0600; durable on return.
///
/// # Errors
/// [`PrivateFileError::Exists`] when anything has that name already, which is left as it is;
/// [`PrivateFileError::Unusable`] when the file cannot be made, and then there is none.
pub fn write_private(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    let write = || {
        // A killed run may have left a key under a temporary name.
        durable::remove_leftovers_of(path)?;
        let mut file = DurableFile::create(path)?;
        file.write_all(text.as_bytes())?;
        file.commit_new()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PrivateFileError::Exists { path: path.to_owned() },
        _ => FileError::new("write", path, source).into(),
    })
}

/// Why a private file is not used. Never holds any of its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    Unusable(#[from] FileError),
    /// It is a directory, a pipe or a device.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Group or others may read, write or run it.
    #[error(
        "{} has mode {mode:04o}: a private key must be open to its owner alone (chmod 600)",
        path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any key.
    #[error("{} is larger than {MAX_PRIVATE_FILE_BYTES} bytes: this is no key file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("{} is not a text file", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// Something has that name already.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn a_written_file_is_its_owners_alone_and_reads_back() {
        let dir = scratch();
        let path = dir.path().join("key");
        write_private(&path, "secret\n").expect("written");
        assert_eq!(path.metadata().expect("there").mode() & 0o7777, 0o600);
        assert_eq!(*read_private(&path).expect("read"), "secret\n");
    }

    #[test]
    fn an_existing_file_is_left_as_it_is() {
        let dir = scratch();
        let path = dir.path().join("key");
        write_private(&path, "first").expect("written");
        let again = write_private(&path, "second");
        assert!(matches!(again, Err(PrivateFileError::Exists { .. })));
        assert_eq!(*read_private(&path).expect("read"), "first");
        let dangling = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &dangling).expect("a link");
        let through = write_private(&dangling, "third");
        assert!(matches!(through, Err(PrivateFileError::Exists { .. })));
    }

    #[test]
    fn a_file_open_to_group_or_others_is_refused() {
        let dir = scratch();
        let path = dir.path().join("key");
        write_private(&path, "secret").expect("written");
        let is_root = path.metadata().expect("there").uid() == ROOT;
        for mode in [0o644, 0o604, 0o620, 0o610, 0o601, 0o602] {
            // What only the group may is taken away from a file of this user.
            if !is_root && mode & 0o007 == 0 {
                continue;
            }
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
            let refused = read_private(&path).expect_err("must be refused");
            assert!(matches!(refused, PrivateFileError::Permissions { mode: m, .. } if m == mode));
        }
        for mode in [0o400, 0o440, 0o640] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
            assert!(read_private(&path).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn only_root_lets_a_group_read_a_key() {
        for (owner, mode, is_taken) in [
            (ROOT, 0o440, true),
            (ROOT, 0o640, true),
            (ROOT, 0o660, false),
            (ROOT, 0o444, false),
            (4711, 0o440, false),
            (4711, 0o600, true),
        ] {
            assert_eq!(mode & forbidden_bits(owner) == 0, is_taken, "{owner} {mode:o}");
        }
    }

    #[test]
    fn what_is_no_small_regular_text_file_is_refused() {
        let dir = scratch();
        let missing = read_private(&dir.path().join("missing"));
        assert!(matches!(missing, Err(PrivateFileError::Unusable(_))));
        let directory = read_private(dir.path());
        assert!(matches!(directory, Err(PrivateFileError::NotRegular { .. })));
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        assert!(matches!(read_private(&pipe), Err(PrivateFileError::NotRegular { .. })));
        let large = dir.path().join("large");
        write_private(&large, &"x".repeat(16 * 1024 + 1)).expect("written");
        assert!(matches!(read_private(&large), Err(PrivateFileError::TooLarge { .. })));
        let mut options = std::fs::OpenOptions::new();
        let binary = dir.path().join("binary");
        let file = options.write(true).create_new(true).mode(0o600).open(&binary);
        file.expect("made").write_all(&[0xff, 0xfe]).expect("written");
        assert!(matches!(read_private(&binary), Err(PrivateFileError::NoText { .. })));
    }
}
