//! What can go wrong at the sending end.

use std::io;
use std::time::Duration;

use reshare_files::fault::Refusable;
use reshare_format::package::{PackageError, PartName};

use super::identity::IdentityError;
use super::refusal::CLOSED;

/// Why a delivery ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The package's signature cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The session and the command line name no receiver, or not by a URL that is understood.
    #[error("{url:?} is no URL of a receiver: https://HOST[:PORT]")]
    Url {
        /// What was given.
        url: String,
    },
    /// This party cannot prove who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The other end is not the receiver of the session.
    #[error("{host} does not prove that it is the receiver of this session: {why}")]
    NotTheReceiver {
        /// Where it was looked for.
        host: String,
        /// What its certificate lacks.
        why: String,
    },
    /// The other end knows no hybrid key exchange.
    #[error(
        "{host} takes no hybrid key exchange (X25519MLKEM768), and this sender offers nothing else"
    )]
    NoHybridKeyExchange {
        /// Where the receiver was looked for.
        host: String,
    },
    /// The receiver closed the door on this party's certificate.
    #[error("the receiver at {host} refuses this party's certificate: {why}")]
    CertificateRefused {
        /// The receiver.
        host: String,
        /// What its alert means.
        why: &'static str,
    },
    /// The receiver refused a request; trying again does not help.
    #[error("the receiver refuses {what}: {message} ({status} {reason})")]
    Refused {
        /// What was asked.
        what: String,
        /// The status of the answer.
        status: u16,
        /// The reason in one word.
        reason: String,
        /// The reason for people.
        message: String,
    },
    /// Network or receiver fail for too long.
    #[error("{what} did not succeed in {} s and {attempts} attempts", tried.as_secs())]
    GaveUp {
        /// What was asked.
        what: String,
        /// For how long it was tried.
        tried: Duration,
        /// How often.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<AttemptError>,
    },
    /// The answer is none that a receiver gives.
    #[error("the receiver's answer to {what} is not understood")]
    Answer {
        /// What was asked.
        what: String,
    },
    /// A file of the package cannot be read, or its size has changed.
    #[error("a file of the package cannot be read")]
    Read(#[source] hyper::Error),
    /// The receiver has closed the package in the middle of a run: a manifest that an earlier process
    /// of this sender had sent was taken only now.
    #[error("the receiver has closed this package meanwhile, as an earlier run had asked it to")]
    ClosedMeanwhile,
    /// The receiver has closed a package of other content.
    #[error("the receiver has closed this package with another manifest")]
    ClosedOtherwise,
    /// The receiver has a part that this sender has no record of.
    #[error("the receiver has {part} of this sender, and nothing here has a record of it")]
    UnknownPart {
        /// The part.
        part: PartName,
    },
    /// The run was asked to stop.
    #[error("stopped on request; what was delivered stays")]
    Stopped,
    /// Parts cannot be uploaded at the same time.
    #[error("an upload ended unexpectedly: this is a defect of reshare")]
    WorkerLost,
}

impl ClientError {
    /// Whether the receiver had no room on its disk for as long as it was tried.
    #[must_use]
    pub fn is_receiver_full(&self) -> bool {
        let Self::GaveUp { source, .. } = self else { return false };
        matches!(**source, AttemptError::Later { status: INSUFFICIENT_STORAGE, .. })
    }
}

impl ClientError {
    /// Whether the receiver takes nothing more, since the package is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason == CLOSED)
    }
}

impl Refusable for ClientError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::GaveUp { .. }
            | Self::Read(_)
            | Self::Stopped
            | Self::WorkerLost
            | Self::ClosedMeanwhile => false,
            Self::Package(error) => error.is_refusal(),
            _ => true,
        }
    }
}

/// The status of a receiver whose disk is full.
const INSUFFICIENT_STORAGE: u16 = 507;

/// Why one attempt failed that may be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// There is no connection to the receiver.
    #[error("cannot connect to {host}")]
    Connect {
        /// The receiver.
        host: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    /// The receiver asks to try later.
    #[error("the receiver answers {status}: {message}")]
    Later {
        /// The status of the answer.
        status: u16,
        /// The reason in one word.
        reason: String,
        /// The reason for people.
        message: String,
    },
    /// It took too long.
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
}
