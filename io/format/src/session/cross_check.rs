//! Flags that repeat a fact of the session. They are compared with it and never override it.

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;

use super::{FingerprintMismatch, Session, SessionIds};

/// A flag that contradicts the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {given}, but the session says {session}")]
pub struct Mismatch {
    /// The fact that both state.
    pub what: &'static str,
    /// The value of the flag.
    pub given: String,
    /// The value in the session.
    pub session: String,
}

impl Mismatch {
    fn unless(
        equal: bool,
        what: &'static str,
        given: impl ToString,
        session: impl ToString,
    ) -> Result<(), Self> {
        if equal {
            return Ok(());
        }
        Err(Self { what, given: given.to_string(), session: session.to_string() })
    }
}

/// # Errors
/// Each check returns a [`Mismatch`] when the flag contradicts the session, that of the fingerprint
/// a [`FingerprintMismatch`].
impl Session {
    /// Compares the fingerprint that operators agreed on.
    pub fn check_fingerprint(&self, given: Fingerprint) -> Result<(), FingerprintMismatch> {
        FingerprintMismatch::check("session", given, self.fingerprint())
    }

    /// Compares a session id.
    pub fn check_id(&self, given: &str) -> Result<(), Mismatch> {
        Mismatch::unless(given == self.id().as_str(), "the session id", given, self.id())
    }

    /// Compares an environment.
    pub fn check_environment(&self, given: &str) -> Result<(), Mismatch> {
        let environment = self.environment();
        Mismatch::unless(given == environment.as_str(), "the environment", given, environment)
    }

    /// Checks that a party is a sender.
    pub fn check_sender(&self, given: PartyId) -> Result<(), Mismatch> {
        let senders = self.senders().map(|sender| sender.party);
        let session = format!("{} and {}", senders[0], senders[1]);
        Mismatch::unless(senders.contains(&given), "the sending party", given, session)
    }

    /// Checks that one party is a sender and another one the other sender.
    pub fn check_other_sender(&self, party: PartyId, given: PartyId) -> Result<(), Mismatch> {
        self.check_sender(party)?;
        let other = self.other_sender(party).map(|sender| sender.party);
        let session = other.map_or_else(String::new, |other| other.to_string());
        Mismatch::unless(other == Some(given), "the other sending party", given, session)
    }

    /// Checks that a party is the receiver.
    pub fn check_receiver(&self, given: PartyId) -> Result<(), Mismatch> {
        let party = self.receiver().party;
        Mismatch::unless(given == party, "the receiving party", given, party)
    }

    /// Compares the first id of a range.
    pub fn check_start(&self, given: i64) -> Result<(), Mismatch> {
        let what = "the first id";
        match self.ids() {
            SessionIds::Range(range) => {
                Mismatch::unless(given == range.first(), what, given, range.first())
            }
            SessionIds::List { .. } => Mismatch::unless(false, what, given, A_LIST),
        }
    }

    /// Compares the exclusive end of a range.
    pub fn check_end(&self, given: i64) -> Result<(), Mismatch> {
        let what = "the exclusive end of the ids";
        match self.ids() {
            SessionIds::Range(range) => match SessionIds::exclusive_end(*range) {
                Some(end) => Mismatch::unless(given == end, what, given, end),
                None => Mismatch::unless(false, what, given, "that there is none"),
            },
            SessionIds::List { .. } => Mismatch::unless(false, what, given, A_LIST),
        }
    }
}

const A_LIST: &str = "that there is a list of ids";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::samples;

    #[test]
    fn flags_that_repeat_the_session_pass_and_others_tell_both_values() {
        let session = samples::session();
        let party = |index| PartyId::new(index).expect("a party");
        assert_eq!(session.check_fingerprint(session.fingerprint()), Ok(()));
        assert!(session.check_fingerprint(Fingerprint([0; 32])).is_err());
        assert_eq!(session.check_id(session.id().as_str()), Ok(()));
        assert!(session.check_id("other").is_err());
        assert_eq!(session.check_environment("prod"), Ok(()));
        let error = session.check_environment("dev").expect_err("another one");
        assert_eq!(error.to_string(), "the environment is dev, but the session says prod");
        assert_eq!(session.check_sender(party(0)), Ok(()));
        let error = session.check_sender(party(1)).expect_err("the receiver");
        assert_eq!(error.to_string(), "the sending party is 1, but the session says 0 and 2");
        assert_eq!(session.check_other_sender(party(0), party(2)), Ok(()));
        assert_eq!(session.check_other_sender(party(2), party(0)), Ok(()));
        for (one, other) in [(0, 0), (0, 1), (1, 2)] {
            assert!(session.check_other_sender(party(one), party(other)).is_err());
        }
        assert_eq!(session.check_receiver(party(1)), Ok(()));
        assert!(session.check_receiver(party(0)).is_err());
    }

    #[test]
    fn start_and_end_are_those_of_the_range() {
        let session = samples::session();
        assert_eq!((session.check_start(1), session.check_end(10_001)), (Ok(()), Ok(())));
        assert!(session.check_start(0).is_err() && session.check_end(10_000).is_err());
        let mut facts = samples::facts();
        facts.ids = SessionIds::from_start_end(1, None).expect("not empty");
        let open = Session::create(facts.clone()).expect("valid");
        assert!(open.check_start(1).is_ok() && open.check_end(i64::MAX).is_err());
        facts.ids = SessionIds::List { digest: [1; 32], count: 2 };
        let list = Session::create(facts).expect("valid");
        assert!(list.check_start(1).is_err() && list.check_end(2).is_err());
    }
}
