//! What a party gives to the others, in one file: number, name, public keys and the request for its
//! certificate.
//!
//! The file is signed with the key of the certificate that it requests, so it is one party's as a
//! whole. That the party is who it says is for the operators to know. `docs/format.md` has its
//! fields.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, SigningKey};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::fault::Refusable;
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::input_file::{read_input, without_bom};
use serde::{Deserialize, Serialize};

use crate::keys::certificate::{CertificateName, CertificateRequest, RequestError};
use crate::keys::{
    AgreementPublicKeys, PrivateFileError, PublicKeyError, Recipient, RecipientError,
    parse_recipient, read_private,
};
use crate::session::Encoding;

/// A party's public half, whose signature was verified.
#[derive(Debug)]
pub struct PublicParty {
    party: PartyId,
    keys: AgreementPublicKeys,
    recipient: Recipient,
    request: CertificateRequest,
    signature: Vec<u8>,
}

/// The prefix of the encoding: the program, the version of the encoding, its purpose.
const DOMAIN: &[u8] = b"reshare/v1/party\0";

/// The file, unchecked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    version: u64,
    party: u64,
    name: String,
    agreement_keys: String,
    recipient: String,
    certificate_request: String,
    signature: String,
}

impl PublicParty {
    /// The schema that each file names.
    pub const SCHEMA: &str = "reshare-party";
    /// The version of the file that this program writes, and the only one that it reads.
    pub const VERSION: u64 = 1;
    /// The largest file that is read, in bytes: one has some 6,000.
    pub const MAX_BYTES: u64 = 64 << 10;

    /// Signs what a party gives away with the private key of its certificate request, which is in a
    /// file.
    ///
    /// # Errors
    /// A [`PartyDefect`] when the key cannot be read, or is not that of the request.
    pub fn sign(
        party: PartyId,
        keys: AgreementPublicKeys,
        recipient: Recipient,
        request: CertificateRequest,
        key: &Path,
    ) -> Result<Self, PartyDefect> {
        let key = KeyPair::from_pem(&read_private(key)?).map_err(RequestError::from)?;
        let mut signed = Self { party, keys, recipient, request, signature: Vec::new() };
        signed.signature = key.sign(&signed.fingerprint().0).map_err(RequestError::from)?;
        signed.verify()?;
        Ok(signed)
    }

    /// Reads a file, and verifies its signature and that of its certificate request.
    ///
    /// # Errors
    /// A [`PartyError`] that names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, PartyError> {
        let read = || Self::parse(&read_input(path, Self::MAX_BYTES).on("read", path)?);
        read().map_err(|defect| PartyError { path: path.to_owned(), defect })
    }

    /// As [`Self::load`], from the bytes of a file.
    ///
    /// # Errors
    /// A [`PartyDefect`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PartyDefect> {
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(PartyDefect::TooLarge { limit: Self::MAX_BYTES });
        }
        let document: Document =
            serde_json::from_slice(without_bom(bytes)).map_err(PartyDefect::Json)?;
        if document.schema != Self::SCHEMA || document.version != Self::VERSION {
            return Err(PartyDefect::Schema { got: document.schema, version: document.version });
        }
        let request = CertificateRequest::from_pem(&document.certificate_request)?;
        if request.name().as_str() != document.name {
            let asked = request.name().clone();
            return Err(PartyDefect::OtherName { name: document.name, asked });
        }
        let keys = AgreementPublicKeys::from_pem(&document.agreement_keys)?;
        let signature = STANDARD.decode(&document.signature).map_err(|_| PartyDefect::Base64)?;
        let party = Self {
            party: document.party.try_into().map_err(PartyDefect::Party)?,
            keys,
            recipient: parse_recipient(&document.recipient).map_err(PartyDefect::Recipient)?,
            request,
            signature,
        };
        party.verify()?;
        Ok(party)
    }

    /// The usual name of a party's file.
    #[must_use]
    pub fn file_name(party: PartyId) -> String {
        format!("party-{party}.public.json")
    }

    /// Its number.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.party
    }

    /// The name in its certificate.
    #[must_use]
    pub fn name(&self) -> &CertificateName {
        self.request.name()
    }

    /// What the other sender agrees on a key with, when this party sends.
    #[must_use]
    pub fn agreement_keys(&self) -> &AgreementPublicKeys {
        &self.keys
    }

    /// What parts are sealed for, when this party receives.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The request for its certificate.
    #[must_use]
    pub fn request(&self) -> &CertificateRequest {
        &self.request
    }

    /// The fingerprint of everything but the signature: BLAKE3 over a length-prefixed encoding.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut encoding = Encoding::new(DOMAIN);
        encoding.number("version", Self::VERSION);
        encoding.number("party", self.party.index().into());
        encoding.field("name", self.name().as_str().as_bytes());
        encoding.field("agreement_keys", self.keys.to_pem().as_bytes());
        encoding.field("recipient", self.recipient.to_string().as_bytes());
        encoding.field("certificate_request", self.request.pem().as_bytes());
        encoding.finish()
    }

    fn verify(&self) -> Result<(), RequestError> {
        self.request.verify(&self.fingerprint().0, &self.signature)
    }

    /// The bytes of the file: JSON that ends with a line feed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = Document {
            schema: Self::SCHEMA.to_owned(),
            version: Self::VERSION,
            party: self.party.index().into(),
            name: self.name().as_str().to_owned(),
            agreement_keys: self.keys.to_pem(),
            recipient: self.recipient.to_string(),
            certificate_request: self.request.pem().to_owned(),
            signature: STANDARD.encode(&self.signature),
        };
        let mut bytes = serde_json::to_vec_pretty(&document).expect("numbers and texts are JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// A file that is no party's public half.
#[derive(Debug, thiserror::Error)]
#[error("public file of a party {}", path.display())]
pub struct PartyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub defect: PartyDefect,
}

impl Refusable for PartyError {
    fn is_refusal(&self) -> bool {
        !matches!(self.defect, PartyDefect::Read(_))
    }
}

/// What is wrong with a party's public half.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartyDefect {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// Far larger than any.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Not JSON, or other fields.
    #[error("it is not what `reshare party init` writes")]
    Json(#[source] serde_json::Error),
    /// Of another program or version.
    #[error(
        "it is {got} in version {version}, not {} in version {}",
        PublicParty::SCHEMA,
        PublicParty::VERSION
    )]
    Schema {
        /// The schema in the file.
        got: String,
        /// Its version.
        version: u64,
    },
    /// No party has that number.
    #[error("party")]
    Party(#[source] PartyOutOfRange),
    /// The name is not the certificate's.
    #[error("the name is {name}, but the certificate request asks for {asked}")]
    OtherName {
        /// In the file.
        name: String,
        /// In the request.
        asked: CertificateName,
    },
    /// The agreement keys are none.
    #[error("agreement_keys")]
    Keys(#[from] PublicKeyError),
    /// The recipient is none.
    #[error("recipient")]
    Recipient(#[source] RecipientError),
    /// The signature is no Base64.
    #[error("signature: it is not Base64")]
    Base64,
    /// The request is at fault, or a signature.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The private key cannot be read.
    #[error(transparent)]
    Key(#[from] PrivateFileError),
}
