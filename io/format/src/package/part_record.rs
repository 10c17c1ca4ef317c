//! What a sender signs of each part, so that a part proves itself when it arrives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use serde::{Deserialize, Serialize};

use super::manifest_check::{check_canonical, check_facts, check_part};
use super::manifest_content::DocumentPart;
use super::signature::check_signed_at;
use super::{ManifestError, PackageExpectations, PartEntry, Timestamp, hex_bytes};
use crate::keys::certificate::{
    CertificateChain, CertificateError, PartyCertificate, SignatureContext,
};
use crate::session::{StatementError, check_format};

/// The format of a part record, its first field.
pub const PART_RECORD_FORMAT: &str = "reshare-part/1";
/// The longest text of a signed record: 1 KiB of JSON and an RSA signature of 8192 bits, in Base64.
pub const MAX_PART_RECORD_CHARS: usize = 6 << 10;

/// What a sender says of one part.
///
/// The ids of `part` are those that it *covers*: the records of one sender tile the session's ids,
/// so that a receiver knows of a range that nothing more will come. A record may cover ids without
/// a row; there is then no file, and `rows` and `sealed_bytes` are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRecord {
    /// The session's id.
    pub session_id: String,
    /// The session's fingerprint.
    pub fingerprint: Fingerprint,
    /// Who made the part.
    pub sender: PartyId,
    /// Who can open it.
    pub receiver: PartyId,
    /// Proves that both senders derived the same keys, without revealing them.
    pub key_check: [u8; 16],
    /// The part.
    pub part: PartEntry,
    /// The ids of its first and its last row; `None` where it has no row.
    pub bounds: Option<IdRange>,
    /// When the record was made.
    pub signed_at: Timestamp,
}

/// The JSON document, field by field in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    session_id: String,
    #[serde(with = "hex_bytes")]
    fingerprint: Fingerprint,
    sender: u64,
    receiver: u64,
    #[serde(with = "hex_bytes")]
    key_check: [u8; 16],
    part: DocumentPart,
    first_row: Option<i64>,
    last_row: Option<i64>,
    signed_at: Timestamp,
}

impl PartRecord {
    /// Signs the record.
    ///
    /// # Errors
    /// [`CertificateError`] when the key cannot sign.
    pub fn sign(
        &self,
        certificate: &PartyCertificate,
    ) -> Result<SignedPartRecord, PartRecordError> {
        let bytes = self.to_bytes()?;
        let signature = certificate.sign(SignatureContext::Part, &bytes)?;
        Ok(SignedPartRecord { bytes, signature })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let document = Document {
            format: PART_RECORD_FORMAT.to_owned(),
            session_id: self.session_id.clone(),
            fingerprint: self.fingerprint,
            sender: self.sender.index().into(),
            receiver: self.receiver.index().into(),
            key_check: self.key_check,
            part: DocumentPart::from(&self.part),
            first_row: self.bounds.map(IdRange::first),
            last_row: self.bounds.map(IdRange::last),
            signed_at: self.signed_at,
        };
        Ok(serde_json::to_vec(&document).map_err(StatementError::Json)?)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let document: Document = serde_json::from_slice(bytes).map_err(StatementError::Json)?;
        check_format(PART_RECORD_FORMAT, &document.format)?;
        let party = |index| PartyId::try_from(index).map_err(StatementError::UnknownParty);
        let (first, last) = (document.first_row, document.last_row);
        let part = document.part.into_entry()?;
        let bounds = first.zip(last).and_then(|(first, last)| IdRange::new(first, last));
        let record = Self {
            session_id: document.session_id,
            fingerprint: document.fingerprint,
            sender: party(document.sender)?,
            receiver: party(document.receiver)?,
            key_check: document.key_check,
            part,
            bounds,
            signed_at: document.signed_at,
        };
        record.check_rows()?;
        check_canonical(&record.to_bytes()?, bytes)?;
        Ok(record)
    }

    /// Compares the rows with the ids they are said to have.
    fn check_rows(&self) -> Result<(), ManifestError> {
        let PartEntry { name, ids, rows, sealed_bytes, .. } = self.part;
        let fits = match self.bounds {
            None => rows == 0 && sealed_bytes == 0,
            Some(bounds) => {
                let room = i128::from(bounds.last()) - i128::from(bounds.first()) + 1;
                rows > 0 && i128::from(rows) <= room && ids.covers(bounds)
            }
        };
        if fits { Ok(()) } else { Err(ManifestError::PartRows { name, rows, ids }) }
    }
}

/// A record and its signature as they travel; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPartRecord {
    bytes: Vec<u8>,
    signature: Vec<u8>,
}

impl SignedPartRecord {
    /// Takes the text that [`Self::to_text`] makes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_PART_RECORD_CHARS {
            return None;
        }
        let (bytes, signature) = text.split_once('.')?;
        let decode = |part: &str| STANDARD.decode(part).ok();
        Some(Self { bytes: decode(bytes)?, signature: decode(signature)? })
    }

    /// One line of ASCII: Base64 of the record, a full stop, Base64 of the signature.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}.{}", STANDARD.encode(&self.bytes), STANDARD.encode(&self.signature))
    }

    /// What the record claims, to show it; nothing of it is verified.
    ///
    /// # Errors
    /// A [`ManifestError`] when it is no record.
    pub fn claims(&self) -> Result<PartRecord, ManifestError> {
        PartRecord::from_bytes(&self.bytes)
    }

    /// Reads the record, and checks that it fits the session and that its sender signed it with the
    /// certificate of `chain`.
    ///
    /// # Errors
    /// A [`PartRecordError`] with the first thing that is wrong.
    pub fn verify(
        &self,
        expected: &PackageExpectations,
        chain: &CertificateChain,
    ) -> Result<PartRecord, PartRecordError> {
        let record = PartRecord::from_bytes(&self.bytes)?;
        let parties = [record.sender, record.receiver];
        check_facts(expected, &record.session_id, record.fingerprint, parties)?;
        check_part(&record.part, expected)?;
        let trust = expected.trust.as_ref().ok_or(ManifestError::UnexpectedSignature)?;
        let (sender, at) = (record.sender, record.signed_at.moment());
        let message = (SignatureContext::Part, self.bytes.as_slice());
        trust.verify_signature(chain, sender, at, message, &self.signature)?;
        check_signed_at(record.signed_at, trust)?;
        Ok(record)
    }
}

/// Why a part record is refused, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartRecordError {
    /// What it says is wrong, in the words of a manifest.
    #[error(transparent)]
    Content(#[from] ManifestError),
    /// No line of a file of records, or a damaged one.
    #[error("it is damaged: it is no record, or its checksum does not fit")]
    Damaged,
    /// Another key check than in the records before.
    #[error("its key check is another than that of the records before it")]
    OtherKeys,
    /// Its signature is not its sender's.
    #[error("the sender's signature is not accepted")]
    Signature(#[from] CertificateError),
}
