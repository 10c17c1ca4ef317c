//! Every command of the handbook, read by the program.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use reshare_fixtures::network::{Run, program};
use tempfile::TempDir;

use crate::pages::Page;

/// Stands for `reshare` while a line of the handbook runs in bash: it has the words that the shell
/// makes of the line, and lets the program read them while nothing can be done.
///
/// `--help` at the end is obeyed when all words before it are known. Where a session is named,
/// which is not there, the program ends at it when no flag is missing and no two contradict each
/// other, and says that there is no such file or directory.
const READER: &str = r#"#!/bin/bash
echo "$*" >> "$READ"
refused() { echo "reshare $*"; echo "$(<said)"; } >> "$REFUSED"
"$PROGRAM" "$@" --help > said 2>&1 || { refused "$*"; exit 0; }
case " $* ${RESHARE_SESSION:+--session} " in
    *" --session "* | *" session new "*)
        code=0
        "$PROGRAM" "$@" > said 2>&1 < /dev/null || code=$?
        [ $code -ne 2 ] || [[ $(<said) == *"o such file or directory"* || $(<said) == *"there is no directory"* ]] || refused "$*" ;;
esac
"#;

/// The shell, by its path: the lines of the handbook find no program but `reshare` and `cat`.
const BASH: &str = "/bin/bash";

/// Reads lines of the handbook.
struct Reader {
    directory: TempDir,
}

impl Reader {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let reader = Self { directory };
        std::fs::create_dir(reader.path("programs")).expect("made");
        let mut keygen = program(env!("CARGO_BIN_EXE_reshare"));
        keygen.args(["keygen", "recipient", "--out"]).arg(reader.path("receiver.age"));
        let recipient = Run::of(keygen.output().expect("it starts")).ends_with(0).stdout;
        reader.install("reshare", READER);
        // The handbook gives the receiver's public key as "$(cat receiver.pub)", and the id of the
        // key of both senders as "$(cat shared.id)".
        let id = "00112233445566778899aabbccddeeff";
        let cat = format!("case $1 in *.id) echo {id} ;; *) echo {} ;; esac", recipient.trim());
        reader.install("cat", &format!("#!{BASH}\n{cat}\n"));
        reader
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn install(&self, name: &str, script: &str) {
        let path = self.path("programs").join(name);
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
    }

    /// Has bash run a line where `reshare` and `cat` are all the programs there are, in an empty
    /// directory, and returns what the program refused to read.
    fn read(&self, line: &str) -> String {
        let empty = tempfile::tempdir_in(&self.directory).expect("a directory");
        let (read, refused) = (empty.path().join(".read"), empty.path().join(".refused"));
        let mut bash = Command::new(BASH);
        bash.args(["-c", line]).current_dir(&empty).env_clear();
        bash.env("PATH", self.path("programs")).env("HOME", empty.path());
        bash.env("PROGRAM", env!("CARGO_BIN_EXE_reshare"))
            .env("READ", &read)
            .env("REFUSED", &refused);
        bash.output().expect("bash");
        assert!(read.exists(), "bash runs no reshare in: {line}");
        std::fs::read_to_string(refused).unwrap_or_default()
    }
}

#[test]
fn every_command_of_the_handbook_is_one_of_the_program() {
    let reader = Reader::new();
    let mut commands = 0;
    let mut refused = String::new();
    for page in Page::all() {
        let blocks = page.blocks("sh");
        let lines: Vec<String> = blocks.iter().flat_map(|block| block.logical_lines()).collect();
        // Variables that a page sets once count in all of its commands.
        let exports: BTreeSet<&String> =
            lines.iter().filter(|line| line.starts_with("export ")).collect();
        let exports: String = exports.into_iter().map(|line| format!("{line}\n")).collect();
        for line in lines.iter().filter(|line| names_reshare(line)) {
            commands += 1;
            let said = reader.read(&format!("{exports}{line}\n"));
            if !said.is_empty() {
                refused.push_str(&format!("{}: {said}\n", page.name));
            }
        }
    }
    assert!(refused.is_empty(), "the program refuses to read:\n{refused}");
    assert!(commands > 50, "only {commands} commands were found");
}

fn names_reshare(line: &str) -> bool {
    line.starts_with("reshare ") || line.contains("$(reshare ")
}

#[test]
fn a_command_that_the_program_does_not_have_is_refused() {
    let reader = Reader::new();
    let wrong = [
        "reshare sent --session session.toml",
        "reshare send --session session.toml --agreement-keys file:party0.key",
        "reshare send --session session.toml --to usb",
        "reshare send --agreement-key file:party0.key --batch-size many",
        "reshare receive --session session.toml --listen 0.0.0.0:8443",
    ];
    for line in wrong {
        assert!(reader.read(line).contains("error: "), "{line}");
    }
    let right = "reshare send --session session.toml --agreement-key file:party0.key --to usb";
    assert_eq!(reader.read(right), "");
}
