//! `reshare man`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;
use reshare_files::file_error::OnFile;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write reshare.1 and a page for every command into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArgs {
    /// Prints or writes the manual of this command line.
    pub(crate) fn run(&self, program: Command) -> Outcome {
        match &self.out {
            Some(out) => {
                let written = clap_mangen::generate_to(program, out).on("write into", out);
                written.map_err(Failure::failed)?;
            }
            None => {
                let mut page = Vec::new();
                Man::new(program).render(&mut page).map_err(Failure::failed)?;
                report::bytes(&page)?;
            }
        }
        Ok(Exit::Done)
    }
}
