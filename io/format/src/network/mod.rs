//! The network file: which number, and so which evaluation point, belongs to which party.
//!
//! A party that holds shares of a record at two evaluation points can compute the record alone. A
//! session file names its parties itself, so a party could make one in which it receives under
//! another number. Each party therefore keeps a [`Network`] of its own, which its operators have
//! compared once, and refuses a session that differs from it. `docs/format.md` has its bytes.

mod error;
mod file;

use std::collections::BTreeMap;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;

use crate::keys::certificate::CertificateName;
use crate::session::{Encoding, Session};

pub use error::{NetworkDefect, NetworkError, NumberTaken, OutsideNetwork};

/// The parties of an MPC network: each number has one certificate name, and each name one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    ca_sha256: [u8; 32],
    parties: BTreeMap<PartyId, CertificateName>,
}

/// The prefix of every encoding: the program, the version of the encoding, its purpose.
const DOMAIN: &[u8] = b"reshare/v1/network\0";

impl Network {
    /// The version of the file that this program writes, and the only one that it accepts.
    pub const VERSION: u64 = 1;
    /// The largest network file that is read, in bytes: it has at most 15 parties.
    pub const MAX_FILE_BYTES: u64 = 64 << 10;

    /// A network without parties, whose certificates an authority issues.
    #[must_use]
    pub fn new(ca_sha256: [u8; 32]) -> Self {
        Self { ca_sha256, parties: BTreeMap::new() }
    }

    /// The SHA-256 of the authority's certificate (DER).
    #[must_use]
    pub fn ca_sha256(&self) -> &[u8; 32] {
        &self.ca_sha256
    }

    /// The parties in ascending order, each with the name in its certificate.
    pub fn parties(&self) -> impl ExactSizeIterator<Item = (PartyId, &CertificateName)> {
        self.parties.iter().map(|(party, name)| (*party, name))
    }

    /// Adds a party; `false` when it is there already.
    ///
    /// # Errors
    /// [`NumberTaken`] when the number belongs to another name, or the name to another number.
    pub fn add(&mut self, party: PartyId, name: CertificateName) -> Result<bool, NumberTaken> {
        if let Some(other) = self.number_of(&name).filter(|other| *other != party) {
            return Err(NumberTaken::Name { name, has: other, party });
        }
        match self.parties.get(&party) {
            Some(has) if *has == name => Ok(false),
            Some(has) => Err(NumberTaken::Number { party, has: has.clone(), name }),
            None => Ok(self.parties.insert(party, name).is_none()),
        }
    }

    /// The number of the party with a name.
    #[must_use]
    pub fn number_of(&self, name: &CertificateName) -> Option<PartyId> {
        self.parties.iter().find(|(_, known)| *known == name).map(|(party, _)| *party)
    }

    /// The fingerprint of everything in the file: BLAKE3 over a length-prefixed encoding.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut encoding = Encoding::new(DOMAIN);
        encoding.number("version", Self::VERSION);
        encoding.field("trust.ca_sha256", &self.ca_sha256);
        encoding.number("parties", self.parties.len() as u64);
        for (party, name) in &self.parties {
            encoding.number("party", u64::from(party.index()));
            encoding.field("certificate_name", name.as_str().as_bytes());
        }
        encoding.finish()
    }

    /// Checks that a session has the network's authority, and that each of its parties is in the
    /// network, with the same number and name. The network may have more parties.
    ///
    /// # Errors
    /// The first [`OutsideNetwork`], of the receiver if it is at fault.
    pub fn check(&self, session: &Session) -> Result<(), OutsideNetwork> {
        let sha256 = session.ca_sha256().ok_or(OutsideNetwork::NoCertificates)?;
        if *sha256 != self.ca_sha256 {
            let (expected, got) = (hex::encode(self.ca_sha256), hex::encode(sha256));
            return Err(OutsideNetwork::OtherAuthority { expected, got });
        }
        let ([lower, higher], receiver) = (session.senders(), session.receiver());
        for (party, name) in [
            (receiver.party, &receiver.certificate_name),
            (lower.party, &lower.certificate_name),
            (higher.party, &higher.certificate_name),
        ] {
            let name = name.as_ref().ok_or(OutsideNetwork::NoCertificates)?;
            self.check_party(party, name)?;
        }
        Ok(())
    }

    fn check_party(&self, party: PartyId, name: &CertificateName) -> Result<(), OutsideNetwork> {
        let name_of_number = self.parties.get(&party);
        if name_of_number == Some(name) {
            return Ok(());
        }
        let name = name.clone();
        Err(match (self.number_of(&name), name_of_number) {
            (Some(number), _) => OutsideNetwork::OtherNumber { name, number, got: party },
            (None, Some(known)) => OutsideNetwork::OtherName { party, known: known.clone(), name },
            (None, None) => OutsideNetwork::Unknown { party, name },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SharedKey;
    use crate::session::{NewSession, samples};

    fn party(index: u8) -> PartyId {
        PartyId::new(index).expect("a party")
    }

    fn name(text: &str) -> CertificateName {
        text.parse().expect("a name")
    }

    /// The parties of the sample session, and a fourth one.
    fn network() -> Network {
        let mut network = Network::new([0xca; 32]);
        for (index, text) in [
            (2, "spiffe://mpc.example/party/2"),
            (0, "spiffe://mpc.example/party/0"),
            (1, "receiver.mpc.example"),
            (3, "spiffe://mpc.example/party/3"),
        ] {
            assert_eq!(network.add(party(index), name(text)), Ok(true));
        }
        network
    }

    fn check(change: impl FnOnce(&mut NewSession)) -> Result<(), OutsideNetwork> {
        let mut facts = samples::facts();
        change(&mut facts);
        network().check(&Session::create(facts).expect("valid"))
    }

    #[test]
    fn a_session_of_the_network_passes_and_one_with_another_number_or_name_does_not() {
        assert_eq!(check(|_| {}), Ok(()));
        // A party that receives once more, under a number of nobody or of somebody else.
        for (index, is_taken) in [(4, false), (3, true)] {
            let refused = check(|facts| facts.receiver.party = party(index)).expect_err("refused");
            let (got, number) = (party(index), party(1));
            let expected = OutsideNetwork::OtherNumber { name: name(RECEIVER), number, got };
            assert_eq!(refused, expected, "{is_taken}");
            assert!(refused.to_string().contains("evaluation point"), "{refused}");
        }
        // A sender with another number gives the receiver a share at another point, too.
        let refused = check(|facts| facts.senders[1].party = party(3)).expect_err("refused");
        assert!(matches!(refused, OutsideNetwork::OtherNumber { got, .. } if got == party(3)));
        let other = Some(name("spiffe://mpc.example/other"));
        let refused = check(|facts| facts.receiver.certificate_name = other.clone());
        assert!(matches!(refused, Err(OutsideNetwork::OtherName { .. })), "{refused:?}");
        let refused = check(|facts| {
            facts.receiver.certificate_name = other;
            facts.receiver.party = party(4);
        });
        assert!(matches!(refused, Err(OutsideNetwork::Unknown { .. })), "{refused:?}");
        let refused = check(|facts| facts.ca_sha256 = Some([0xcb; 32]));
        assert!(matches!(refused, Err(OutsideNetwork::OtherAuthority { .. })), "{refused:?}");
        let refused = check(|facts| {
            facts.ca_sha256 = None;
            facts.receiver.certificate_name = None;
            facts.senders.iter_mut().for_each(|sender| sender.certificate_name = None);
            facts.senders[0].encapsulation_key = None;
            facts.shared_key_id = Some(SharedKey::new([1; 32]).id());
        });
        assert_eq!(refused, Err(OutsideNetwork::NoCertificates));
    }

    const RECEIVER: &str = "receiver.mpc.example";

    #[test]
    fn a_number_has_one_name_and_a_name_one_number() {
        let mut network = network();
        let before = network.clone();
        assert_eq!(network.add(party(1), name(RECEIVER)), Ok(false), "it is there");
        let refused = network.add(party(5), name(RECEIVER)).expect_err("a second number");
        assert!(matches!(refused, NumberTaken::Name { has, .. } if has == party(1)));
        assert!(refused.to_string().contains("evaluation point"), "{refused}");
        let refused = network.add(party(1), name("other.example")).expect_err("a second name");
        assert!(matches!(refused, NumberTaken::Number { .. }));
        assert_eq!(network, before);
    }

    #[test]
    fn every_fact_changes_the_fingerprint() {
        let mut seen = vec![network().fingerprint(), Network::new([0xca; 32]).fingerprint()];
        seen.push(Network::new([0xcb; 32]).fingerprint());
        for (index, text) in [(3, "a.example"), (4, "a.example"), (4, "b.example")] {
            let mut network = Network::new([0xca; 32]);
            network.add(party(index), name(text)).expect("new");
            seen.push(network.fingerprint());
        }
        for (index, one) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(one), "network {index}");
        }
    }

    #[test]
    fn the_fingerprint_is_the_documented_one() {
        // Computed by hand from docs/format.md.
        let field = |name: &str, value: &[u8]| {
            let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
            [&length(name.as_bytes())[..], name.as_bytes(), &length(value), value].concat()
        };
        let number = |number: u64| number.to_le_bytes();
        let mut network = Network::new([0xca; 32]);
        network.add(party(2), name(RECEIVER)).expect("new");
        let encoding = [
            b"reshare/v1/network\0".to_vec(),
            field("version", &number(1)),
            field("trust.ca_sha256", &[0xca; 32]),
            field("parties", &number(1)),
            field("party", &number(2)),
            field("certificate_name", RECEIVER.as_bytes()),
        ];
        let expected = *blake3::hash(&encoding.concat()).as_bytes();
        assert_eq!(network.fingerprint(), Fingerprint(expected));
    }
}
