//! A file that is written under a temporary name.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, RenameFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use super::birth::FileBirth;
use super::directory::{directory_of, sync_directory};
use super::faults::{Call, meet};
use super::leftovers::{TEMPORARY_MARK, TEMPORARY_RANDOM_CHARS};

/// A file being written under a temporary name in its final directory.
///
/// Mode 0600. Removed when dropped before [`Self::commit`]. While it is open it holds a
/// lock on itself, which is how [`super::remove_leftovers`] knows that it is in use.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    temporary: TempPath,
    path: PathBuf,
}

impl DurableFile {
    /// Creates the temporary file next to `path`; an existing file at `path` is not touched.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        meet(Call::Create, &path)?;
        let mut prefix = OsStr::new(".").to_owned();
        prefix.push(name);
        prefix.push(TEMPORARY_MARK);
        loop {
            let (file, temporary) = tempfile::Builder::new()
                .prefix(&prefix)
                .rand_bytes(TEMPORARY_RANDOM_CHARS)
                .permissions(Permissions::from_mode(FILE_MODE))
                .tempfile_in(directory_of(&path))?
                .into_parts();
            // A clean-up between creation and lock removes the name: try again.
            // On a file system without locks no clean-up can respect them either.
            let _ = file.try_lock();
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, temporary, path });
            }
        }
    }

    /// The name the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, to read it back or map it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Which file it is, and will be under its final name: see [`FileBirth`].
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn birth(&self) -> io::Result<FileBirth> {
        Ok(FileBirth::of(&self.file.metadata()?))
    }

    /// Reserves `bytes` on the disk, if the file system can, and makes the file that long.
    ///
    /// So a full disk is an error now and not in the middle of the work.
    ///
    /// # Errors
    /// Any error of the file system. A file system that cannot reserve space is no error: the
    /// file is then sparse.
    pub fn allocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        meet(Call::Allocate, &self.path)?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(bytes),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes at a position; callable from several threads.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Makes the file durable under its final name and replaces an existing file.
    ///
    /// # Errors
    /// Any error of the file system; until the rename nothing has changed at the final name.
    pub fn commit(self) -> io::Result<()> {
        self.sync()?.rename()
    }

    /// Makes the content durable under the temporary name, so that a caller can record something
    /// durably before the final name appears.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn sync(self) -> io::Result<SyncedFile> {
        meet(Call::Sync, &self.path)?;
        self.file.sync_all()?;
        Ok(SyncedFile(self))
    }

    /// Like [`Self::commit`], but never replaces an existing file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the final name is taken; any other error of the file
    /// system.
    pub fn commit_new(self) -> io::Result<()> {
        meet(Call::Sync, &self.path)?;
        self.file.sync_all()?;
        meet(Call::Rename, &self.path)?;
        let cwd = rustix::fs::CWD;
        let temporary: &Path = &self.temporary;
        match rustix::fs::renameat_with(cwd, temporary, cwd, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.take_free_name()?,
            Err(errno) => return Err(errno.into()),
        }
        self.renamed()
    }

    /// Gives the file its final name on a file system without a rename that refuses an existing
    /// one: a hard link refuses it too. Where there are no links either, the name is looked at and
    /// then taken, so that of two who take it in the same moment the second one wins; a directory
    /// with a lock keeps others away.
    fn take_free_name(&self) -> io::Result<()> {
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => fs::remove_file(&self.temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => match fs::symlink_metadata(&self.path) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::rename(&self.temporary, &self.path)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Disarms the clean-up of the temporary name, which no longer exists, and makes the final
    /// name durable.
    fn renamed(self) -> io::Result<()> {
        let Self { temporary, path, .. } = self;
        temporary.keep()?;
        sync_directory(directory_of(&path))
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        meet(Call::Write, &self.path)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A [`DurableFile`] whose content is durable under its temporary name.
#[derive(Debug)]
pub struct SyncedFile(DurableFile);

impl SyncedFile {
    /// Gives the file its final name, durably, and replaces an existing file.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn rename(self) -> io::Result<()> {
        meet(Call::Rename, &self.0.path)?;
        fs::rename(&self.0.temporary, &self.0.path)?;
        self.0.renamed()
    }
}

/// Writes a whole file and replaces an existing one; durable on return.
///
/// # Errors
/// Any error of the file system; an existing file of that name is then still there.
pub fn write_whole(path: impl Into<PathBuf>, bytes: &[u8]) -> io::Result<()> {
    let mut file = DurableFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::durable::faults::{Fault, Faults, Plan};
    use crate::durable::is_temporary;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_uncommitted_file_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        fs::write(&path, b"old").unwrap();
        let mut file = DurableFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(names(directory.path()).len(), 2);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(names(directory.path()), ["part"]);
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_committed_file_replaces_the_old_one_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        fs::write(&path, b"a much longer old one").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["part"]);
    }

    #[test]
    fn a_planned_fault_is_met_by_the_call_it_is_planned_for_and_by_no_other_directory() {
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = directory.path().join("part");
        fs::write(&path, b"old").unwrap();
        let calls = [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncDirectory];
        for (index, call) in calls.into_iter().enumerate() {
            for (calls, nth) in [(vec![call], 1), (Vec::new(), index as u64 + 1)] {
                let kind = io::ErrorKind::StorageFull;
                let plan = Plan { calls, nth, count: 1, fault: Fault::Error(kind) };
                let faults = Faults::plan(directory.path(), plan);
                write_whole(other.path().join("part"), b"new").unwrap();
                assert_eq!(write_whole(&path, b"new").unwrap_err().kind(), kind, "{call:?}");
                assert!(faults.seen() >= 1);
                let renamed = call == Call::SyncDirectory;
                let now: &[u8] = if renamed { b"new" } else { b"old" };
                assert_eq!(fs::read(&path).unwrap(), now, "{call:?}");
                assert_eq!(names(directory.path()), ["part"]);
                write_whole(&path, b"new").unwrap();
                drop(faults);
                fs::write(&path, b"old").unwrap();
            }
        }
    }

    #[test]
    fn a_frozen_call_is_made_when_the_plan_is_dropped_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        let plan = Plan { calls: vec![Call::Rename], nth: 1, count: 1, fault: Fault::Freeze };
        let faults = Faults::plan(directory.path(), plan);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| write_whole(&path, b"new"));
            assert!(faults.freezes_within(Duration::from_secs(120)));
            assert!(!path.exists() && !writing.is_finished());
            // What a killed process leaves.
            let [left] = &names(directory.path())[..] else { panic!("one file") };
            assert_eq!(fs::read(directory.path().join(left)).unwrap(), b"new");
            assert!(is_temporary(left.as_ref()), "{left}");
            drop(faults);
            writing.join().unwrap().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn commit_new_refuses_an_existing_name_and_leaves_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest");
        let mut first = DurableFile::create(&path).unwrap();
        let mut second = DurableFile::create(&path).unwrap();
        first.write_all(b"first").unwrap();
        second.write_all(b"second").unwrap();
        first.commit_new().unwrap();
        let error = second.commit_new().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(directory.path()), ["manifest"]);
    }
}
