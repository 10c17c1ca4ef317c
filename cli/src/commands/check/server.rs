//! What a database's server is, and what protects the way to it.

use reshare_pipeline::preflight::Server;
use reshare_postgres::connect::{Database, Protection};

use super::checklist::Checklist;

/// What protects the connection from others on the network.
pub(super) fn protection(list: &mut Checklist, database: &Database) {
    const WHAT: &str = "TLS";
    let hint = "sslmode=verify-full, with sslrootcert=FILE for an authority of your own";
    match database.protection() {
        None => {}
        Some(Protection::Local) => {
            list.ok(WHAT, "not needed: the connection stays on this machine")
        }
        Some(Protection::Full) => list.ok(WHAT, "the server's certificate and name are verified"),
        Some(Protection::Chain) => {
            list.warning(
                WHAT,
                "who signed the server's certificate is verified, not its name",
                hint,
            );
        }
        Some(Protection::Unverified) => {
            let detail = "on, but with anybody: the server's certificate is not verified";
            list.not_ok(WHAT, detail, hint);
        }
        Some(Protection::None) => {
            list.not_ok(WHAT, "shares would pass the network in the clear", hint)
        }
    }
}

pub(super) fn standby(list: &mut Checklist, server: &Server) {
    const WHAT: &str = "standby";
    match server.standby {
        None => list.ok(WHAT, "no, this is a primary"),
        Some(standby) if standby.cancels_long_reads() => {
            let patience = standby.patience.unwrap_or_default();
            list.not_ok(
                WHAT,
                format!("a standby that cancels reads in the way of replay after {patience:?}"),
                "set hot_standby_feedback = on, or max_standby_streaming_delay and \
                 max_standby_archive_delay = -1 for the time of the run, or read the primary",
            );
        }
        Some(_) => list.ok(WHAT, "a standby that lets long reads end"),
    }
}

pub(super) fn writable(list: &mut Checklist, server: &Server) {
    const WHAT: &str = "writable";
    if server.standby.is_some() {
        return list.not_ok(WHAT, "this is a standby", "name the primary in --db-url");
    }
    if server.read_only {
        let detail = "default_transaction_read_only is on for this role, database or server";
        let hint = "ALTER ROLE ... SET default_transaction_read_only = off";
        return list.not_ok(WHAT, detail, hint);
    }
    list.ok(WHAT, "a primary that takes writes");
}

pub(super) fn time_limits(list: &mut Checklist, server: &Server) {
    const WHAT: &str = "time limits";
    if server.time_limits.is_empty() {
        return list.ok(WHAT, "none");
    }
    for limit in &server.time_limits {
        let (name, after) = (&limit.name, limit.limit);
        if limit.lifted {
            list.warning(
                WHAT,
                format!("{name} is {after:?} here; this program lifts it in its own transactions"),
                format!("nothing is needed; ALTER ROLE ... SET {name} = 0 says it for the role"),
            );
        } else {
            let hint = format!("ALTER ROLE ... SET {name} = 0");
            list.not_ok(WHAT, format!("{name} is {after:?} and cannot be lifted"), hint);
        }
    }
}

pub(super) fn free_connections(list: &mut Checklist, server: &Server, needed: u64) {
    const WHAT: &str = "connections";
    let (free, allowed) = (server.connections.free, server.connections.allowed);
    let detail = format!("{free} of {allowed} are free, {needed} are needed");
    if free < needed {
        return list.not_ok(WHAT, detail, "give a smaller -j, or raise max_connections");
    }
    list.ok(WHAT, detail);
}
