//! Certificates that have come with a session file, put where the flags expect them.

use std::fs;
use std::path::{Path, PathBuf};

use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::session::{CarriedCertificates, Session};

use crate::args::{AuthorityArgs, CertificateArgs};
use crate::failure::Failure;
use crate::streams::say;

/// Files with certificates that were written now, and are removed again unless they are kept.
pub(crate) struct Carried(Vec<PathBuf>);

impl Carried {
    /// Writes the authority's certificate and this party's, where a flag names a file that is not
    /// there and the session has come with them. A file that is there is never replaced.
    pub(crate) fn write(
        session: &Session,
        authority: &AuthorityArgs,
        own: &CertificateArgs,
    ) -> Result<Self, Failure> {
        let mut written = Self(Vec::new());
        let Some(certificates) = session.carried() else { return Ok(written) };
        if let Some(path) = authority.ca_file.as_deref().filter(|path| is_missing(path)) {
            written.add(path, &certificates.authority.to_pem())?;
        }
        let key = own.certificate_key.as_deref();
        if let (Some(path), Some(key)) = (&own.certificate, key)
            && is_missing(path)
        {
            written.add(path, &own_certificate(certificates, key)?)?;
        }
        Ok(written)
    }

    fn add(&mut self, path: &Path, pem: &str) -> Result<(), Failure> {
        durable::write_whole(path, pem.as_bytes()).on("write", path).map_err(Failure::failed)?;
        self.0.push(path.to_owned());
        Ok(())
    }

    /// Keeps the files: the session was approved.
    pub(crate) fn keep(mut self) {
        for path in self.0.drain(..) {
            say!("note: {} has come with the session", path.display());
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        for path in &self.0 {
            // What cannot be removed is a certificate, and no secret.
            let _ = fs::remove_file(path);
        }
    }
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The certificate that is for this party's private key.
fn own_certificate(certificates: &CarriedCertificates, key: &Path) -> Result<String, Failure> {
    for chain in &certificates.parties {
        let is_for = PartyCertificate::is_for(chain, key)
            .map_err(|error| Failure::of_file(error, "--certificate-key"))?;
        if is_for {
            return Ok(chain.to_pem());
        }
    }
    let error = format!("the session has come with no certificate for {}", key.display());
    Err(Failure::refused(error).hint(
        "check --certificate-key; or get this party's certificate from the authority, and give it with \
         --certificate",
    ))
}
