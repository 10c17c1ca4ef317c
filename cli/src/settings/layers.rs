//! The values of settings for one command: from its command line, the environment and the settings
//! file.
//!
//! A flag is before a variable, a variable before the command's table in the file, and that before
//! the top of the file. A value of a lower place is left alone where the flag is given in a higher
//! one, where it contradicts one of a higher place, and where it is for other runs
//! (`place::condition`). What is left is added to the command line, so that clap judges all alike.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use reshare_files::input_file::{read_input, without_bom, without_line_end};
use reshare_format::keys::read_private;

use super::file::{Entry, Indirect, SettingsFile, Value, indirect};
use super::place::{Condition, condition, key_of, variable_of};
use crate::failure::Failure;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// This variable.
    Variable(String),
    /// A key of the settings file: its table, `None` at the top of the file, and its line.
    File { path: PathBuf, table: Option<String>, key: String, line: usize },
    /// Nothing: it is the flag's default.
    Default,
}

impl Origin {
    /// A higher number goes before a lower one.
    fn rank(&self) -> u8 {
        match self {
            Self::Flag => 4,
            Self::Variable(_) => 3,
            Self::File { table: Some(_), .. } => 2,
            Self::File { table: None, .. } => 1,
            Self::Default => 0,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => write!(f, "the command line"),
            Self::Variable(name) => write!(f, "{name}"),
            Self::File { path, table, key, line } => {
                if let Some(table) = table {
                    write!(f, "[{table}] ")?;
                }
                write!(f, "{key} in {}, line {line}", path.display())
            }
            Self::Default => write!(f, "the default"),
        }
    }
}

/// The value of one flag.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// clap's name of the argument.
    pub(crate) id: String,
    pub(crate) key: String,
    /// As messages and the command line have it: `--server-url`.
    pub(crate) flag: String,
    pub(crate) origin: Origin,
    /// As it is written in its place, where it says only where the value is.
    pub(super) written: Option<String>,
    /// A switch that is on has no value here, one that is off is no layer at all.
    pub(crate) values: Vec<OsString>,
    switch: Switch,
}

/// How a flag is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// With a value, each time.
    No,
    /// So many times, without one.
    Times(u8),
}

impl Layer {
    /// The arguments that give the flag on a command line.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        match self.switch {
            Switch::Times(times) => vec![self.flag.clone().into(); usize::from(times)],
            Switch::No => {
                let with = |value: &OsString| {
                    let mut argument = OsString::from(format!("{}=", self.flag));
                    argument.push(value);
                    argument
                };
                self.values.iter().map(with).collect()
            }
        }
    }

    /// A switch in words.
    pub(super) fn times_shown(&self) -> String {
        match (self.switch, self.key.as_str()) {
            (Switch::Times(times), "verbose") => times.to_string(),
            (Switch::Times(times), _) => (times > 0).to_string(),
            (Switch::No, _) => String::new(),
        }
    }

    /// Whether the flag is off, as without it.
    fn is_off(&self) -> bool {
        self.switch == Switch::Times(0)
    }
}

/// Finds the values for a command, those of its command line first.
///
/// # Errors
/// A [`Failure`] of a value that cannot be one of its flag, or whose variable or file is not there.
pub(super) fn layers(
    words: &str,
    command: &Command,
    matches: &ArgMatches,
    file: Option<&SettingsFile>,
) -> Result<Vec<Layer>, Failure> {
    let mut candidates = Vec::new();
    for arg in command.get_arguments() {
        let Some(key) = key_of(arg) else { continue };
        let place = Found { words, arg, key: &key };
        let layer = match place.on_the_command_line(matches) {
            Some(layer) => Some(layer),
            None => match place.in_the_environment()? {
                Some(layer) => Some(layer),
                None => file.map(|file| place.in_the_file(file)).transpose()?.flatten(),
            },
        };
        candidates.extend(layer);
    }
    candidates.sort_by_key(|layer| std::cmp::Reverse(layer.origin.rank()));
    let given: Vec<String> =
        candidates.iter().filter(|layer| !layer.is_off()).map(|layer| layer.key.clone()).collect();
    candidates.retain(|layer| layer.origin == Origin::Flag || is_wanted(words, layer, &given));
    let mut taken: Vec<Layer> = Vec::new();
    for layer in candidates {
        let contradicts = |higher: &Layer| {
            higher.origin.rank() > layer.origin.rank()
                && !higher.is_off()
                && exclude_each_other(command, &higher.id, &layer.id)
        };
        if !taken.iter().any(contradicts) {
            taken.push(layer);
        }
    }
    Ok(taken)
}

/// Whether a value is for this run.
fn is_wanted(words: &str, layer: &Layer, given: &[String]) -> bool {
    let any = |keys: &[&str]| keys.iter().any(|key| given.iter().any(|given| given == key));
    match condition(words, &layer.key) {
        None => true,
        Some(Condition::Needs(keys)) => any(keys),
        Some(Condition::Unless(keys)) => !any(keys),
    }
}

fn exclude_each_other(command: &Command, one: &str, other: &str) -> bool {
    let arg = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id);
    let (Some(a), Some(b)) = (arg(one), arg(other)) else { return false };
    let names = |arg: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(arg).iter().any(|named| named.get_id() == other.get_id())
    };
    let in_one_group = command.get_groups().any(|group| {
        let has = |arg: &Arg| group.get_args().any(|id| id == arg.get_id());
        !group.clone().is_multiple() && has(a) && has(b)
    });
    names(a, b) || names(b, a) || in_one_group
}

/// A flag whose value is looked for.
struct Found<'a> {
    words: &'a str,
    arg: &'a Arg,
    key: &'a str,
}

impl Found<'_> {
    fn layer(&self, origin: Origin, switch: Switch, values: Vec<OsString>) -> Layer {
        let flag = format!("--{}", self.key.replace('_', "-"));
        let id = self.arg.get_id().to_string();
        Layer { id, key: self.key.to_owned(), flag, origin, written: None, values, switch }
    }

    fn on_the_command_line(&self, matches: &ArgMatches) -> Option<Layer> {
        let id = self.arg.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            return None;
        }
        let (switch, values) = match self.arg.get_action() {
            ArgAction::SetTrue => (Switch::Times(1), Vec::new()),
            ArgAction::Count => (Switch::Times(matches.get_count(id)), Vec::new()),
            _ => {
                let values = matches.get_raw(id).into_iter().flatten();
                (Switch::No, values.map(ToOwned::to_owned).collect())
            }
        };
        Some(self.layer(Origin::Flag, switch, values))
    }

    fn in_the_environment(&self) -> Result<Option<Layer>, Failure> {
        let Some(name) = variable_of(self.words, self.key) else { return Ok(None) };
        let Some(value) = std::env::var_os(&name) else { return Ok(None) };
        let refused = |what: &str| Failure::usage(format!("{name} is not {what}"));
        let (switch, values) = match self.arg.get_action() {
            ArgAction::SetTrue => match value.to_str() {
                Some("true") => (Switch::Times(1), Vec::new()),
                Some("false") => (Switch::Times(0), Vec::new()),
                _ => return Err(refused("true or false")),
            },
            ArgAction::Count => {
                let times = value.to_str().and_then(|value| value.parse().ok());
                (Switch::Times(times.ok_or_else(|| refused("a small number"))?), Vec::new())
            }
            // Several values, one a line: a path or a URL may hold anything else.
            ArgAction::Append => match value.to_str() {
                Some(text) => (Switch::No, text.lines().map(OsString::from).collect()),
                None => (Switch::No, vec![value]),
            },
            _ => (Switch::No, vec![value]),
        };
        Ok(Some(self.layer(Origin::Variable(name), switch, values)))
    }

    fn in_the_file(&self, file: &SettingsFile) -> Result<Option<Layer>, Failure> {
        let Some((table, entry)) = file.entry(self.words, self.key) else { return Ok(None) };
        let origin = Origin::File {
            path: file.path.clone(),
            table: (!table.is_empty()).then_some(table),
            key: self.key.to_owned(),
            line: entry.line,
        };
        let read = self.values_of(entry, file.folder());
        let (switch, values, written) = read.map_err(|why| {
            let (path, line) = (file.path.display(), entry.line);
            Failure::usage(format!("{path}, line {line}: {} {why}", self.key))
        })?;
        Ok(Some(Layer { written, ..self.layer(origin, switch, values) }))
    }

    /// What the file gives: a switch or values, and how it is written where that is not the value.
    fn values_of(
        &self,
        entry: &Entry,
        folder: &Path,
    ) -> Result<(Switch, Vec<OsString>, Option<String>), String> {
        let texts = match (self.arg.get_action(), &entry.value) {
            (ArgAction::SetTrue, Value::Switch(is_on)) => {
                return Ok((Switch::Times((*is_on).into()), Vec::new(), None));
            }
            (ArgAction::Count, Value::Number(times)) => {
                let times = u8::try_from(*times).map_err(|_| "is too large a number")?;
                return Ok((Switch::Times(times), Vec::new(), None));
            }
            (ArgAction::SetTrue, _) => return Err("is true or false".to_owned()),
            (ArgAction::Count, _) => return Err("is a number".to_owned()),
            (_, Value::Switch(_)) => return Err("takes a value, and no true or false".to_owned()),
            (ArgAction::Append, Value::List(texts)) => texts.clone(),
            (_, Value::List(_)) => return Err("takes one value, and no list".to_owned()),
            (_, Value::Text(text)) => vec![text.clone()],
            (_, Value::Number(number)) => vec![number.to_string()],
        };
        let written = texts.iter().any(|text| indirect(text).is_some()).then(|| texts.join(" "));
        let values = texts.iter().map(|text| self.value_of(text, folder));
        Ok((Switch::No, values.collect::<Result<_, _>>()?, written))
    }

    /// The value that a text of the file stands for.
    fn value_of(&self, text: &str, folder: &Path) -> Result<OsString, String> {
        let form = Form::of(self.arg);
        match indirect(text) {
            // A database's flag takes this form itself, and says what is wrong with the variable.
            Some(Indirect::Variable(_)) if form == Form::Database => Ok(text.into()),
            Some(Indirect::Variable(name)) => std::env::var_os(name)
                .ok_or_else(|| format!("is the value of {name}, which is not set")),
            Some(Indirect::File(path)) if form == Form::Text || form == Form::Database => {
                content_of(&folder.join(path), form == Form::Database)
            }
            _ => Ok(form.below(folder, text)),
        }
    }
}

/// What the value of a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// A URL that may hold a password.
    Database,
    Path,
    /// `file:PATH`, `PATH` or `kms:ARN`.
    Key,
    /// `PARTY=PATH`; also a recipient in place of the path.
    PartyPath,
}

impl Form {
    /// As its name in the help says.
    fn of(arg: &Arg) -> Self {
        let names = arg.get_value_names().unwrap_or_default();
        let name = names.first().map_or("", |name| name.as_str());
        let is_path =
            |name: &str| name.split('|').any(|name| ["FILE", "DIR", "PATH"].contains(&name));
        match name {
            "KEY" => Self::Key,
            "PARTY=URL" => Self::Database,
            "URL" if arg.get_id() == "db_url" => Self::Database,
            name if name.strip_prefix("PARTY=").is_some_and(is_path) => Self::PartyPath,
            name if is_path(name) => Self::Path,
            _ => Self::Text,
        }
    }

    /// The value, with a path that is not absolute below the folder of the file.
    fn below(self, folder: &Path, text: &str) -> OsString {
        let is_other = |text: &str| text.starts_with("age1") || text.starts_with("kms:");
        let path = |text: &str| match is_other(text) {
            true => OsString::from(text),
            false => folder.join(text.strip_prefix("file:").unwrap_or(text)).into_os_string(),
        };
        match (self, text.split_once('=')) {
            (Self::Text | Self::Database, _) => text.into(),
            (Self::PartyPath, Some((party, text))) => {
                let mut value = OsString::from(format!("{party}="));
                value.push(path(text));
                value
            }
            _ => path(text),
        }
    }
}

/// The content of a file without its line end. A secret's must be closed to others.
fn content_of(path: &Path, is_secret: bool) -> Result<OsString, String> {
    let text = if is_secret {
        read_private(path).map_err(|error| said(&error))?.to_string()
    } else {
        let bytes = read_input(path, MAX_VALUE_BYTES)
            .map_err(|error| format!("is the content of {}: {error}", path.display()))?;
        let text = std::str::from_utf8(without_bom(&bytes)).ok();
        let text = text.filter(|_| bytes.len() as u64 <= MAX_VALUE_BYTES);
        text.ok_or_else(|| format!("is the content of {}, which is no short text", path.display()))?
            .to_owned()
    };
    let line = without_line_end(text.as_bytes());
    Ok(OsStr::new(std::str::from_utf8(line).unwrap_or_default()).to_owned())
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = reshare_files::causes::causes(error).map(ToString::to_string);
    format!("cannot be used: {}", causes.collect::<Vec<_>>().join(": "))
}

/// The largest value that a file of its own holds.
const MAX_VALUE_BYTES: u64 = 16 << 10;

impl SettingsFile {
    /// The folder that its paths are relative to.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}
