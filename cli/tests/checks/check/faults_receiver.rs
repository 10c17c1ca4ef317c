//! One thing at a time that is not ok at the receiver.

use super::report::{Checked, line};
use crate::{RESHARE, network};
use reshare_fixtures::network::{Flags, Setup};

const TABLE: &str = "\"SMPC_dev_2\".irises";

#[test]
fn keys_and_certificates_of_others_are_reported() {
    let world = network();
    world.run_as("2", &["keygen", "recipient", "--out", "other.age"]).ends_with(0);
    let mut flags = world.receiver_flags();
    flags.set("--identity", "other.age");
    let report = world.finds(&flags, &["identity"]);
    line(&report, "identity", "not_ok").says("recipient").hints("session show");
    let mut flags = world.receiver_flags();
    flags.set("--certificate", "certificate-0/certificate.pem");
    flags.set("--certificate-key", "certificate-0/certificate.key");
    let report = world.finds(&flags, &["certificate", "tls"]);
    line(&report, "certificate", "not_ok").says("spiffe://mpc.example/2").hints("this party's");
    let mut flags = world.receiver_flags();
    flags.set("--certificate-key", "certificate-0/certificate.key");
    let report = world.finds(&flags, &["certificate"]);
    line(&report, "certificate", "not_ok").says("does not belong to the certificate");
    line(&report, "triggers", "ok");
}

#[test]
fn a_classic_recipient_is_reported_and_an_identity_of_the_other_kind_too() {
    let hybrid = network();
    let report = hybrid.check(&hybrid.receiver_flags()).ends_with(0).report();
    line(&report, "seal", "ok").says("hybrid: ML-KEM-768 and X25519");
    let keygen = ["keygen", "recipient", "--classic", "--out", "classic.age"];
    let recipient = hybrid.run_as("2", &keygen).ends_with(0).stdout;
    assert!(recipient.starts_with("age1") && recipient.len() == 63, "{recipient}");
    let mut flags = hybrid.receiver_flags();
    flags.set("--identity", "classic.age");
    let report = hybrid.finds(&flags, &["identity"]);
    let kinds = "not that of the session's recipient: it is classic, the recipient hybrid";
    line(&report, "identity", "not_ok").says(kinds);

    let classic = Setup::certified(RESHARE).with_classic_recipient().make();
    for flags in [classic.receiver_flags(), classic.sender_flags(0)] {
        let report = classic.check(&flags).ends_with(0).report();
        line(&report, "seal", "warning").says("classic").hints("without --classic");
    }
    let mut flags = classic.receiver_flags();
    flags.add("--strict", None);
    classic.check(&flags).ends_with(4);
    let shown = classic.run_as("2", &["session", "show", "--session", "session.toml"]).ends_with(0);
    assert!(shown.stdout.contains("\nrecipient    classic, age1"), "{}", shown.stdout);
}

#[test]
fn an_inbox_that_cannot_be_used_is_reported() {
    let world = network();
    std::fs::write(world.path("file"), "x").expect("written");
    let mut flags = world.receiver_flags();
    flags.set("--inbox", "file");
    let report = world.finds(&flags, &["inbox", "inbox's disk"]);
    line(&report, "inbox", "not_ok").says("cannot use the inbox").hints("can write");
    std::fs::create_dir(world.path("other")).expect("made");
    std::fs::write(world.path("other/session"), "0".repeat(64)).expect("written");
    flags.set("--inbox", "other");
    let report = world.finds(&flags, &["inbox"]);
    line(&report, "inbox", "not_ok").says("is the inbox of session").hints("of its own");
    flags.set("--inbox", "inbox").set("--keep-free-bytes", "9000000000000000000");
    let report = world.check(&flags).ends_with(0).report();
    line(&report, "inbox's disk", "warning").says("0 bytes free").hints("check sender");
}

#[test]
fn an_address_that_is_taken_is_reported() {
    let world = network();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut flags = world.receiver_flags();
    flags.set("--listen", &address);
    let report = world.finds(&flags, &["listen"]);
    line(&report, "listen", "not_ok").says(&address).hints("another process has it");
    flags.set("--listen", "127.0.0.1:0").set("--health-listen", &address);
    let report = world.finds(&flags, &["health"]);
    line(&report, "health", "not_ok").says(&address);
}

#[test]
fn rights_that_a_receiver_lacks_are_reported_with_the_grants() {
    let world = network();
    let (url, _) = world.url_as(2, "GRANT USAGE ON SCHEMA \"SMPC_dev_2\" TO ROLE");
    world.sql_at(2, &format!("GRANT SELECT ON {TABLE} TO PUBLIC"));
    let mut flags = world.receiver_flags();
    flags.set("--db-url", &url);
    let report = world.finds(&flags, &["rights"]);
    let rights = line(&report, "rights", "not_ok").says("lacks INSERT ON TABLE");
    let rights = rights.says("CREATE ON SCHEMA").hints("GRANT INSERT ON TABLE");
    flags.set("--on-conflict", "replace");
    let report = world.finds(&flags, &["rights"]);
    let more = line(&report, "rights", "not_ok").says("UPDATE ON TABLE").says("DELETE ON TABLE");
    assert_ne!(rights.detail, more.detail);
    // A load that was begun has made its table: to create it is no longer needed.
    let grants = "GRANT INSERT, UPDATE, DELETE ON \"SMPC_dev_2\".irises TO PUBLIC; \
        CREATE TABLE \"SMPC_dev_2\".reshare_progress (fingerprint bytea, first_id bigint, \
        last_id bigint, rows bigint, digest bytea, source bytea, leftovers jsonb, loaded_at timestamptz)";
    world.sql_at(2, grants);
    let report = world.finds(&flags, &["rights", "loaded so far"]);
    line(&report, "rights", "not_ok").says("\"reshare_progress\"");
    world.sql_at(2, "GRANT SELECT, INSERT ON \"SMPC_dev_2\".reshare_progress TO PUBLIC");
    // A missing right of the later verify is reported, and does not stop the load.
    let record = |flags: &Flags, state: &str| {
        let report = world.check(flags).ends_with(0).report();
        line(&report, "record of verify", state)
    };
    let lacks = record(&flags, "warning").says("lacks CREATE ON SCHEMA \"SMPC_dev_2\": ");
    lacks.says("purge removes nothing").hints("GRANT CREATE ON SCHEMA \"SMPC_dev_2\" TO ");
    let made = "CREATE TABLE \"SMPC_dev_2\".reshare_verified (fingerprint bytea); \
        GRANT SELECT ON \"SMPC_dev_2\".reshare_verified TO PUBLIC";
    world.sql_at(2, made);
    let lacks = record(&flags, "warning")
        .says("lacks INSERT ON TABLE \"SMPC_dev_2\".\"reshare_verified\", UPDATE");
    lacks.hints("GRANT UPDATE ON TABLE \"SMPC_dev_2\".\"reshare_verified\" TO ");
    world.sql_at(2, "GRANT INSERT, UPDATE ON \"SMPC_dev_2\".reshare_verified TO PUBLIC");
    record(&flags, "ok").says("may write it");
}

#[test]
fn a_database_that_takes_no_writes_is_reported() {
    let world = network();
    let name = world.sql_at(2, "SELECT current_database()");
    let set = "SET default_transaction_read_only = on";
    world.sql_at(2, &format!("ALTER DATABASE {} {set}", name.trim()));
    let report = world.finds(&world.receiver_flags(), &["writable"]);
    let writable = line(&report, "writable", "not_ok").says("default_transaction_read_only is on");
    writable.hints("= off");
}

#[test]
fn a_table_that_would_not_take_the_rows_is_reported() {
    let world = network();
    world.sql_at(2, &format!("ALTER TABLE {TABLE} ADD COLUMN origin text NOT NULL"));
    let report = world.finds(&world.receiver_flags(), &["columns"]);
    line(&report, "columns", "not_ok").says("\"origin\"").hints("SET DEFAULT");
    world.sql_at(2, &format!("ALTER TABLE {TABLE} DROP COLUMN origin"));
    world.sql_at(
        2,
        &format!(
            "ALTER TABLE {TABLE} DROP COLUMN version_id, \
        ADD COLUMN version_id int GENERATED ALWAYS AS (7) STORED"
        ),
    );
    let report = world.finds(&world.receiver_flags(), &["columns"]);
    line(&report, "columns", "not_ok").says("\"version_id\"").says("generates");
    world.sql_at(2, &format!("ALTER TABLE {TABLE} ALTER COLUMN version_id DROP EXPRESSION"));
    world.sql_at(2, &format!("ALTER TABLE {TABLE} SET UNLOGGED"));
    let report = world.check(&world.receiver_flags()).ends_with(0).report();
    let lines = report["checks"].as_array().expect("checks").iter();
    let mut durability = lines.filter(|line| line["what"] == "durability");
    // Next to what the server is told about its disk.
    assert!(durability.any(|line| {
        let says = |name: &str, words| line[name].as_str().is_some_and(|text| text.contains(words));
        line["state"] == "warning" && says("detail", "UNLOGGED") && says("hint", "SET LOGGED")
    }));
    world.sql_at(2, &format!("ALTER TABLE {TABLE} DROP CONSTRAINT irises_pkey"));
    let report = world.finds(&world.receiver_flags(), &["table"]);
    line(&report, "table", "not_ok").says("unique index");
}

#[test]
fn rows_that_are_there_already_are_reported() {
    let world = network();
    world.sql_at(2, &format!("INSERT INTO {TABLE} (id) VALUES (77), (5000)"));
    let mut flags = world.receiver_flags();
    let report = world.check(&flags).ends_with(0).report();
    line(&report, "other rows", "warning").says("the first is 77").hints("--on-conflict replace");
    flags.set("--on-conflict", "replace");
    let report = world.check(&flags).ends_with(0).report();
    line(&report, "other rows", "ok").says("from id 77 on");
}

#[test]
fn a_foreign_key_that_follows_replaced_rows_is_reported() {
    let world = network();
    let mut flags = world.receiver_flags();
    world.sql_at(
        2,
        &format!("CREATE TABLE hits (iris bigint REFERENCES {TABLE} ON DELETE CASCADE)"),
    );
    let before = world.check(&flags).ends_with(0).report();
    assert!(!before.to_string().contains("foreign key"), "{before:#}");
    flags.set("--on-conflict", "replace");
    let report = world.finds(&flags, &["foreign keys"]);
    let item = line(&report, "foreign keys", "not_ok");
    let item = item.says("\"hits_iris_fkey\" of table public.hits would delete the rows there");
    let item = item.hints("ALTER TABLE public.hits DROP CONSTRAINT \"hits_iris_fkey\", run");
    item.hints("ALTER TABLE public.hits ADD CONSTRAINT \"hits_iris_fkey\" FOREIGN KEY (iris)");
    world.sql_at(2, "DROP TABLE hits");
    let report = world.check(&flags).ends_with(0).report();
    line(&report, "foreign keys", "ok").says("none would keep a row from being replaced");
}

#[test]
fn triggers_are_listed_with_what_they_may_do() {
    let world = network();
    let function = |name: &str| {
        format!(
            "CREATE FUNCTION \"SMPC_dev_2\".{name}() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RETURN NEW; END $$; "
        )
    };
    let trigger = |name: &str, when: &str, function: &str| {
        format!(
            "CREATE TRIGGER {name} {when} ON {TABLE} FOR EACH ROW \
             EXECUTE FUNCTION \"SMPC_dev_2\".{function}(); "
        )
    };
    let names =
        ["update_last_modified_at", "increment_version_id", "stamp", "update_iris_metadata"];
    world.sql_at(2, &names.map(function).concat());
    // The older table of iris-mpc: one trigger fires on INSERT and sets nothing that is delivered.
    let older = trigger("set_last_modified_at", "BEFORE INSERT OR UPDATE", names[0])
        + &trigger("increment_version_id_trigger", "BEFORE UPDATE", names[1]);
    world.sql_at(2, &older);
    let report = world.check(&world.receiver_flags()).ends_with(0).report();
    line(&report, "triggers", "ok").says("\"set_last_modified_at\"");
    assert!(!report.to_string().contains("increment_version_id"), "{report:#}");
    world.sql_at(2, &trigger("stamp_it", "BEFORE INSERT", "stamp"));
    let report = world.check(&world.receiver_flags()).ends_with(0).report();
    let stamp = line(&report, "triggers", "warning").says("\"stamp_it\" (stamp)");
    stamp.says("change, drop or refuse").hints("DISABLE TRIGGER");
    world.sql_at(2, &format!("ALTER TABLE {TABLE} DISABLE TRIGGER stamp_it"));
    assert!(!world.check(&world.receiver_flags()).stdout.contains("stamp_it"));
    // The newer one, which reads another table with the rights of the inserting role.
    let newer =
        trigger("update_iris_metadata_trigger", "BEFORE INSERT OR UPDATE OR DELETE", names[3])
            + "CREATE TABLE \"SMPC_dev_2\".rerand_control (singleton boolean); ";
    world.sql_at(2, &newer);
    world.sql_at(
        2,
        &format!(
            "ALTER TABLE {TABLE} ADD rerand_epoch int NOT NULL DEFAULT 0, \
        ADD semantic_id uuid"
        ),
    );
    let report = world.finds(&world.receiver_flags(), &["table"]);
    line(&report, "table", "not_ok").says("rerand_epoch").hints("--agree-column rerand_epoch");
    let agree = ["--agree-column", "version_id", "--agree-column", "rerand_epoch"];
    let (url, _) = world.url_as(
        2,
        "GRANT USAGE, CREATE ON SCHEMA \"SMPC_dev_2\" TO ROLE; \
        GRANT SELECT, INSERT ON \"SMPC_dev_2\".irises TO ROLE",
    );
    world.make_session("epochs.toml", &agree);
    let mut flags = world.receiver_flags();
    flags.set("--session", "epochs.toml").set("--db-url", &url);
    let report = world.finds(&flags, &["rights"]);
    line(&report, "rights", "not_ok").says("SELECT ON TABLE \"SMPC_dev_2\".\"rerand_control\"");
    let guard = line(&report, "triggers", "warning").says("rerand_epoch is not 0");
    let of = "ALTER TABLE \"SMPC_dev_2\".\"irises\"";
    let guard = guard.hints("a load is refused before it writes anything");
    let name = "TRIGGER \"update_iris_metadata_trigger\"";
    guard.hints(&format!(
        "{of} DISABLE {name} for the time of the load, and then {of} ENABLE {name}"
    ));
    let semantic = [&agree[..], &["--agree-column", "semantic_id:uuid"]].concat();
    world.make_session("semantic.toml", &semantic);
    let mut flags = world.receiver_flags();
    flags.set("--session", "semantic.toml");
    let report = world.finds(&flags, &["triggers"]);
    line(&report, "triggers", "not_ok")
        .says("random semantic_id")
        .hints("without the agree column");
}
