//! What shows that a sender has blinded rows of a session before.

use std::fmt;
use std::fs;
use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_exchange::{Inbox, InboxDefect, InboxError};
use reshare_files::file_error::OnFile;
use reshare_files::junk::is_junk;
use reshare_format::package::{PackageDefect, PackageError, PartName, read_manifest};
use reshare_format::receipt::UnverifiedReceipt;
use reshare_format::session::Session;

use super::error::PipelineError;

/// Something that a sender cannot have without having blinded rows. It is not verified: even
/// where somebody else made it, a sender has to find out how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The receiver's receipt for both senders.
    Receipt,
    /// A package of this sender that is closed.
    Package,
    /// Parts without a manifest, which do not say whose they are.
    Parts,
    /// Parts of this sender, or records of them, in the receiver's inbox.
    Inbox,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receipt => "is a receipt for what this sender has sent in this session",
            Self::Package => "is a package that this sender has made in this session",
            Self::Parts => "holds parts of a package that may be of this sender and session",
            Self::Inbox => "is an inbox with parts of this sender and session",
        })
    }
}

/// Looks at a receipt, a package or an inbox; `None` when it shows nothing about this sender.
///
/// # Errors
/// A [`PipelineError`] when it cannot be read, or is none of the three.
pub fn find_evidence(
    session: &Session,
    sender: PartyId,
    path: &Path,
) -> Result<Option<Evidence>, PipelineError> {
    if !fs::metadata(path).on("look for evidence in", path)?.is_dir() {
        let is_of_session = UnverifiedReceipt::load(path)?.fingerprint() == session.fingerprint();
        return Ok(is_of_session.then_some(Evidence::Receipt));
    }
    match Inbox::is_of(path, session) {
        Ok(true) => return Ok(inbox(path, sender)?.then_some(Evidence::Inbox)),
        Err(InboxError::Defect { defect: InboxDefect::OtherSession(_), .. }) => return Ok(None),
        Ok(false) => {}
        Err(error) => return Err(error.into()),
    }
    match read_manifest(path) {
        Ok(manifest) => {
            let claims = manifest.claims();
            let is_own = claims.fingerprint == session.fingerprint() && claims.sender == sender;
            Ok(is_own.then_some(Evidence::Package))
        }
        Err(PackageError::Defect { defect: PackageDefect::NotClosed, .. }) => {
            let names = names(path)?;
            let is_part = |name: &String| name.parse::<PartName>().is_ok();
            Ok(names.iter().any(is_part).then_some(Evidence::Parts))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an inbox has, or had, parts of a sender.
fn inbox(directory: &Path, sender: PartyId) -> Result<bool, PipelineError> {
    let package = Inbox::package_path(directory, sender);
    let has_parts = package.is_dir() && !names(&package)?.is_empty();
    let records = package.with_extension("records");
    Ok(has_parts || fs::metadata(records).is_ok_and(|metadata| metadata.len() > 0))
}

fn names(directory: &Path) -> Result<Vec<String>, PipelineError> {
    let mut names = vec![];
    for entry in fs::read_dir(directory).on("list", directory)? {
        let name = entry.on("list", directory)?.file_name();
        names.extend(name.into_string().ok().filter(|name| !is_junk(name.as_ref())));
    }
    Ok(names)
}
