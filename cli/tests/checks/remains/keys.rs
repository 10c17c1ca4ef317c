//! Keys end with their session: what `purge --keys` removes, and when.

use std::fs;

use reshare_fixtures::network::Run;

use super::world::World;

impl World {
    fn end_keys(&self, sender: &str, more: &[&str]) -> Run {
        let state = format!("state-{sender}");
        let purge = ["purge", "--session", "run.toml", "--json", "--state-dir", &state];
        self.run_as(sender, &[&purge[..], more].concat())
    }

    /// Refused with these words and a hint, and every file is as it was.
    #[track_caller]
    fn keeps_keys(&self, sender: &str, more: &[&str], words: &str) {
        let before = self.files();
        let refused = self.end_keys(sender, more).ends_with(4);
        refused.says(&[words, "hint: "]);
        assert!(self.files() == before, "something was removed");
    }
}

#[test]
fn a_key_ends_once_its_receipt_is_there_and_no_other_key_does() {
    let world = World::new();
    world.packages();
    world.rebuild(&[]).ends_with(0);
    let with_receipt = ["--receipt", "r.json", "--keys", "file:0.key"];
    world.end_keys("0", &with_receipt).refuses("r.json");
    world.keeps_keys("0", &["--db-url", &world.target, "--keys", "0.key"], "and not verified");
    world.compare(&["--receipt", "r.json"]).ends_with(0);
    // One of no session, and one of another.
    let keygen = ["keygen", "agreement", "--session", "another"];
    let made = world.run(&keygen).ends_with(0);
    made.says(&["note: the private key is in another.agreement.key"]);
    world.run(&keygen).ends_with(1).says(&["another.agreement.key", "is never overwritten"]);
    let receipt = ["--receipt", "r.json"];
    let keeps = |sender: &str, key: &str, words: &str| {
        world.keeps_keys(sender, &[&receipt[..], &["--keys", key]].concat(), words);
    };
    keeps("0", "another.agreement.key", "is not a key of this session");
    keeps("0", "r.age", "is the receiver's (identity of the receiver)");
    world.end_keys("0", &[&receipt[..], &["--keys", "run.toml"]].concat()).refuses("run.toml");
    world.keeps_keys(
        "0",
        &[&with_receipt[..], &["--party-id", "1"]].concat(),
        "0.key is of party 0, and this is sender 1",
    );
    // The receipt has to be about what the ledger has.
    let none = ["purge", "--session", "run.toml", "--state-dir", "none"];
    world.run_as("0", &[&none[..], &with_receipt].concat()).ends_with(4).says(&["no ledger"]);
    fs::hard_link(world.path("0.key"), world.path("copy.key")).expect("linked");
    keeps("0", "0.key", "has other names (hard links)");
    fs::remove_file(world.path("copy.key")).expect("removed");
    let dry = world.end_keys("0", &[&with_receipt[..], &["--dry-run"]].concat()).ends_with(0);
    assert_eq!(dry.report()["things"][0]["what"], "agreement key of sender 0");
    assert!(world.path("0.key").exists() && !dry.stderr.contains("overwritten"), "{}", dry.stderr);
    let done = world.end_keys("0", &with_receipt).ends_with(0);
    assert_eq!(
        (done.report()["removed"].as_bool(), world.path("0.key").exists()),
        (Some(true), false)
    );
    assert!(done.stderr.contains("is removed, not overwritten: an SSD"), "{}", done.stderr);
    // The package and the ledger stay, and nothing can be blinded any more.
    assert!(world.path("p0/manifest.json").exists());
    world.send("run", "0", "new", &[]).refuses("0.key");
    // The receiver's identity goes on the word of its own database.
    let table = ["--db-url", &world.target, "--keys", "file:r.age"];
    let done = world.end_keys("2", &table).ends_with(0).report();
    assert_eq!(done["things"][0]["what"], "identity of the receiver");
    assert!(!world.path("r.age").exists());
}

#[test]
fn a_key_file_is_named_after_its_session() {
    let world = World::new();
    let made = world.run(&["keygen", "agreement", "--session", "run.toml"]).ends_with(0);
    let public = world.run(&["keygen", "public", "--key", "run.agreement.key"]).ends_with(0);
    assert_eq!((public.stdout, made.stdout.starts_with("-----BEGIN")), (made.stdout.clone(), true));
    for wrong in ["a/b", "", "-a"] {
        let session = format!("--session={wrong}");
        world.run(&["keygen", "agreement", &session]).ends_with(2).says(&["hint: "]);
    }
    world.run(&["keygen", "agreement"]).ends_with(2);
    let both = ["keygen", "agreement", "--session", "x", "--out", "y"];
    world.run(&both).ends_with(2);
}
