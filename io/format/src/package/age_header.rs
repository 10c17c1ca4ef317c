//! The header of an age file, as the crate `age` writes and verifies it, and the payload's key.
//!
//! The crate shows its file key only to the code that wraps or unwraps it. So the true recipient or
//! identity is wrapped in one that notes the file key.

use std::cell::Cell;
use std::collections::HashSet;
use std::{io, iter};

use crate::keys::{Identity, Recipient};
use age::secrecy::ExposeSecret;
use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use aws_lc_rs::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

/// The most bytes of a header that are read. One for one hybrid recipient has 1,650 bytes, for a
/// classic one 200, and a random stanza at most a few hundred.
pub(super) const MAX_BYTES: usize = 16 << 10;

/// What the line with the MAC begins with, after the end of the line before it.
const MAC_LINE: &[u8] = b"\n--- ";
/// A MAC of 32 bytes in base64 without padding, and the end of the line.
const MAC_BYTES: usize = 43 + 1;
const NONCE_BYTES: usize = 16;

/// Makes the header for one recipient, with the payload's nonce, and the key for that payload.
///
/// # Errors
/// [`EncryptError`], as the recipient returns it.
pub(super) fn seal(recipient: &Recipient) -> Result<(Vec<u8>, LessSafeKey), EncryptError> {
    let noted = Noted::new(recipient);
    let recipients = iter::once(&noted as &dyn age::Recipient);
    let mut header = Vec::new();
    // The writer that this returns would write the payload.
    drop(age::Encryptor::with_recipients(recipients)?.wrap_output(&mut header)?);
    let key = payload_key(&noted, &header)?;
    Ok((header, key))
}

/// Finds how long the header that `file` begins with is, with the payload's nonce; `None` when its
/// last line does not begin within [`MAX_BYTES`].
pub(super) fn len(file: &[u8]) -> Option<usize> {
    let mut windows = file[..file.len().min(MAX_BYTES)].windows(MAC_LINE.len());
    // No line but the last one of a header begins with dashes.
    let start = windows.position(|window| window == MAC_LINE)?;
    Some(start + MAC_LINE.len() + MAC_BYTES + NONCE_BYTES)
}

/// Verifies a header and finds the payload's key. `header` is of the length that [`len`] returns,
/// or shorter when the file ends before that.
///
/// # Errors
/// [`DecryptError`]: the header is not of age's form or is truncated, it has no stanza of this
/// identity, or its MAC does not fit.
pub(super) fn open(header: &[u8], identity: &Identity) -> Result<LessSafeKey, DecryptError> {
    let (mut rest, noted) = (header, Noted::new(identity));
    let identities = iter::once(&noted as &dyn age::Identity);
    // The reader that this returns would read the payload. The MAC was verified before.
    drop(age::Decryptor::new_buffered(&mut rest)?.decrypt(identities)?);
    if !rest.is_empty() {
        return Err(DecryptError::InvalidHeader);
    }
    Ok(payload_key(&noted, header)?)
}

/// Derives `HKDF-SHA-256(ikm = file key, salt = nonce, info = "payload")`, 32 bytes; the nonce is
/// the end of the header.
///
/// # Secrecy
/// Each copy of the file key and of the payload's key is wiped when it is dropped, AWS-LC's too.
///
/// # Errors
/// When AWS-LC fails, or no file key was noted.
///
/// # Source
/// <https://c2sp.org/age>, *Payload*.
fn payload_key<T>(noted: &Noted<'_, T>, header: &[u8]) -> io::Result<LessSafeKey> {
    let nonce = header.last_chunk::<NONCE_BYTES>().ok_or(io::ErrorKind::UnexpectedEof)?;
    let file_key = noted.file_key.take().ok_or(io::ErrorKind::Other)?;
    let prk = Salt::new(HKDF_SHA256, nonce).extract(&*file_key);
    let mut key = Zeroizing::new([0; 32]);
    let expanded = prk.expand(&[b"payload"], HKDF_SHA256).and_then(|okm| okm.fill(&mut *key));
    let key = expanded.and_then(|()| UnboundKey::new(&CHACHA20_POLY1305, &*key));
    key.map(LessSafeKey::new).map_err(io::Error::other)
}

/// A recipient or an identity, and the file key that it wrapped or unwrapped.
struct Noted<'a, T> {
    inner: &'a T,
    file_key: Cell<Option<Zeroizing<[u8; FILE_KEY_BYTES]>>>,
}

impl<'a, T> Noted<'a, T> {
    fn new(inner: &'a T) -> Self {
        Self { inner, file_key: Cell::new(None) }
    }

    fn note(&self, file_key: &FileKey) {
        self.file_key.set(Some(Zeroizing::new(*file_key.expose_secret())));
    }
}

impl<T: age::Recipient> age::Recipient for Noted<'_, T> {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.note(file_key);
        self.inner.wrap_file_key(file_key)
    }
}

impl<T: age::Identity> age::Identity for Noted<'_, T> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = self.inner.unwrap_stanza(stanza);
        if let Some(Ok(file_key)) = &unwrapped {
            self.note(file_key);
        }
        unwrapped
    }
}
