//! The network file, and whether a session is one of its network.

use std::path::{Path, PathBuf};

use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::network::{Network, NetworkDefect, NetworkError};
use reshare_format::session::Session;

use crate::args::NetworkArgs;
use crate::failure::Failure;

/// What to do about a network file that cannot be used.
pub(crate) fn network_failure(error: NetworkError) -> Failure {
    let hint = match &error.defect {
        NetworkDefect::Read(_) if error.is_missing() => {
            "check --network; `reshare network new` makes the file, and a party that approves its first \
             session may give --new-network there"
        }
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
    match args.existing_path() {
        Some(path) if args.is_given() || path.symlink_metadata().is_ok() => {
            compare_with(session, path).map(Some)
        }
        _ => Ok(None),
    }
}

/// As [`compare_network`], but passes any session where the network file that is named is still to
/// be made.
pub(crate) fn compare_network_if_there(
    session: &Session,
    args: &NetworkArgs,
) -> Result<Option<PathBuf>, Failure> {
    match args.existing_path() {
        Some(path) if path.symlink_metadata().is_ok() => compare_with(session, path).map(Some),
        _ => Ok(None),
    }
}

/// The network file to be made from a session's parties, and where: there must be none.
pub(crate) fn new_network(
    session: &Session,
    args: &NetworkArgs,
) -> Result<(PathBuf, Network), Failure> {
    let path = args.path()?;
    if path.symlink_metadata().is_ok() {
        let error =
            format!("--new-network is given, but there is a network file: {}", path.display());
        return Err(Failure::usage(error).hint("drop it: the session is compared with this file"));
    }
    let Some(ca_sha256) = session.ca_sha256() else {
        let error = "--new-network is given, but this session uses no certificates";
        return Err(Failure::usage(error)
            .hint("drop it: a network file has the parties' certificate names"));
    };
    let mut network = Network::new(*ca_sha256);
    let senders =
        session.senders().into_iter().map(|sender| (sender.party, &sender.certificate_name));
    let receiver = session.receiver();
    for (party, name) in senders.chain([(receiver.party, &receiver.certificate_name)]) {
        if let Some(name) = name {
            network.add(party, name.clone()).map_err(Failure::refused)?;
        }
    }
    Ok((path, network))
}

/// Writes a network file that was not there.
pub(crate) fn write_network(path: &Path, network: &Network) -> Result<(), Failure> {
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        durable::create_directory(directory).on("make", directory).map_err(Failure::failed)?;
    }
    network.write(path).map_err(network_failure)
}

fn compare_with(session: &Session, path: PathBuf) -> Result<PathBuf, Failure> {
    let network = Network::load(&path).map_err(network_failure)?;
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
    Ok(path)
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
