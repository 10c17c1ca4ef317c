//! What lies in an inbox.

use crate::world::World;
use crate::{ends, remove, stand_ins};

#[test]
fn what_is_no_regular_file_in_an_inbox_keeps_the_receiver_from_starting() {
    let world = World::new();
    let elsewhere = world.path("elsewhere");
    std::fs::write(&elsewhere, "anything").expect("written");
    let mut receive = world.receiver();
    receive.remove("--identity").remove("--db-url");
    // Makes the inbox, and ends for want of an address.
    let mut first = receive.clone();
    first.set("--health-listen", "192.0.2.1:1");
    ends(&mut world.program("2", &first.command("receive"))).ends_with(1);
    let inbox = world.path("inbox");
    std::fs::create_dir_all(inbox.join("sender-0")).expect("a directory");
    let places = ["session", "sender-0/part-000000.age", "sender-0/manifest.json", "sender-1"];
    for place in places {
        let path = inbox.join(place);
        let (kept, is_there) = (world.path("kept"), path.symlink_metadata().is_ok());
        if is_there {
            std::fs::rename(&path, &kept).expect("moved");
        }
        for (what, put) in stand_ins(&elsewhere) {
            if (place, what) == ("sender-1", "directory") {
                continue;
            }
            put(&path);
            let run = ends(&mut world.program("2", &receive.command("receive")));
            assert!([1, 4].contains(&run.code), "{place}, {what}: {} {}", run.code, run.stderr);
            let name = place.rsplit('/').next().expect("a name");
            assert!(run.stderr.contains(name), "{place}, {what}: {}", run.stderr);
            remove(&path);
        }
        if is_there {
            std::fs::rename(&kept, &path).expect("moved");
        }
    }
}
