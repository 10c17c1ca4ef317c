//! A party's own public key, and whether a session has it.

use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_files::causes::causes;
use reshare_format::keys::{AgreementPublicKeys, parse_recipient};
use reshare_format::party::PublicParty;
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
             the receiver what `reshare keygen recipient` printed, or either one its \
             party-N.public.json",
        )
    };
    let text = recipient_text(given, "--own-public-key")?.unwrap_or_else(|| given.clone());
    let (keys, recipient) = match text.trim_start().starts_with('{') {
        true => {
            let public = PublicParty::parse(text.as_bytes());
            let public = public.map_err(|error| unreadable(&Chain(&error)))?;
            check_number(&public, session, party)?;
            (Some(public.agreement_keys().clone()), Some(public.recipient().clone()))
        }
        false if session.sender(party).is_some() => {
            let keys = AgreementPublicKeys::from_pem(&text).map_err(|error| unreadable(&error))?;
            (Some(keys), None)
        }
        false => {
            let recipient = parse_recipient(text.trim()).map_err(|error| unreadable(&error))?;
            (None, Some(recipient))
        }
    };
    let has_it = match session.sender(party) {
        Some(sender) => keys.is_some_and(|keys| {
            let of_ml_kem = sender.encapsulation_key.as_ref();
            keys.agreement == sender.agreement_key
                && of_ml_kem.is_none_or(|key| keys.encapsulation.as_ref() == Some(key))
        }),
        None => recipient.as_ref() == Some(&session.receiver().recipient),
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

/// A party's public file also has its number and its name.
fn check_number(public: &PublicParty, session: &Session, party: PartyId) -> Result<(), Failure> {
    let name = match session.sender(party) {
        Some(sender) => sender.certificate_name.as_ref(),
        None => session.receiver().certificate_name.as_ref(),
    };
    if public.party() == party && name.is_none_or(|name| name == public.name()) {
        return Ok(());
    }
    let (number, own) = (public.party(), public.name());
    let name = name.map_or_else(|| "without a name".to_owned(), ToString::to_string);
    let error = format!(
        "--own-public-key is party {number}'s, {own}, but in the session this is party {party}, {name}"
    );
    Err(Failure::refused(error)
        .hint("give this party's own party-N.public.json, and its own certificate"))
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let causes: Vec<String> = causes(self.0).map(ToString::to_string).collect();
        f.write_str(&causes.join(": "))
    }
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
