//! One blinding for one content: a row that changed is never blinded as it was.

use reshare_engine::party::PartyId;
use reshare_engine::ring::RingElement;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::shamir::weight;
use reshare_format::keys::load_identity;
use reshare_format::package::{Package, PackageExpectations};
use reshare_format::session::Session;

use super::agreed::{Agreed, table};
use crate::{ROWS, network};
use reshare_fixtures::network::Network;

const COLUMNS: [&str; 4] = ["left_code", "left_mask", "right_code", "right_mask"];
const CHANGED: i64 = 9;

/// There the receiver learns `w * (s' - s)` of a row whose shares changed from `s` to `s'`.
#[test]
fn a_changed_row_is_refused_in_its_old_version_and_blinded_again_in_a_new_one() {
    let network = network();
    let run = Agreed::on(&network, "run", &[]);
    run.send(0, &["--to", "before"]).ends_with(0);
    let plain = shares(&network);
    let update = format!("UPDATE {} SET left_mask = right_mask WHERE id = {CHANGED}", table(0));
    network.sql(&network.databases[0], &update);
    let refused = run.send(0, &["--to", "same-version"]).ends_with(3);
    let summary = "left over: 1 row that changed after being blinded and kept the version: 9";
    assert!(refused.stdout.contains(summary), "{}", refused.stdout);
    let ids = opened(&network, "same-version").into_iter().map(|(id, _)| id);
    assert!(ids.eq((1..=60).filter(|id| *id != CHANGED)));
    let raise = format!("UPDATE {} SET version_id = version_id + 1 WHERE id = {CHANGED}", table(0));
    network.sql(&network.databases[0], &raise);
    run.send(0, &["--to", "new-version"]).ends_with(0);
    assert_ne!(shares(&network), plain);
    // What blinded the row: m = w * s + r, and so r' = r is m' - m = w * (s' - s).
    let [before, after] = ["before", "new-version"].map(|package| opened(&network, package));
    assert_eq!((before.len(), after.len()), (ROWS, ROWS));
    for ((id, before), (_, after)) in before.iter().zip(&after) {
        if *id != CHANGED {
            assert!(before == after, "row {id} is as it was, and blinded otherwise");
        }
    }
    let of = |rows: &[(i64, Vec<RingElement>)]| rows[CHANGED as usize - 1].1.clone();
    let (before, after) = (of(&before), of(&after));
    let w = weight(party(0), party(1), party(2)).expect("three parties");
    let now = shares(&network);
    let elements = before.len();
    let related = (0..elements).filter(|&at| after[at] - before[at] == w * (now[at] - plain[at]));
    // By chance one of 2^64 is.
    assert_eq!((related.count(), elements), (0, 9600));
    // The same in another session: its rows have keys of their own.
    let other = Agreed::on(&network, "other", &[]);
    other.send(0, &["--to", "other-session"]).ends_with(0);
    let elsewhere = of(&opened_of(&network, "other.toml", "other-session"));
    assert_eq!((0..elements).filter(|&at| elsewhere[at] == after[at]).count(), 0);
}

fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

/// Sender 0's share of the row that changes.
fn shares(network: &Network) -> Vec<RingElement> {
    let columns = COLUMNS.map(|column| format!("encode({column}, 'hex')")).join(" || ");
    let select = format!("SELECT {columns} FROM {} WHERE id = {CHANGED}", table(0));
    let bytes = hex::decode(network.sql(&network.databases[0], &select).trim()).expect("hex");
    let words: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    elements(&words).collect()
}

fn elements(words: &[u16]) -> impl Iterator<Item = RingElement> {
    words.chunks_exact(4).map(|four| RingElement([four[0], four[1], four[2], four[3]]))
}

fn opened(network: &Network, package: &str) -> Vec<(i64, Vec<RingElement>)> {
    opened_of(network, "run.toml", package)
}

/// The blinded rows of sender 0, as the receiver sees them.
fn opened_of(network: &Network, session: &str, package: &str) -> Vec<(i64, Vec<RingElement>)> {
    let session = Session::load(&network.path(session)).expect("a session");
    let identity = load_identity(&network.path("r.age")).expect("an identity");
    let expected = PackageExpectations::of(&session, party(0), None).expect("no authority");
    let package = Package::open(network.path(package), expected).expect("a package");
    let mut batch = RowBatch::with_capacity(session.layout().clone(), ROWS);
    let mut rows = vec![];
    for part in package.manifest().parts() {
        package.files().open_part(part, &identity, &mut batch).expect("a part");
        let part = batch.rows();
        for (row, id) in part.ids.iter().enumerate() {
            rows.push((*id, part.share_row(row).flat_map(elements).collect()));
        }
    }
    rows
}
