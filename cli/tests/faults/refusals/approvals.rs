//! Sessions that not everybody has approved: a sender blinds nothing.

use std::fs;

use super::attackers::Door;
use super::authority::{OVER, Wanted};
use super::world::{World, approval_of, sender_name};
use reshare_fixtures::network::Run;

/// Packs as sender 0, which must be refused; nothing changes, neither package nor ledger.
#[track_caller]
fn refuses(world: &World, session: &str, flags: &[&str]) -> Run {
    let input = ["--in", if session == "earlier.toml" { "earlier.rsh" } else { "0.rsh" }];
    let flags = [flags, &input].concat();
    let run = world.refuses(4, |world| world.pack("0", session, "new-package", &flags));
    run.says(&["hint: "])
}

#[test]
fn a_session_that_is_not_approved_by_both_is_not_sent() {
    let world = World::new();
    let hint = "hint: the receiver and the other sender run `reshare session approve`";
    let missing = |flags: &[&str], who: &str| {
        let why = format!("the session is not approved: no approval by {who}");
        refuses(&world, "session.toml", flags).says(&[&why, hint]);
    };
    let [receiver, other, own] = ["2", "1", "0"].map(|party| approval_of("session.toml", party));
    missing(&[], "party 1 and party 2");
    missing(&["--approval", &other], "party 2");
    missing(&["--approval", &receiver], "party 1");
    missing(&["--approval", &receiver, "--approval", &own], "party 1");
    missing(&["--approval", &receiver, "--approval", &receiver], "party 1");
    // Neither is it over the network: the receiver does not even hear of it.
    let door = Door::open(&world, &[]);
    let (server, url) = (format!("https://{}", door.address), world.database("0"));
    let send = ["send", "--agreement-key", "0.key", "--db-url", &url, "--server-url", &server];
    let send = [&send[..], &["--approval", &receiver]].concat();
    let refused = world.refuses(4, |world| world.run_as("0", &send));
    refused.says(&["no approval by party 1", hint]);
    door.untouched();
}

#[test]
fn approvals_of_another_fingerprint_are_refused() {
    let world = World::new();
    let approvals = World::approvals("0");
    // Made for this session, and given for an earlier one of the same name.
    let refused = refuses(&world, "earlier.toml", &approvals);
    refused.says(&["approval approval-2.json", "party 2 approved the session with fingerprint"]);
    let earlier = approval_of("earlier.toml", "1");
    let flags = ["--approval", "approval-2.json", "--approval", &earlier];
    let refused = refuses(&world, "session.toml", &flags);
    refused.says(&[&earlier, "party 1 approved the session with fingerprint"]);
    // One too many is refused, even with those that are needed.
    let flags = [&approvals[..], &["--approval", &earlier]].concat();
    refuses(&world, "session.toml", &flags).says(&[&earlier, "approved the session"]);
}

#[test]
fn a_session_file_that_the_other_sender_changed_is_refused_by_everybody() {
    let world = World::new();
    let agreed = world.fingerprint_of("session.toml");
    let text = fs::read_to_string(world.path("session.toml")).expect("a session");
    // Its own recipient in the receiver's place: it would read sender 0's share of everything.
    let thief = world.run_as("1", &["keygen", "recipient", "--out", "thief.age"]).ends_with(0);
    let recipient = fs::read_to_string(world.path("2.pub")).expect("a recipient");
    let changed = text.replace(recipient.trim(), thief.stdout.trim());
    assert_ne!(changed, text);
    fs::write(world.path("changed.toml"), changed).expect("written");
    let fingerprint = world.fingerprint_of("changed.toml");
    assert_ne!(fingerprint, agreed);
    // It approves that itself; the receiver's approval is of what was agreed on.
    let approve = |party: &str, more: &[&str]| {
        let (own, out) = (format!("{party}.pub"), format!("changed-{party}.json"));
        let approve = ["session", "approve", "--session", "changed.toml", "--out", &out];
        world.run_as(party, &[&approve[..], &["--own-public-key", &own], more].concat())
    };
    approve("1", &["--yes", "--expect-fingerprint", &fingerprint]).ends_with(0);
    let flags = ["--approval", "changed-1.json", "--approval", "approval-2.json"];
    let refused = refuses(&world, "changed.toml", &flags);
    refused.says(&["approval-2.json", "party 2 approved the session with fingerprint", &agreed]);
    // Its approval is of no use for the session that was agreed on, either.
    let refused = refuses(&world, "session.toml", &flags);
    refused.says(&["changed-1.json", "party 1 approved the session with fingerprint"]);
    // The receiver notices that the key is not its own, and everybody by the fingerprint.
    let refused = world.refuses(4, |_| approve("2", &[]));
    refused.says(&["another public key for party 2", "hint: do not approve this session"]);
    let refused = world.refuses(4, |_| approve("0", &["--expect-fingerprint", &agreed]));
    refused.says(&["another fingerprint", &agreed[60..], "hint: this is not the session file"]);
    // A receiver that was given the changed file takes no package of the true one.
    let mut door = Door::open(&world, &["--session", "changed.toml"]);
    let refused = world.upload("0", "package-0", &door.address, &[]).ends_with(4);
    refused.says(&["belongs to the session with fingerprint", "422 part-record", "hint: compare"]);
    door.settle();
    door.refused(&["request refused", "part-record", "belongs to the session with fingerprint"]);
    assert!(!world.path("inbox/sender-0/manifest.json").exists());
}

#[test]
fn approvals_that_no_one_signed_are_refused() {
    let world = World::new();
    let [receiver, other] = ["2", "1"].map(|party| approval_of("session.toml", party));
    let read = |name: &str| fs::read_to_string(world.path(name)).expect("an approval");
    let with = |text: &str, words: &[&str]| {
        fs::write(world.path("forged.json"), text).expect("written");
        let flags = ["--approval", &receiver, "--approval", "forged.json"];
        refuses(&world, "session.toml", &flags).says(&["forged.json"]).says(words);
    };
    let (text, own) = (read(&other), read("approval-0.json"));
    // One's own signature, in the other's name.
    let not_accepted = "the signature of party 1's approval is not accepted";
    with(&own.replace("\"party\":0", "\"party\":1"), &[not_accepted, &sender_name("0")]);
    // The other's, with another statement.
    let earlier = read(&approval_of("earlier.toml", "1"));
    let fingerprint = |text: &str| {
        let (_, after) = text.split_once("\"fingerprint\":\"").expect("one");
        after[..64].to_owned()
    };
    let moved = earlier.replace(&fingerprint(&earlier), &fingerprint(&text));
    with(&moved, &[not_accepted, "the signature is not one of the certificate's key"]);
    with(&text.replacen('{', "{ ", 1), &["not in canonical form"]);
    with(&text[..text.len() / 2], &["not of the documented form"]);
    with("", &["not of the documented form"]);
    with(&"x".repeat(200_000), &["more than"]);
    // A stranger of the same authority, and the other sender itself once its certificate is over.
    world.issue("7", Wanted::named("URI:spiffe://mpc.example/7"));
    let one = format!("URI:{}", sender_name("1"));
    world.issue("over", Wanted { life: Some(OVER), ..Wanted::named(&one) });
    let approve = ["session", "approve", "--own-public-key", "1.pub", "--out", "approval.json"];
    for (who, why) in [("7", "of which 0 are parties"), ("over", "was valid until 2020-01-02")] {
        let refused = world.refuses(4, |world| world.run_as(who, &approve));
        refused.says(&["this certificate cannot approve the session", why, "hint: "]);
    }
}
