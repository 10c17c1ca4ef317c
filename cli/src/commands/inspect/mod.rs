//! `reshare inspect`.

mod documents;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::input_file::open_input;
use reshare_format::package::{
    MANIFEST_NAME, ManifestContent, PackageError, PartEntry, Totals, read_manifest,
    read_record_claims,
};
use reshare_format::share_file::{self, ShareFileDefect, ShareFileHeader};
use reshare_pipeline::error::PipelineError;
use serde_json::{Value, json};

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::text::printable;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A share file, a package's directory, its manifest, a sealed part, a session, an approval, a receipt, a network file, a
    /// party's public file, a key, a certificate or a request for one, or a ledger
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

impl InspectArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let is_manifest = self.path.file_name().is_some_and(|name| name == MANIFEST_NAME);
        let directory = if is_manifest { self.path.parent() } else { Some(self.path.as_path()) };
        let description = match directory {
            Some(directory) if is_manifest || directory.is_dir() => package(directory)?,
            _ if is_age_file(&self.path)? => sealed(&self.path)?,
            _ => match documents::describe(&self.path)? {
                Some(described) => described,
                None => share_file(&self.path)?,
            },
        };
        let json = || format!("{description:#}");
        report::line(&if output.json { json() } else { text(&description) })?;
        Ok(Exit::Done)
    }
}

/// One fact per line, parts on lines of their own.
fn text(description: &Value) -> String {
    let Value::Object(facts) = description else { return String::new() };
    let mut lines = Vec::new();
    for (name, value) in facts {
        match value {
            Value::Array(entries) => {
                for entry in entries {
                    let Value::Object(fields) = entry else { continue };
                    let fields: Vec<String> = fields
                        .iter()
                        .map(|(name, value)| format!("{name} {}", plain(value)))
                        .collect();
                    lines.push(format!("{name:<16} {}", fields.join(", ")));
                }
            }
            value => lines.push(format!("{name:<16} {}", plain(value))),
        }
    }
    lines.join("\n")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}

/// What every age file begins with.
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";

fn is_age_file(path: &Path) -> Result<bool, Failure> {
    let mut begin = Vec::new();
    let file = open_input(path).on("read", path).map_err(cannot_read)?;
    let mut file = file.take(AGE_MAGIC.len() as u64);
    file.read_to_end(&mut begin).on("read", path).map_err(cannot_read)?;
    Ok(begin == AGE_MAGIC)
}

fn sealed(path: &Path) -> Result<Value, Failure> {
    let metadata = path.metadata().on("read", path).map_err(cannot_read)?;
    let mut header = Vec::new();
    let file = open_input(path).on("read", path).map_err(cannot_read)?;
    file.take(AGE_HEADER_BYTES).read_to_end(&mut header).on("read", path).map_err(cannot_read)?;
    let lines = header.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    let stanzas = lines.filter_map(|line| line.strip_prefix(b"-> "));
    let kinds = stanzas.map(|stanza| match stanza.split(|byte| *byte == b' ').next() {
        Some(b"mlkem768x25519") => "hybrid (ML-KEM-768 and X25519)",
        Some(b"X25519") => "classic (X25519 alone)",
        _ => "of another kind",
    });
    let kinds: Vec<&str> = kinds.collect();
    Ok(json!({
        "what": "sealed file (age), such as a part of a package: only its recipient can open it",
        "recipient": kinds.join(", "),
        "bytes": metadata.len(),
    }))
}

/// A header with one hybrid stanza has some 1,700 bytes.
const AGE_HEADER_BYTES: u64 = 4096;

pub(super) fn cannot_read(error: FileError) -> Failure {
    Failure::failed(error).hint("check the path, and that this user may read the file")
}

fn share_file(path: &Path) -> Result<Value, Failure> {
    let header = share_file::inspect(path).map_err(|error| match error.defect {
        ShareFileDefect::Magic { .. } => Failure::refused(error)
            .hint("inspect knows every file that reshare writes: this is none, or is damaged"),
        _ => PipelineError::from(error).into(),
    })?;
    let ShareFileHeader { spec, producer, digest, .. } = &header;
    let agree = spec.layout.agree().iter().map(|column| {
        json!({ "name": column.name, "kind": format!("{:?}", column.kind).to_lowercase() })
    });
    let shares =
        spec.layout.shares().iter().map(|column| json!({ "name": column.name, "u16": column.len }));
    Ok(json!({
        "what": format!("share file ({})", spec.kind),
        "session": spec.fingerprint.to_string(),
        "party": spec.party.index(),
        "ids": spec.ids.to_string(),
        "rows": spec.rows,
        "agree": agree.collect::<Vec<_>>(),
        "share": shares.collect::<Vec<_>>(),
        "digest": digest.to_string(),
        "written by": producer,
    }))
}

fn package(directory: &Path) -> Result<Value, Failure> {
    let manifest = match read_manifest(directory) {
        Err(error) if error.is_not_closed() => return open_package(directory, error),
        read => read.map_err(PipelineError::from)?,
    };
    let ManifestContent { session_id, fingerprint, sender, receiver, parts, signed_at, .. } =
        manifest.claims();
    let Totals { parts: count, rows, sealed_bytes } = manifest.claimed_totals();
    let parts = parts.iter().map(part);
    Ok(json!({
        "what": "package (as its manifest claims; nothing is verified here)",
        "session id": session_id,
        "session": fingerprint.to_string(),
        "sender": sender.index(),
        "receiver": receiver.index(),
        "parts": count,
        "rows": rows,
        "bytes": sealed_bytes,
        "closed": signed_at.to_string(),
        "part": parts.collect::<Vec<_>>(),
    }))
}

fn part(part: &PartEntry) -> Value {
    json!({
        "name": part.name.to_string(),
        "ids": part.ids.to_string(),
        "rows": part.rows,
        "bytes": part.sealed_bytes,
        "exported": part.exported_at.to_string(),
    })
}

/// A package without a manifest, as far as it has records.
fn open_package(directory: &Path, not_closed: PackageError) -> Result<Value, Failure> {
    let claims = read_record_claims(directory).map_err(PipelineError::from)?;
    let Some(first) = claims.first() else {
        return Err(PipelineError::from(not_closed).into());
    };
    let parts = || claims.iter().map(|record| &record.part).filter(|part| part.rows > 0);
    Ok(json!({
        "what": "package that is not closed (as its part records claim; nothing is verified here)",
        "session id": first.session_id,
        "session": first.fingerprint.to_string(),
        "sender": first.sender.index(),
        "receiver": first.receiver.index(),
        "parts": parts().count(),
        "rows": parts().map(|part| part.rows).sum::<u64>(),
        "bytes": parts().map(|part| part.sealed_bytes).sum::<u64>(),
        "part": claims.iter().map(|record| part(&record.part)).collect::<Vec<_>>(),
    }))
}
