//! How the values of flags are read.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;

use reshare_engine::party::PartyId;

use crate::failure::Failure;

/// Maximum connections or threads of one run: more would only take memory.
const MAX_PARALLEL: u64 = 1000;
/// Maximum rows of a part: more than any session allows.
pub(super) const MAX_BATCH: u64 = 1_000_000;
/// The longest timeout, a year: the clock plus a timeout must be a valid time.
pub(crate) const MAX_SECONDS: u64 = 365 * 86_400;

/// Reads how many connections, threads or uploads work in parallel.
pub(super) fn parallel(text: &str) -> Result<NonZeroUsize, String> {
    within(1..=MAX_PARALLEL)(text)
}

/// Reads a number within a range, both ends included.
pub(crate) fn within<T: FromStr>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let is_within = text.parse::<u64>().is_ok_and(|number| range.contains(&number));
        let number = is_within.then(|| text.parse().ok()).flatten();
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| format!("a number from {least} to {most} is expected"))
    }
}

/// Splits `PARTY=VALUE`.
pub(crate) fn split_party(text: &str) -> Result<(PartyId, &str), Failure> {
    let bad = || Failure::usage(format!("{text:?} is not of the form PARTY=VALUE"));
    let (party, value) = text.split_once('=').ok_or_else(bad)?;
    let party: u64 = party.parse().map_err(|_| bad())?;
    Ok((PartyId::try_from(party).map_err(Failure::usage)?, value))
}
