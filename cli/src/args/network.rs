//! The flags of the network file, and of how a fingerprint is shown.

use std::path::PathBuf;

use clap::Args;

use super::value::user_directory;
use crate::failure::Failure;

/// This party's list of who is who in the network.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Certificates (if the session uses them)")]
pub(crate) struct NetworkArgs {
    /// The network file, which says which number belongs to which party: a session that differs
    /// from it is refused [default: $XDG_CONFIG_HOME/reshare/network.toml, then
    /// ~/.config/reshare/network.toml]
    #[arg(long, value_name = "FILE", env = "RESHARE_NETWORK")]
    network: Option<PathBuf>,
}

impl NetworkArgs {
    /// The file asked for, or the default one.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        self.existing_path().ok_or_else(|| {
            Failure::usage("there is no home directory for the network file")
                .hint("give --network FILE or set RESHARE_NETWORK")
        })
    }

    /// As [`Self::path`]; `None` when there is no place for a default one.
    pub(crate) fn existing_path(&self) -> Option<PathBuf> {
        let default =
            || Some(user_directory("XDG_CONFIG_HOME", ".config")?.join("reshare/network.toml"));
        self.network.clone().or_else(default)
    }

    /// Whether the file was asked for, and is not the default one.
    pub(crate) fn is_given(&self) -> bool {
        self.network.is_some()
    }
}

/// How a fingerprint is shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WordsArgs {
    /// Also show the fingerprint as 24 words, to be read aloud: every flag that takes a fingerprint
    /// takes both forms
    #[arg(long)]
    pub(crate) words: bool,
}
