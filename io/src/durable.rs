//! Files that appear whole or not at all.
//!
//! Every write, fsync, rename and directory fsync of what must survive a crash happens in
//! this file: a final name never shows half a file, and what [`DurableFile::commit`] has
//! returned for is on the disk, its name included.

#[doc(hidden)]
pub mod faults;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags, RenameFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use self::faults::{Call, meet};

/// A file being written under a temporary name in the directory it is meant for.
///
/// Mode 0600. Removed when dropped before [`Self::commit`]. While it is open it holds a
/// lock on itself, which is how [`remove_leftovers`] knows that it is in use.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    temporary: TempPath,
    path: PathBuf,
}

impl DurableFile {
    /// Creates the temporary file beside `path`; whatever lies at `path` stays untouched.
    ///
    /// # Errors
    /// What the file system says.
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
            // A clean-up may have come between creation and lock: then the name is gone.
            // A file system without locks has no clean-up that respects them either.
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

    /// The open file, for reading back and mapping.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reserves `bytes` on the disk and makes the file that long, where the file system can.
    ///
    /// A full disk is then an error now and not in the middle of the work.
    ///
    /// # Errors
    /// What the file system says, except that it knows no reservation: the file is then
    /// sparse.
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
    /// What the file system says.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Makes the file durable under its final name, in place of whatever lay there.
    ///
    /// # Errors
    /// What the file system says; before the rename nothing has changed at the final name.
    pub fn commit(self) -> io::Result<()> {
        self.sync()?.rename()
    }

    /// Makes the content durable, still under the temporary name: what must be known before
    /// the final name shows can be made durable in between.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(self) -> io::Result<SyncedFile> {
        meet(Call::Sync, &self.path)?;
        self.file.sync_all()?;
        Ok(SyncedFile(self))
    }

    /// Like [`Self::commit`], but only where no file has the final name yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when one has; what the file system says.
    pub fn commit_new(self) -> io::Result<()> {
        meet(Call::Sync, &self.path)?;
        self.file.sync_all()?;
        meet(Call::Rename, &self.path)?;
        let cwd = rustix::fs::CWD;
        let temporary: &Path = &self.temporary;
        match rustix::fs::renameat_with(cwd, temporary, cwd, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS) => {
                // No atomic way here: a hard link refuses an existing name as well.
                fs::hard_link(temporary, &self.path)?;
                fs::remove_file(temporary)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        self.renamed()
    }

    /// Disarms the clean-up of the temporary name, which no longer exists, and makes the
    /// new name durable.
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
    /// Gives the file its final name, durably, in place of whatever lay there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn rename(self) -> io::Result<()> {
        meet(Call::Rename, &self.0.path)?;
        fs::rename(&self.0.temporary, &self.0.path)?;
        self.0.renamed()
    }
}

/// A file that grows in place and belongs to one process at a time, until it is dropped.
#[derive(Debug)]
pub struct DurableLog {
    file: File,
    path: PathBuf,
}

impl DurableLog {
    /// Opens an existing regular file, never through a symbolic link, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it,
    /// [`io::ErrorKind::InvalidInput`] when it is no regular file; what the file system says,
    /// also where it knows no locks.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_locked(path, OpenOptions::new().read(true).write(true))
    }

    /// Like [`Self::open`], to look at it alone: it can be locked, and nothing can be written.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_look(path: &Path) -> io::Result<Self> {
        Self::open_locked(path, OpenOptions::new().read(true))
    }

    fn open_locked(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = options.custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match lock_soon(&file) {
            Ok(()) => Ok(Self { file, path: path.to_owned() }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Opens an existing regular file to read it, beside whoever has it and without a lock:
    /// what is read may change, and nothing can be written.
    ///
    /// # Errors
    /// As [`Self::open`], but never [`io::ErrorKind::WouldBlock`].
    pub fn open_beside(path: &Path) -> io::Result<Self> {
        match open_regular(path)? {
            Some(file) => Ok(Self { file, path: path.to_owned() }),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The file's length and permission bits.
    ///
    /// # Errors
    /// What the file system says.
    pub fn size_and_mode(&self) -> io::Result<(u64, u32)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), metadata.mode() & 0o7777))
    }

    /// Reads exactly as many bytes as `bytes` has room for.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::UnexpectedEof`] behind the end.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes at a position; durable after [`Self::sync`].
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Cuts off what lies behind `bytes`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn truncate(&self, bytes: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.set_len(bytes)
    }

    /// Makes everything that was written durable.
    ///
    /// After an error nobody knows what of it is on the disk: the file must be closed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> io::Result<()> {
        meet(Call::Sync, &self.path)?;
        self.file.sync_data()
    }
}

/// Writes a whole file, durable when this returns, in place of whatever lay there.
///
/// # Errors
/// What the file system says; an earlier file of that name is then still there.
pub fn write_whole(path: impl Into<PathBuf>, bytes: &[u8]) -> io::Result<()> {
    let mut file = DurableFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Creates a directory of mode 0700 and what is missing above it, durable on return.
///
/// An existing directory is left as it is.
///
/// # Errors
/// What the file system says.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = directory_of(path);
    if parent != path {
        create_directory(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_directory(parent)
}

/// Removes a file and makes that durable.
///
/// # Errors
/// What the file system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    meet(Call::Remove, path)?;
    fs::remove_file(path)?;
    sync_directory(directory_of(path))
}

/// Removes files of one directory and makes that durable, all of them with one fsync.
///
/// # Errors
/// What the file system says; some may be removed then.
pub fn remove_files(directory: &Path, names: impl IntoIterator<Item = String>) -> io::Result<()> {
    for name in names {
        let path = directory.join(name);
        meet(Call::Remove, &path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    sync_directory(directory)
}

/// Removes an empty directory and makes that durable.
///
/// # Errors
/// What the file system says, such as that it is not empty.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    meet(Call::Remove, path)?;
    fs::remove_dir(path)?;
    sync_directory(directory_of(path))
}

/// Whether a file name is one that [`DurableFile`] gives to unfinished files.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let Some((front, random)) = name.rsplit_once(TEMPORARY_MARK) else { return false };
    front.len() > 1
        && front.starts_with('.')
        && random.len() == TEMPORARY_RANDOM_CHARS
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// How long a lock is waited for, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PERIOD: Duration = Duration::from_millis(10);

/// Locks a file for this process alone, waiting for a moment where it is locked.
///
/// A child that another process has just forked holds that one's locks until it executes a
/// program of its own: a lock that is gone in a moment is nobody's.
///
/// # Errors
/// [`TryLockError::WouldBlock`] when it stays locked; what the file system says.
pub fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PERIOD);
            }
            result => return result,
        }
    }
}

/// Removes the unfinished files that a crash left in a directory; returns how many.
///
/// Files that another process is still writing are left alone: they are locked.
///
/// # Errors
/// What the file system says.
pub fn remove_leftovers(directory: &Path) -> io::Result<usize> {
    remove_unfinished(directory, is_temporary)
}

/// Removes the unfinished files that a crash left of one file, which is none of a package: such
/// a directory may be anybody's, and the other files in it are not looked at.
///
/// # Errors
/// What the file system says; a missing directory is none.
pub fn remove_leftovers_of(path: &Path) -> io::Result<usize> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = OsStr::new(".").to_owned();
    prefix.push(name);
    let is_of_it = |found: &OsStr| {
        let front = found.len().checked_sub(TEMPORARY_MARK.len() + TEMPORARY_RANDOM_CHARS);
        is_temporary(found)
            && front.is_some_and(|front| found.as_bytes()[..front] == *prefix.as_bytes())
    };
    match remove_unfinished(directory_of(path), is_of_it) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        other => other,
    }
}

fn remove_unfinished(directory: &Path, is_meant: impl Fn(&OsStr) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !is_meant(&entry.file_name()) || !entry.file_type()?.is_file() {
            continue;
        }
        let Some(file) = open_regular(&entry.path())? else { continue };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                other?;
                removed += 1;
            }
        }
    }
    if removed > 0 {
        sync_directory(directory)?;
    }
    Ok(removed)
}

/// Opens a regular file for reading, never through a symbolic link and never waiting for a
/// FIFO; `None` when what lies there is something else.
///
/// # Errors
/// What the file system says; a missing file is [`io::ErrorKind::NotFound`].
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP | Errno::NXIO) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Bytes that this user may still write to the disk that a file or directory lies on.
///
/// # Errors
/// What the file system says.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes the names of a directory durable.
///
/// # Errors
/// What the file system says: nobody knows then which of its names are on the disk.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    meet(Call::SyncDirectory, directory)?;
    File::open(directory)?.sync_all()
}

/// The directory a path lies in, `.` for a bare name.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

const TEMPORARY_MARK: &str = ".tmp-";
const TEMPORARY_RANDOM_CHARS: usize = 8;
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_log_that_is_looked_at_is_locked_and_takes_no_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, b"log").unwrap();
        let log = DurableLog::open_to_look(&path).unwrap();
        assert_eq!(DurableLog::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(log.write_all_at(b"x", 0).is_err() && log.truncate(0).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"log");
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
                let plan = faults::Plan { calls, nth, count: 1, fault: faults::Fault::Error(kind) };
                let faults = faults::Faults::plan(directory.path(), plan);
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
        let plan = faults::Plan {
            calls: vec![Call::Rename],
            nth: 1,
            count: 1,
            fault: faults::Fault::Freeze,
        };
        let faults = faults::Faults::plan(directory.path(), plan);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| write_whole(&path, b"new"));
            assert!(faults.freezes_within(Duration::from_secs(120)));
            assert!(!path.exists() && !writing.is_finished());
            // Just as a killed process leaves it.
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

    #[test]
    fn leftovers_are_removed_but_neither_files_in_use_nor_those_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let in_use = DurableFile::create(at("busy")).unwrap();
        for name in [".part.tmp-Abcd1234", ".part.tmp-short", "part.tmp-Abcd1234", ".tmp-Abcd1234"]
        {
            fs::write(at(name), b"x").unwrap();
        }
        assert_eq!(remove_leftovers(directory.path()).unwrap(), 1);
        let left = names(directory.path());
        assert!(!left.contains(&".part.tmp-Abcd1234".to_owned()), "{left:?}");
        assert_eq!(left.len(), 4, "{left:?}");
        drop(in_use);
    }

    #[test]
    fn leftovers_of_one_file_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let in_use = DurableFile::create(at("part")).unwrap();
        let kept = [".apart.tmp-Abcd1234", ".part.tmp-short", ".part2.tmp-Abcd1234", "part"];
        for name in kept.into_iter().chain([".part.tmp-Abcd1234"]) {
            fs::write(at(name), b"x").unwrap();
        }
        assert_eq!(remove_leftovers_of(&at("part")).unwrap(), 1);
        assert_eq!(names(directory.path()).len(), kept.len() + 1);
        drop(in_use);
        assert_eq!(names(directory.path()), kept);
        assert_eq!(remove_leftovers_of(&at("none/part")).unwrap(), 0);
    }

    #[test]
    fn directories_are_private_and_an_existing_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        create_directory(&deep).unwrap();
        create_directory(&deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn links_and_fifos_are_no_regular_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), b"x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        assert!(open_regular(&at("file")).unwrap().is_some());
        assert!(open_regular(&at("link")).unwrap().is_none());
        assert!(open_regular(&at("fifo")).unwrap().is_none());
        assert!(open_regular(directory.path()).unwrap().is_none());
    }
}
