//! A party's own public key, and whether a session has it.

use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_format::keys::{AgreementPublicKeys, parse_recipient};
use reshare_format::session::Session;

use super::text_file::read_text;
use crate::args::OwnKeyArgs;
use crate::failure::Failure;

/// Compares the session's key of a party with the party's own.
///
/// The maker of a session file could put a key of their own in the place of another party's, and
/// then read what that party blinds or opens. Only the owner of the key can notice.
pub(crate) fn check_own_key(
    args: &OwnKeyArgs,
    session: &Session,
    party: PartyId,
) -> Result<(), Failure> {
    let given = &args.own_public_key;
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::refused(format!("--own-public-key {}: {error}", in_short(given))).hint(
            "a sender gives what `reshare keygen agreement` or `reshare kms public-key` printed, \
             the receiver what `reshare keygen recipient` printed",
        )
    };
    let text = recipient_text(given, "--own-public-key")?.unwrap_or_else(|| given.clone());
    let has_it = match session.sender(party) {
        Some(sender) => {
            let keys = AgreementPublicKeys::from_pem(&text).map_err(|error| unreadable(&error))?;
            let of_ml_kem = sender.encapsulation_key.as_ref();
            keys.agreement == sender.agreement_key
                && of_ml_kem.is_none_or(|key| keys.encapsulation.as_ref() == Some(key))
        }
        None => {
            let recipient = parse_recipient(text.trim()).map_err(|error| unreadable(&error))?;
            recipient == session.receiver().recipient
        }
    };
    if has_it {
        return Ok(());
    }
    let given = in_short(given);
    let error = format!("the session has another public key for party {party} than {given}");
    Err(Failure::refused(error).hint(
        "do not approve this session: the owner of the other key could read shares. Ask the \
         operator who made the session file where that key comes from",
    ))
}

/// The text of the file that a flag names, unless it gives an age key itself.
pub(crate) fn recipient_text(given: &str, flag: &str) -> Result<Option<String>, Failure> {
    // A secret key is given by mistake, and is no file's name.
    match ["age1", "AGE-SECRET-KEY-"].iter().any(|begin| given.starts_with(begin)) {
        true => Ok(None),
        false => read_text(Path::new(given), flag).map(Some),
    }
}

/// The beginning of a recipient, which may have some 2,000 characters, or all of a shorter text.
fn in_short(given: &str) -> String {
    const LONG: usize = 100;
    match given.get(..24) {
        Some(begin) if given.len() > LONG && given.starts_with("age1") => format!("{begin}..."),
        _ => given.to_owned(),
    }
}
