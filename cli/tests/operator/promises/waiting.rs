//! Who waits for whom, and for how long.

use std::net::TcpListener;
use std::process::Command;

use super::agreed::ids_in;
use crate::{ROWS, network};
use reshare_fixtures::network::{Network, Run, Running};

/// There a sender whose other one or whose receiver is not there waits for ever.
#[test]
fn no_side_waits_for_another_without_end() {
    let network = network();
    network.certify();
    gives_up_on_a_receiver_that_never_answers(&network);
    let mut running = Running::start(&mut receiver(&network));
    let line = running.says(&["receiving on ", ", health on "]);
    let (server, health) = addresses(&line);
    // The other sender has not even begun.
    let delivered = send_certified(&network, 0, &["--server-url", &server]).ends_with(0);
    let reason = "delivered the package of sender 0: 60 rows in 4 parts; 60 rows in 4 parts (";
    assert!(delivered.stdout.contains(reason), "{}", delivered.stdout);
    let asked =
        Command::new("curl").args(["--silent", &format!("http://{health}/health")]).output();
    let asked = Run::of(asked.expect("curl: run `make setup`")).ends_with(0);
    assert_eq!(asked.stdout, "ok receiving\n");
    assert_eq!(status(&network), ["closed", "open"]);
    running.signal("-TERM");
    running.ends_with(143);
    assert!(running.said("stopped by a signal"), "{:?}", running.lines());
    assert_eq!(ids_in(&network, &network.target, 2), [0; 0]);
    // What was delivered is kept, and the next receiver continues with it.
    let mut running = Running::start(&mut receiver(&network));
    let server = addresses(&running.says(&["receiving on ", ", health on "])).0;
    send_certified(&network, 1, &["--server-url", &server]).ends_with(0);
    running.ends_with(0);
    assert_eq!(ids_in(&network, &network.target, 2).len(), ROWS);
    network.verify().ends_with(0);
}

/// One that takes the connection and says nothing, and one that is not there.
fn gives_up_on_a_receiver_that_never_answers(network: &Network) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("https://{}", silent.local_addr().expect("bound"));
    let patience = ["--retry-for", "1", "--answer-timeout", "1"];
    let send = send_certified(network, 0, &[&["--server-url", &server], &patience[..]].concat());
    let reason = "takes nothing, each request is tried for 1 s: no answer in 1 s";
    let words = [reason, "did not succeed in", "hint: run the same command again"];
    send.ends_with(1).says(&words);
    send_certified(network, 0, &["--to", "p0"]).ends_with(0);
    let upload = ["upload", "p0", "--session", "certified.toml", "--server-url", &server];
    network.run_as("0", &[&upload[..], &patience].concat()).ends_with(1).says(&words);
    drop(silent);
    let reason = "each request is tried for 1 s: cannot connect to 127.0.0.1: Connection refused";
    let words = [reason, "did not succeed in", "hint: run the same command again"];
    network.run_as("0", &[&upload[..], &patience].concat()).ends_with(1).says(&words);
}

/// Where a receiver listens: its URL, and the address of its health.
fn addresses(line: &str) -> (String, String) {
    let (address, health) = line.split_once(", health on ").expect("both addresses");
    let address = address.strip_prefix("receiving on ").expect("an address");
    (format!("https://{address}"), health.to_owned())
}

/// What the receiver has of either sender.
fn status(network: &Network) -> [String; 2] {
    let status = ["status", "--session", "certified.toml", "--inbox", "inbox", "--json"];
    let shown = network.run_as("2", &status).ends_with(0).report();
    [0, 1].map(|sender| {
        shown["inbox"]["packages"][sender]["state"].as_str().expect("a state").to_owned()
    })
}

/// A receiver that rebuilds as soon as both packages are there.
pub(crate) fn receiver(network: &Network) -> Command {
    let at = ["receive", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    let inbox = ["--session", "certified.toml", "--inbox", "inbox", "--keep-free-bytes", "0"];
    let rebuild = ["--rebuild", "--identity", "r.age", "--db-url", &network.target];
    network.program_as("2", &[&at[..], &inbox, &rebuild].concat())
}

/// Sends in the session with certificates.
pub(crate) fn send_certified(network: &Network, sender: usize, more: &[&str]) -> Run {
    let (name, other) = [("0", "approval-1.json"), ("1", "approval-0.json")][sender];
    let key = format!("{name}.key");
    let send = ["send", "--session", "certified.toml", "--agreement-key", &key];
    let approvals = ["--approval", "approval-2.json", "--approval", other];
    let rows = ["--batch-size", "16", "--db-url", &network.databases[sender]];
    network.run_as(name, &[&send[..], &approvals, &rows, more].concat())
}
