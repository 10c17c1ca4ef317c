//! Why a network file is refused, and why a session is not one of its network.

use std::io;
use std::path::PathBuf;

use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::fault::Refusable;
use reshare_files::private::OtherWriters;

use crate::keys::NameError;
use crate::keys::certificate::CertificateName;

/// A network file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("network file {}", path.display())]
pub struct NetworkError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub defect: NetworkDefect,
}

impl Refusable for NetworkError {}

impl NetworkError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(&self.defect, NetworkDefect::Read(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// What is wrong with a network file. Keys are named as they stand in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkDefect {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It cannot be written.
    #[error("cannot write it")]
    Write(#[source] io::Error),
    /// Who may write it could give a party a second evaluation point.
    #[error(transparent)]
    Writers(OtherWriters),
    /// Far larger than any network.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The most that are read.
        limit: u64,
    },
    /// No UTF-8.
    #[error("it is not UTF-8 text")]
    NoText,
    /// No TOML, or a key that is unknown, missing, given twice or of another type.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Of another version of the program.
    #[error("version: it has version {got}, this program reads {expected}")]
    Version {
        /// The version in the file.
        got: u64,
        /// The version of this program.
        expected: u64,
    },
    /// No digest.
    #[error("trust.ca_sha256: expected 64 lower-case hexadecimal digits")]
    Hex,
    /// A party that the ring has no point for.
    #[error("parties.party is not usable")]
    Party(#[source] PartyOutOfRange),
    /// A name that breaks its rule.
    #[error("parties.certificate_name is not usable")]
    Name(#[source] NameError),
    /// A number or a name that is there twice.
    #[error(transparent)]
    Taken(#[from] NumberTaken),
    /// The same party twice.
    #[error("parties: party {party} is there twice")]
    Repeated {
        /// The party.
        party: PartyId,
    },
}

/// A party that would get a second number, or a number that would get a second party.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberTaken {
    /// The name has another number.
    #[error(
        "{name} is party {has} already: with the number {party} it would get a second evaluation \
         point, and could compute every record alone"
    )]
    Name {
        /// The name.
        name: CertificateName,
        /// The number it has.
        has: PartyId,
        /// The number it should get.
        party: PartyId,
    },
    /// The number has another name.
    #[error(
        "party {party} is {has} already: {name} would get the same evaluation point, and a number \
         has one holder"
    )]
    Number {
        /// The number.
        party: PartyId,
        /// The name it has.
        has: CertificateName,
        /// The name it should get.
        name: CertificateName,
    },
}

impl Refusable for NumberTaken {}

/// Why a session is none of this network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutsideNetwork {
    /// A party of the network under another number.
    #[error(
        "the session has {name} as party {got}, but in the network it is party {number}: {SECOND}"
    )]
    OtherNumber {
        /// The party's name.
        name: CertificateName,
        /// Its number in the network.
        number: PartyId,
        /// Its number in the session.
        got: PartyId,
    },
    /// A number of the network under another name.
    #[error(
        "the session has {name} as party {party}, but in the network party {party} is {known}: \
         {SECOND}"
    )]
    OtherName {
        /// The number.
        party: PartyId,
        /// Its name in the network.
        known: CertificateName,
        /// Its name in the session.
        name: CertificateName,
    },
    /// Neither number nor name is known.
    #[error("party {party}, {name}, is not in the network: {SECOND}")]
    Unknown {
        /// The number in the session.
        party: PartyId,
        /// The name in the session.
        name: CertificateName,
    },
    /// Certificates of another authority.
    #[error(
        "the session trusts the authority with SHA-256 {got}, the network trusts {expected}: an \
         authority can give any party any name, and so a second evaluation point"
    )]
    OtherAuthority {
        /// The network's.
        expected: String,
        /// The session's.
        got: String,
    },
    /// A session that names no certificates.
    #[error(
        "the session uses no certificates: nothing in it shows which party of the network has \
         which evaluation point"
    )]
    NoCertificates,
}

impl Refusable for OutsideNetwork {}

/// Why each party has one number.
const SECOND: &str = "a party that gets shares at a second evaluation point can compute every \
                      record alone";
