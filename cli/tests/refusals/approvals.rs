//! Sessions that not everybody approved: nothing is blinded, and nobody hears of it.

use std::fs;

use crate::attackers::Door;
use crate::network::Run;
use crate::world::{World, approval_of};

/// Sends from sender 0 to the receiver with these flags.
fn send(world: &World, door: &Door, flags: &[&str]) -> Run {
    let (url, database) = (format!("https://{}", door.address), world.database("0"));
    let send = ["send", "--agreement-key", "0.key", "--db-url", &database, "--server-url", &url];
    world.run_as("0", &[&send[..], &["--retry-for", "0"], flags].concat())
}

#[test]
fn a_session_that_the_others_have_not_approved_blinds_nothing() {
    let world = World::new();
    let door = Door::open(&world, &[]);
    let (one, two) = (approval_of("session.toml", "1"), approval_of("session.toml", "2"));
    let refuses = |flags: &[&str], words: &[&str]| {
        let refused = world.refuses(4, |world| send(world, &door, flags));
        refused.says(words);
        door.untouched();
    };
    refuses(&[], &["no approval by party", "hint: ", "session approve"]);
    refuses(&["--approval", &one], &["no approval by party 2"]);
    refuses(&["--approval", &two], &["no approval by party 1"]);
    refuses(&["--approval", &two, "--approval", "approval-0.json"], &["no approval by party 1"]);
}

#[test]
fn an_approval_of_another_fingerprint_is_none() {
    let world = World::new();
    let door = Door::open(&world, &[]);
    let (earlier, two) = (approval_of("earlier.toml", "1"), approval_of("session.toml", "2"));
    let flags = ["--approval", &earlier, "--approval", &two];
    let refused = world.refuses(4, |world| send(world, &door, &flags));
    refused.says(&["approved the session with fingerprint", &earlier]);
    // Neither is one whose signature is not its party's.
    let text = fs::read_to_string(world.path("approval-1.json")).expect("an approval");
    let forged = text.replace("\"party\":1", "\"party\":2").replace("\"party\": 1", "\"party\": 2");
    assert_ne!(forged, text);
    fs::write(world.path("forged.json"), forged).expect("written");
    let flags = ["--approval", "forged.json", "--approval", "approval-1.json"];
    world.refuses(4, |world| send(world, &door, &flags)).says(&["forged.json"]);
    door.untouched();
}

#[test]
fn a_session_file_that_the_other_sender_changed_is_another_session() {
    let world = World::new();
    let door = Door::open(&world, &[]);
    let text = fs::read_to_string(world.path("session.toml")).expect("a session");
    let changed = text.replace("end = 1000", "end = 2000");
    assert_ne!(changed, text);
    fs::write(world.path("session.toml"), changed).expect("written");
    let flags = World::approvals("0");
    let refused = world.refuses(4, |world| send(world, &door, &flags));
    refused.says(&["approved the session with fingerprint"]);
    // What was packed before is of the session as it was.
    let upload = |world: &World| world.upload("0", "package-0", &door.address, &[]);
    world.refuses(4, upload).says(&["package-0", "fingerprint"]);
    door.untouched();
}
