//! `reshare session approve`.

use std::path::{Path, PathBuf};

use clap::Args;
use reshare_io::durable;
use reshare_io::session::{Approval, parse_fingerprint};
use time::OffsetDateTime;

use super::context::load_session;
use super::credentials::{certificate, trust};
use super::session::show;
use crate::args::{AuthorityArgs, CertificateArgs, OutputArgs};
use crate::exit::{Exit, Failure, Outcome};

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The session file
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    session: PathBuf,

    /// The fingerprint that was agreed on, to be compared
    #[arg(long, value_name = "HEX")]
    expect_fingerprint: Option<String>,

    /// This party, to be compared with the certificate's
    #[arg(long, value_name = "PARTY", env = "RESHARE_PARTY_ID")]
    party_id: Option<u64>,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    certificate: CertificateArgs,

    /// Write the approval to this file, for the senders [default: approval-PARTY.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ApproveArgs {
    pub(super) fn run(&self, output: &OutputArgs) -> Outcome {
        let session = load_session(&self.session)?;
        if let Some(expected) = &self.expect_fingerprint {
            let expected = parse_fingerprint(expected).map_err(Failure::usage)?;
            session.check_fingerprint(expected).map_err(Failure::refused)?;
        }
        let trust = trust(&session, &self.authority)?.ok_or_else(|| {
            Failure::usage("this session uses no certificates: there is nothing to sign with")
                .hint("the operators compare its fingerprint instead: --expect-fingerprint")
        })?;
        let certificate = certificate(&self.certificate)?;
        let now = OffsetDateTime::now_utc();
        // It may be approved before its life begins.
        session.check_time(now.max(session.not_before())).map_err(Failure::refused)?;
        let approval =
            Approval::sign(&session, &trust, &certificate, now).map_err(Failure::refused)?;
        let party = approval.party();
        if let Some(claimed) = self.party_id.filter(|id| *id != u64::from(party.index())) {
            let error = format!("--party-id is {claimed}, but the certificate is party {party}'s");
            return Err(Failure::refused(error));
        }
        let name = Approval::file_name(party);
        let path = self.out.as_deref().unwrap_or(Path::new(&name));
        let bytes = approval.to_bytes().map_err(Failure::failed)?;
        durable::write_whole(path, &bytes).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        })?;
        if output.json {
            let value = serde_json::json!({
                "party": party.index(),
                "fingerprint": session.fingerprint().to_string(),
                "approval": path.display().to_string(),
            });
            println!("{value:#}");
        } else {
            show(output, &session);
            println!("approved     by party {party}, for the senders: {}", path.display());
        }
        Ok(Exit::Done)
    }
}
