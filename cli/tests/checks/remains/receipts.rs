//! The receiver's receipt: when it is signed, and what a sender removes on its word.

use std::fs;

use reshare_fixtures::network::Run;
use serde_json::Value;

use super::forging::Forger;
use super::world::{ROWS, World};

pub(crate) const PACKAGES: [&str; 4] = ["--package", "p0", "--package", "p1"];

impl World {
    /// Compares the table with both packages; `more` says whether there is to be a receipt.
    pub(crate) fn compare(&self, more: &[&str]) -> Run {
        let verify = ["verify", "--session", "run.toml", "--json", "--identity", "r.age"];
        let table = ["--db-url", &self.target, "--batch-size", "7"];
        self.run(&[&verify[..], &table, &PACKAGES, more].concat())
    }

    /// Both packages, loaded and compared, and the receipt of that.
    fn receipt(&self) -> Value {
        self.packages();
        self.rebuild(&[]).ends_with(0);
        let report = self.compare(&["--receipt", "r.json"]).ends_with(0).report();
        assert_eq!(
            (&report["receipt"], &report["load_verified"]),
            (&"r.json".into(), &true.into())
        );
        let bytes = fs::read(self.path("r.json")).expect("a receipt");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Purges as a sender, with a receipt.
    fn purge_as(&self, sender: &str, receipt: &str, more: &[&str]) -> Run {
        let (state, receipt) = (format!("state-{sender}"), ["--receipt", receipt]);
        let purge = ["purge", "--session", "run.toml", "--json", "--state-dir", &state];
        self.run_as(sender, &[&purge[..], &receipt, more].concat())
    }

    /// Sender 0 is refused with these words and a hint, and every file is as it was.
    #[track_caller]
    fn keeps(&self, receipt: &str, more: &[&str], words: &[&str]) {
        let before = self.files();
        let refused = self.purge_as("0", receipt, more).ends_with(4);
        for word in words {
            assert!(refused.stderr.contains(word), "{word:?} is not in: {}", refused.stderr);
        }
        assert!(refused.stderr.contains("\nhint: "), "{}", refused.stderr);
        assert!(self.files() == before, "something was removed");
    }

    fn export(&self, sender: usize, to: &str) {
        let party = sender.to_string();
        let export = ["export", "--session", "run.toml", "--party-id", &party, "--out", to];
        let table = ["--db-url", self.database(sender)];
        self.run_as(&party, &[&export[..], &table].concat()).ends_with(0);
    }
}

#[test]
fn a_sender_purges_on_a_signed_receipt_without_a_word_of_its_operator() {
    let world = World::new();
    let receipt = world.receipt();
    let statement = &receipt["statement"];
    assert_eq!((&statement["rows_compared"], &statement["left_over"]), (&ROWS.into(), &0.into()));
    let manifest = blake3::hash(&fs::read(world.path("p1/manifest.json")).expect("a manifest"));
    assert_eq!(statement["packages"][1]["manifest_blake3"], manifest.to_string());
    world.export(0, "plain.rsh");
    let things = ["--package", "p0", "--file", "plain.rsh"];
    let before = world.files();
    let dry = world.purge_as("0", "r.json", &[&things[..], &["--dry-run"]].concat());
    assert_eq!(dry.ends_with(0).report()["removed"], false);
    assert!(world.files() == before, "a dry run removes nothing");
    let done = world.purge_as("0", "r.json", &things).ends_with(0).report();
    let verified = done["verified"].as_str().expect("text").to_owned();
    assert!(verified.starts_with("60 rows equal to the packages, 0 left over, "), "{verified}");
    assert!(verified.ends_with(": signed by party 2"), "{verified}");
    assert!(!world.path("p0").exists() && !world.path("plain.rsh").exists());
    let state = |path: &&std::path::PathBuf| path.starts_with(world.path("state-0"));
    let kept: Vec<_> = before.keys().filter(state).collect();
    assert!(!kept.is_empty() && kept.iter().all(|path| path.exists()), "the ledger stays");
    // Whose package has gone elsewhere proves by its ledger what it sent.
    world.export(1, "plain-1.rsh");
    world.purge_as("1", "r.json", &["--file", "plain-1.rsh"]).ends_with(0);
    assert!(!world.path("plain-1.rsh").exists() && world.path("p1").exists());
    // A receipt tells of both packages, and each sender removes its own.
    let none = world.run_as("1", &["purge", "--session", "run.toml"]);
    assert!(none.ends_with(2).stderr.contains("nothing is named"));
    let report = world.purge_as("1", "r.json", &[]).ends_with(0).report();
    let verified = report["verified"].as_str().expect("text");
    assert!(verified.contains("what the ledger of sender 1 has"), "{verified}");
    assert!(world.path("p1").exists());
    world.purge_as("1", "r.json", &["--package", "p1"]).ends_with(0);
}

#[test]
fn no_receipt_is_signed_before_every_row_is_there_and_equal() {
    let world = World::new();
    world.packages();
    let asks = |why: &str| {
        let refused = world.compare(&["--receipt", "r.json"]).ends_with(4);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(refused.stderr.contains("\nhint: "), "{}", refused.stderr);
        assert_eq!(refused.report()["receipt"], Value::Null);
        assert!(!world.path("r.json").exists(), "a receipt was written");
    };
    let differs = "no receipt is signed: the table differs from the packages";
    asks(differs);
    world.rebuild(&[]).ends_with(0);
    let table = "\"SMPC_dev_2\".irises";
    world.sql_at(2, &format!("CREATE TABLE public.kept AS SELECT * FROM {table} WHERE id = 9"));
    world.sql_at(2, &format!("DELETE FROM {table} WHERE id = 9"));
    asks(differs);
    world.sql_at(2, &format!("INSERT INTO {table} SELECT * FROM public.kept"));
    let swap = format!("UPDATE {table} SET left_mask = right_mask, right_mask = left_mask");
    world.sql_at(2, &format!("ALTER TABLE {table} DISABLE TRIGGER USER; {swap} WHERE id = 9"));
    asks(differs);
    world.sql_at(2, &format!("{swap} WHERE id = 9"));
    // Equal rows that this session has not loaded: their origin is unknown.
    world.sql_at(2, "ALTER TABLE \"SMPC_dev_2\".reshare_progress RENAME TO elsewhere");
    asks("no receipt is signed: the load of this session is not recorded as verified");
    asks("note: this session has loaded nothing into SMPC_dev_2.irises: nothing is recorded");
    world.sql_at(2, "ALTER TABLE \"SMPC_dev_2\".elsewhere RENAME TO reshare_progress");
    world.compare(&["--receipt", "r.json"]).ends_with(0);
    assert!(world.path("r.json").exists());
}

#[test]
fn only_the_receiver_signs_and_only_for_two_packages() {
    let world = World::new();
    world.packages();
    world.rebuild(&[]).ends_with(0);
    let asks = |flags: &[&str], code: i32, words: &[&str]| {
        let before = world.files();
        let refused = world.compare(&[&["--receipt", "r.json"], flags].concat()).ends_with(code);
        for word in words {
            assert!(refused.stderr.contains(word), "{word:?} is not in: {}", refused.stderr);
        }
        assert!(refused.stdout.is_empty() && world.files() == before, "it compared or wrote");
    };
    let of_0 = ["certificate-0/certificate.pem", "certificate-0/certificate.key"];
    let sender = ["--certificate", of_0[0], "--certificate-key", of_0[1]];
    let why = "the receiver, party 2, signs receipts, and this is party 0";
    asks(&sender, 4, &[why, "hint: only the receiver has compared anything"]);
    asks(&["--certificate-key", of_0[1]], 4, &["certificate", "hint: give --certificate and"]);
    world.run(&["pki", "ca", "--out", "theirs"]).ends_with(0);
    let name = "spiffe://mpc.example/2";
    let issue = ["pki", "issue", "--ca", "theirs", "--name", name, "--out", "stranger"];
    world.run(&issue).ends_with(0);
    let stranger = ["stranger/certificate.pem", "stranger/certificate.key"];
    let stranger = ["--certificate", stranger[0], "--certificate-key", stranger[1]];
    asks(&stranger, 4, &["this certificate cannot sign a receipt", "hint: "]);
    let nowhere = world.compare(&["--receipt", "nowhere/r.json"]).ends_with(2);
    assert!(nowhere.stderr.contains("cannot write nowhere/r.json"), "{}", nowhere.stderr);
    let verify = ["verify", "--session", "run.toml", "--db-url", &world.target];
    let file = world.run(&[&verify[..], &["--file", "m.rsh", "--receipt", "r.json"]].concat());
    assert!(file.ends_with(2).stderr.contains("--package"), "a receipt names two packages");
}

#[test]
fn a_receipt_that_the_receiver_did_not_sign_removes_nothing() {
    let world = World::new();
    let statement = world.receipt()["statement"].to_string();
    let text = fs::read_to_string(world.path("r.json")).expect("a receipt");
    let things = ["--package", "p0"];
    let with = |text: &str, words: &[&str]| {
        fs::write(world.path("forged.json"), text).expect("written");
        world.keeps("forged.json", &things, &[&["receipt forged.json"], words].concat());
    };
    let not_accepted = "the signature of party 2's receipt is not accepted";
    let ask = "hint: nothing shows that the receiver has signed this";
    with(&text.replace("\"left_over\":0", "\"left_over\":1"), &[not_accepted, "the certificate's"]);
    let other = text.replace("\"receiver\":2", "\"receiver\":1");
    with(&other, &["the receiver, party 2, signs receipts, and this is party 1", ask]);
    // The other sender has a certificate of the same authority, and stock openssl.
    let forger = Forger::new(&world, "certificate-1");
    with(&forger.sign("receipt", &statement), &[not_accepted, "spiffe://mpc.example/1", ask]);
    world.run(&["pki", "ca", "--out", "theirs"]).ends_with(0);
    let name = "spiffe://mpc.example/2";
    let issue = ["pki", "issue", "--ca", "theirs", "--name", name, "--out", "stranger"];
    world.run(&issue).ends_with(0);
    let forger = Forger::new(&world, "stranger");
    with(&forger.sign("receipt", &statement), &[not_accepted, ask]);
    // What the receiver itself has signed, for another purpose or another time.
    let receiver = Forger::new(&world, "certificate-2");
    assert_eq!(receiver.verify("receipt", &text), "Verified OK\n", "by stock openssl");
    with(&receiver.sign("approval", &statement), &[not_accepted, ask]);
    let (before, _) = statement.split_once("\"verified_at\":").expect("the last field");
    let at = |moment: &str| format!("{before}\"verified_at\":\"{}\"}}", receiver.moment(moment));
    let clocks = "hint: compare both machines' clocks";
    with(&receiver.sign("receipt", &at("2 hours")), &["which has not come yet", clocks]);
    // The certificate is valid from some minutes before it was made, and the session is younger.
    with(&receiver.sign("receipt", &at("-4 minutes")), &["and the session began at", clocks]);
    with(&receiver.sign("receipt", &at("-10 years")), &[not_accepted, "valid", ask]);
    let swapped = statement.replace("\"sender\":0", "\"sender\":3");
    let senders = "it names packages of parties 3 and 1, and the senders are 0 and 1";
    with(&receiver.sign("receipt", &swapped), &[senders, ask]);
    // The receiver's own hand, and the very bytes: openssl can do what the program does.
    fs::write(world.path("same.json"), receiver.sign("receipt", &statement)).expect("written");
    world.purge_as("0", "same.json", &things).ends_with(0);
}

#[test]
fn a_file_that_is_no_whole_receipt_removes_nothing() {
    let world = World::new();
    world.receipt();
    let text = fs::read_to_string(world.path("r.json")).expect("a receipt");
    let with = |text: &str, words: &[&str]| {
        fs::write(world.path("broken.json"), text).expect("written");
        let hint = "hint: it is truncated, changed or no receipt: get the file that";
        let words = [&["receipt broken.json", hint], words].concat();
        world.keeps("broken.json", &["--package", "p0"], &words);
    };
    let form = "it is not of the documented form";
    with(&text[..text.len() / 2], &[form, "EOF"]);
    with(&text.replacen("\":", "\": ", 1), &["it is not in canonical form"]);
    with("", &[form]);
    with(&text.replacen('{', "{\"note\":1,", 1), &[form, "unknown field `note`"]);
    let within = text.replace("\"rows\":", "\"note\":\"x\",\"rows\":");
    with(&within, &[form, "unknown field `note`"]);
    with(&text.replace(",\"left_over\":0", ""), &[form, "missing field `left_over`"]);
    with(&text.replacen("receipt/1", "receipt/2", 1), &["its format is \"reshare-receipt/2\""]);
    with(&text.replacen("\"receiver\":2", "\"receiver\":99", 1), &["a party that cannot exist"]);
    with(&text.replacen('{', "{ ", 1), &["it is not in canonical form"]);
    with(&"x".repeat(200_000), &["it has more than 131072 bytes"]);
    // An approval is signed by the same hand.
    with(&fs::read_to_string(world.path("run-2.json")).expect("one"), &[form, "unknown field"]);
    let missing = world.purge_as("0", "none.json", &["--package", "p0"]).ends_with(2);
    assert!(missing.stderr.contains("cannot read none.json"), "{}", missing.stderr);
    assert!(missing.stderr.contains("hint: check --receipt"), "{}", missing.stderr);
    assert!(world.path("p0").exists());
}

#[test]
fn a_receipt_of_something_else_removes_nothing() {
    let world = World::new();
    world.sql_at(1, "CREATE TABLE public.kept AS SELECT * FROM \"SMPC_dev_1\".irises WHERE id = 3");
    world.sql_at(1, "DELETE FROM \"SMPC_dev_1\".irises WHERE id = 3");
    world.packages();
    world.rebuild(&[]).ends_with(3);
    let report = world.compare(&["--receipt", "r.json"]).ends_with(0).report();
    assert_eq!((&report["rows_equal"], &report["left_over"]), (&59.into(), &1.into()));
    // Of another session.
    world.agree("other");
    world.send("other", "0", "foreign", &[]).ends_with(0);
    let purge = ["purge", "--session", "other.toml", "--receipt", "r.json", "--package", "foreign"];
    let refused = world.run_as("0", &purge).ends_with(4);
    assert!(
        refused.stderr.contains("it belongs to the session with fingerprint"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("hint: give the receipt of this session"));
    assert!(world.path("foreign").exists());
    // Of this session, and of another package than that.
    world.send("run", "0", "p2", &["--batch-size", "7"]).ends_with(0);
    let other = "p2 is not the package that the receiver has compared: its manifest has BLAKE3";
    world.keeps("r.json", &["--package", "p0", "--package", "p2"], &[other, "hint: the receiver"]);
    // The other sender's, and the receiver's.
    let theirs = "p1 is of party 1, and this is sender 0";
    world.keeps("r.json", &["--package", "p0", "--package", "p1"], &[theirs, "hint: each sender"]);
    world.keeps("r.json", &["--party-id", "0", "--package", "p1"], &[theirs]);
    world.verify();
    world.keeps("r.json", &["--file", "m.rsh"], &["m.rsh is the receiver's", "a receipt is for"]);
    // Rows that were exported, and never delivered.
    world.sql_at(1, "INSERT INTO \"SMPC_dev_1\".irises SELECT * FROM public.kept");
    world.export(1, "plain-1.rsh");
    let more = ["--package", "p1", "--file", "plain-1.rsh"];
    let refused = world.purge_as("1", "r.json", &more).ends_with(4);
    let why = "plain-1.rsh has 60 rows, and the package that the receiver has compared has 59";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: it holds rows that the receiver does not have"));
    // A ledger of its own, and one that has blinded more since.
    world.export(0, "plain.rsh");
    let purge = ["purge", "--session", "run.toml", "--receipt", "r.json", "--file", "plain.rsh"];
    let refused = world.run_as("0", &[&purge[..], &["--state-dir", "none"]].concat()).ends_with(4);
    assert!(refused.stderr.contains("or give the --state-dir of the ledger"), "{}", refused.stderr);
    assert!(world.path("plain.rsh").exists());
    world.purge_as("0", "r.json", &["--file", "plain.rsh"]).ends_with(0);
    let only = ["--db-url", world.database(1), "--out", "few.rsh", "--party-id", "1"];
    world.sql_at(1, "DELETE FROM \"SMPC_dev_1\".irises WHERE id > 5");
    world.run_as("1", &[&["export", "--session", "run.toml"], &only[..]].concat()).ends_with(0);
    world.sql_at(1, "DELETE FROM \"SMPC_dev_1\".irises WHERE id <> 3");
    world.send("run", "1", "later", &["--batch-size", "7"]).ends_with(0);
    let refused = world.purge_as("1", "r.json", &["--file", "few.rsh"]).ends_with(4);
    let why = "the receipt is not about what the ledger of sender 1 has";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: more was sent since"), "{}", refused.stderr);
    assert!(world.path("few.rsh").exists() && world.path("p1").exists());
}

#[test]
fn a_session_without_certificates_has_no_receipts() {
    let world = World::new();
    let recipient = fs::read_to_string(world.path("2.pub")).expect("a key");
    let receiver = format!("2={}", recipient.trim());
    let new = ["session", "new", "--out", "bare.toml", "--session-id", "bare", "--db-end", "9"];
    let senders = ["--environment", "dev", "--sender", "0=0.pub", "--sender", "1=1.pub"];
    let more = ["--receiver", &receiver, "--shared-key-id", &world.shared_key_id()];
    let mut new = world.command("2", &[&new[..], &senders, &more].concat());
    new.env_remove("RESHARE_CA_FILE").env_remove("RESHARE_NETWORK");
    assert!(new.output().expect("it starts").status.success());
    let says = |run: Run| {
        let said = run.ends_with(2).stderr;
        assert!(said.contains("this session uses no certificates: it has no receipts"), "{said}");
        assert!(said.contains("hint: the operators tell each other"), "{said}");
    };
    let verify = ["verify", "--session", "bare.toml", "--db-url", &world.target, "--identity"];
    says(world.run(&[&verify[..], &["r.age", "--receipt", "r.json"], &PACKAGES].concat()));
    let export = ["export", "--session", "bare.toml", "--party-id", "0", "--out", "plain.rsh"];
    world.run_as("0", &[&export[..], &["--db-url", world.database(0)]].concat()).ends_with(0);
    let purge = ["purge", "--session", "bare.toml", "--file", "plain.rsh", "--receipt", "r.json"];
    says(world.run_as("0", &purge));
    assert!(world.path("plain.rsh").exists() && !world.path("r.json").exists());
}
