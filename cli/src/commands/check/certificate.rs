//! The authority, this party's certificate, and the approvals of the others.

use std::path::PathBuf;

use reshare_engine::party::PartyId;
use reshare_exchange::TlsIdentity;
use reshare_files::timestamp::Timestamp;
use reshare_format::keys::certificate::{CertificateError, PartyCertificate, Purpose, not_after};
use reshare_format::session::{Approvals, Session, SessionTrust};
use time::{Duration, OffsetDateTime};

use super::checklist::Checklist;
use crate::args::{AuthorityArgs, CertificateArgs, TlsArgs};
use crate::failure::Failure;
use crate::hints::certificate_hint;
use crate::setup::credentials;

/// A certificate that ends sooner gets a warning.
const LEAST_LIFE: Duration = Duration::days(7);

/// This party's certificate and authority, as far as they could be opened.
pub(super) struct Credentials {
    pub(super) trust: Option<SessionTrust>,
    pub(super) certificate: Option<PartyCertificate>,
}

/// Opens the authority and this party's certificate, if the session uses certificates.
pub(super) fn open(
    list: &mut Checklist,
    session: &Session,
    authority: &AuthorityArgs,
    own: &CertificateArgs,
) -> Credentials {
    let mut opened = Credentials { trust: None, certificate: None };
    if session.ca_sha256().is_none() {
        // A flag that does not apply is refused, as the commands refuse it.
        if list.take("authority", credentials::trust(session, authority)).is_some() {
            list.ok("authority", "this session uses no certificates");
        }
        return opened;
    }
    match &authority.ca_file {
        None => list.not_checked("authority", "--ca-file FILE"),
        Some(path) => {
            let trust = list.take("authority", credentials::trust(session, authority));
            opened.trust = trust.flatten();
            if opened.trust.is_some() {
                list.ok("authority", format!("{} is the session's", path.display()));
            }
        }
    }
    match (&own.certificate, &own.certificate_key) {
        (Some(_), Some(_)) => {
            opened.certificate = list.take("certificate", credentials::certificate(own));
        }
        _ => list.not_checked("certificate", "--certificate FILE and --certificate-key FILE"),
    }
    opened
}

impl Credentials {
    /// The party that the certificate names.
    pub(super) fn claimed_party(&self) -> Option<PartyId> {
        let (trust, certificate) = (self.trust.as_ref()?, self.certificate.as_ref()?);
        trust.party_of(certificate.chain()).ok()
    }

    /// Checks that the certificate is of the party whose agreement key was opened.
    pub(super) fn check_one_party(&self, list: &mut Checklist, by_key: Option<PartyId>) -> bool {
        let opened = self.trust.as_ref().zip(self.certificate.as_ref()).zip(by_key);
        let Some(((trust, certificate), by_key)) = opened else { return true };
        let checked = credentials::check_one_party(trust, certificate, by_key);
        list.take("certificate", checked).is_some()
    }

    /// Checks that the certificate is a party's, and may do what it is for.
    pub(super) fn check(
        &self,
        list: &mut Checklist,
        session: &Session,
        party: Option<PartyId>,
        purposes: &[Purpose],
    ) {
        const WHAT: &str = "certificate";
        let Some(certificate) = &self.certificate else { return };
        let Some(trust) = &self.trust else { return list.skipped(WHAT, "the authority") };
        let now = OffsetDateTime::now_utc();
        let chain = certificate.chain();
        let checked = party.map_or_else(|| trust.party_of(chain), Ok).and_then(|party| {
            let verify = |purpose: &Purpose| trust.verify(chain, party, now, *purpose);
            purposes.iter().try_for_each(verify).map(|()| party)
        });
        let checked = checked.map_err(|error| {
            let hint = certificate_hint(&error);
            Failure::refused(error).hint(hint)
        });
        let Some(party) = list.take(WHAT, checked) else { return };
        let name = trust.name_of(party).map(ToString::to_string).unwrap_or_default();
        list.ok(WHAT, format!("party {party}'s, {name}"));
        self.check_life(list, session, now);
    }

    /// Warns of a certificate that ends before the session does, or soon.
    fn check_life(&self, list: &mut Checklist, session: &Session, now: OffsetDateTime) {
        const WHAT: &str = "certificate life";
        let (Some(trust), Some(certificate)) = (&self.trust, &self.certificate) else { return };
        let all = certificate.chain().certificates().iter().chain([trust.anchor().certificate()]);
        let ends: Result<Vec<_>, CertificateError> = all.map(|one| not_after(one)).collect();
        let Some(ends) = list.take(WHAT, ends.map_err(Failure::refused)) else { return };
        let Some(end) = ends.into_iter().min() else { return };
        let hint = "have it issued again, with the same name, before the run";
        if end < session.not_after() {
            let session_end = Timestamp::from(session.not_after());
            let detail = format!(
                "ends at {}, before the session does at {session_end}",
                Timestamp::from(end)
            );
            list.warning(WHAT, detail, hint);
        } else if end - now < LEAST_LIFE {
            list.warning(WHAT, format!("ends at {}", Timestamp::from(end)), hint);
        } else {
            list.ok(WHAT, format!("until {}", Timestamp::from(end)));
        }
    }

    /// Checks the approvals that a sender needs, and returns those that are in order.
    pub(super) fn check_approvals(
        &self,
        list: &mut Checklist,
        session: &Session,
        sender: Option<PartyId>,
        files: &[PathBuf],
    ) -> Option<Approvals> {
        const WHAT: &str = "approvals";
        session.ca_sha256()?;
        if files.is_empty() {
            list.not_checked(WHAT, "--approval FILE, twice: the two other parties'");
            return None;
        }
        let (Some(trust), Some(sender)) = (&self.trust, sender) else {
            let needed = match self.trust {
                None => "the authority",
                Some(_) => "knowing which sender this is",
            };
            list.skipped(WHAT, needed);
            return None;
        };
        let approvals =
            list.take(WHAT, credentials::approvals(session, trust, sender, files, Vec::new()))?;
        list.ok(WHAT, "the receiver and the other sender have approved this session");
        Some(approvals)
    }

    /// The certificate and the authority, for a connection.
    pub(super) fn tls(
        &self,
        session: &Session,
        authority: &AuthorityArgs,
        own: &CertificateArgs,
    ) -> Option<Result<TlsIdentity, Failure>> {
        // Defects of the files were reported before.
        self.trust.as_ref().and(self.certificate.as_ref())?;
        let args = TlsArgs {
            certificate: own.certificate.clone()?,
            certificate_key: own.certificate_key.clone()?,
            ca_file: authority.ca_file.clone()?,
        };
        Some(args.identity(session))
    }
}
