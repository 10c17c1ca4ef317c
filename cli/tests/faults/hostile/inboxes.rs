//! What is in an inbox.

use super::{ends, network, remove, stand_ins};

#[test]
fn what_is_no_regular_file_in_an_inbox_keeps_the_receiver_from_starting() {
    let world = network();
    let elsewhere = world.path("elsewhere");
    std::fs::write(&elsewhere, "anything").expect("written");
    let mut receive = world.receiver_flags();
    receive.remove("--identity").remove("--db-url");
    // Makes the inbox, and ends for want of an address.
    let mut first = receive.clone();
    first.set("--health-listen", "192.0.2.1:1");
    ends(&mut world.program_as("2", &first.command("receive"))).ends_with(1);
    let inbox = world.path("inbox");
    std::fs::create_dir_all(inbox.join("sender-0")).expect("a directory");
    let in_packages = ["part-000000.age", "manifest.json"].map(|name| format!("sender-0/{name}"));
    let in_inbox = ["session", "sender-0.journal", "sender-1"].map(str::to_owned);
    let places = in_packages.into_iter().chain(in_inbox);
    for place in places {
        let path = inbox.join(&place);
        let (kept, is_there) = (world.path("kept"), path.symlink_metadata().is_ok());
        if is_there {
            std::fs::rename(&path, &kept).expect("moved");
        }
        for (what, put) in stand_ins(&elsewhere) {
            if (place.as_str(), what) == ("sender-1", "directory") {
                continue;
            }
            put(&path);
            let run = ends(&mut world.program_as("2", &receive.command("receive")));
            assert!(
                [Some(1), Some(4)].contains(&run.code),
                "{place}, {what}: {:?} {}",
                run.code,
                run.stderr
            );
            assert!(run.stderr.contains(&place), "{place}, {what}: {}", run.stderr);
            remove(&path);
        }
        if is_there {
            std::fs::rename(&kept, &path).expect("moved");
        }
    }
    // A link to a directory elsewhere would be filled there.
    let (package, outside) = (inbox.join("sender-1"), world.path("outside"));
    let _ = std::fs::remove_dir(&package);
    std::fs::create_dir(&outside).expect("a directory");
    std::os::unix::fs::symlink(&outside, &package).expect("a link");
    let run = ends(&mut world.program_as("2", &receive.command("receive"))).ends_with(1);
    assert!(run.stderr.contains("inbox/sender-1"), "{}", run.stderr);
    assert!(run.stderr.contains("it is a symbolic link"), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(&outside).expect("there").count(), 0);
}
