//! Keeps database passwords out of the process title.
//!
//! Anyone on the host can read a process's arguments. A URL with a password that was given as
//! an argument is moved to an environment variable, which only the same user can read, and
//! the program starts itself again under the same process id.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Values of this form name an environment variable that holds the URL.
pub(crate) const ENV_PREFIX: &str = "env:";

/// Arguments without passwords, and the variables that hold the URLs instead.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moved {
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
}

/// Starts the program again without passwords in its arguments, if there are any.
///
/// Returns only if there are none, or with the error that kept it from starting.
pub(crate) fn hide_passwords() -> std::io::Result<()> {
    let moved = move_passwords(std::env::args_os().skip(1));
    if moved.variables.is_empty() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    Err(Command::new(program).args(moved.arguments).envs(moved.variables).exec())
}

fn move_passwords(arguments: impl Iterator<Item = OsString>) -> Moved {
    let mut moved = Moved::default();
    for argument in arguments {
        let kept = match split_password_url(&argument) {
            Some((before, url)) => {
                let name = format!("RESHARE_MOVED_URL_{}", moved.variables.len());
                moved.variables.push((name.clone(), url.to_owned()));
                let mut kept = before.to_owned();
                kept.push(ENV_PREFIX);
                kept.push(name);
                kept
            }
            None => argument,
        };
        moved.arguments.push(kept);
    }
    moved
}

/// Splits `[anything]postgres[ql]://...` before the URL, where the URL may hold a password.
fn split_password_url(argument: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = argument.as_bytes();
    let starts = |prefix: &[u8]| bytes.windows(prefix.len()).position(|part| part == prefix);
    let start = [starts(b"postgres://"), starts(b"postgresql://")].into_iter().flatten().min()?;
    let (before, url) = bytes.split_at(start);
    // A password may hold any unencoded character, so it ends at the last '@'.
    let (_, rest) = url.split_at(url.iter().position(|byte| *byte == b'/').unwrap_or(url.len()));
    let user = rest.iter().rposition(|byte| *byte == b'@').map(|at| &rest[..at]);
    let has_password = user.is_some_and(|user| user.contains(&b':'))
        || url.windows(9).any(|part| part.eq_ignore_ascii_case(b"password="));
    has_password.then(|| (OsStr::from_bytes(before), OsStr::from_bytes(url)))
}

/// Whether a text is, or holds, a URL with a password.
pub(crate) fn has_password(text: &OsStr) -> bool {
    split_password_url(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(arguments: &[&str]) -> Moved {
        move_passwords(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_password_leaves_the_arguments() {
        let url = "postgres://alice:secret@db.example/irises";
        let result =
            moved(&["send", "--db-url", url, &format!("--db-url={url}"), &format!("1={url}")]);
        let kept = [
            "send",
            "--db-url",
            "env:RESHARE_MOVED_URL_0",
            "--db-url=env:RESHARE_MOVED_URL_1",
            "1=env:RESHARE_MOVED_URL_2",
        ];
        assert_eq!(result.arguments, kept);
        assert!(result.variables.iter().all(|(_, value)| value == url));
        let query = moved(&["postgresql://h/db?user=a&password=b"]);
        assert_eq!(query.arguments, ["env:RESHARE_MOVED_URL_0"]);
    }

    #[test]
    fn a_password_with_an_at_sign_is_moved_too() {
        let result = moved(&["postgres://alice:se@cret@h/db"]);
        assert_eq!(result.variables.len(), 1);
    }

    #[test]
    fn a_password_in_a_mistyped_argument_is_moved_too() {
        for argument in ["postgres://alice:se/cret@h/db", "0:postgres://alice:secret@h/db"] {
            let result = moved(&[argument]);
            assert_eq!(result.variables.len(), 1, "{argument}");
            assert!(!result.arguments[0].to_string_lossy().contains("cret"), "{argument}");
        }
    }

    #[test]
    fn arguments_without_a_password_stay_as_they_are() {
        let arguments =
            ["verify", "--db-url", "postgres://alice@h:5432/db", "postgres:///db?host=/run"];
        let result = moved(&arguments);
        assert_eq!(result.arguments, arguments);
        assert!(result.variables.is_empty());
    }
}
