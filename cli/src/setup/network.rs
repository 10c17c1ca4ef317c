//! The network file, and whether a session is one of its network.

use std::path::{Path, PathBuf};

use reshare_format::network::{Network, NetworkDefect, NetworkError};
use reshare_format::session::Session;

use crate::args::NetworkArgs;
use crate::failure::Failure;

/// What to do about a network file that cannot be used.
pub(crate) fn network_failure(error: NetworkError) -> Failure {
    let hint = match &error.defect {
        NetworkDefect::Read(_) | NetworkDefect::Write(_) => {
            "check --network, and the permissions of this file and its directory"
        }
        NetworkDefect::Writers(_) => {
            "who may write it can give a party a second evaluation point: check what it says with \
             `reshare network show` and the other operators"
        }
        NetworkDefect::Version { .. } => "use the version of reshare that made it",
        _ => "make it again with `reshare network new`, and compare its fingerprint",
    };
    Failure::of(error).hint(hint)
}

/// Checks that a session is one of this party's network: each party's number belongs to its name,
/// and the authority is the network's. Returns the file that it was compared with.
///
/// A session without certificates has no names: it is refused where this party has a network file,
/// and passes where it has none.
pub(crate) fn check_network(
    session: &Session,
    args: &NetworkArgs,
) -> Result<Option<PathBuf>, Failure> {
    let compared = compare_network(session, args)?;
    if compared.is_none() && session.ca_sha256().is_some() {
        return Err(missing(&args.path()?));
    }
    Ok(compared)
}

/// As [`check_network`], but passes any session where this party has no network file.
pub(crate) fn compare_network(
    session: &Session,
    args: &NetworkArgs,
) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = args.existing_path() else { return Ok(None) };
    let network = match Network::load(&path) {
        Ok(network) => network,
        Err(error) if error.is_missing() && !args.is_given() => return Ok(None),
        Err(error) => return Err(network_failure(error)),
    };
    let has_certificates = session.ca_sha256().is_some();
    let path_shown = path.display();
    network.check(session).map_err(|error| {
        let hint = match has_certificates {
            true => format!(
                "neither approve this session nor send in it: ask the other operators who made it. \
                 Who has which number is in {path_shown}; a party that is new to the network is \
                 added with `reshare network add` when all operators have agreed on it"
            ),
            false => format!(
                "this party's network has certificates, see {path_shown}: have the session made \
                 with --certificate-name"
            ),
        };
        Failure::refused(error).hint(hint)
    })?;
    Ok(Some(path))
}

fn missing(path: &Path) -> Failure {
    let error = format!(
        "this session uses certificates: a network file is needed, and there is no {}",
        path.display()
    );
    Failure::usage(error).hint(
        "`reshare network new --ca-file FILE --certificate-name PARTY=NAME` with each party of the \
         network makes it, once; --network FILE names another one. It keeps a party from getting \
         shares at a second evaluation point",
    )
}
