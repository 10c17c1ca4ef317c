//! Shamir sharing of degree 1 over the ring, and the weights of resharing.

use crate::party::PartyId;
use crate::ring::RingElement;

/// The ring element at which a party's share is the value of the sharing polynomial.
///
/// Party `p` has element `p + 1` of the exceptional sequence; the secret has element 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EvaluationPoint(RingElement);

impl EvaluationPoint {
    /// The point of the secret.
    pub(crate) const SECRET: Self = Self(RingElement::ZERO);

    /// The element itself. Public.
    #[must_use]
    pub(crate) const fn element(self) -> RingElement {
        self.0
    }
}

impl From<PartyId> for EvaluationPoint {
    fn from(party: PartyId) -> Self {
        let bits = u16::from(party.index() + 1);
        Self(RingElement([bits & 1, bits >> 1 & 1, bits >> 2 & 1, bits >> 3 & 1]))
    }
}

/// Whether a sender adds the keystream to its weighted shares or subtracts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// `m = w * s + r`.
    Add,
    /// `m = w * s - r`.
    Subtract,
}

impl Sign {
    /// Decides for one of two senders: the lower party adds, the higher one subtracts.
    #[must_use]
    pub fn of(sender: PartyId, other: PartyId) -> Self {
        if sender < other { Self::Add } else { Self::Subtract }
    }
}

/// Computes the Lagrange coefficient of sender `my`, with sender `other`, at `target`.
///
/// `w = (e_target - e_other) * (e_my - e_other)^-1`, so that
/// `s_target = w_my * s_my + w_other * s_other`.
///
/// # Errors
/// [`WeightError`] when any two of the parties are equal.
///
/// # Source
/// `docs/format.md`, *Weight and blind*.
pub fn weight(my: PartyId, other: PartyId, target: PartyId) -> Result<RingElement, WeightError> {
    for (party, again) in [(my, other), (my, target), (other, target)] {
        if party == again {
            return Err(WeightError { party });
        }
    }
    lagrange(my.into(), other.into(), target.into()).ok_or(WeightError { party: my })
}

/// Computes one party's share of a secret: `secret + coefficient * e_party`.
///
/// # Secrecy
/// `coefficient` must be uniform and used for this secret only.
///
/// # Source
/// Shamir, *How to share a secret*, with a line in place of a polynomial: degree 1.
#[must_use]
pub fn share(secret: RingElement, coefficient: RingElement, party: PartyId) -> RingElement {
    secret + coefficient * EvaluationPoint::from(party).element()
}

/// Rebuilds the secret from the shares of two parties: [`weight`] with the target at 0,
/// `s = s_a * (0 - e_b) * (e_a - e_b)^-1 + s_b * (0 - e_a) * (e_b - e_a)^-1`.
///
/// # Errors
/// [`WeightError`] when the parties are equal.
///
/// # Secrecy
/// No party may learn the result: for tests and synthetic records only.
pub fn reconstruct(
    first: (PartyId, RingElement),
    second: (PartyId, RingElement),
) -> Result<RingElement, WeightError> {
    let part = |my: PartyId, other: PartyId| {
        lagrange(my.into(), other.into(), EvaluationPoint::SECRET).ok_or(WeightError { party: my })
    };
    Ok(part(first.0, second.0)? * first.1 + part(second.0, first.0)? * second.1)
}

/// `None` when `my` and `other` are the same point.
fn lagrange(
    my: EvaluationPoint,
    other: EvaluationPoint,
    target: EvaluationPoint,
) -> Option<RingElement> {
    Some((target.0 - other.0) * (my.0 - other.0).inverse()?)
}

/// Two of the parties of a resharing are the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("party {party} is named twice: two senders and a receiver are three parties")]
pub struct WeightError {
    /// The party that is named twice.
    pub party: PartyId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn party(index: u8) -> PartyId {
        PartyId::new(index).expect("a party")
    }

    #[test]
    fn any_equal_parties_are_refused() {
        let (a, b) = (party(3), party(5));
        for (my, other, target) in [(a, a, b), (a, b, a), (b, a, a), (a, a, a)] {
            assert_eq!(weight(my, other, target), Err(WeightError { party: a }));
        }
        assert!(reconstruct((a, RingElement::ONE), (a, RingElement::ONE)).is_err());
    }

    #[test]
    fn the_point_of_a_party_is_one_further_in_the_exceptional_sequence() {
        for party in PartyId::all() {
            let element = RingElement::exceptional(party.index() + 1).expect("at most fifteen");
            assert!(EvaluationPoint::from(party).element() == element);
        }
    }

    #[test]
    fn the_lower_party_adds() {
        assert_eq!(Sign::of(party(0), party(14)), Sign::Add);
        assert_eq!(Sign::of(party(14), party(0)), Sign::Subtract);
    }

    proptest! {
        #[test]
        fn any_two_shares_rebuild_the_secret(secret: [u16; 4], coefficient: [u16; 4]) {
            let (secret, coefficient) = (RingElement(secret), RingElement(coefficient));
            for (a, b) in PartyId::all().flat_map(|a| PartyId::all().map(move |b| (a, b))) {
                let of = |party| (party, share(secret, coefficient, party));
                match reconstruct(of(a), of(b)) {
                    Ok(rebuilt) => prop_assert!(rebuilt == secret),
                    Err(error) => prop_assert!(a == b && error.party == a),
                }
            }
        }
    }
}
