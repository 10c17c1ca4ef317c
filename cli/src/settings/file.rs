//! The settings file, `reshare.toml`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Command;
use reshare_files::input_file::{open_input, without_bom};
use reshare_files::private::other_writers;
use reshare_format::keys::{PrivateFileError, read_private};
use toml::de::{DeTable, DeValue};

use super::place::{Place, for_each_command, key_of, place, table_of};
use crate::args::user_directory;
use crate::argv::{ENV_PREFIX, has_password};
use crate::failure::Failure;

/// The largest settings file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// What a settings file says, its keys known to the program.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    pub(super) path: PathBuf,
    /// By table, with an empty name for the top of the file, and key.
    entries: BTreeMap<(String, String), Entry>,
}

/// One value of the file.
#[derive(Debug)]
pub(super) struct Entry {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<String>),
}

impl SettingsFile {
    /// Reads the file that was named, or the one at its default place if there is one.
    ///
    /// # Errors
    /// A [`Failure`] of a file that cannot be read, that others may write, that has a key which no
    /// flag has, or that shows a secret to others.
    pub(crate) fn find(named: Option<&Path>, program: &Command) -> Result<Option<Self>, Failure> {
        let default =
            || Some(user_directory("XDG_CONFIG_HOME", ".config")?.join("reshare/reshare.toml"));
        let Some(path) = named.map(Path::to_owned).or_else(default) else { return Ok(None) };
        if named.is_none() && path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let text = read_text(&path)?;
        let file = Self::parse(&path, &text, program)?;
        file.check_secrets()?;
        Ok(Some(file))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn parse(path: &Path, text: &str, program: &Command) -> Result<Self, Failure> {
        let line_of = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let refused = |at: usize, why: &str| {
            Failure::usage(format!("{}, line {}: {why}", path.display(), line_of(at)))
        };
        let table = DeTable::parse(text)
            .map_err(|error| refused(error.span().map_or(0, |span| span.start), error.message()))?;
        let known = Known::of(program);
        let mut found = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(below) => {
                    let at = key.span().start;
                    known.check_table(name).map_err(|unknown| unknown.refused(refused, at))?;
                    found.extend(below.iter().map(|(key, value)| (name, key, value)));
                }
                _ => found.push(("", key, value)),
            }
        }
        let mut entries = BTreeMap::new();
        for (table, key, value) in found {
            let (at, key) = (key.span().start, key.get_ref().as_ref());
            known.check(table, key).map_err(|unknown| unknown.refused(refused, at))?;
            let value = read_value(value.get_ref());
            let value = value.map_err(|why| refused(at, &format!("{key} {why}")))?;
            entries.insert((table.to_owned(), key.to_owned()), Entry { line: line_of(at), value });
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// What the file says of a key, in the command's table or else at its top: the table's name,
    /// and the value.
    pub(super) fn entry(&self, command: &str, key: &str) -> Option<(String, &Entry)> {
        let in_table = |table: String| {
            self.entries.get(&(table.clone(), key.to_owned())).map(|entry| (table, entry))
        };
        let at_top = || (place(command, key) == Place::Shared).then(|| in_table(String::new()))?;
        in_table(table_of(command)).or_else(at_top)
    }

    /// A file that holds a password must be closed to others, as a key's.
    fn check_secrets(&self) -> Result<(), Failure> {
        let holds = |entry: &Entry| match &entry.value {
            Value::Text(text) => has_password(text.as_ref()),
            Value::List(texts) => texts.iter().any(|text| has_password(text.as_ref())),
            Value::Number(_) | Value::Switch(_) => false,
        };
        let Some(((_, key), entry)) = self.entries.iter().find(|(_, entry)| holds(entry)) else {
            return Ok(());
        };
        match read_private(&self.path) {
            Err(PrivateFileError::Permissions { path, mode }) => {
                let error = format!(
                    "{}, line {}: {key} holds a password, and the file has mode {mode:04o}: others may read it",
                    path.display(),
                    entry.line
                );
                Err(Failure::refused(error).hint(
                    "close the file to others (chmod 600), or give env:NAME or file:PATH in place of the URL",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the file after a check of who may write it, made on the opened file and not on its name.
fn read_text(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        let error = reshare_files::file_error::FileError::new("read", path, error);
        Failure::usage(error)
            .hint("check --config or RESHARE_CONFIG, and that this user may read the file")
    };
    let refused = |why: &str| Failure::refused(format!("{}: {why}", path.display()));
    let file = open_input(path).map_err(unreadable)?;
    if let Some(writers) = other_writers(&file.metadata().map_err(unreadable)?) {
        return Err(refused(&writers.to_string()).hint(
            "who may write it decides which keys, network file and database are used: check what it says, and \
             close it to others (chmod go-w)",
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refused(&format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(without_bom(&bytes).to_vec()).map_err(|_| refused("it is not a text file"))
}

fn read_value(value: &DeValue<'_>) -> Result<Value, String> {
    let number = |value: &DeValue<'_>| {
        let integer = value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    };
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        DeValue::Integer(_) => number(value).map(|number| number.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        _ => None,
    };
    let read = match value {
        DeValue::Boolean(switch) => Some(Value::Switch(*switch)),
        DeValue::Integer(_) => number(value).map(Value::Number),
        DeValue::Array(values) => {
            values.iter().map(|value| text(value.get_ref())).collect::<Option<_>>().map(Value::List)
        }
        value => text(value).map(Value::Text),
    };
    match read {
        Some(Value::Text(text)) if text.is_empty() => Err("is empty".to_owned()),
        Some(value) => Ok(value),
        None => Err(format!(
            "is {}: a text, a number, true or false, or a list of texts is expected",
            value.type_str()
        )),
    }
}

/// The keys and tables that the program knows.
struct Known {
    /// By command: the keys of its flags.
    commands: BTreeMap<String, Vec<String>>,
}

/// A name that the program does not know there, and what may help.
struct Unknown {
    why: String,
    hint: Option<String>,
}

impl Unknown {
    fn refused(self, refused: impl Fn(usize, &str) -> Failure, at: usize) -> Failure {
        refused(at, &self.why).hint_if(self.hint)
    }
}

impl Known {
    fn of(program: &Command) -> Self {
        let mut commands = BTreeMap::new();
        for_each_command(program, &mut |words, command| {
            let keys: Vec<String> = command.get_arguments().filter_map(key_of).collect();
            if !keys.is_empty() {
                commands.insert(words.to_owned(), keys);
            }
        });
        Self { commands }
    }

    fn check_table(&self, table: &str) -> Result<(), Unknown> {
        let tables = || self.commands.keys().map(|command| table_of(command));
        if tables().any(|known| known == table) {
            return Ok(());
        }
        let why = format!("there is no command for a table [{table}]");
        Err(Unknown { why, hint: nearest(table, tables()) })
    }

    fn check(&self, table: &str, key: &str) -> Result<(), Unknown> {
        let of_table = |command: &&String| table.is_empty() || table_of(command) == table;
        let commands = || self.commands.keys().filter(of_table);
        let fits = |command: &str, key: &str| match place(command, key) {
            Place::Shared => true,
            Place::OfCommand => !table.is_empty(),
            Place::CommandLine(_) => false,
        };
        let having: Vec<&String> = commands()
            .filter(|command| self.commands[*command].iter().any(|has| has == key))
            .collect();
        if having.iter().any(|command| fits(command, key)) {
            return Ok(());
        }
        Err(match having.first().map(|command| place(command, key)) {
            Some(Place::CommandLine(why)) => Unknown {
                why: format!("{key} cannot be in a file"),
                hint: Some(format!("give it on the command line: it {why}")),
            },
            Some(_) => {
                let tables: Vec<String> =
                    having.iter().map(|command| format!("[{}]", table_of(command))).collect();
                Unknown {
                    why: format!("{key} is not the same for all commands"),
                    hint: Some(format!("put it below {}", tables.join(" or "))),
                }
            }
            None => {
                let keys = commands().flat_map(|command| {
                    self.commands[command].iter().filter(|key| fits(command, key))
                });
                Unknown { why: format!("there is no key {key}"), hint: nearest(key, keys.cloned()) }
            }
        })
    }
}

/// A hint with the known name that is most like this one.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let likeness = |other: &str| strsim::jaro_winkler(name, other);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.7).then(|| format!("is {best} meant?"))
}

/// A value that says where the value is.
pub(super) enum Indirect<'a> {
    Variable(&'a str),
    File(&'a str),
}

/// Reads `env:NAME` or `file:PATH`.
pub(super) fn indirect(text: &str) -> Option<Indirect<'_>> {
    let variable = text.strip_prefix(ENV_PREFIX).map(Indirect::Variable);
    variable.or_else(|| text.strip_prefix("file:").map(Indirect::File))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    fn parsed(text: &str) -> Result<SettingsFile, String> {
        let mut program = Cli::command();
        program.build();
        SettingsFile::parse(Path::new("reshare.toml"), text, &program).map_err(|failure| {
            format!("{} ({})", failure.causes().join(": "), failure.next_step().unwrap_or_default())
        })
    }

    #[test]
    fn a_table_of_a_command_is_before_the_top_of_the_file() {
        let file =
            parsed("connections = 4\nca_file = 'a'\n\n[send]\nconnections = 8\n").expect("read");
        let (table, entry) = file.entry("send", "connections").expect("there");
        assert_eq!((table.as_str(), entry.line, &entry.value), ("send", 5, &Value::Number(8)));
        let (table, entry) = file.entry("rebuild", "connections").expect("there");
        assert_eq!((table.as_str(), entry.line, &entry.value), ("", 1, &Value::Number(4)));
        assert!(file.entry("rebuild", "threads").is_none());
    }

    #[test]
    fn what_means_something_else_for_a_command_is_not_taken_from_the_top() {
        let file = parsed("db_url = 'env:X'\n[session-new]\ndb_url = 'env:Y'\n").expect("read");
        let value = |command| file.entry(command, "db_url").map(|(_, entry)| &entry.value);
        assert_eq!(value("send"), Some(&Value::Text("env:X".to_owned())));
        assert_eq!(value("session new"), Some(&Value::Text("env:Y".to_owned())));
        assert_eq!(value("status"), None);
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_line_and_what_helps() {
        for (text, said) in [
            (
                "conections = 4",
                "reshare.toml, line 1: there is no key conections (is connections meant?)",
            ),
            (
                "\n[sent]\nuploads = 4",
                "line 2: there is no command for a table [sent] (is send meant?)",
            ),
            ("[rebuild]\nlisten = 'x'", "line 2: there is no key listen"),
            (
                "rebuild = true",
                "line 1: rebuild is not the same for all commands (put it below [receive])",
            ),
            (
                "yes = true",
                "line 1: yes cannot be in a file (give it on the command line: it confirms",
            ),
            ("[purge]\ninbox = 'x'", "line 2: inbox cannot be in a file"),
            ("a = ", "reshare.toml, line 1: "),
            ("connections = 1.5", "line 1: connections is float: a text, a number"),
            ("ca_file = ''", "line 1: ca_file is empty"),
            ("session = 'a'\nsession = 'b'", "line 2: duplicate key"),
        ] {
            let refused = parsed(text).expect_err(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
