//! Whether standard output was closed when the program was started (`>&-`).
//!
//! The runtime of Rust opens `/dev/null` in the place of a closed one before `main`, and what is
//! printed is lost without an error. So it is looked at before that.
#![expect(unsafe_code, reason = "a function that the loader calls before the runtime starts")]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the loader calls the functions of this section once, on the only thread there is; what
// this one calls needs no runtime: it duplicates a descriptor, closes the copy and stores a flag.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: the descriptor is borrowed for this one call, which finds out whether it is open: if
    // it is, nothing else runs that could close it.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    WAS_CLOSED.store(stdout.try_clone_to_owned().is_err(), Ordering::Relaxed);
}

/// Whether there is no standard output.
pub(crate) fn was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}
