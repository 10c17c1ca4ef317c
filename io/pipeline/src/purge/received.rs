//! Checks that a receipt covers what a sender is about to remove.

use std::path::PathBuf;

use reshare_engine::party::PartyId;
use reshare_format::receipt::{Receipt, ReceivedPackage, content_of_parts};

use super::{Origin, Purge, Thing};
use crate::ledger::LedgerPart;

/// Why a receipt does not let a sender remove something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReceived {
    /// Something that only the receiver has.
    #[error("{} is the receiver's ({what}): a receipt is for senders", path.display())]
    Receivers {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// Something of a party that sends nothing.
    #[error("{} is of party {got}, which is no sender", path.display())]
    NoSender {
        /// Where it is.
        path: PathBuf,
        /// Whose it is.
        got: PartyId,
    },
    /// Something of the other sender.
    #[error("{} is of party {got}, and this is sender {expected}", path.display())]
    OtherParty {
        /// Where it is.
        path: PathBuf,
        /// The sender that removes.
        expected: PartyId,
        /// Whose it is.
        got: PartyId,
    },
    /// A package that was not the one compared.
    #[error(
        "{} is not the package that the receiver has compared: its manifest has BLAKE3 {got}, the \
         receipt names {expected}",
        path.display()
    )]
    OtherPackage {
        /// The package.
        path: PathBuf,
        /// By the receipt.
        expected: blake3::Hash,
        /// Of its manifest.
        got: blake3::Hash,
    },
    /// A ledger that knows of more, of less, or of another content.
    #[error(
        "the receipt is not about what the ledger of sender {sender} has: {blinded} rows are in its \
         parts, {received} in the package that the receiver has compared"
    )]
    OtherLedger {
        /// The sender.
        sender: PartyId,
        /// Rows of all parts in the ledger.
        blinded: u64,
        /// By the receipt.
        received: u64,
    },
    /// A share file with rows that were never delivered.
    #[error(
        "{} has {rows} rows, and the package that the receiver has compared has {received}",
        path.display()
    )]
    MoreRows {
        /// The share file.
        path: PathBuf,
        /// Its rows.
        rows: u64,
        /// By the receipt.
        received: u64,
    },
}

impl Purge {
    /// Checks that everything belongs to one sender (the claimed one, or else that of the first
    /// thing), that the receipt covers its packages, and that no share file has more rows than
    /// they.
    ///
    /// Returns the sender; `None` when there is nothing to remove.
    ///
    /// # Errors
    /// A [`NotReceived`] that names what the receiver has not compared.
    pub fn check_received(
        &self,
        receipt: &Receipt,
        claimed: Option<PartyId>,
    ) -> Result<Option<PartyId>, NotReceived> {
        let mut sender = claimed;
        for thing in &self.things {
            let path = || thing.path.clone();
            let got = match thing.origin {
                Origin::Package { sender, .. } => sender,
                Origin::File { party, .. } | Origin::Key { party } => party,
                Origin::Emptied | Origin::SharedKey => continue,
                Origin::Receiver => {
                    return Err(NotReceived::Receivers { path: path(), what: thing.what.clone() });
                }
            };
            let expected = *sender.get_or_insert(got);
            if got != expected {
                return Err(NotReceived::OtherParty { path: path(), expected, got });
            }
            let received = receipt.package_of(got);
            check_thing(
                thing,
                received.ok_or_else(|| NotReceived::NoSender { path: path(), got })?,
            )?;
        }
        Ok(sender)
    }

    /// Whether a package is to be removed. Its manifest is then compared with the receipt;
    /// otherwise the sender's ledger must be.
    #[must_use]
    pub fn has_package(&self) -> bool {
        self.things.iter().any(|thing| matches!(thing.origin, Origin::Package { .. }))
    }
}

fn check_thing(thing: &Thing, received: &ReceivedPackage) -> Result<(), NotReceived> {
    let path = || thing.path.clone();
    match thing.origin {
        Origin::Package { manifest_digest: got, .. } if got != received.manifest_digest => {
            let expected = received.manifest_digest;
            Err(NotReceived::OtherPackage { path: path(), expected, got })
        }
        Origin::File { rows, .. } if rows > received.rows => {
            let received = received.rows;
            Err(NotReceived::MoreRows { path: path(), rows, received })
        }
        _ => Ok(()),
    }
}

/// Checks that a receipt covers everything in a sender's ledger. This is for a delivery over the
/// network, of which the sender has no package.
///
/// # Errors
/// [`NotReceived::OtherLedger`].
pub fn check_ledger(
    receipt: &Receipt,
    sender: PartyId,
    parts: &[LedgerPart],
) -> Result<(), NotReceived> {
    let entries: Vec<_> =
        parts.iter().filter(|part| part.rows > 0).map(LedgerPart::entry).collect();
    let received = receipt.package_of(sender);
    if received.is_some_and(|received| received.content_digest == content_of_parts(&entries)) {
        return Ok(());
    }
    let blinded = entries.iter().map(|entry| entry.rows).sum();
    let received = received.map_or(0, |received| received.rows);
    Err(NotReceived::OtherLedger { sender, blinded, received })
}
