//! SIGKILL at many moments, and the same command again.

use std::fs;
use std::time::{Duration, Instant};

use crate::way::{Direction, End, Way};
use crate::world::{Job, PARTS, ROWS, World, contents, names, parts};

#[test]
fn a_send_that_is_killed_at_many_moments_goes_on_and_ends_with_the_same_contents() {
    let world = World::new();
    let url = &world.databases[0];
    let package = world.path("p0");
    let mut kept = vec![];
    for bytes in [1, 10_000, 400_000, 800_000, 1_200_000, 1_600_000] {
        let way = Way::to_database(url, Direction::FromServer, bytes, End::Hold);
        let mut job = world.start("0", &World::send(&way.url, "0", "p0"));
        job.is_held_on(&way);
        job.kill();
        assert!(!package.join("manifest.json").exists(), "{bytes}");
        let now = parts(&package);
        assert!(kept.iter().all(|part| now.contains(part)), "{bytes}: a part was made anew");
        kept = now;
    }
    assert!((1..PARTS).contains(&(kept.len() as u64)), "{} parts", kept.len());
    let run = world.run("0", &World::send(url, "0", "p0")).ends_with(0);
    assert_eq!((run.number("parts"), run.number("rows")), (PARTS, ROWS));
    assert_eq!(run.number("parts_kept"), kept.len() as u64);
    let now = parts(&package);
    assert!(kept.iter().all(|part| now.contains(part)));
    world.run("0", &World::send(url, "0", "again")).ends_with(0);
    assert_eq!(contents(&package), contents(&world.path("again")));
}

#[test]
fn a_rebuild_and_a_load_that_are_killed_at_many_moments_go_on_and_end_with_an_equal_table() {
    for is_load in [false, true] {
        let world = World::new();
        world.send_both();
        fs::create_dir(world.path("files")).expect("made");
        if is_load {
            world.run("2", &World::merge()).ends_with(0);
        }
        let flags = if is_load { World::load } else { World::rebuild };
        let mut loaded = 0;
        for bytes in [1, 2_000, 300_000, 10_000, 700_000, 500_000, 400_000] {
            let way = Way::to_database(&world.databases[2], Direction::ToServer, bytes, End::Hold);
            let mut job = world.start("2", &[&flags(&way.url)[..], &["-j", "2"]].concat());
            job.is_held_on(&way);
            job.kill();
            drop(way);
            let now = world.loaded_rows();
            assert!(now >= loaded, "{bytes}: {now} rows of {loaded}");
            loaded = now;
        }
        assert!((1..ROWS).contains(&loaded), "{loaded} rows");
        let run = world.run("2", &flags(&world.databases[2])).ends_with(0);
        assert_eq!((run.number("rows"), run.number("rows_skipped")), (ROWS - loaded, loaded));
        world.assert_rebuilt();
    }
}

/// Kills a command after so many parts of the time that it takes; says how often it was in time.
fn kill_at_tenths(world: &World, party: &str, arguments: &[&str], mut check: impl FnMut()) {
    let start = Instant::now();
    world.run(party, arguments).ends_with(0);
    let tenth = start.elapsed() / 10;
    check();
    for turn in 0..10 {
        let mut job = world.start(party, arguments);
        std::thread::sleep(tenth * turn);
        job.kill();
        check();
    }
}
