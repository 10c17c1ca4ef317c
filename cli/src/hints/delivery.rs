//! What to do about a delivery, at the sender and at the receiver.

use reshare_exchange::{ClientError, InboxDefect, InboxError, ServerError};

use super::certificate::identity_hint;
use super::ledger::UNKNOWN_PART;
use super::package::CLOCKS;
use crate::failure::Failure;

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = client_hint(&error);
        Self::of(error).hint_if(hint)
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Identity(error) => error.into(),
            error => Self::failed(error).hint("give another address with --listen"),
        }
    }
}

impl From<InboxError> for Failure {
    fn from(error: InboxError) -> Self {
        let hint = inbox_hint(&error);
        Self::of(error).hint_if(hint)
    }
}

/// What a sender does when a delivery ends.
fn client_hint(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        error if error.is_receiver_full() => {
            "have the receiver's operator make room on the disk of its --inbox, then run the same \
             command again: it continues where it stopped"
        }
        ClientError::GaveUp { .. } => "run the same command again: it continues where it stopped",
        ClientError::Identity(error) => return identity_hint(error),
        ClientError::NotTheReceiver { .. } => {
            "check --server-url, this machine's clock, and that the receiver's certificate has its \
             session name"
        }
        ClientError::NoHybridKeyExchange { .. } => {
            "check that the other end is `reshare receive`, and that nothing on the way ends TLS: nginx \
             must pass it through. --classic-tls offers X25519 too"
        }
        ClientError::CertificateRefused { .. } => {
            "give this sender's certificate, made by the session's authority and valid by both machines' clocks: compare \
             them"
        }
        ClientError::Refused { message, .. } if message.contains("has not come yet") => CLOCKS,
        ClientError::Refused { reason, .. } => return refusal_hint(reason),
        ClientError::UnknownPart { .. } => UNKNOWN_PART,
        ClientError::ClosedMeanwhile => {
            "run the same command again: it compares what the receiver has with the ledger"
        }
        ClientError::ClosedOtherwise => "what was delivered first stands: use a new session",
        _ => return None,
    })
}

/// What a sender does about a request that the receiver refuses.
fn refusal_hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "part-missing" | "other-part" => {
            "another run delivered at the same time: run the same command again, alone"
        }
        "other-digest" => {
            "a file of the package was changed since it was made: make the package again"
        }
        "other-session" | "other-party" | "manifest" | "signature" | "part-record"
        | "too-large" => {
            "compare `reshare session show` with the receiver: both must have one session file"
        }
        "too-many-parts" => {
            "ask the receiver to start again with a larger --max-parts, or make the package again \
             with fewer parts: give a larger --batch-size"
        }
        "package-too-large" => {
            "ask the receiver to start again with a larger --max-package-bytes, if its disk has the \
             room; then run the same command again: what was delivered stays"
        }
        "used" => {
            "rows of these ids are loaded at the receiver: what has changed since belongs to a new \
             session"
        }
        "closed" => "what was delivered first stands: use a new session",
        _ => return None,
    })
}

/// What to do about an inbox.
fn inbox_hint(error: &InboxError) -> Option<&'static str> {
    Some(match error {
        InboxError::InUse { .. } => {
            "end the other `reshare receive` first, or give each its own --inbox"
        }
        InboxError::Defect { defect: InboxDefect::Extra, .. } => {
            "move it out of the inbox, or name another --inbox"
        }
        InboxError::Defect { .. } => "give a session an --inbox of its own",
        InboxError::Package { .. } => {
            "move this directory out of the inbox, start again, and have its sender deliver it \
             again; the other sender's package stays"
        }
        InboxError::File(_) => {
            "check --inbox, that this user may write there, and the disk; then start again: what \
             was delivered stays"
        }
        InboxError::NoAuthority(_) => "give the authority's certificate with --ca-file",
        _ => return None,
    })
}
