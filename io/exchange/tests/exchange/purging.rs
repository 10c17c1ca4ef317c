//! A removal that is interrupted at any point: the same removal continues.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use reshare_files::durable::faults::{Call, Fault, Faults, Plan};
use reshare_pipeline::purge::{Purge, PurgeDefect, PurgeError};

use crate::world::World;

const THINGS: [&str; 3] = ["package-0", "package-1", "inbox"];

fn looked_at(world: &World) -> Purge {
    let mut purge = Purge::default();
    purge.add_package(&world.session, &world.path("package-0")).unwrap();
    purge.add_package(&world.session, &world.path("package-1")).unwrap();
    purge.add_inbox(&world.session, &world.path("inbox")).unwrap();
    purge
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_ends_at_any_call_continues_when_it_is_asked_for_again() {
    let world = World::new();
    let receiver = world.receiver().await;
    for sender in 0..2 {
        world.upload(sender, receiver.address).await.unwrap();
    }
    receiver.stop().await;
    for thing in THINGS {
        fs::rename(world.path(thing), world.path(&format!("whole-{thing}"))).unwrap();
    }
    let mut nth = 0;
    loop {
        nth += 1;
        for thing in THINGS {
            copy(&world.path(&format!("whole-{thing}")), &world.path(thing));
        }
        let calls = vec![Call::Remove, Call::SyncDirectory];
        let gone = Plan { calls, nth, count: u64::MAX, fault: Fault::Error(ErrorKind::Other) };
        let faults = Faults::plan(world.directory.path(), gone);
        let removed = looked_at(&world).remove();
        let is_over = faults.seen() < nth;
        drop(faults);
        assert_eq!(removed.is_ok(), is_over, "{nth}: {removed:?}");
        let left = THINGS.iter().filter(|thing| world.path(thing).exists()).count();
        let again = looked_at(&world);
        assert_eq!(again.missing().len(), THINGS.len() - left, "{nth}");
        match again.check_any() {
            Ok(()) => assert_eq!(again.remove().unwrap().len(), left, "{nth}"),
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        PurgeError::Defect { defect: PurgeDefect::NothingThere { named: 3 }, .. }
                    ),
                    "{error}"
                );
                assert_eq!(left, 0, "{nth}");
            }
        }
        assert!(THINGS.iter().all(|thing| !world.path(thing).exists()), "{nth}: something is left");
        if is_over {
            break;
        }
    }
    // Both packages have six parts and three more files each, twice.
    assert!(nth > 36, "{nth}");
}
