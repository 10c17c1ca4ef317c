//! What was given of each setting, and where: the URL, a service, or a variable.

use std::ffi::OsString;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::ConnectError;
use super::conninfo::read_conninfo;
use super::libpq::{SETTINGS, Takes, setting};
use super::service::read_service;

/// Where variables are looked up: the environment, or that of a test.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The settings that were given, each at its first place: the URL comes before a service, and that
/// before the variables.
///
/// # Secrecy
/// Holds the password.
#[derive(Default)]
pub(super) struct Given {
    values: Vec<(&'static str, Value)>,
}

struct Value {
    text: Zeroizing<String>,
    /// What an operator calls the place.
    place: String,
}

impl Given {
    /// Gathers the settings.
    pub(super) fn gather(
        url: Option<&str>,
        variables: Variables<'_>,
    ) -> Result<Self, ConnectError> {
        let mut given = Self::default();
        if let Some(url) = url {
            read_conninfo(url, &mut given).map_err(|reason| ConnectError::BadUrl { reason })?;
        }
        let mut of_variables = Self::default();
        of_variables.read_variables(variables)?;
        let service = given.text("service").or_else(|| of_variables.text("service"));
        if let Some(service) = service.map(str::to_owned) {
            let file = given.text("servicefile").or_else(|| of_variables.text("servicefile"));
            read_service(&service, file.map(PathBuf::from), variables, &mut given)?;
        }
        for (name, value) in of_variables.values {
            if given.text(name).is_none() {
                given.values.push((name, value));
            }
        }
        Ok(given)
    }

    fn read_variables(&mut self, variables: Variables<'_>) -> Result<(), ConnectError> {
        for setting in SETTINGS.iter().filter(|setting| !setting.variable.is_empty()) {
            let Some(value) = variables(setting.variable) else { continue };
            let place = format!("the variable {}", setting.variable);
            let bad = |reason: &str| ConnectError::bad_setting(&place, reason);
            let value = Zeroizing::new(value.into_string().map_err(|_| bad("it is not UTF-8"))?);
            // An empty mode is refused, as in libpq: it may be a secret that was not filled in.
            if value.is_empty() && setting.name != "sslmode" {
                continue;
            }
            checked(setting.takes, &value).map_err(|reason| bad(&reason))?;
            self.values.push((setting.name, Value { text: value, place }));
        }
        Ok(())
    }

    /// Adds a setting of a URL; of two values the last one counts.
    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let place = format!("the setting {name}");
        let known = setting(name).ok_or_else(|| format!("libpq knows no setting {name}"))?;
        checked(known.takes, value).map_err(|reason| format!("{name}: {reason}"))?;
        self.values.retain(|(other, _)| *other != known.name);
        let text = Zeroizing::new(value.to_owned());
        self.values.push((known.name, Value { text, place }));
        Ok(())
    }

    pub(super) fn add_nonempty(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() { Ok(()) } else { self.add(name, value) }
    }

    /// Adds a setting of a service, unless the URL has it.
    pub(super) fn add_of_service(
        &mut self,
        name: &str,
        value: &str,
        place: &str,
    ) -> Result<(), ConnectError> {
        let bad = |reason: &str| ConnectError::bad_setting(place, reason);
        let known = setting(name).ok_or_else(|| bad("libpq knows no such setting"))?;
        checked(known.takes, value).map_err(|reason| bad(&reason))?;
        if self.text(known.name).is_none() {
            let (text, place) = (Zeroizing::new(value.to_owned()), place.to_owned());
            self.values.push((known.name, Value { text, place }));
        }
        Ok(())
    }

    /// The value of a setting.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(other, _)| *other == name).map(|(_, value)| value.text.as_str())
    }

    /// The value of a setting, if it is not empty.
    pub(super) fn nonempty(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|value| !value.is_empty())
    }

    /// An error about a setting, which names where it is from.
    pub(super) fn bad(&self, name: &'static str, reason: &str) -> ConnectError {
        match self.values.iter().find(|(other, _)| *other == name) {
            Some((_, value)) if value.place.starts_with("the setting") => {
                ConnectError::BadUrl { reason: format!("{name}: {reason}") }
            }
            Some((_, value)) => ConnectError::bad_setting(&value.place, reason),
            None => ConnectError::bad_setting(&format!("the setting {name}"), reason),
        }
    }

    /// A whole number.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<i64>, ConnectError> {
        let Some(text) = self.nonempty(name) else { return Ok(None) };
        let number = text.trim_ascii().parse::<i32>();
        number
            .map(|number| Some(i64::from(number)))
            .map_err(|_| self.bad(name, "it is no whole number"))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ConnectError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*found));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let known = known.join(", ");
        let is_padded = words.iter().any(|(word, _)| *word == text.trim());
        let reason = if is_padded {
            format!("a space or a line end is before or after the word; it can be {known}")
        } else {
            format!("it can be {known}")
        };
        Err(self.bad(name, &reason))
    }
}

fn checked(takes: Takes, value: &str) -> Result<(), String> {
    match takes {
        Takes::Value => Ok(()),
        Takes::Only(words, does) => {
            if words.contains(&value) {
                return Ok(());
            }
            Err(format!("it can only be {}, since {does}", words.join(", ")))
        }
        Takes::Nothing(why) => Err(format!("it is not supported: {why}")),
    }
}
