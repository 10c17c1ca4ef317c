//! Freezes a process of the tests at a file call, so that it can be killed there. Debug builds
//! only.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use reshare_files::durable::faults::{Fault, Faults, Plan};

/// `N:FILE`: the N-th file call freezes, and FILE is created to show it.
const VARIABLE: &str = "RESHARE_TEST_FREEZE";

/// Applies the variable's setting until the process is killed.
pub(crate) fn as_asked() {
    let Some(asked) = std::env::var(VARIABLE).ok() else { return };
    let (nth, file) = asked.split_once(':').expect("N:FILE");
    let (nth, file) = (nth.parse().expect("a number"), PathBuf::from(file));
    // An empty path is the start of every path.
    let plan = Plan { calls: Vec::new(), nth, count: 1, fault: Fault::Freeze };
    let faults = Faults::plan("", plan);
    thread::spawn(move || {
        while !faults.freezes_within(Duration::from_secs(3600)) {}
        fs::write(file, "").expect("the file that says so");
        loop {
            thread::park();
        }
    });
}
