//! Failures: runs that are killed or cut off, files that are not what they should be, and parties
//! that try what they may not do.

mod crash;
mod field;
mod hostile;
mod refusals;

use std::fs;
use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_format::session::parse_fingerprint;
use reshare_pipeline::ledger::Ledger;

const RESHARE: &str = env!("CARGO_BIN_EXE_reshare");

/// Takes the ledgers of a state directory that is a copy, as an operator does who has moved it.
fn adopt_ledgers(state: &Path) {
    for directory in fs::read_dir(state).expect("a state directory").flatten() {
        let name = directory.file_name();
        let Ok(fingerprint) = parse_fingerprint(name.to_str().expect("text")) else { continue };
        for party in (0..2).filter_map(|party| PartyId::new(party).ok()) {
            if Ledger::path_in(state, &fingerprint, party).exists() {
                Ledger::adopt(state, &fingerprint, party).expect("adopted");
            }
        }
    }
}
