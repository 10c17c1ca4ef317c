//! Tables and packages that cannot be read: what to do is said.

use super::{Network, TABLE};
use crate::network;
use reshare_fixtures::network::Run;

#[track_caller]
fn hints(run: &Run, words: &str) {
    let hint = run.stderr.lines().find(|line| line.starts_with("hint: "));
    assert!(hint.is_some_and(|hint| hint.contains(words)), "{words:?}: {}", run.stderr);
    assert!([Some(1), Some(2), Some(4)].contains(&run.code), "{:?}: {}", run.code, run.stderr);
}

/// Compares the table of party 2 with what is at some URL.
fn verify(network: &Network, url: &str) -> Run {
    let urls = ["--db-url", url, "--db-url", &network.databases[2]];
    network.run(&[&["verify", "--session", "session.toml"], &urls[..]].concat())
}

#[test]
fn a_comparison_that_cannot_read_a_table_says_what_to_do() {
    let network = network();
    hints(&verify(&network, "postgres://nobody@127.0.0.1:1/none"), "check --db-url");
    network.sql(&network.target, "CREATE ROLE reads_nothing LOGIN");
    let (before, parameters) = network.target.split_once('?').expect("parameters");
    let parameters = parameters.replace("user=postgres", "user=reads_nothing");
    let url = format!("{before}?{parameters}");
    hints(&verify(&network, &url), "the role needs USAGE on the schema and SELECT");
    network.sql(&network.target, "GRANT USAGE ON SCHEMA \"SMPC_dev_2\" TO reads_nothing");
    hints(&verify(&network, &url), "the role needs USAGE on the schema and SELECT");
    network.sql(&network.target, &format!("DROP TABLE {TABLE}"));
    hints(&verify(&network, &network.target), "check --db-url and --db-schema");
}

#[test]
fn a_package_or_file_that_is_not_there_is_asked_for_by_its_path() {
    let network = network();
    hints(&network.rebuild(&[]), "check the path of the package's directory");
    std::fs::write(network.path("p0"), "no directory").expect("written");
    hints(&network.rebuild(&[]), "check the path of the package's directory");
    let load = ["load", "--session", "session.toml", "--db-url", &network.target, "--in", "p1"];
    hints(&network.run(&load), "no file is there");
    let mut load = load;
    load[6] = "session.toml";
    hints(&network.run(&load), "a file that `reshare export` or `reshare merge` wrote");
}
