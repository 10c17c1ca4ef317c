//! `reshare purge`: what it refuses, with nothing removed, and what it removes.

use std::os::unix::fs::symlink;

use reshare_fixtures::network::Run;

use super::world::{ROWS, World};

impl World {
    /// Purges as the receiver, with its database.
    fn purge(&self, more: &[&str]) -> Run {
        let purge = ["purge", "--session", "run.toml", "--json", "--db-url", &self.target];
        self.run(&[&purge[..], more].concat())
    }

    /// Refused with these words, and every file is as it was.
    #[track_caller]
    fn keeps_all(&self, more: &[&str], words: &str) {
        let before = self.files();
        let refused = self.purge(more).ends_with(4);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
        assert!(self.files() == before, "something was removed");
    }

    fn verified(&self) {
        self.rebuild(&[]).ends_with(0);
        self.verify().ends_with(0);
    }
}

#[test]
fn nothing_is_removed_before_the_load_is_verified_and_after_more_is_loaded() {
    let world = World::new();
    world.packages();
    let things = ["--package", "p0", "--package", "p1"];
    world.keeps_all(&things, "has loaded nothing into");
    world.rebuild(&[]).ends_with(0);
    world.keeps_all(&things, "60 rows are loaded into SMPC_dev_2.irises and not verified");
    world.sql_at(2, "UPDATE \"SMPC_dev_2\".irises SET left_mask = right_mask WHERE id = 9");
    assert_eq!(world.verify().ends_with(4).report()["load_verified"], false);
    world.keeps_all(&things, "not verified");
    world.sql_at(2, "TRUNCATE \"SMPC_dev_2\".irises; DROP TABLE \"SMPC_dev_2\".reshare_progress");
    world.verified();
    // A range that is loaded afterwards was not compared.
    let copy = "INSERT INTO \"SMPC_dev_2\".reshare_progress \
        SELECT fingerprint, 900, 901, 0, digest, source, leftovers FROM \"SMPC_dev_2\".reshare_progress \
        LIMIT 1";
    world.sql_at(2, copy);
    world.keeps_all(&things, "or more were loaded since");
    world.sql_at(2, "DELETE FROM \"SMPC_dev_2\".reshare_progress WHERE first_id = 900");
    let before = world.files();
    let dry = world.purge(&[&things[..], &["--dry-run"]].concat()).ends_with(0).report();
    assert_eq!(
        (&dry["removed"], &dry["things"][1]["what"]),
        (&false.into(), &"package of sender 1".into())
    );
    assert!(world.files() == before);
    // As after a removal that was killed: the first package is gone.
    std::fs::rename(world.path("p0"), world.path("kept")).expect("there");
    let dry = world.purge(&[&things[..], &["--dry-run"]].concat()).ends_with(0);
    assert!(dry.stderr.contains("note: p0 is not there: it was removed before"), "{}", dry.stderr);
    assert_eq!(dry.report()["missing"], serde_json::json!(["p0"]));
    std::fs::rename(world.path("kept"), world.path("p0")).expect("there");
    let done = world.purge(&[&things[..], &["--file", "m.rsh"]].concat()).ends_with(0).report();
    assert_eq!((&done["removed"], &done["missing"]), (&true.into(), &serde_json::json!([])));
    let again = world.purge(&things).ends_with(1);
    let why = "p0 is not there, and nothing else that is named either";
    assert!(again.stderr.contains(why) && again.stderr.contains("hint: "), "{}", again.stderr);
    for gone in ["p0", "p1", "m.rsh"] {
        assert!(!world.path(gone).exists(), "{gone}");
    }
    let left = |name: &str| before.keys().filter(|path| path.starts_with(world.path(name))).count();
    let removed = left("p0") + left("p1") + 1;
    assert_eq!(world.files().len(), before.len() - removed, "the ledgers stay, as all else");
}

#[test]
fn what_is_not_of_the_session_or_not_known_stops_all_of_it() {
    let world = World::new();
    world.packages();
    world.verified();
    world.agree("other");
    world.send("other", "0", "foreign", &[]).ends_with(0);
    world.keeps_all(&["--package", "p0", "--package", "foreign"], "foreign is of session");
    std::fs::write(world.path("p1/ledger-1"), "not a part").expect("written");
    world.keeps_all(&["--package", "p0", "--package", "p1"], "p1/ledger-1 is not listed");
    std::fs::remove_file(world.path("p1/ledger-1")).expect("there");
    symlink("p1", world.path("link")).expect("made");
    for name in ["link", "link/", "link/."] {
        world.keeps_all(&["--package", name], "link is not a directory");
        world.keeps_all(&["--inbox", name], "link is not a directory");
    }
    symlink("m.rsh", world.path("m.link")).expect("made");
    world.keeps_all(&["--file", "m.link"], "m.link is not a regular file");
    let part = world.path("p1/part-000001.age");
    std::fs::rename(&part, world.path("moved")).expect("moved");
    symlink(world.path("moved"), &part).expect("made");
    world.keeps_all(&["--package", "p1"], "part-000001.age is not a regular file");
    std::fs::hard_link(world.path("m.rsh"), world.path("second.rsh")).expect("made");
    world.keeps_all(&["--file", "m.rsh"], "m.rsh has other names");
    world.keeps_all(&["--file", "run.toml"], "run.toml");
    let manifest = world.path("p0/manifest.json");
    std::fs::remove_file(manifest).expect("there");
    world.keeps_all(&["--package", "p0"], "p0");
}

#[test]
fn a_sender_purges_on_the_receivers_word_and_keeps_its_ledger() {
    let world = World::new();
    world.packages();
    let plain = ["--party-id", "0", "--db-url", world.database(0), "--out", "plain.rsh"];
    world.run_as("0", &[&["export", "--session", "run.toml"], &plain[..]].concat()).ends_with(0);
    let shown =
        world.run(&["session", "show", "--session", "run.toml", "--json"]).ends_with(0).report();
    let fingerprint = shown["fingerprint"].as_str().expect("text");
    let purge = ["purge", "--session", "run.toml", "--package", "p0", "--file", "plain.rsh"];
    let confirm = |word: &str, more: &[&str]| {
        world.run_as("0", &[&purge[..], &["--receiver-verified", word], more].concat())
    };
    let before = world.files();
    confirm(&"ab".repeat(32), &[]).ends_with(4);
    confirm(fingerprint, &["--db-url", &world.target]).ends_with(2);
    world.verified();
    let refused = confirm(fingerprint, &["--file", "m.rsh"]).ends_with(4);
    assert!(refused.stderr.contains("m.rsh is the receiver's"), "{}", refused.stderr);
    assert!(before.keys().all(|path| path.exists()), "something was removed");
    let done = confirm(fingerprint, &[]).ends_with(0);
    assert!(
        done.stdout.contains("removed share file (plain) plain.rsh: 1 file,"),
        "{}",
        done.stdout
    );
    assert!(!world.path("p0").exists() && !world.path("plain.rsh").exists());
    let ledger = ["status", "--session", "run.toml", "--party-id", "0", "--state-dir", "state-0"];
    let ledger = world.run(&[&ledger[..], &["--json"]].concat()).ends_with(0).report();
    assert_eq!(ledger["ledgers"][0]["rows_blinded"], ROWS);
}

#[test]
fn an_inbox_is_removed_when_no_receiver_uses_it_and_what_is_left_the_next_time() {
    let world = World::new();
    world.packages();
    world.verified();
    let (receiver, address) = world.receive();
    let url = format!("https://{address}");
    for (party, package) in [("0", "p0"), ("1", "p1")] {
        let upload = ["upload", package, "--session", "run.toml", "--server-url", &url];
        world.run_as(party, &upload).ends_with(0);
    }
    let before = world.files();
    let busy = world.purge(&["--inbox", "inbox"]).ends_with(1);
    assert!(busy.stderr.contains("another receiver uses inbox"), "{}", busy.stderr);
    assert!(world.files() == before);
    drop(receiver);
    std::fs::write(world.path("inbox/notes"), "x").expect("written");
    world.keeps_all(&["--inbox", "inbox"], "inbox/notes is not listed");
    std::fs::remove_file(world.path("inbox/notes")).expect("there");
    world.purge(&["--inbox", "inbox", "--package", "inbox/sender-0"]).ends_with(2);
    // As after a removal that was killed: parts are gone, the manifest is there.
    std::fs::remove_file(world.path("inbox/sender-0/part-000000.age")).expect("there");
    for file in std::fs::read_dir(world.path("inbox/sender-1")).expect("there").flatten() {
        std::fs::remove_file(file.path()).expect("there");
    }
    world.purge(&["--inbox", "inbox"]).ends_with(0);
    assert!(!world.path("inbox").exists() && world.path("p0").exists());
}

#[test]
fn the_packages_themselves_verify_the_load_that_they_were_rebuilt_into() {
    let world = World::new();
    world.sql_at(1, "DELETE FROM \"SMPC_dev_1\".irises WHERE id = 3");
    world.packages();
    let things = ["--package", "p0", "--package", "p1"];
    let verify = ["verify", "--session", "run.toml", "--db-url", &world.target, "--json"];
    let verify = |more: &[&str]| world.run(&[&verify[..], &things, more].concat());
    assert!(verify(&[]).ends_with(2).stderr.contains("--identity"));
    let identity = ["--identity", "r.age", "--batch-size", "7"];
    assert_eq!(verify(&identity).ends_with(4).report()["differing"], 59);
    world.rebuild(&[]).ends_with(3);
    // Swapped and swapped back, without the trigger that would raise the version.
    let swap = "ALTER TABLE \"SMPC_dev_2\".irises DISABLE TRIGGER USER; \
        UPDATE \"SMPC_dev_2\".irises SET left_mask = right_mask, right_mask = left_mask WHERE id = 9";
    world.sql_at(2, swap);
    let differs = verify(&identity).ends_with(4).report();
    assert_eq!((&differs["differing"], &differs["load_verified"]), (&1.into(), &false.into()));
    assert_eq!(differs["first_differences"][0]["id"], 9);
    world.keeps_all(&things, "not verified");
    world.sql_at(2, swap);
    let equal = verify(&identity).ends_with(0).report();
    assert_eq!((&equal["rows_equal"], &equal["load_verified"]), (&59.into(), &true.into()));
    world.purge(&things).ends_with(0);
    assert!(!world.path("p0").exists() && !world.path("p1").exists());
}
