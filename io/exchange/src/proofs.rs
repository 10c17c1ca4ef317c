//! The files that show who signed a package: its manifest's signature, and the certificates that also
//! verify the records of its parts.

use std::io;

use reshare_files::durable;
use reshare_files::input_file::NotRegular;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{CHAIN_NAME, SIGNATURE_NAME, read_chain};

use super::refusal::Refusal;
use super::slot::{Accepted, Slot};

/// A file of the manifest's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The signature.
    Signature,
    /// The signer's certificate and the intermediate ones.
    Chain,
}

impl Proof {
    /// The file's name, in the package and in the URL.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Signature => SIGNATURE_NAME,
            Self::Chain => CHAIN_NAME,
        }
    }
}

impl Slot {
    /// The certificates that the sender's records are verified with.
    ///
    /// # Errors
    /// [`Refusal::NoChain`] when it has not sent them.
    pub(super) fn chain(&self) -> Result<CertificateChain, Refusal> {
        let mut state = self.lock();
        if let Some(chain) = &state.chain {
            return Ok(chain.clone());
        }
        let chain = read_chain(&self.directory).map_err(Refusal::signature)?;
        let chain = chain.ok_or(Refusal::NoChain)?;
        Ok(state.chain.insert(chain).clone())
    }

    /// Whether the sender has sent its certificates, as it does before its first part.
    pub(super) fn has_begun(&self) -> bool {
        self.directory.join(CHAIN_NAME).exists()
    }

    /// Keeps a file of the manifest's signature, which comes before the manifest and is verified
    /// with it; it may be replaced until then.
    pub(super) fn keep_proof(&self, proof: Proof, bytes: &[u8]) -> Result<Accepted, Refusal> {
        let mut state = self.lock();
        state.check_certain()?;
        state.chain = None;
        let path = self.directory.join(proof.name());
        let before = match durable::open_regular(&path) {
            // One byte more than the new file has: a longer file differs.
            Ok(Some(file)) => {
                let most = bytes.len() as u64 + 1;
                let (mut before, mut file) = (Vec::new(), io::Read::take(file, most));
                io::Read::read_to_end(&mut file, &mut before).map_err(Refusal::disk)?;
                Some(before)
            }
            Ok(None) => return Err(Refusal::disk(NotRegular.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Refusal::disk(error)),
        };
        if before.as_deref() == Some(bytes) {
            // An earlier attempt may have failed at this step.
            durable::sync_directory(&self.directory).map_err(Refusal::disk)?;
            return Ok(Accepted::Same);
        }
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        durable::write_whole(path, bytes).map_err(Refusal::disk)?;
        drop(state);
        self.grow();
        Ok(if before.is_some() { Accepted::Replaced } else { Accepted::New })
    }
}
