//! Checks of a manifest: in itself, and against its session.

use std::collections::HashSet;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;

use super::manifest_content::{Document, DocumentPart};
use super::{ManifestContent, ManifestError, PackageExpectations, PartEntry, Totals};
use crate::session::{SessionMismatch, StatementError};

/// Reads the content of a document and checks that it does not contradict itself.
pub(super) fn into_content(document: Document) -> Result<ManifestContent, ManifestError> {
    let party = |index| PartyId::try_from(index).map_err(StatementError::UnknownParty);
    let parts = document.parts.into_iter().map(into_entry).collect::<Result<Vec<_>, _>>()?;
    check_order(&parts)?;
    check_totals(&parts, Some(document.totals))?;
    Ok(ManifestContent {
        session_id: document.session_id,
        fingerprint: document.fingerprint,
        sender: party(document.sender)?,
        receiver: party(document.receiver)?,
        key_check: document.key_check,
        parts,
        signed_at: document.signed_at,
    })
}

/// Compares bytes with those that their content is written as.
pub(super) fn check_canonical(canonical: &[u8], bytes: &[u8]) -> Result<(), ManifestError> {
    if canonical == bytes {
        return Ok(());
    }
    let differs = canonical.iter().zip(bytes).position(|(a, b)| a != b);
    let offset = differs.unwrap_or(canonical.len().min(bytes.len()));
    Err(ManifestError::NotCanonical { offset })
}

/// Adds up the parts and compares the sums with the totals, if there are any.
pub(super) fn check_totals(
    parts: &[PartEntry],
    claimed: Option<Totals>,
) -> Result<Totals, ManifestError> {
    let sum = |field, number: fn(&PartEntry) -> u64, got: Option<u64>| {
        let expected = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(number(part)));
        match (expected, got) {
            (Some(expected), Some(got)) if expected == got => Ok(expected),
            (Some(expected), None) => Ok(expected),
            _ => Err(ManifestError::Totals { field, expected, got: got.unwrap_or(0) }),
        }
    };
    Ok(Totals {
        parts: sum("parts", |_| 1, claimed.map(|totals| totals.parts))?,
        rows: sum("rows", |part| part.rows, claimed.map(|totals| totals.rows))?,
        sealed_bytes: sum(
            "sealed_bytes",
            |part| part.sealed_bytes,
            claimed.map(|totals| totals.sealed_bytes),
        )?,
    })
}

/// Compares a manifest with its session.
pub(super) fn check_against(
    content: &ManifestContent,
    session: &PackageExpectations,
) -> Result<(), ManifestError> {
    let parties = [content.sender, content.receiver];
    check_facts(session, &content.session_id, content.fingerprint, parties)?;
    content.parts.iter().try_for_each(|part| check_part(part, session))
}

/// Compares what a manifest or a part record says of its session, its sender and its receiver.
pub(super) fn check_facts(
    session: &PackageExpectations,
    session_id: &str,
    fingerprint: Fingerprint,
    [sender, receiver]: [PartyId; 2],
) -> Result<(), ManifestError> {
    if session_id != session.session_id {
        let (expected, got) = (session.session_id.clone(), session_id.to_owned());
        return Err(ManifestError::OtherSessionId { expected, got });
    }
    SessionMismatch::check(session.fingerprint, fingerprint)?;
    if sender != session.sender {
        return Err(ManifestError::OtherSender { expected: session.sender, got: sender });
    }
    if receiver != session.receiver {
        return Err(ManifestError::OtherReceiver { expected: session.receiver, got: receiver });
    }
    Ok(())
}

pub(super) fn check_part(
    part: &PartEntry,
    session: &PackageExpectations,
) -> Result<(), ManifestError> {
    let PartEntry { name, ids, rows, sealed_bytes: bytes, .. } = *part;
    if !session.ids.covers(ids) {
        return Err(ManifestError::PartOutsideSession { name, ids, session: session.ids });
    }
    let max = session.max_part_bytes;
    if bytes > max {
        return Err(ManifestError::PartTooLarge { name, bytes, max });
    }
    if !rows_fit(rows, bytes, session) {
        return Err(ManifestError::MoreRowsThanBytes { name, rows, bytes });
    }
    Ok(())
}

/// Whether a part of this size can hold this many rows. Blinded shares do not shrink, so the size
/// of the file bounds every allocation.
pub(super) fn rows_fit(rows: u64, bytes: u64, session: &PackageExpectations) -> bool {
    let needed = rows.checked_mul(session.layout.row_share_bytes() as u64);
    needed.is_some_and(|needed| needed <= bytes)
}

/// Takes the entry of a part in a manifest, which has at least one row.
fn into_entry(part: DocumentPart) -> Result<PartEntry, ManifestError> {
    let entry = part.into_entry()?;
    let PartEntry { name, ids, rows, .. } = entry;
    if rows == 0 { Err(ManifestError::PartRows { name, rows, ids }) } else { Ok(entry) }
}

impl DocumentPart {
    /// Takes an entry, with as many rows as its ids have room for.
    pub(super) fn into_entry(self) -> Result<PartEntry, ManifestError> {
        let (name, first, last) = (self.name, self.first_id, self.last_id);
        if name.index() != self.index {
            return Err(ManifestError::PartName { index: self.index, name });
        }
        let ids =
            IdRange::new(first, last).ok_or(ManifestError::BackwardRange { name, first, last })?;
        let rows = self.rows;
        let room = i128::from(last) - i128::from(first) + 1;
        if i128::from(rows) > room {
            return Err(ManifestError::PartRows { name, rows, ids });
        }
        Ok(PartEntry {
            name,
            ids,
            rows,
            sealed_bytes: self.sealed_bytes,
            sealed_digest: self.sealed_blake3,
            content_digest: self.content_digest,
            exported_at: self.exported_at,
        })
    }
}

/// Checks that no part is listed twice and that their ids ascend without overlap.
fn check_order(parts: &[PartEntry]) -> Result<(), ManifestError> {
    let mut names = HashSet::with_capacity(parts.len());
    if let Some(part) = parts.iter().find(|part| !names.insert(part.name)) {
        return Err(ManifestError::RepeatedPart { name: part.name });
    }
    for pair in parts.windows(2) {
        let (before, part) = (&pair[0], &pair[1]);
        if part.ids.first() <= before.ids.last() {
            return Err(ManifestError::PartOrder {
                name: part.name,
                ids: part.ids,
                before: before.name,
                before_ids: before.ids,
            });
        }
    }
    Ok(())
}
