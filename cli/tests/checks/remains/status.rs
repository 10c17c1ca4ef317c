//! `reshare status` at every stage, and next to running commands.

use reshare_fixtures::network::Running;
use serde_json::{Value, json};

use super::world::{ROWS, World};

impl World {
    fn status(&self, more: &[&str]) -> Value {
        let before = self.files();
        let status = ["status", "--session", "run.toml", "--json"];
        let report = self.run(&[&status[..], more].concat()).ends_with(0).report();
        assert!(self.files() == before, "it changed a file");
        report
    }
}

const LEDGER_0: [&str; 4] = ["--party-id", "0", "--state-dir", "state-0"];

#[test]
fn a_sender_sees_nothing_then_a_half_then_the_whole() {
    let world = World::new();
    let look = [&LEDGER_0[..], &["--package", "p0"]].concat();
    let nothing = world.status(&look);
    assert_eq!(nothing["ledgers"][0]["rows_blinded"], 0);
    assert_eq!(nothing["packages"][0]["state"], "none");
    let none = world.status(&["--party-id", "1", "--state-dir", "state-0"]);
    assert_eq!(none["ledgers"], json!([]), "another sender's");
    let column = "\"SMPC_dev_0\".irises";
    let good = world.sql_at(0, &format!("SELECT left_mask FROM {column} WHERE id = 59"));
    world.sql_at(0, &format!("UPDATE {column} SET left_mask = '\\x00' WHERE id = 59"));
    let slow = ["--batch-size", "2", "--connections", "1", "--threads", "1"];
    world.send("run", "0", "p0", &slow).ends_with(4);
    let half = world.status(&look);
    let ledger = &half["ledgers"][0];
    let rows = ledger["rows_blinded"].as_u64().expect("a number");
    assert!(rows > 0 && rows < ROWS as u64, "{half:#}");
    assert_eq!(half["packages"][0]["state"], "open");
    assert_eq!(half["packages"][0]["rows"], Value::Null);
    let repair = format!("UPDATE {column} SET left_mask = '{}' WHERE id = 59", good.trim());
    world.sql_at(0, &repair);
    world.send("run", "0", "p0", &slow).ends_with(0);
    let whole = world.status(&look);
    let ledger = &whole["ledgers"][0];
    assert_eq!((&ledger["rows_blinded"], &ledger["rows_sealed"]), (&ROWS.into(), &ROWS.into()));
    let package = &whole["packages"][0];
    assert_eq!((&package["state"], &package["rows"]), (&"closed".into(), &ROWS.into()));
    assert_eq!((&package["parts_missing"], &package["extra_files"]), (&0.into(), &0.into()));
    std::fs::remove_file(world.path("p0/part-000003.age")).expect("there");
    std::fs::write(world.path("p0/note"), "x").expect("written");
    let damaged = &world.status(&look)["packages"][0];
    assert_eq!((&damaged["parts_missing"], &damaged["extra_files"]), (&1.into(), &1.into()));
    let text = world.run(&[&["status", "--session", "run.toml"], &look[..]].concat());
    assert!(text.ends_with(0).stdout.contains("1 part MISSING of 60 rows"));
}

#[test]
fn a_ledger_that_a_command_works_with_is_read_beside_it() {
    let world = World::new();
    let flags = world.sender("run", "0");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // A receiver that accepts and says nothing: the sender holds its ledger and waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", silent.local_addr().expect("bound"));
    let to = ["--server-url", &url, "--db-url", world.database(0)];
    let mut command = world.command("0", &[&["send"], &flags[..], &to].concat());
    let mut sending = Running::start(&mut command);
    let connection = silent.accept().expect("it connects");
    let report = world.status(&LEDGER_0);
    assert_eq!(report["ledgers"][0]["rows_blinded"], 0);
    assert!(sending.is_running(), "it still runs");
    let second = world.send("run", "0", "p0", &[]).ends_with(1);
    assert!(second.stderr.contains("works with this ledger"), "{}", second.stderr);
    drop(connection);
}

#[test]
fn an_inbox_is_read_while_it_is_filled() {
    let world = World::new();
    world.packages();
    let look = ["--inbox", "inbox"];
    let nothing = world.status(&look);
    assert_eq!(nothing["inbox"]["exists"], false);
    let (_receiver, address) = world.receive();
    let url = format!("https://{address}");
    world
        .run_as("0", &["upload", "p0", "--session", "run.toml", "--server-url", &url])
        .ends_with(0);
    std::fs::write(world.path("inbox/sender-1/.part-000000.age.tmp-abcdEF12"), "x").expect("ok");
    let inbox = &world.status(&look)["inbox"];
    let [zero, one] = [&inbox["packages"][0], &inbox["packages"][1]];
    assert_eq!((&zero["state"], &zero["rows"]), (&"closed".into(), &ROWS.into()));
    assert_eq!((&one["state"], &one["unfinished_files"]), (&"open".into(), &1.into()));
    world
        .run_as("1", &["upload", "p1", "--session", "run.toml", "--server-url", &url])
        .ends_with(0);
    let inbox = &world.status(&look)["inbox"];
    assert_eq!(inbox["packages"][1]["state"], "closed");
    world.agree("other");
    let other = ["status", "--session", "other.toml", "--inbox", "inbox"];
    let refused = world.run(&other).ends_with(4);
    assert!(refused.stderr.contains("is the inbox of session"), "{}", refused.stderr);
    let other = ["status", "--session", "other.toml", "--package", "p0"];
    assert!(world.run(&other).ends_with(4).stderr.contains("a package of another session"));
}

#[test]
fn a_load_is_none_then_half_then_done_then_verified() {
    let world = World::new();
    world.sql_at(0, "DELETE FROM \"SMPC_dev_0\".irises WHERE id = 3");
    world.packages();
    let look = ["--package", "p0", "--package", "p1", "--db-url", &world.target];
    let nothing = &world.status(&look)["load"];
    assert_eq!((&nothing["ranges"], &nothing["percent"]), (&0.into(), &json!(0.0)));
    world.sql_at(
        2,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.id > 40 THEN RAISE 'no'; END IF; RETURN NEW; END $$; CREATE TRIGGER a_stop \
         BEFORE INSERT ON \"SMPC_dev_2\".irises FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    assert!(world.rebuild(&["--batch-size", "5", "--connections", "1"]).stderr.contains("error"));
    let half = &world.status(&look)["load"];
    let rows = half["rows"].as_u64().expect("a number");
    assert!(rows > 0 && rows < 40, "{half:#}");
    assert_eq!((&half["only_higher_sender"], &half["verified"]), (&1.into(), &Value::Null));
    let percent = half["percent"].as_f64().expect("known");
    assert!(percent > 0.0 && percent < 70.0, "{half:#}");
    world.sql_at(2, "DROP TRIGGER a_stop ON \"SMPC_dev_2\".irises");
    world.rebuild(&[]).ends_with(3);
    let done = &world.status(&look)["load"];
    assert_eq!((&done["rows"], &done["percent"]), (&59.into(), &json!(100.0)));
    assert_eq!(done["verified"], Value::Null);
    assert_eq!(world.verify().ends_with(0).report()["load_verified"], true);
    let verified = &world.status(&look)["load"]["verified"];
    assert_eq!((&verified["rows"], &verified["against"]), (&59.into(), &"share file".into()));
    let text = world.run(&[&["status", "--session", "run.toml"], &look[..]].concat()).ends_with(0);
    assert!(text.stdout.contains("100 %"), "{}", text.stdout);
    assert!(text.stdout.contains("59 rows equal to the share file"), "{}", text.stdout);
}

#[test]
fn what_cannot_be_read_is_an_error_and_nothing_named_is_usage() {
    let world = World::new();
    let nothing = world.run(&["status", "--session", "run.toml"]).ends_with(2);
    assert!(nothing.stderr.contains("nothing is named to report on"), "{}", nothing.stderr);
    let wrong = ["status", "--session", "run.toml", "--expect-fingerprint", &"ab".repeat(32)];
    world.run(&[&wrong[..], &LEDGER_0].concat()).ends_with(4);
    let url = "postgres://nobody@127.0.0.1:1/none";
    world.run(&["status", "--session", "run.toml", "--db-url", url]).ends_with(1);
}
