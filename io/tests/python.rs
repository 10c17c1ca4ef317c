//! The format page against the program: `fixtures/python/check_row.py` is written from
//! FORMAT-session.md alone and must come to the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use reshare_io::session::{IdList, Session, SessionIds};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The interpreter with the packages that the format checks need.
fn interpreter() -> PathBuf {
    let named = std::env::var_os("RESHARE_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| workspace().join("target/python-env/bin/python"));
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    python
}

/// Runs `check_row.py` and returns the last line it printed.
fn check_row(arguments: &[&Path]) -> String {
    let script = workspace().join("fixtures/python/check_row.py");
    let output = Command::new(interpreter()).arg(script).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run Python ({error}): run make setup"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "check_row.py failed, is make setup up to date? {stderr}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

fn vector(name: &str) -> PathBuf {
    workspace().join("fixtures/vectors/session").join(name)
}

#[test]
fn python_comes_to_the_fingerprint_of_each_session_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["session.toml", "list.toml"] {
        let session = Session::load(&vector(name)).expect("valid");
        let printed = dir.path().join(name);
        std::fs::write(&printed, session.to_toml()).expect("written");
        for path in [&vector(name), &printed] {
            let fingerprint = check_row(&[Path::new("fingerprint"), path]);
            assert_eq!(fingerprint, session.fingerprint().to_string(), "{}", path.display());
        }
    }
}

#[test]
fn python_comes_to_the_digest_of_a_list_of_ids() {
    let path = vector("ids.txt");
    let list = IdList::load(&path).expect("valid");
    let SessionIds::List { digest, .. } = list.session_ids() else { panic!("a list") };
    assert_eq!(check_row(&[Path::new("list"), &path]), hex::encode(digest));
}
