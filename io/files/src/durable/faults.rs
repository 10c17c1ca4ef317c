//! Disk faults for tests: a test plans them here, and the file calls of [`super`] fail or freeze
//! accordingly.
//!
//! A plan covers one directory and everything below it, so tests of one process do not
//! disturb each other. Without a plan a call costs one relaxed load.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// A call to the file system that can be made to fail or freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Creates a temporary file.
    Create,
    /// Reserves disk space for a file.
    Allocate,
    /// Writes bytes or truncates a file.
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

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with this error.
    Error(io::ErrorKind),
    /// The call waits until the plan is dropped and then runs. A process that is killed in the
    /// meantime leaves exactly what it had when the call began.
    Freeze,
}

/// Which calls below a directory fail or freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The calls that count; if empty, all of them.
    pub calls: Vec<Call>,
    /// The first call with the fault, counted from 1. With 0 no call has it; calls are only
    /// counted.
    pub nth: u64,
    /// How many calls have the fault from there on: `u64::MAX` is a disk that is gone for good.
    pub count: u64,
    /// What happens to them.
    pub fault: Fault,
}

/// A plan that is in force until it is dropped.
#[derive(Debug)]
pub struct Faults(Arc<State>);

#[derive(Debug)]
struct State {
    directory: PathBuf,
    plan: Plan,
    seen: AtomicU64,
    ice: Mutex<Ice>,
    changed: Condvar,
}

/// The state of calls that freeze.
#[derive(Debug, Default)]
struct Ice {
    has_frozen: bool,
    is_over: bool,
}

impl State {
    fn ice(&self) -> MutexGuard<'_, Ice> {
        self.ice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: fn(&mut Ice)) {
        change(&mut self.ice());
        self.changed.notify_all();
    }

    /// Counts a call; returns its number and its fault, if it has one.
    fn fault_of(&self, call: Call, path: &Path) -> Option<(u64, Fault)> {
        let Plan { calls, nth, count, fault } = &self.plan;
        let counts = calls.is_empty() || calls.contains(&call);
        if !counts || !path.starts_with(&self.directory) {
            return None;
        }
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let is_planned = *nth > 0 && (*nth..nth.saturating_add(*count)).contains(&number);
        is_planned.then_some((number, *fault))
    }
}

static PLANS: RwLock<Vec<Arc<State>>> = RwLock::new(Vec::new());
static IN_FORCE: AtomicUsize = AtomicUsize::new(0);

impl Faults {
    /// Applies a plan to a directory and everything below it, in this process.
    #[must_use]
    pub fn plan(directory: impl Into<PathBuf>, plan: Plan) -> Self {
        let directory = directory.into();
        let (seen, ice, changed) = (AtomicU64::new(0), Mutex::default(), Condvar::new());
        let state = Arc::new(State { directory, plan, seen, ice, changed });
        PLANS.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&state));
        IN_FORCE.fetch_add(1, Ordering::SeqCst);
        Self(state)
    }

    /// How many calls counted so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.0.seen.load(Ordering::SeqCst)
    }

    /// Waits for a call to freeze, for `limit` at most; returns whether one has.
    #[must_use]
    pub fn freezes_within(&self, limit: Duration) -> bool {
        let waited = self.0.changed.wait_timeout_while(self.0.ice(), limit, |ice| !ice.has_frozen);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_frozen
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let mut plans = PLANS.write().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|state| !Arc::ptr_eq(state, &self.0));
        drop(plans);
        IN_FORCE.fetch_sub(1, Ordering::SeqCst);
        self.0.change(|ice| ice.is_over = true);
    }
}

/// Fails or freezes if a plan says so.
pub(super) fn meet(call: Call, path: &Path) -> io::Result<()> {
    if IN_FORCE.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    // A copy: a frozen call must not keep plans from being dropped.
    let plans = PLANS.read().unwrap_or_else(PoisonError::into_inner).clone();
    for state in plans {
        match state.fault_of(call, path) {
            None => {}
            Some((number, Fault::Error(kind))) => {
                let planned = format!("{call:?} number {number} fails as planned");
                return Err(io::Error::new(kind, planned));
            }
            Some((_, Fault::Freeze)) => {
                state.change(|ice| ice.has_frozen = true);
                let waited = state.changed.wait_while(state.ice(), |ice| !ice.is_over);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
    Ok(())
}
