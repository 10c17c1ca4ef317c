//! `reshare config show`: which settings hold, and where each one came from.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::settings::{
    self, Layer, Origin, SettingsFile, command_of, for_each_command, key_of, settings_of,
    variable_of,
};

#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show each setting of a command and where it comes from; without a command, all that are set
    Show {
        /// A command, such as send or session approve; it may have flags
        #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// One setting.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    /// The command, where it is one of some commands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    key: String,
    flag: String,
    variable: Option<String>,
    /// `null` where the flag has no value.
    value: Option<String>,
    /// `flag`, `environment`, `file` or `default`.
    source: &'static str,
    /// In words.
    from: String,
}

impl ConfigCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let Action::Show { command } = &self.action;
        let program = settings::program();
        let is_of_all = command.is_empty();
        let OfCommand { shown, is_json, config } = match is_of_all {
            true => OfCommand {
                shown: all_that_are_set(&program, output)?,
                is_json: output.json,
                config: output.config.clone(),
            },
            false => of_command(&program, command, output)?,
        };
        let file = SettingsFile::find(config.as_deref(), &program)?;
        let path = file.map(|file| file.path().display().to_string());
        if is_json {
            let report = json!({ "file": path, "settings": shown });
            report::line(&format!("{report:#}"))?;
            return Ok(Exit::Done);
        }
        let file = path.unwrap_or_else(|| "none".to_owned());
        let mut lines = vec![format!("{:<24} {file}", "settings file")];
        let mut group = None;
        for setting in shown {
            if is_of_all && setting.command.is_some() && group != setting.command {
                group.clone_from(&setting.command);
                lines.push(format!("\n[{}]", group.as_deref().unwrap_or_default()));
            }
            lines.push(match setting.value {
                Some(value) => format!("{:<24} {value}  ({})", setting.key, setting.from),
                None => format!("{:<24} -", setting.key),
            });
        }
        report::line(&lines.join("\n"))?;
        Ok(Exit::Done)
    }
}

/// What there is to show, and how.
struct OfCommand {
    shown: Vec<Shown>,
    is_json: bool,
    /// The settings file that is named.
    config: Option<PathBuf>,
}

/// The settings of one command, whose words may be followed by flags.
fn of_command(
    program: &Command,
    words: &[OsString],
    output: &OutputArgs,
) -> Result<OfCommand, Failure> {
    let matches = matches_of(words.to_vec(), output)?;
    let Some((words, command, matches)) = command_of(program, &matches) else {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let error = format!("there is no command `{}`", words.join(" "));
        return Err(Failure::usage(error).hint("`reshare --help` lists the commands"));
    };
    let settings = settings_of(program, &words, command, matches)?;
    let mut shown = Vec::new();
    for arg in command.get_arguments() {
        let Some(key) = key_of(arg) else { continue };
        let layer = settings.layers().iter().find(|layer| layer.key == key);
        if layer.is_none() && variable_of(&words, &key).is_none() {
            continue;
        }
        let default = || {
            let values = arg.get_default_values().iter();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            (!values.is_empty()).then(|| values.join(" "))
        };
        let value = layer.map_or_else(default, |layer| Some(layer.shown()));
        shown.push(Shown::new(&words, key, value, layer.map(|layer| &layer.origin)));
    }
    let config = matches.get_one::<PathBuf>("config").or(output.config.as_ref()).cloned();
    Ok(OfCommand { shown, is_json: output.json || matches.get_flag("json"), config })
}

/// What is set in the environment and the file, each once for all commands that it holds for.
fn all_that_are_set(program: &Command, output: &OutputArgs) -> Result<Vec<Shown>, Failure> {
    let mut commands = Vec::new();
    for_each_command(program, &mut |words, command| commands.push((words.to_owned(), command)));
    let (mut shared, mut own) = (Vec::new(), Vec::new());
    for (words, command) in commands {
        let of_words = words.split(' ').map(OsString::from).collect();
        let matches = matches_of(of_words, output)?;
        let Some((_, _, matches)) = command_of(program, &matches) else { continue };
        let settings = settings_of(program, &words, command, matches)?;
        let set = settings.layers().iter().filter(|layer| layer.origin != Origin::Flag);
        for Layer { key, origin, .. } in set.clone() {
            let value = set.clone().find(|layer| layer.key == *key).map(Layer::shown);
            let shown = Shown::new(&words, key.clone(), value, Some(origin));
            let place = if shown.command.is_some() { &mut own } else { &mut shared };
            if !place.contains(&shown) {
                place.push(shown);
            }
        }
    }
    shared.sort_by(|a: &Shown, b: &Shown| a.key.cmp(&b.key));
    shared.extend(own);
    Ok(shared)
}

/// What the words of a command give, with the settings file that this command was given.
fn matches_of(mut words: Vec<OsString>, output: &OutputArgs) -> Result<clap::ArgMatches, Failure> {
    words.insert(0, "reshare".into());
    if let Some(config) = &output.config {
        words.splice(1..1, ["--config".into(), config.clone().into()]);
    }
    settings::partly(&words)
        .map_err(|_| Failure::usage("a command and its flags are expected, and no --help"))
}

impl Shown {
    fn new(words: &str, key: String, value: Option<String>, origin: Option<&Origin>) -> Self {
        let origin = origin.unwrap_or(&Origin::Default);
        let (source, command) = match origin {
            Origin::Flag => ("flag", None),
            Origin::Variable(name) if *name == format!("RESHARE_{}", key.to_uppercase()) => {
                ("environment", None)
            }
            Origin::Variable(_) => ("environment", Some(words.to_owned())),
            Origin::File { table, .. } => ("file", table.as_ref().map(|_| words.to_owned())),
            Origin::Default => ("default", None),
        };
        let flag = format!("--{}", key.replace('_', "-"));
        let variable = variable_of(words, &key);
        Self { command, flag, variable, value, source, from: origin.to_string(), key }
    }
}
