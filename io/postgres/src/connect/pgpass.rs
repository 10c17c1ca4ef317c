//! Passwords from `.pgpass`.
//!
//! The driver can read this file too, but it logs a malformed line as a whole and looks up a unix
//! socket under the wrong host name. So it is not used for this.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reshare_files::input_file::open_input;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// What a line must match.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Looks into a password file.
///
/// A file that others may read is ignored with a warning, as in libpq.
pub(super) fn password_in(path: &Path, wanted: &Wanted<'_>) -> Option<SecretString> {
    let file = open_private(path)?;
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Zeroizing::new(String::new());
        match reader.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {
                let line = line.trim_end_matches(['\r', '\n']);
                if let Some(password) = password_of(line, wanted) {
                    return Some(password);
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the password file");
                return None;
            }
        }
    }
}

fn open_private(path: &Path) -> Option<File> {
    let file = match open_input(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot open the password file");
            return None;
        }
    };
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        tracing::warn!(path = %path.display(), "the password file is no plain file: ignored");
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others may read the password file: ignored");
        return None;
    }
    Some(file)
}

/// The password of `host:port:database:user:password`, if the line is for `wanted`.
fn password_of(line: &str, wanted: &Wanted<'_>) -> Option<SecretString> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for value in [wanted.host, &port, wanted.database, wanted.user] {
        let (field, after) = split_field(rest)?;
        if field != "*" && unescaped(field) != value {
            return None;
        }
        rest = after;
    }
    Some(SecretString::from(unescaped(rest)))
}

/// Splits at the first colon that is not escaped by a backslash.
fn split_field(line: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b':' => return Some((&line[..at], &line[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescaped(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        let literal = if character == '\\' { characters.next() } else { Some(character) };
        out.extend(literal);
    }
    out
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn find(line: &str) -> Option<String> {
        let wanted = Wanted { host: "db.example", port: 5432, database: "iris", user: "op" };
        password_of(line, &wanted).map(|password| password.expose_secret().to_owned())
    }

    #[test]
    fn a_file_that_others_may_read_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pgpass");
        std::fs::write(&path, "broken line\nother:*:*:*:no\r\n*:*:*:op:geheim\r\n")
            .expect("written");
        let wanted = Wanted { host: "/run/pg", port: 1, database: "iris", user: "op" };
        for (mode, found) in [(0o600, true), (0o640, false), (0o604, false)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("changed");
            let password = password_in(&path, &wanted);
            assert_eq!(password.is_some_and(|found| found.expose_secret() == "geheim"), found);
        }
        assert!(password_in(directory.path(), &wanted).is_none());
        assert!(password_in(&directory.path().join("none"), &wanted).is_none());
    }

    #[test]
    fn a_line_matches_field_by_field_or_by_star() {
        assert_eq!(find("db.example:5432:iris:op:geheim"), Some("geheim".into()));
        assert_eq!(find("*:*:*:*:geheim"), Some("geheim".into()));
        assert_eq!(find("db.example:5433:iris:op:geheim"), None);
        assert_eq!(find("db.example:5432:iris:other:geheim"), None);
        assert_eq!(find("#*:*:*:*:geheim"), None);
        assert_eq!(find("*:*:*"), None);
    }

    #[test]
    fn colons_and_backslashes_may_be_escaped() {
        assert_eq!(find(r"*:*:ir\is:op:a\:b\\c:d"), Some(r"a:b\c:d".into()));
        assert_eq!(find(r"*:*:\*:op:x"), None);
    }
}
