//! The public files of parties, as `party init` makes them.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_format::party::{PartyDefect, PublicParty};

use crate::failure::Failure;

/// Reads the public files of parties, each another one's.
pub(crate) fn load_parties(paths: &[PathBuf]) -> Result<Vec<PublicParty>, Failure> {
    let mut parties: Vec<PublicParty> = Vec::with_capacity(paths.len());
    for path in paths {
        let public = PublicParty::load(path).map_err(|error| match &error.defect {
            PartyDefect::Read(_) => Failure::of_file(error, "--party"),
            _ => Failure::refused(error).hint(
                "give the party-N.public.json that `reshare party init` made, as the party's operator has it",
            ),
        })?;
        let is_known =
            |known: &&PublicParty| known.party() == public.party() || known.name() == public.name();
        if let Some(known) = parties.iter().find(is_known) {
            let error = format!(
                "--party {}: it is party {}, {}, but party {} with the name {} is given already",
                path.display(),
                public.party(),
                public.name(),
                known.party(),
                known.name()
            );
            return Err(Failure::refused(error)
                .hint("each party has one number and one name: give its file once"));
        }
        parties.push(public);
    }
    Ok(parties)
}

/// Where a party's certificate is in the directory that `pki issue --party` writes to.
pub(crate) fn certificate_path(directory: &Path, party: PartyId) -> PathBuf {
    directory.join(format!("party-{party}.pem"))
}
