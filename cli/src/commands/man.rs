//! `reshare man`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write reshare.1 and a page for every command into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArgs {
    pub(crate) fn run(&self) -> Outcome {
        match &self.out {
            Some(out) => clap_mangen::generate_to(Cli::command(), out).map_err(Failure::failed)?,
            None => {
                let mut page = Vec::new();
                Man::new(Cli::command()).render(&mut page).map_err(Failure::failed)?;
                std::io::stdout().write_all(&page).map_err(Failure::failed)?;
            }
        }
        Ok(Exit::Done)
    }
}
