//! How the values of flags are read.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;

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

/// Reads a range of ids, `FIRST-LAST`, both included; also `FIRST..=LAST`, as messages show it.
pub(crate) fn id_range(text: &str) -> Result<IdRange, String> {
    let ends = text.split_once("..=").or_else(|| {
        // A first `-` may be a sign.
        let dash = text.get(1..)?.find('-')? + 1;
        Some((&text[..dash], &text[dash + 1..]))
    });
    let ends = ends.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last) = ends.ok_or("FIRST-LAST is expected, two ids, such as 1-1000")?;
    IdRange::new(first, last).ok_or_else(|| "the last id is lower than the first".to_owned())
}

/// Splits `PARTY=VALUE`.
pub(crate) fn split_party(text: &str) -> Result<(PartyId, &str), Failure> {
    let bad = || Failure::usage(format!("{text:?} is not of the form PARTY=VALUE"));
    let (party, value) = text.split_once('=').ok_or_else(bad)?;
    let party: u64 = party.parse().map_err(|_| bad())?;
    Ok((PartyId::try_from(party).map_err(Failure::usage)?, value))
}

/// A directory of this user: the one that a variable names, or a default in its home.
///
/// As the XDG specification says, a relative path does not count.
pub(crate) fn user_directory(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).filter(|directory| directory.is_absolute())
    };
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(in_home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ids_is_read_in_both_forms_and_with_signs() {
        let range = |first, last| IdRange::new(first, last).expect("in order");
        let all = format!("{}-{}", i64::MIN, i64::MAX);
        for (text, expected) in [
            ("1-7", range(1, 7)),
            ("7-7", range(7, 7)),
            ("-9-7", range(-9, 7)),
            ("-9--7", range(-9, -7)),
            ("1..=7", range(1, 7)),
            ("-9..=-7", range(-9, -7)),
            (all.as_str(), IdRange::ALL),
        ] {
            assert_eq!(id_range(text), Ok(expected), "{text}");
        }
        for text in ["", "-", "7", "-7", "1-", "1..7", "7-1", "1-2-3", "a-b", "\u{e9}-1", "1 - 2"] {
            assert!(id_range(text).is_err(), "{text}");
        }
    }
}
