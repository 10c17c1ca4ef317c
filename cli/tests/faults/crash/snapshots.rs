//! How old a snapshot gets that a sender reads from.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::world::{ROWS, World, names, parts};
use reshare_fixtures::network::Running;

/// Starts a sender that makes a part of every row, freezes it after its first ones for longer
/// than a second, and returns the times in its manifest, in the order of the parts.
fn times_of_a_send_with_a_pause(world: &World, more: &[&str]) -> Vec<String> {
    for attempt in 0..20 {
        let package = format!("package-{attempt}");
        let to = ["-j", "1", "--db-url", &world.databases[0], "--to", &package];
        let smallest = ["--batch-size", "1", "--threads", "1"];
        let mut words = World::sender("send", "0", &[&to[..], more].concat());
        let at = words.iter().position(|word| *word == "--batch-size").expect("given");
        words.splice(at..at + 2, smallest);
        let mut job: Running = world.start_as("0", &words);
        assert!(job.runs_until(|| !parts(&world.path(&package)).is_empty()), "{:?}", job.finish());
        if !job.is_running() {
            continue;
        }
        job.signal("-STOP");
        let is_closed = names(&world.path(&package)).contains(&"manifest.json".to_owned());
        // Times of export are in whole seconds, and so is the least age.
        std::thread::sleep(Duration::from_millis(1200));
        job.signal("-CONT");
        job.finish().ends_with(0);
        if is_closed {
            continue;
        }
        let manifest = std::fs::read(world.path(&package).join("manifest.json")).expect("closed");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let parts = manifest["parts"].as_array().expect("parts");
        assert_eq!(parts.len() as u64, ROWS);
        let time = |part: &Value| part["exported_at"].as_str().expect("a time").to_owned();
        return parts.iter().map(time).collect();
    }
    panic!("every run ended before it could be frozen");
}

#[test]
fn a_snapshot_is_renewed_when_it_is_older_than_the_flag_says_and_else_kept() {
    let world = World::new();
    let renewed = times_of_a_send_with_a_pause(&world, &["--snapshot-max-age", "1s"]);
    assert!(renewed.is_sorted(), "{renewed:?}");
    let snapshots: BTreeSet<_> = renewed.iter().collect();
    assert!(snapshots.len() > 1, "{renewed:?}");
    for more in [&[][..], &["--snapshot-max-age", "off"], &["--snapshot-max-age", "1h30m"]] {
        let kept = times_of_a_send_with_a_pause(&world, more);
        assert!(kept.iter().all(|time| *time == kept[0]), "{more:?}: {kept:?}");
    }
}
