//! What a load into a fresh table would meet.

use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;

use crate::world::{Flags, World, line, not_ok};

const TABLE: &str = "\"SMPC_dev_2\".irises";
const WHAT: &str = "fresh table";

fn fresh(world: &World) -> Flags {
    let mut flags = world.receiver();
    flags.add("--rebuild", None).add("--fresh-table", None);
    flags
}

/// Runs a check that must find just these things not ok, and changes nothing.
#[track_caller]
fn finds(world: &World, flags: &Flags, expected: &[&str]) -> Value {
    let before = world.everything();
    let report = world.check(flags).ends_with(if expected.is_empty() { 0 } else { 4 }).report();
    assert_eq!(not_ok(&report), expected, "{report:#}");
    assert_eq!(world.everything(), before, "files, tables and rights are as they were");
    report
}

#[test]
fn an_empty_table_is_fresh_and_one_with_rows_only_where_they_may_go() {
    let world = World::new();
    let mut flags = fresh(&world);
    flags.add("--strict", None);
    let report = finds(&world, &flags, &[]);
    line(&report, WHAT, "ok").says("it is empty: loaded in one transaction");
    line(&report, "log", "ok").says("wal_level is minimal: the rows of a fresh table are not");
    line(&report, "connections", "ok").says("2 are needed");
    line(&report, "loaded so far", "ok").says("nothing of this session");
    assert!(!world.check(&world.receiver()).stdout.contains("wal_level"));
    world.sql(2, &format!("INSERT INTO {TABLE} (id) VALUES (5000)"));
    let report = finds(&world, &flags, &[WHAT]);
    line(&report, WHAT, "not_ok").says("it is not empty").hints("--yes-truncate removes all");
    flags.add("--yes-truncate", None);
    let report = finds(&world, &flags, &[]);
    line(&report, WHAT, "ok").says("all of them, whoever wrote them, are removed");
    let alone = ["check", "receiver", "--session", "session.toml", "--yes-truncate"];
    assert!(world.run("2", &alone).ends_with(2).stderr.contains("--fresh-table"));
    let both = [&alone[..4], &["--fresh-table", "--on-conflict", "replace"]].concat();
    assert!(world.run("2", &both).ends_with(2).stderr.contains("--on-conflict"));
}

#[test]
fn what_cannot_be_truncated_is_told_all_at_once_and_as_the_load_tells_it() {
    let world = World::new();
    let others = "CREATE TABLE public.notes (id bigint REFERENCES \"SMPC_dev_2\".irises); \
        CREATE TABLE public.child () INHERITS (\"SMPC_dev_2\".irises); \
        CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
        CREATE TRIGGER keeper BEFORE TRUNCATE ON \"SMPC_dev_2\".irises \
        EXECUTE FUNCTION public.no()";
    world.sql(2, others);
    let mut flags = fresh(&world);
    let defects = [
        ("table child inherits from it", "DROP TABLE public.child"),
        ("it is referred to by the foreign key notes_id_fkey of notes", "DROP TABLE public.notes"),
        ("the trigger \"keeper\" fires on TRUNCATE", "DROP FUNCTION public.no CASCADE"),
    ];
    let report = finds(&world, &flags, &[WHAT; 3]);
    let told: Vec<_> = details(&report);
    assert_eq!(told, defects.map(|(says, _)| says));
    // Whatever may happen to the rows.
    flags.add("--yes-truncate", None);
    assert_eq!(details(&finds(&world, &flags, &[WHAT; 3])), told);
    line(&report, WHAT, "not_ok").hints("leave --fresh-table out");
    line(&report, "triggers", "ok").says("none fires");
    for (left, (_, remedy)) in (0..3).rev().zip(defects) {
        world.sql(2, remedy);
        finds(&world, &flags, &[WHAT; 3][..left]);
    }
    // Without the flag none of it matters.
    world.sql(2, others);
    finds(&world, &world.receiver(), &[]);
}

/// What is not ok about the fresh table.
fn details(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().expect("checks").iter();
    let of_it = checks.filter(|check| check["what"] == WHAT && check["state"] == "not_ok");
    of_it.map(|check| check["detail"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn rights_to_truncate_and_to_forget_are_told_with_the_grants() {
    let world = World::new();
    let may_load = "GRANT USAGE, CREATE ON SCHEMA \"SMPC_dev_2\" TO ROLE; \
        GRANT SELECT, INSERT ON \"SMPC_dev_2\".irises TO ROLE";
    let (url, role) = world.url_as(2, may_load);
    let mut usual = world.receiver();
    usual.set("--db-url", &url);
    finds(&world, &usual, &[]);
    let mut flags = fresh(&world);
    flags.set("--db-url", &url);
    let report = finds(&world, &flags, &["rights"]);
    let lacks = line(&report, "rights", "not_ok").says("lacks TRUNCATE ON TABLE");
    let grant = format!("GRANT TRUNCATE ON TABLE \"SMPC_dev_2\".\"irises\" TO \"{role}\";");
    lacks.hints(&grant);
    world.sql(2, &grant);
    finds(&world, &flags, &[]);
    // What this and other sessions have recorded there belongs to somebody else.
    let recorded = "CREATE TABLE \"SMPC_dev_2\".reshare_progress (fingerprint bytea, \
        first_id bigint, last_id bigint, rows bigint, digest bytea, source bytea, \
        leftovers jsonb, loaded_at timestamptz); CREATE TABLE \"SMPC_dev_2\".reshare_verified (fingerprint bytea); \
        GRANT SELECT, INSERT ON \"SMPC_dev_2\".reshare_progress TO PUBLIC";
    world.sql(2, recorded);
    finds(&world, &flags, &[]);
    flags.add("--yes-truncate", None);
    let report = finds(&world, &flags, &["rights"]);
    let lacks = line(&report, "rights", "not_ok").detail;
    assert!(
        lacks.ends_with("lacks DELETE ON TABLE \"SMPC_dev_2\".\"reshare_verified\""),
        "{lacks}"
    );
    let record = format!(
        "INSERT INTO \"SMPC_dev_2\".reshare_progress VALUES ('\\x{}', 1, 9, 0, \
         '\\x{}', '', '{{\"only_lower_sender\":[],\"only_higher_sender\":[],\"disagreeing\":[]}}', now())",
        world.fingerprint,
        "00".repeat(32)
    );
    world.sql(2, &record);
    let report = finds(&world, &flags, &["rights"]);
    let lacks = line(&report, "rights", "not_ok").says("\"reshare_verified\"");
    lacks
        .says("DELETE ON TABLE \"SMPC_dev_2\".\"reshare_progress\"")
        .hints("GRANT DELETE ON TABLE");
    let delete = "GRANT DELETE ON \"SMPC_dev_2\".reshare_progress, \"SMPC_dev_2\".reshare_verified";
    world.sql(2, &format!("{delete} TO PUBLIC"));
    finds(&world, &flags, &[]);
}

#[test]
fn a_server_that_logs_every_row_is_told() {
    let world = World::new();
    let standby = ThrowAwayPostgres::start_standby().expect("a PostgreSQL server");
    let mut flags = fresh(&world);
    flags.set("--db-url", &standby.url("postgres"));
    let report = world.check(&flags).ends_with(4).report();
    line(&report, "log", "ok").says("wal_level is replica: every row is logged, too");
}
