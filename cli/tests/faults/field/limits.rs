//! Limits on what a process may have.
//!
//! On memory it is that of `ulimit`, which is the same on every machine. A container's limit is a
//! cgroup's: to make one takes root and a machine that delegates it, and it ends the process by a
//! signal that nothing can answer.

use reshare_fixtures::network::Setup;

use super::shell;
use crate::RESHARE;

#[test]
fn a_limit_on_memory_ends_a_run_with_its_name_and_no_crash() {
    let world = Setup::of(RESHARE).rows(60).make();
    let send = format!(
        "\"$RESHARE\" send --session session.toml --agreement-key 0.key --shared-key shared.key --state-dir state-0 \
         --target-party-id 2 --expect-fingerprint {} --db-url '{}' --quiet --to p0",
        world.fingerprint, world.databases[0]
    );
    let mut codes = Vec::new();
    for megabytes in [30, 60, 100, 140, 180, 220, 260, 300, 400, 600] {
        let under_limit = |command: &str| {
            shell(world.directory(), &format!("ulimit -v {}; {command}", megabytes << 10))
        };
        // Under the lowest of them the system cannot even load the program.
        if under_limit("\"$RESHARE\" --version").code != Some(0) {
            continue;
        }
        let run = under_limit(&send);
        assert!(matches!(run.code, Some(0 | 1)), "{megabytes} MB: {run:?}");
        if run.code == Some(1) {
            let word = run.stderr.contains("ulimit -v");
            assert!(word, "{megabytes} MB: {}", run.stderr);
        }
        codes.push(run.code);
    }
    assert!(codes.contains(&Some(1)), "{codes:?}");
    shell(world.directory(), &send).ends_with(0);
}
