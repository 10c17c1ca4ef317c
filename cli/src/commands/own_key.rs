//! A party's own public key, and whether a session has it.

use std::path::PathBuf;

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_format::keys::{AgreementPublicKey, parse_recipient};
use reshare_format::session::Session;

use super::context::read_text;
use crate::failure::Failure;

/// The public key that this party gave to whoever made the session file.
#[derive(Debug, Args)]
pub(super) struct OwnKeyArgs {
    /// This party's own public key, as `keygen` or `kms public-key` printed it: a file, or the
    /// receiver's age1...; refused unless the session has it for this party
    #[arg(long, value_name = "FILE|age1...")]
    own_public_key: String,
}

impl OwnKeyArgs {
    /// Compares the session's key of a party with its own.
    ///
    /// Whoever makes a session file could put a key of his own in the place of another party's,
    /// and then read what that party was to blind or to open. Only its owner can notice.
    pub(super) fn check(&self, session: &Session, party: PartyId) -> Result<(), Failure> {
        let text = self.text()?;
        let has_it = match session.sender(party) {
            Some(sender) => self.agreement_key(&text)? == sender.agreement_key,
            None => {
                parse_recipient(text.trim()).map_err(|error| self.unreadable(error))?
                    == session.receiver().recipient
            }
        };
        if has_it {
            return Ok(());
        }
        let error = format!(
            "the session has another public key for party {party} than {}",
            self.own_public_key
        );
        Err(Failure::refused(error).hint(
            "do not approve this session: who has the other key could read shares. Ask whoever \
             made the session file where that key is from",
        ))
    }

    fn text(&self) -> Result<String, Failure> {
        if self.own_public_key.starts_with("age1") {
            return Ok(self.own_public_key.clone());
        }
        read_text(&PathBuf::from(&self.own_public_key), "--own-public-key")
    }

    fn agreement_key(&self, text: &str) -> Result<AgreementPublicKey, Failure> {
        AgreementPublicKey::from_pem(text).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: impl std::fmt::Display) -> Failure {
        Failure::refused(format!("--own-public-key {}: {error}", self.own_public_key)).hint(
            "a sender gives what `reshare keygen agreement` or `reshare kms public-key` printed, \
             the receiver what `reshare keygen recipient` printed",
        )
    }
}
