//! `reshare tune` measures, recommends, and leaves nothing.

use std::process::Output;

use reshare_fixtures::postgres::ThrowAwayPostgres;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::program;

const THREADS: u64 = 2;

fn reshare(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).env("RAYON_NUM_THREADS", THREADS.to_string());
    command.output().expect("starts")
}

fn tuned(more: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display().to_string();
    let mut arguments = vec!["tune", "-q", "--json", "--seconds", "1", "--dir", &place];
    arguments.extend(more);
    let output = reshare(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0, "something is left in the directory");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn assert_speeds(report: &Value, stage: &str, counts: &[u64]) {
    let speeds = report[stage].as_array().expect("speeds");
    let found: Vec<u64> =
        speeds.iter().map(|speed| speed["hands"].as_u64().expect("hands")).collect();
    assert_eq!(found, counts, "{stage}");
    for speed in speeds {
        let rows = speed["rows_per_second"].as_f64().expect("a figure");
        let bytes = speed["share_bytes_per_second"].as_f64().expect("a figure");
        assert!(rows > 0.0 && bytes > rows, "{stage}: {speed}");
    }
}

fn stages(report: &Value) -> Vec<&str> {
    let estimates = report["estimates"].as_array().expect("estimates");
    for estimate in estimates {
        assert_eq!(estimate["rows"], 5000);
        assert!(estimate["seconds"].as_f64().expect("a figure") > 0.0);
    }
    estimates.iter().map(|estimate| estimate["stage"].as_str().expect("a name")).collect()
}

#[test]
fn a_machine_is_measured_without_a_database() {
    let report = tuned(&["--rows", "5000"]);
    assert_speeds(&report, "blind", &[1, THREADS]);
    assert_speeds(&report, "seal", &[1, THREADS]);
    assert_speeds(&report, "write", &[report["recommended"]["threads"].as_u64().expect("some"); 3]);
    let recommended = &report["recommended"];
    assert!((1..=THREADS).contains(&recommended["threads"].as_u64().expect("a number")));
    let sizes: Vec<&Value> =
        report["write"].as_array().expect("sizes").iter().map(|it| &it["batch_size"]).collect();
    assert!(sizes.contains(&&recommended["batch_size"]));
    assert!(recommended["connections"].is_null());
    assert_eq!(stages(&report), ["blind", "seal", "blind, seal and write parts"]);
    let not_measured = report["not_measured"].as_array().expect("a list");
    assert!(not_measured.contains(&"COPY out".into()) && not_measured.contains(&"COPY in".into()));
}

#[tokio::test]
async fn a_database_is_measured_and_stays_as_it_was() {
    let server = ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}"));
    let url = server.url("postgres");
    let seed = reshare(&["seed", "-q", "--rows", "300", "--db", &format!("0={url}")]);
    assert!(seed.status.success(), "{}", String::from_utf8_lossy(&seed.stderr));
    let mut sql = PgConnection::connect(&url).await.expect("a connection");
    let state = "SELECT (SELECT count(*) FROM \"SMPC_dev_0\".irises) || ' ' || \
                 (SELECT count(*) FROM pg_class WHERE relkind = 'r') || ' ' || \
                 (SELECT max(xmin::text) FROM \"SMPC_dev_0\".irises)";
    let before: String = sqlx::query_scalar(state).fetch_one(&mut sql).await.expect("read");
    let table = ["--rows", "5000", "--db-schema", "SMPC_dev_0", "--db-url"];
    let report = tuned(&[&table[..], &[&url]].concat());
    assert_speeds(&report, "copy_out", &[1, THREADS]);
    assert_speeds(&report, "copy_in", &[1, THREADS]);
    let connections = report["recommended"]["connections"].as_u64().expect("a number");
    assert!((1..=THREADS).contains(&connections));
    assert_eq!(stages(&report).len(), 5);

    // A role that may read and nothing else: what it may not do is said, not guessed.
    let role = "REVOKE TEMP ON DATABASE postgres FROM PUBLIC; CREATE ROLE reads LOGIN; \
                GRANT USAGE ON SCHEMA \"SMPC_dev_0\" TO reads; \
                GRANT SELECT ON \"SMPC_dev_0\".irises TO reads";
    sqlx::raw_sql(role).execute(&mut sql).await.expect("granted");
    let url = url.replace("user=postgres", "user=reads");
    let report = tuned(&[&table[..], &[&url]].concat());
    assert_speeds(&report, "copy_out", &[1, THREADS]);
    assert_eq!(report["copy_in"].as_array().map(Vec::len), Some(0));
    assert!(report["copy_in_refused"].as_str().expect("a reason").contains("permission"));
    assert!(report["not_measured"].as_array().expect("a list").contains(&"COPY in".into()));

    let after: String = sqlx::query_scalar(state).fetch_one(&mut sql).await.expect("read");
    assert_eq!(before, after);
}
