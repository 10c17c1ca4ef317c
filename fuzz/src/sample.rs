//! The session that all input claims to be of.

use std::sync::{Arc, OnceLock};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use reshare_format::keys::{Identity, SealKind};
use reshare_format::package::PackageExpectations;

/// The fingerprint of the session.
pub const FINGERPRINT: Fingerprint = Fingerprint([7; 32]);

/// One agree column of each kind, two short share columns.
///
/// # Panics
/// Never: the columns are fixed.
#[must_use]
pub fn layout() -> Arc<RowLayout> {
    let agree = |name: &str, kind| AgreeColumn { name: name.to_owned(), kind };
    let share = |name: &str, len| ShareColumn { name: name.to_owned(), len };
    let layout = RowLayout::new(
        vec![agree("version_id", AgreeKind::Integer), agree("content", AgreeKind::Uuid)],
        vec![share("code", 8), share("mask", 4)],
    );
    Arc::new(layout.expect("a layout"))
}

/// A party.
///
/// # Panics
/// When the index is none.
#[must_use]
pub fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

/// What sender 1's package must be.
#[must_use]
pub fn expectations() -> PackageExpectations {
    PackageExpectations {
        session_id: "session".to_owned(),
        fingerprint: FINGERPRINT,
        sender: party(1),
        receiver: party(2),
        layout: layout(),
        ids: IdRange::ALL,
        max_part_bytes: 1 << 20,
        trust: None,
    }
}

/// The receiver, another one in each run.
pub fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| Identity::generate(SealKind::Hybrid))
}
