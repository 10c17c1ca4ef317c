//! A part that a request announces, and the record that its sender has signed of it.

use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    PackageExpectations, PartEntry, PartName, PartRecord, SignedPartRecord,
};

use super::digest::ReprDigest;
use super::part_records::{PartRecords, RecordProof};
use super::refusal::Refusal;

/// The header of a request that delivers a part: what its sender has signed of it.
pub(super) const PART_RECORD: &str = "reshare-part-record";

/// A part that a request announces.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) name: PartName,
    pub(super) bytes: u64,
    pub(super) digest: ReprDigest,
    pub(super) record: Option<VerifiedRecord>,
}

/// A record that its sender has signed, and what shows it.
#[derive(Debug)]
pub(super) struct VerifiedRecord {
    proof: RecordProof,
    record: PartRecord,
}

impl VerifiedRecord {
    /// Verifies what a request says of its part.
    ///
    /// # Errors
    /// [`Refusal::NotARecord`] and [`Refusal::Record`].
    pub(super) fn verify(
        text: &str,
        session: &PackageExpectations,
        chain: CertificateChain,
    ) -> Result<Self, Refusal> {
        let signed = SignedPartRecord::parse(text).ok_or(Refusal::NotARecord)?;
        let record = signed.verify(session, &chain).map_err(Refusal::Record)?;
        Ok(Self { proof: RecordProof { signed, chain }, record })
    }

    pub(super) fn record(&self) -> &PartRecord {
        &self.record
    }

    pub(super) fn part(&self) -> &PartEntry {
        &self.record.part
    }

    /// What proves it.
    pub(super) fn proof(&self) -> &RecordProof {
        &self.proof
    }

    /// Makes the record durable.
    pub(super) fn log(
        &self,
        records: &mut PartRecords,
        session: &PackageExpectations,
    ) -> Result<(), Refusal> {
        records.log(session, &self.proof).map_err(Refusal::disk)
    }
}
