//! Faults of a disk, made on purpose: what a test plans here, the file calls of
//! [`super`] meet.
//!
//! A plan is about one directory and all below it, so that tests of one process do not
//! disturb each other. Without a plan a call costs one relaxed load.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A call to the file system that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Makes a temporary file.
    Create,
    /// Reserves room for a file.
    Allocate,
    /// Writes bytes, or cuts them off.
    Write,
    /// Makes a file's bytes durable.
    Sync,
    /// Gives a file its final name.
    Rename,
    /// Removes a file.
    Remove,
    /// Makes the names of a directory durable.
    SyncDirectory,
}

/// Which calls below a directory fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Only these calls count; empty: all.
    pub calls: Vec<Call>,
    /// The first call that fails, counted from 1; 0 fails none and only counts.
    pub nth: u64,
    /// How many fail from there on: `u64::MAX` is a disk that is gone for good, which is
    /// what a crash at this call leaves.
    pub count: u64,
    /// What the file system then says.
    pub kind: io::ErrorKind,
}

/// A plan that is in force until it is dropped.
#[derive(Debug)]
pub struct Faults(Arc<State>);

#[derive(Debug)]
struct State {
    directory: PathBuf,
    plan: Plan,
    seen: AtomicU64,
}

static PLANS: RwLock<Vec<Arc<State>>> = RwLock::new(Vec::new());
static IN_FORCE: AtomicUsize = AtomicUsize::new(0);

impl Faults {
    /// Puts a plan in force for a directory and all below it, in this process.
    #[must_use]
    pub fn plan(directory: impl Into<PathBuf>, plan: Plan) -> Self {
        let state = Arc::new(State { directory: directory.into(), plan, seen: AtomicU64::new(0) });
        PLANS.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&state));
        IN_FORCE.fetch_add(1, Ordering::SeqCst);
        Self(state)
    }

    /// How many calls of the plan's kinds there were.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.0.seen.load(Ordering::SeqCst)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let mut plans = PLANS.write().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|state| !Arc::ptr_eq(state, &self.0));
        IN_FORCE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Fails where a plan says so.
pub(super) fn meet(call: Call, path: &Path) -> io::Result<()> {
    if IN_FORCE.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let plans = PLANS.read().unwrap_or_else(PoisonError::into_inner);
    plans.iter().filter(|state| path.starts_with(&state.directory)).try_for_each(|state| {
        let Plan { calls, nth, count, kind } = &state.plan;
        if !calls.is_empty() && !calls.contains(&call) {
            return Ok(());
        }
        let number = state.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = *nth > 0 && (*nth..nth.saturating_add(*count)).contains(&number);
        let error = || io::Error::new(*kind, format!("{call:?} number {number} fails as planned"));
        if fails { Err(error()) } else { Ok(()) }
    })
}
