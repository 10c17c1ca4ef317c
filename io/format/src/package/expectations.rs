//! What a session requires of a package.

use std::sync::Arc;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;

use super::{PartEntry, PartRecord, Timestamp};
use crate::session::{Session, SessionTrust};
use crate::share_file::{Kind, ShareFileSpec};

/// The facts of a session that every package of it must agree with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageExpectations {
    /// The session's id.
    pub session_id: String,
    /// The session's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whose package it is.
    pub sender: PartyId,
    /// Who can open it.
    pub receiver: PartyId,
    /// The columns.
    pub layout: Arc<RowLayout>,
    /// The ids of the session.
    pub ids: IdRange,
    /// The largest sealed part.
    pub max_part_bytes: u64,
    /// Verifies the manifest's signature; `None` when the session uses no certificates: then there
    /// is no signature.
    pub trust: Option<SessionTrust>,
}

impl PackageExpectations {
    /// What a session requires of one sender's package.
    ///
    /// # Errors
    /// [`NoAuthority`] when the session uses certificates and the authority to verify them is
    /// missing or belongs to another session.
    pub fn of(
        session: &Session,
        sender: PartyId,
        trust: Option<&SessionTrust>,
    ) -> Result<Self, NoAuthority> {
        let fits = match trust {
            Some(trust) => trust.fingerprint() == session.fingerprint(),
            None => session.ca_sha256().is_none(),
        };
        if !fits {
            return Err(NoAuthority);
        }
        Ok(Self {
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint(),
            sender,
            receiver: session.receiver().party,
            layout: Arc::clone(session.layout()),
            ids: session.ids().range(),
            max_part_bytes: session.max_part_bytes(),
            trust: trust.cloned(),
        })
    }

    /// What this sender says of a part now, to be signed.
    #[must_use]
    pub fn record(
        &self,
        key_check: [u8; 16],
        part: PartEntry,
        bounds: Option<IdRange>,
    ) -> PartRecord {
        PartRecord {
            session_id: self.session_id.clone(),
            fingerprint: self.fingerprint,
            sender: self.sender,
            receiver: self.receiver,
            key_check,
            part,
            bounds,
            signed_at: Timestamp::now(),
        }
    }

    /// What the header of a listed part must say.
    #[must_use]
    pub fn part_spec(&self, entry: &PartEntry) -> ShareFileSpec {
        self.spec(entry.name.index(), entry.ids, entry.rows)
    }

    /// What the header of a part being made must say.
    #[must_use]
    pub fn spec(&self, part_index: u64, ids: IdRange, rows: u64) -> ShareFileSpec {
        ShareFileSpec {
            kind: Kind::Blinded,
            fingerprint: self.fingerprint,
            party: self.sender,
            part_index,
            ids,
            rows,
            layout: Arc::clone(&self.layout),
        }
    }
}

/// A session with certificates, and no authority of it to verify them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session uses certificates, and there is no authority of it to verify them")]
pub struct NoAuthority;
