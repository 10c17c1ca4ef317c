//! The service file: settings of libpq under a name.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::ConnectError;
use super::given::{Given, Variables};

/// Where Debian and others keep the file of the whole machine.
const SYSTEM_FOLDERS: [&str; 2] = ["/etc/postgresql-common", "/etc"];

/// Adds what a service says, of what the URL does not say.
pub(super) fn read_service(
    service: &str,
    file: Option<PathBuf>,
    variables: Variables<'_>,
    given: &mut Given,
) -> Result<(), ConnectError> {
    let bad = |reason: &str| ConnectError::bad_setting("the service", reason);
    let is_named = file.is_some();
    let own = file.or_else(|| Some(home(variables)?.join(".pg_service.conf")));
    let folder = variables("PGSYSCONFDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folders = folder.map_or_else(|| SYSTEM_FOLDERS.map(PathBuf::from).into(), |one| vec![one]);
    let system = folders.into_iter().map(|folder| folder.join("pg_service.conf"));
    for (index, path) in own.into_iter().chain(system).enumerate() {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && !(is_named && index == 0) =>
            {
                continue;
            }
            Err(error) => return Err(bad(&format!("cannot read {}: {error}", path.display()))),
        };
        if read_group(&text, service, &path, given)? {
            return Ok(());
        }
    }
    Err(bad(&format!("{service:?} is in no service file")))
}

/// The home of the user, as libpq finds it.
pub(super) fn home(variables: Variables<'_>) -> Option<PathBuf> {
    let home = variables("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.or_else(std::env::home_dir)
}

fn read_group(
    text: &str,
    service: &str,
    path: &Path,
    given: &mut Given,
) -> Result<bool, ConnectError> {
    let mut is_ours = false;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(group) = line.strip_prefix('[') {
            if is_ours {
                return Ok(true);
            }
            is_ours = group.strip_suffix(']') == Some(service);
            continue;
        }
        if !is_ours {
            continue;
        }
        let place = |name: &str| format!("line {} of {}{name}", number + 1, path.display());
        let Some((name, value)) = line.split_once('=') else {
            return Err(ConnectError::bad_setting(&place(""), "it is not of the form name=value"));
        };
        let place = place(&format!(", {name}"));
        if name.starts_with("ldap") || name == "service" || name == "servicefile" {
            return Err(ConnectError::bad_setting(&place, "it is not supported in a service"));
        }
        given.add_of_service(name, value, &place)?;
    }
    Ok(is_ours)
}
