//! Loads into the tables that iris-mpc makes, with their triggers, and into tables that others
//! refer to: as processes, against a real PostgreSQL.

mod left_out;
mod newer;
mod older;
mod referenced;
mod unreadable;
mod world;

use crate::ROWS;
use reshare_fixtures::network::Network;

/// The target of every test here.
const TABLE: &str = "\"SMPC_dev_2\".irises";

/// Nothing is recorded as loaded, not even in an empty table.
#[track_caller]
fn assert_nothing_recorded(network: &Network) {
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'reshare_progress'";
    assert_eq!(network.sql(&network.target, tables).trim(), "0");
}
