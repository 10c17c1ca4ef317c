//! What is known of a run before it begins, for those who watch it.

use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::not_after;
use reshare_format::session::Session;

use super::families::{Families, one};
use super::identity::TlsIdentity;

/// Facts of a run that do not change. None of them is secret.
#[derive(Debug, Clone, Copy)]
pub struct RunFacts {
    ids: IdRange,
    session_expires: i64,
    certificate_expires: Option<i64>,
}

impl RunFacts {
    /// Those of a party with its certificate.
    #[must_use]
    pub fn of(session: &Session, identity: &TlsIdentity) -> Self {
        let certificate = not_after(identity.certificate.chain().leaf());
        Self {
            ids: session.ids().range(),
            session_expires: session.not_after().unix_timestamp(),
            // A certificate that cannot be read is refused elsewhere.
            certificate_expires: certificate.ok().map(|at| at.unix_timestamp()),
        }
    }

    pub(super) fn write(&self, text: &mut Families) {
        let build = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        text.gauge("reshare_build_info", "1, and the program's version.", [(build, 1)]);
        let help = "When the session ends, in seconds since 1970.";
        text.gauge("reshare_session_expires_timestamp_seconds", help, [one(self.session_expires)]);
        let help = "When this party's certificate expires, in seconds since 1970.";
        let expires = self.certificate_expires.map(one);
        text.gauge("reshare_certificate_expires_timestamp_seconds", help, expires);
        let help = "The first id of the session.";
        text.gauge("reshare_first_id", help, [one(self.ids.first())]);
        let help = "The last id of the session; missing where it has no end.";
        let last = Some(self.ids.last()).filter(|last| *last != i64::MAX).map(one);
        text.gauge("reshare_last_id", help, last);
    }
}
