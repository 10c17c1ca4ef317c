//! Sealing and opening by the crate `age`, with one BLAKE3 and the same file or without, and
//! nothing else.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter;
use std::path::Path;

use reshare_engine::rows::Rows;
use reshare_files::durable::DurableFile;
use reshare_format::keys::{Identity, Recipient};

/// The size of one read or write.
const PIECE_BYTES: usize = 256 << 10;
/// The size of the pieces that age encrypts.
const AGE_CHUNK_BYTES: usize = 64 << 10;

/// Seals the bytes of the share columns into a durable file, and digests that.
///
/// # Errors
/// Any error of the file system.
pub fn plain_seal(path: &Path, rows: &Rows<'_>, recipient: &Recipient) -> io::Result<blake3::Hash> {
    let file = DurableFile::create(path)?;
    let pieces =
        Pieces { file, piece: Vec::with_capacity(PIECE_BYTES), hasher: Default::default() };
    let mut pieces = age_seal(pieces, rows, recipient)?;
    pieces.flush()?;
    pieces.file.commit()?;
    Ok(pieces.hasher.finalize())
}

/// Seals the bytes of the share columns with the writer of the crate `age`.
///
/// # Errors
/// What `out` says.
pub fn age_seal<W: Write>(out: W, rows: &Rows<'_>, recipient: &Recipient) -> io::Result<W> {
    let recipient = iter::once(recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipient).map_err(io::Error::other)?;
    let mut age = encryptor.wrap_output(out)?;
    for shares in &rows.shares {
        for chunk in bytemuck::cast_slice::<u16, u8>(shares).chunks(AGE_CHUNK_BYTES) {
            age.write_all(chunk)?;
        }
    }
    age.finish()
}

/// Opens a file, writes what age decrypts to `out`, and returns the digest of the file.
///
/// # Errors
/// Any error of the file system, and what age says about another file or identity.
pub fn plain_open(
    path: &Path,
    identity: &Identity,
    out: &mut impl Write,
) -> io::Result<blake3::Hash> {
    let file = DigestedFile { file: File::open(path)?, hasher: blake3::Hasher::new() };
    let mut file = BufReader::with_capacity(PIECE_BYTES, file);
    age_open(&mut file, identity, out)?;
    Ok(file.into_inner().hasher.finalize())
}

/// Opens `sealed` with the reader of the crate `age`, and writes what that decrypts to `out`.
///
/// # Errors
/// What `sealed` and `out` say, and what age says about another file or identity.
pub fn age_open(sealed: impl BufRead, identity: &Identity, out: &mut impl Write) -> io::Result<()> {
    let age = age::Decryptor::new_buffered(sealed).map_err(io::Error::other)?;
    let identity = iter::once(identity as &dyn age::Identity);
    let mut age = age.decrypt(identity).map_err(io::Error::other)?;
    let mut chunk = vec![0; AGE_CHUNK_BYTES];
    loop {
        match age.read(&mut chunk)? {
            0 => return Ok(()),
            count => out.write_all(black_box(&chunk[..count]))?,
        }
    }
}

/// The digest of the bytes that [`plain_seal`] seals.
#[must_use]
pub fn shares_digest(rows: &Rows<'_>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for shares in &rows.shares {
        hasher.update(bytemuck::cast_slice(shares));
    }
    hasher.finalize()
}

/// Writes and digests large pieces.
struct Pieces {
    file: DurableFile,
    piece: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE_BYTES {
            self.flush()?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.piece);
        self.file.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

/// Digests what is read.
struct DigestedFile {
    file: File,
    hasher: blake3::Hasher,
}

impl Read for DigestedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
