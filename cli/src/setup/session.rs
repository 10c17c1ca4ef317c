//! The session file, and what the command line says of it.

use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_format::session::{Session, SessionError, parse_fingerprint};

use crate::args::SessionArgs;
use crate::failure::Failure;

/// Reads a session file.
pub(crate) fn load_session(path: &Path) -> Result<Session, Failure> {
    Session::load(path).map_err(|error| match error {
        SessionError::Unreadable(_) => Failure::of(error).hint("check --session"),
        error => Failure::of(error),
    })
}

/// Compares the fingerprint the operators read to each other with the file's.
///
/// Approvals by certificate say the same; without them it cannot be left out.
pub(crate) fn check_fingerprint(session: &Session, expected: Option<&str>) -> Result<(), Failure> {
    let Some(expected) = expected else {
        if session.ca_sha256().is_some() {
            return Ok(());
        }
        let error = "this session uses no certificates: --expect-fingerprint is needed";
        return Err(Failure::usage(error).hint(
            "compare what `session show` prints with the other operators, and give it here",
        ));
    };
    let expected = parse_fingerprint(expected).map_err(Failure::usage)?;
    session.check_fingerprint(expected).map_err(|error| {
        Failure::refused(error)
            .hint("this is not the session file the operators agreed on: get it from them again")
    })
}

/// Checks every flag that repeats a fact, and reports all that differ at once.
pub(super) fn check_flags(session: &Session, args: &SessionArgs) -> Result<(), Failure> {
    let checks = &args.checks;
    let party =
        |index: Option<u64>| index.map(PartyId::try_from).transpose().map_err(Failure::usage);
    let mut results = Vec::new();
    if let Some(party) = party(checks.party_id)? {
        let receives = session.check_receiver(party).is_ok();
        results.push(if receives { Ok(()) } else { session.check_sender(party) });
    }
    if let Some(other) = party(checks.other_party_id)? {
        results.push(session.check_sender(other));
        if let Some(me) = party(checks.party_id)?.filter(|me| session.sender(*me).is_some()) {
            results.push(session.check_other_sender(me, other));
        }
    }
    if let Some(target) = party(checks.target_party_id)? {
        results.push(session.check_receiver(target));
    }
    results.extend(checks.environment.as_deref().map(|name| session.check_environment(name)));
    results.extend(checks.reshare_run_session_id.as_deref().map(|id| session.check_id(id)));
    results.extend(checks.db_start.map(|start| session.check_start(start)));
    results.extend(checks.db_end.map(|end| session.check_end(end)));
    let mut differences: Vec<String> =
        results.into_iter().filter_map(|result| Some(result.err()?.to_string())).collect();
    differences.dedup();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(differences.join("; "))
        .hint("these flags only check the session file: drop them, or use the right session"))
}
