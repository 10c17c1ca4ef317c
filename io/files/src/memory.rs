//! Keeps secrets in memory off the disk: no core dump, no swap.

#![expect(unsafe_code, reason = "mlock takes an address")]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr;

use rustix::mm::{mlock, munlock};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Makes this process, and those that it starts, write no core dump; other processes of the same
/// user may not read its memory or trace it.
///
/// # Errors
/// What the system says. What could be turned off is off.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    // A dump that is piped to a program, as systemd-coredump, has no limit.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}

/// A value in memory that is not swapped out, as far as the system's limit (`RLIMIT_MEMLOCK`)
/// allows.
///
/// # Secrecy
/// Only the value itself is locked: not what it points to, nor a copy that is made of it. `Debug`
/// prints nothing of it.
pub struct Locked<T> {
    page: Box<Page<T>>,
    is_locked: bool,
}

/// A value that shares its pages with nothing else, so that it is locked and unlocked alone.
#[repr(C, align(4096))]
struct Page<T>(T);

impl<T> Locked<T> {
    /// Moves a value there.
    pub fn new(value: T) -> Self {
        let page = Box::new(Page(value));
        // SAFETY: the pages belong to the box, and stay where they are until it is dropped. Locking
        // changes nothing that a program can see.
        let locked = unsafe { mlock(address(&page), size_of::<Page<T>>()) };
        Self { page, is_locked: locked.is_ok() }
    }

    /// Whether the system's limit allowed it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        if self.is_locked {
            // SAFETY: as in `new`; the box is dropped after this. An error leaves a page locked.
            let _ = unsafe { munlock(address(&self.page), size_of::<Page<T>>()) };
        }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.page.0
    }
}

impl<T> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("is_locked", &self.is_locked).finish_non_exhaustive()
    }
}

fn address<T>(page: &Page<T>) -> *mut std::ffi::c_void {
    ptr::from_ref(page).cast_mut().cast()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn no_core_is_dumped() {
        forbid_core_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!((current, maximum), (Some(0), Some(0)));
    }

    /// Kilobytes that the process has locked.
    fn locked_kilobytes() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn a_locked_value_is_locked_as_long_as_it_lives() {
        let before = locked_kilobytes();
        let values: Vec<Locked<[u8; 5000]>> = (0..8).map(|_| Locked::new([7; 5000])).collect();
        assert!(values.iter().all(|value| value.is_locked() && value[4999] == 7));
        assert!(locked_kilobytes() >= before + 8 * 8);
        assert!(!format!("{values:?}").contains('7'));
        drop(values);
        assert_eq!(locked_kilobytes(), before);
    }
}
