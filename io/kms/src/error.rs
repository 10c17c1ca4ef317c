//! What can go wrong between this program and KMS.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use reshare_files::fault::Refusable;
use reshare_format::keys::{KmsKeyId, PublicKeyError};

/// The longest text of an answer that an error repeats, in characters.
const MAX_MESSAGE_CHARS: usize = 600;

/// A request to KMS, by the name that policies use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KmsAction {
    /// Reads the public half of a key.
    GetPublicKey,
    /// Agrees on a secret.
    DeriveSharedSecret,
    /// Makes a key.
    CreateKey,
}

impl fmt::Display for KmsAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GetPublicKey => "kms:GetPublicKey",
            Self::DeriveSharedSecret => "kms:DeriveSharedSecret",
            Self::CreateKey => "kms:CreateKey",
        })
    }
}

/// Why KMS gave no key or no secret. Never holds any of the secret, nor a whole answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// Neither the key's name nor the environment names a region.
    #[error("no AWS region: the key is not named by an ARN, and the environment names none")]
    NoRegion,
    /// There are no credentials at all.
    #[error("no AWS credentials found")]
    NoCredentials(#[source] CredentialsError),
    /// There should be credentials, but they cannot be got.
    #[error("the AWS credentials cannot be loaded")]
    CredentialsFailed(#[source] CredentialsError),
    /// KMS does not take the credentials.
    #[error("KMS does not accept the AWS credentials ({code}: {message})")]
    CredentialsRejected {
        /// AWS's name of the error.
        code: String,
        /// What KMS says.
        message: String,
    },
    /// No answer: the endpoint cannot be reached.
    #[error("KMS cannot be reached for {action}")]
    Unreachable {
        /// The request.
        action: KmsAction,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("KMS did not answer {action} in time")]
    TimedOut {
        /// The request.
        action: KmsAction,
    },
    /// Too many requests of the account.
    #[error("KMS answers {action} with {code}: too many requests")]
    Throttled {
        /// The request.
        action: KmsAction,
        /// AWS's name of the error.
        code: String,
    },
    /// KMS is in trouble itself.
    #[error("KMS is not able to answer {action} now ({code}: {message})")]
    Unavailable {
        /// The request.
        action: KmsAction,
        /// AWS's name of the error, or the HTTP status.
        code: String,
        /// What KMS says.
        message: String,
    },
    /// A policy does not allow it.
    #[error("no permission for {action} on {} ({message})", key_text(key))]
    AccessDenied {
        /// The request.
        action: KmsAction,
        /// The key, where it is about one.
        key: Option<KmsKeyId>,
        /// What KMS says: who asked for what.
        message: String,
    },
    /// There is no such key.
    #[error("there is no key {} in KMS ({message})", key_text(key))]
    NotFound {
        /// The key.
        key: Option<KmsKeyId>,
        /// What KMS says.
        message: String,
    },
    /// The key is disabled.
    #[error("the key {} is disabled", key_text(key))]
    Disabled {
        /// The key.
        key: Option<KmsKeyId>,
    },
    /// The key waits to be deleted, or for its material.
    #[error("the key {} is in no state to be used ({message})", key_text(key))]
    State {
        /// The key.
        key: Option<KmsKeyId>,
        /// What KMS says.
        message: String,
    },
    /// The key is for something else.
    #[error("the key {key} is {usage}: an agreement key has the usage KEY_AGREEMENT")]
    Usage {
        /// The key.
        key: KmsKeyId,
        /// Its usage.
        usage: String,
    },
    /// The key is of another curve.
    #[error("the key {key} is {spec}: an agreement key is ECC_NIST_P256")]
    Curve {
        /// The key.
        key: KmsKeyId,
        /// Its kind.
        spec: String,
    },
    /// The public half is not valid.
    #[error("the public half of {key} is no agreement key")]
    PublicKey {
        /// The key.
        key: KmsKeyId,
        /// Why.
        source: PublicKeyError,
    },
    /// The other side's key is one's own.
    #[error("the other sender's agreement key is this sender's own: each sender needs its own key")]
    OwnKey,
    /// KMS refuses for another reason.
    #[error("KMS refuses {action} on {} ({code}: {message})", key_text(key))]
    Refused {
        /// The request.
        action: KmsAction,
        /// The key, where it is about one.
        key: Option<KmsKeyId>,
        /// AWS's name of the error.
        code: String,
        /// What KMS says.
        message: String,
    },
    /// The answer is not what it must be.
    #[error("the answer to {action} makes no sense: {what}")]
    Answer {
        /// The request.
        action: KmsAction,
        /// What is wrong.
        what: &'static str,
    },
    /// The request could not be made.
    #[error("the request {action} could not be made")]
    Request {
        /// The request.
        action: KmsAction,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A key was made, and then its public half could not be read.
    #[error("the key {arn} has been made, but its public half cannot be read")]
    Created {
        /// The new key.
        arn: KmsKeyId,
        /// Why.
        source: Box<KmsError>,
    },
}

impl Refusable for KmsError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::NoRegion
            | Self::NoCredentials(_)
            | Self::CredentialsFailed(_)
            | Self::CredentialsRejected { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Request { .. } => false,
            Self::Created { source, .. } => source.is_refusal(),
            _ => true,
        }
    }
}

impl KmsError {
    /// Keeps the facts of a failed request and drops the answer, which may hold a secret.
    pub(super) fn of<E>(error: SdkError<E>, action: KmsAction, key: Option<&KmsKeyId>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match error {
            SdkError::ServiceError(answer) => {
                let meta = answer.err().meta();
                let status = status.map(|status| format!("HTTP {status}")).unwrap_or_default();
                let code = meta.code().map_or(status, printable);
                let message = printable(meta.message().unwrap_or("no reason given"));
                Self::of_answer(code, message, answer.raw().status().as_u16(), action, key)
            }
            SdkError::TimeoutError(_) => Self::TimedOut { action },
            SdkError::ResponseError(_) => Self::Answer { action, what: "not as AWS writes it" },
            error => {
                let unreachable = matches!(error, SdkError::DispatchFailure(_));
                match error.into_source() {
                    Ok(source) => Self::of_cause(source, unreachable, action),
                    Err(_) => Self::Answer { action, what: "an error of an unknown kind" },
                }
            }
        }
    }

    /// Tells missing credentials from a network that does not work.
    fn of_cause(
        source: Box<dyn Error + Send + Sync>,
        unreachable: bool,
        action: KmsAction,
    ) -> Self {
        let source = match source.downcast::<ConnectorError>() {
            Ok(error) => error.into_source(),
            Err(source) => source,
        };
        match source.downcast::<CredentialsError>() {
            Ok(error) if matches!(*error, CredentialsError::CredentialsNotLoaded(_)) => {
                Self::NoCredentials(*error)
            }
            Ok(error) => Self::CredentialsFailed(*error),
            Err(source) if unreachable => Self::Unreachable { action, source },
            Err(source) => Self::Request { action, source },
        }
    }

    fn of_answer(
        code: String,
        message: String,
        status: u16,
        action: KmsAction,
        key: Option<&KmsKeyId>,
    ) -> Self {
        let key = key.cloned();
        match (code.as_str(), key) {
            ("AccessDeniedException" | "AccessDenied", key) => {
                Self::AccessDenied { action, key, message }
            }
            ("NotFoundException", key) => Self::NotFound { key, message },
            ("DisabledException", key) => Self::Disabled { key },
            ("KMSInvalidStateException", key) => Self::State { key, message },
            ("InvalidKeyUsageException" | "UnsupportedOperationException", Some(key)) => {
                Self::Usage { key, usage: format!("not made for {action}") }
            }
            (code, _) if THROTTLED.contains(&code) => {
                Self::Throttled { action, code: code.to_owned() }
            }
            (code, _) if REJECTED_CREDENTIALS.contains(&code) => {
                Self::CredentialsRejected { code: code.to_owned(), message }
            }
            (code, _) if status >= 500 || PASSING.contains(&code) => {
                Self::Unavailable { action, code: code.to_owned(), message }
            }
            (_, key) => Self::Refused { action, key, code, message },
        }
    }
}

/// Errors of an account that asks too often.
const THROTTLED: [&str; 4] =
    ["ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"];

/// Errors of KMS that pass.
const PASSING: [&str; 3] =
    ["KeyUnavailableException", "KMSInternalException", "DependencyTimeoutException"];

/// Errors about who asks, or when: a signature is of its minute.
const REJECTED_CREDENTIALS: [&str; 12] = [
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
];

fn key_text(key: &Option<KmsKeyId>) -> &str {
    key.as_ref().map_or("a new key", KmsKeyId::as_str)
}

/// A text of the answer, cut, and without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_MESSAGE_CHARS).collect()
}
