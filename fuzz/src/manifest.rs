//! `manifest.json`, before and after it is compared with the session.

use reshare_format::package::UnverifiedManifest;

use crate::sample;

/// A manifest that is accepted has exactly one form, and its totals are those of its parts.
///
/// # Panics
/// When that is not so.
pub fn check(data: &[u8]) -> bool {
    let Ok(unverified) = UnverifiedManifest::read(data.to_vec()) else { return false };
    let totals = unverified.claimed_totals();
    let claims = unverified.claims();
    assert_eq!(claims.to_bytes().expect("writes what it read"), data, "not canonical");
    let rows: u64 = claims.parts.iter().map(|part| part.rows).sum();
    assert_eq!((totals.parts, totals.rows), (claims.parts.len() as u64, rows));
    let Ok(manifest) = unverified.verify(&sample::expectations(), None) else { return false };
    let parts = manifest.parts();
    let ascending = parts.windows(2).all(|pair| pair[0].ids.last() < pair[1].ids.first());
    assert!(ascending, "the ranges of parts overlap or do not ascend");
    for part in parts {
        let ids = i128::from(part.ids.last()) - i128::from(part.ids.first()) + 1;
        assert!(i128::from(part.rows) <= ids, "more rows than ids");
    }
    true
}
