//! The allocator of the program: memory that a limit does not give ends the run with a word, and
//! not with a crash.
//!
//! The standard library aborts when an allocation fails. Under a limit on address space
//! (`ulimit -v`), a run that needs more ends here with exit code 1, as after any failure of the
//! machine:
//! what was finished is kept.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; each call goes to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

/// The system's allocator, which ends the program where it has nothing more to give.
#[derive(Debug, Clone, Copy)]
pub struct EndingAllocator;

const OUT_OF_MEMORY: &[u8] = b"error: no memory is left\n\
    hint: raise the limit on this process' memory (ulimit -v, RLIMIT_AS, or the container's), or give a smaller \
    --batch-size and fewer --threads and connections; run the same command again\n";

// SAFETY: every call goes to the system's allocator with its arguments as they are, and what that
// returns is returned, unless it is null: then the process ends.
unsafe impl GlobalAlloc for EndingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.realloc(old, layout, bytes) })
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

fn given(memory: *mut u8) -> *mut u8 {
    if memory.is_null() { end() } else { memory }
}

/// Says why, without allocating, and ends the process.
#[cold]
fn end() -> ! {
    // SAFETY: the descriptor is used for one write and not closed.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    let _ = stderr.write_all(OUT_OF_MEMORY);
    std::process::exit(1)
}
