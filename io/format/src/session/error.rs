//! Why a session file is refused.

use reshare_engine::layout::LayoutError;
use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::timestamp::Timestamp;
use time::OffsetDateTime;

use crate::keys::NameError;
use crate::keys::certificate::CertificateName;
use crate::keys::{PublicKeyError, RecipientError};

/// Why there is no session. Keys are named as they stand in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// The text is far larger than any session.
    #[error("the session file is larger than {limit} bytes")]
    TooLarge {
        /// The largest that is read.
        limit: u64,
    },
    /// The file is not UTF-8.
    #[error("the session file is not UTF-8 text")]
    NoText,
    /// No TOML, or a key that is unknown, missing, given twice or of another type.
    ///
    /// Without the line's text: the file may be something else, such as a key.
    #[error("session file, line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A protocol version of another program.
    #[error("version: this session has protocol version {got}, this program speaks {expected}")]
    Version {
        /// The version in the file.
        got: u64,
        /// The version of this program.
        expected: u64,
    },
    /// A name that breaks its rule.
    #[error("{key} is not usable")]
    Name {
        /// The key in the file.
        key: String,
        /// The rule.
        source: NameError,
    },
    /// Not so many bytes in lower-case hexadecimal.
    #[error("{key}: expected {bytes} bytes as {chars} lower-case hexadecimal digits", chars = 2 * bytes)]
    Hex {
        /// The key in the file.
        key: &'static str,
        /// How many bytes belong there.
        bytes: usize,
    },
    /// Not a whole second in UTC.
    #[error(
        "{key}: {got} is not a whole second in UTC between 1970 and 9999, like 2026-08-21T00:00:00Z"
    )]
    Time {
        /// The key in the file.
        key: &'static str,
        /// What is there.
        got: String,
    },
    /// It would end before it begins.
    #[error("not_after: {} is not later than not_before, {}", Timestamp::from(*not_after), Timestamp::from(*not_before))]
    Period {
        /// Its first second.
        not_before: OffsetDateTime,
        /// Its last second.
        not_after: OffsetDateTime,
    },
    /// Neither a range nor a list, or some of both.
    #[error("ids: either start (and end) or list_blake3 and list_count belong here")]
    IdsForm,
    /// A range without an id.
    #[error("ids.end: the range from {start} to {end} (exclusive) holds no id")]
    EmptyRange {
        /// Its start.
        start: i64,
        /// Its exclusive end.
        end: i64,
    },
    /// A list without an id.
    #[error("ids.list_count: the list holds no id")]
    EmptyList,
    /// A party that the ring has no point for.
    #[error("{key} is not usable")]
    Party {
        /// The key in the file.
        key: String,
        /// The range.
        source: PartyOutOfRange,
    },
    /// Another number of senders than two.
    #[error("senders: there are {got}, exactly two are needed")]
    SenderCount {
        /// How many there are.
        got: usize,
    },
    /// A party with two roles.
    #[error("party: {party} is named twice; both senders and the receiver must differ")]
    RepeatedParty {
        /// The party.
        party: PartyId,
    },
    /// A key of ML-KEM-768 that is none.
    #[error("senders.encapsulation_key is not usable")]
    EncapsulationKey {
        /// Why.
        source: PublicKeyError,
    },
    /// A key of ML-KEM-768 that nobody encapsulates for.
    #[error(
        "senders.encapsulation_key: party {party} has one, but only the sender with the lower party \
         id needs one"
    )]
    MisplacedEncapsulationKey {
        /// The sender with the higher party id.
        party: PartyId,
    },
    /// A ciphertext that no certificate would sign.
    #[error(
        "senders.encapsulation_key: it is there, but no certificates are, and what is encapsulated \
         for it travels in an approval that is signed with one"
    )]
    UnsignedEncapsulation,
    /// The senders' secret would rest on P-256 alone.
    #[error(
        "neither senders.encapsulation_key nor shared_key_id is there: a large quantum computer \
         would find the senders' secret"
    )]
    NotHybrid,
    /// A public key that is none.
    #[error("{key} is not usable")]
    AgreementKey {
        /// The key in the file.
        key: String,
        /// Why.
        source: PublicKeyError,
    },
    /// Both senders with one key.
    #[error("senders.agreement_key: both senders have the same key; each needs its own")]
    RepeatedAgreementKey,
    /// An age recipient that is none.
    #[error("receiver.age_recipient is not usable")]
    Recipient {
        /// Why.
        source: RecipientError,
    },
    /// Certificate facts of some parties only.
    #[error(
        "{key} is missing: certificate names of all three parties and trust.ca_sha256 belong together"
    )]
    CertificatesIncomplete {
        /// The key that is missing.
        key: &'static str,
    },
    /// One certificate name for two parties.
    #[error("certificate_name: {name} is named twice; each party needs its own")]
    RepeatedCertificateName {
        /// The name.
        name: CertificateName,
    },
    /// A table or column name that PostgreSQL cannot have or nobody should.
    #[error("{key}: {name:?} must have 1 to 63 bytes and no control characters")]
    SqlName {
        /// The key in the file.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// The id column among the others.
    #[error("table.id_column: {name:?} is also an agree or share column")]
    RepeatedColumn {
        /// The name.
        name: String,
    },
    /// Columns that make no row.
    #[error("table.agree, table.share: these columns are not usable")]
    Layout {
        /// Why.
        #[from]
        source: LayoutError,
    },
    /// A part size that no row fits, or that is too large.
    #[error("max_part_bytes: {got} is outside of {min} (one row) to {max}")]
    MaxPartBytes {
        /// What is there.
        got: u64,
        /// What one row takes.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// What travels with the session is no certificate, or that of another authority.
    #[error("{key}")]
    Carried {
        /// The key in the file.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: crate::keys::certificate::CertificateError,
    },
    /// A URL that is none.
    #[error("transport.server_url: expected https:// and a host, in printable ASCII")]
    ServerUrl,
    /// Its time has not come.
    #[error("the session begins at {}; this machine's clock says {}", Timestamp::from(*not_before), Timestamp::from(*now))]
    NotYetValid {
        /// Its first second.
        not_before: OffsetDateTime,
        /// The moment asked about.
        now: OffsetDateTime,
    },
    /// Its time is over.
    #[error("the session ended at {}; this machine's clock says {}", Timestamp::from(*not_after), Timestamp::from(*now))]
    Expired {
        /// Its last second.
        not_after: OffsetDateTime,
        /// The moment asked about.
        now: OffsetDateTime,
    },
    /// The system gives no random bytes for a nonce.
    #[error("the system gives no random bytes")]
    Random,
}

impl Refusable for SessionError {}
