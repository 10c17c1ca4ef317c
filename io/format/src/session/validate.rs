//! The rules that the facts of a session must satisfy together.

use reshare_engine::layout::{AgreeKind, RowLayout};
use time::{OffsetDateTime, UtcOffset};

use super::{NewSession, Session, SessionError, SessionIds};

/// Bytes of a share file's header, and the alignment of each of its blocks.
const BLOCK_BYTES: u64 = 4096;

/// Checks every fact against the others. The senders are already in order.
pub(super) fn check(facts: &NewSession) -> Result<(), SessionError> {
    check_period(facts)?;
    if let SessionIds::List { count: 0, .. } = facts.ids {
        return Err(SessionError::EmptyList);
    }
    check_parties(facts)?;
    check_certificates(facts)?;
    check_hybrid(facts)?;
    check_columns(facts)?;
    let min = part_bytes(&facts.layout, 1);
    let (got, max) = (facts.max_part_bytes, Session::MAX_PART_BYTES_LIMIT);
    if !(min..=max).contains(&got) {
        return Err(SessionError::MaxPartBytes { got, min, max });
    }
    match &facts.server_url {
        Some(url) if !is_https_url(url) => Err(SessionError::ServerUrl),
        _ => Ok(()),
    }
}

/// The most rows whose sealed part is sure to have at most `max_bytes`.
pub(super) fn rows_that_fit(layout: &RowLayout, max_bytes: u64) -> usize {
    let rows = max_bytes.saturating_sub(part_bytes(layout, 0)) / row_bytes(layout);
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// The most bytes of a sealed part with `rows` rows.
///
/// A header and, per block, less than [`BLOCK_BYTES`] of padding; then a page for what compression
/// and sealing add to any part.
fn part_bytes(layout: &RowLayout, rows: u64) -> u64 {
    let blocks = 2 + 2 * layout.agree().len() + layout.shares().len();
    BLOCK_BYTES * (2 + blocks as u64) + rows.saturating_mul(row_bytes(layout))
}

/// The bytes of one row over all blocks, and what compression and sealing add to it.
///
/// Sealing adds 16 bytes to 64 KiB, storing shares 3 to 128 KiB: below a thousandth. Ids and
/// agree values that do not shrink may grow by a 128th.
fn row_bytes(layout: &RowLayout) -> u64 {
    let agree = layout.agree().iter().map(|column| match column.kind {
        AgreeKind::Integer => 1 + 8,
        AgreeKind::Uuid => 1 + 16,
    });
    let prefix = 8 + 8 + agree.sum::<u64>();
    let row = prefix + layout.row_share_bytes() as u64;
    row + row.div_ceil(1000) + prefix.div_ceil(128)
}

fn check_period(facts: &NewSession) -> Result<(), SessionError> {
    let (not_before, not_after) = (facts.not_before, facts.not_after);
    for (key, time) in [("not_before", not_before), ("not_after", not_after)] {
        if !is_usual_time(time) {
            return Err(SessionError::Time { key, got: time.to_string() });
        }
    }
    if not_after <= not_before {
        return Err(SessionError::Period { not_before, not_after });
    }
    Ok(())
}

/// Whether a time is a whole second in UTC, in the years that TOML can write.
fn is_usual_time(time: OffsetDateTime) -> bool {
    let years = 1970..=9999;
    time.offset() == UtcOffset::UTC && time.nanosecond() == 0 && years.contains(&time.year())
}

fn check_parties(facts: &NewSession) -> Result<(), SessionError> {
    let [lower, higher] = &facts.senders;
    for (one, other) in [
        (lower.party, higher.party),
        (lower.party, facts.receiver.party),
        (higher.party, facts.receiver.party),
    ] {
        if one == other {
            return Err(SessionError::RepeatedParty { party: one });
        }
    }
    if lower.agreement_key == higher.agreement_key {
        return Err(SessionError::RepeatedAgreementKey);
    }
    Ok(())
}

fn check_certificates(facts: &NewSession) -> Result<(), SessionError> {
    let [lower, higher] = &facts.senders;
    let present = [
        ("senders.certificate_name", lower.certificate_name.is_some()),
        ("senders.certificate_name", higher.certificate_name.is_some()),
        ("receiver.certificate_name", facts.receiver.certificate_name.is_some()),
        ("trust.ca_sha256", facts.ca_sha256.is_some()),
    ];
    let some = present.iter().any(|(_, is_there)| *is_there);
    if let Some((key, _)) = present.iter().find(|(_, is_there)| some && !is_there) {
        return Err(SessionError::CertificatesIncomplete { key });
    }
    let names =
        [&lower.certificate_name, &higher.certificate_name, &facts.receiver.certificate_name];
    let names: Vec<_> = names.into_iter().flatten().collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(SessionError::RepeatedCertificateName { name: (*name).clone() });
        }
    }
    Ok(())
}

/// Checks that the senders agree on a secret by more than P-256.
fn check_hybrid(facts: &NewSession) -> Result<(), SessionError> {
    let [lower, higher] = &facts.senders;
    if higher.encapsulation_key.is_some() {
        return Err(SessionError::MisplacedEncapsulationKey { party: higher.party });
    }
    match (&lower.encapsulation_key, facts.shared_key_id) {
        (None, None) => Err(SessionError::NotHybrid),
        (Some(_), _) if facts.ca_sha256.is_none() => Err(SessionError::UnsignedEncapsulation),
        _ => Ok(()),
    }
}

fn check_columns(facts: &NewSession) -> Result<(), SessionError> {
    let agree = facts.layout.agree().iter().map(|column| ("table.agree.column", &column.name));
    let shares = facts.layout.shares().iter().map(|column| ("table.share.column", &column.name));
    let columns = agree.chain(shares);
    let tops = [("table.name", &facts.table), ("table.id_column", &facts.id_column)];
    for (key, name) in tops.into_iter().chain(columns.clone()) {
        let fits = (1..=RowLayout::MAX_NAME_BYTES).contains(&name.len());
        if !fits || name.chars().any(char::is_control) {
            return Err(SessionError::SqlName { key, name: name.clone() });
        }
    }
    if columns.clone().any(|(_, name)| *name == facts.id_column) {
        return Err(SessionError::RepeatedColumn { name: facts.id_column.clone() });
    }
    Ok(())
}

/// Whether a text can be the address of a receiver. Whether a receiver is there shows later.
fn is_https_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://");
    let host = rest.map(|rest| rest.split('/').next().unwrap_or(rest));
    host.is_some_and(|host| !host.is_empty()) && url.bytes().all(|byte| byte.is_ascii_graphic())
}
