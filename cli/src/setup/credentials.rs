//! Certificates, approvals and the authority, from flags.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_exchange::{TlsFiles, TlsIdentity};
use reshare_files::file_error::OnFile;
use reshare_files::input_file::read_input;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::session::{
    Approval, ApprovalError, Approvals, Session, SessionTrust, StatementError,
};
use reshare_pipeline::sender::SenderCredentials;
use time::OffsetDateTime;

use crate::args::{AuthorityArgs, CertificateArgs, CredentialArgs};
use crate::failure::Failure;
use crate::hints::{CLOCKS, certificate_hint};

/// The session's authority, where it names one: the flag must then be there, and else not.
pub(crate) fn trust(
    session: &Session,
    args: &AuthorityArgs,
) -> Result<Option<SessionTrust>, Failure> {
    match (session.ca_sha256(), &args.ca_file) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let error = "--ca-file is given, but this session uses no certificates";
            Err(Failure::usage(error).hint("drop it, or make a session with --certificate-name"))
        }
        (Some(sha256), None) => {
            let error = "this session uses certificates: --ca-file is needed";
            let hint = format!("the authority's certificate has SHA-256 {}", hex::encode(sha256));
            Err(Failure::usage(error).hint(hint))
        }
        (Some(_), Some(path)) => {
            let trust = SessionTrust::load(session, path).map_err(|error| {
                Failure::of_file(error, "--ca-file")
                    .hint("give the certificate of the authority that the session was made with")
            })?;
            Ok(Some(trust))
        }
    }
}

/// This party's certificate and key.
pub(crate) fn certificate(args: &CertificateArgs) -> Result<PartyCertificate, Failure> {
    let (Some(certificate), Some(key)) = (&args.certificate, &args.certificate_key) else {
        let error =
            "this session uses certificates: --certificate and --certificate-key are needed";
        return Err(Failure::usage(error));
    };
    PartyCertificate::load(certificate, key).map_err(|error| {
        let hint = certificate_hint(&error);
        Failure::of_file(error, "--certificate and --certificate-key").hint(hint)
    })
}

/// What this party proves its name with over the network, from the same flags.
pub(crate) fn identity(session: &Session, args: &CredentialArgs) -> Result<TlsIdentity, Failure> {
    let CredentialArgs { authority, certificate, .. } = args;
    let files = (&certificate.certificate, &certificate.certificate_key, &authority.ca_file);
    let (Some(certificate), Some(certificate_key), Some(ca_file)) = files else {
        let error = "a delivery needs --certificate, --certificate-key and --ca-file";
        return Err(Failure::usage(error));
    };
    let [certificate, certificate_key, ca_file] =
        [certificate, certificate_key, ca_file].map(Clone::clone);
    let files = TlsFiles { certificate, certificate_key, ca_file };
    Ok(TlsIdentity::load(&files, session)?)
}

/// The approvals without which a sender blinds nothing.
pub(crate) fn approvals(
    session: &Session,
    trust: &SessionTrust,
    sender: PartyId,
    files: &[PathBuf],
    fetched: Vec<Approval>,
) -> Result<Approvals, Failure> {
    let now = OffsetDateTime::now_utc();
    let approvals = match fetched.is_empty() {
        true => Approvals::load(session, trust, sender, files, now),
        false => {
            let loaded = files.iter().map(|path| Approval::load(path));
            let all: Result<Vec<_>, _> = loaded.chain(fetched.into_iter().map(Ok)).collect();
            all.and_then(|all| Approvals::verify(session, trust, sender, &all, now))
        }
    };
    approvals.map_err(|error| {
        let hint = match &error {
            error if is_in_future(error) => CLOCKS,
            _ => {
                "the receiver and the other sender run `reshare session approve` on the session \
                 file they agreed to; give what it writes with --approval FILE, or all give it with \
                 --own-approval FILE"
            }
        };
        Failure::of_file(error, "--approval").hint(hint)
    })
}

/// Reads this party's own approval, to be given to others.
pub(crate) fn own_approval(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read_input(path, Approval::MAX_BYTES).on("read", path);
    bytes.map_err(|error| {
        let hint = "give what `reshare session approve` wrote with --own-approval";
        Failure::of(error).hint(hint)
    })
}

fn is_in_future(error: &ApprovalError) -> bool {
    match error {
        ApprovalError::File { source, .. } => is_in_future(source),
        error => matches!(error, ApprovalError::Statement(StatementError::InFuture { .. })),
    }
}

/// Checks that a sender's certificate and its agreement key are one party's. Otherwise the approvals
/// that this party was given would seem to be the wrong ones.
pub(crate) fn check_one_party(
    trust: &SessionTrust,
    certificate: &PartyCertificate,
    by_key: PartyId,
) -> Result<(), Failure> {
    match trust.party_of(certificate.chain()) {
        Ok(named) if named != by_key => {
            let error = format!(
                "the certificate is party {named}'s, but the agreement key is party {by_key}'s"
            );
            let hint = "give --certificate, --certificate-key and --agreement-key of one party";
            Err(Failure::refused(error).hint(hint))
        }
        // What else may be wrong with it is said where it is verified.
        _ => Ok(()),
    }
}

/// The certificate and the verified approvals of a sender, where the session uses certificates.
pub(super) fn sender_credentials(
    session: &Session,
    sender: PartyId,
    args: &CredentialArgs,
    fetched: Vec<Approval>,
) -> Result<Option<SenderCredentials>, Failure> {
    let Some(trust) = trust(session, &args.authority)? else {
        if !args.approvals.is_empty() {
            let error = "--approval is given, but this session uses no certificates";
            return Err(Failure::usage(error));
        }
        return Ok(None);
    };
    let certificate = certificate(&args.certificate)?;
    check_one_party(&trust, &certificate, sender)?;
    let approvals = approvals(session, &trust, sender, &args.approvals, fetched)?;
    Ok(Some(SenderCredentials { trust, certificate, approvals }))
}
