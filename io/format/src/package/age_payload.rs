//! The payload of an age file, sealed and opened by AWS-LC.
//!
//! `header || chunk 0 || chunk 1 || ...`, where
//! `chunk i = ChaCha20-Poly1305(payload key, nonce i, 64 KiB of the plain bytes)` with its tag of
//! 16 bytes, and `nonce i` is `i` as 11 bytes,
//! big-endian, and a byte that is 1 for the last chunk and 0 for every other. Only the last chunk
//! may have less than 64 KiB, and none only where the plain bytes are none.
//!
//! The crate `age` has the same, at half the speed and with a copy of each chunk. It still makes
//! and verifies the header: see `age_header`.
//!
//! # Source
//! <https://c2sp.org/age>, *Payload*.

use std::io::{self, BufRead, Read, Write};
use std::ops::Range;

use crate::keys::{Identity, Recipient};
use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::{PartDefect, age_header};
use crate::read::read_up_to;

/// Plain bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// What sealing adds to a chunk.
pub(super) const TAG_BYTES: usize = 16;
const SEALED_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// The size of one read or write. A power of two: BLAKE3 hashes only such pieces at its full width.
const PIECE_BYTES: usize = 256 << 10;

/// Seals what is written to it, and writes that in pieces of 256 KiB, the last one excepted.
///
/// Without [`Self::finish`] the file ends early, and no reader accepts it.
///
/// # Secrecy
/// The key is wiped when dropped. Plain bytes are encrypted where they are buffered, or on their
/// way into the buffer. Those of a chunk that is never finished are not wiped.
pub(super) struct Writer<W> {
    out: W,
    key: LessSafeKey,
    nonces: Nonces,
    /// `sealed` bytes that are to be written, and after them the `begun` plain bytes of a chunk.
    buffer: Box<[u8]>,
    sealed: usize,
    begun: usize,
}

impl<W: Write> Writer<W> {
    /// Begins a file for one recipient.
    ///
    /// # Errors
    /// [`PartDefect::Seal`], as the recipient returns it.
    pub(super) fn new(out: W, recipient: &Recipient) -> Result<Self, PartDefect> {
        let (header, key) = age_header::seal(recipient).map_err(PartDefect::Seal)?;
        let mut buffer = vec![0; PIECE_BYTES + SEALED_BYTES].into_boxed_slice();
        buffer[..header.len()].copy_from_slice(&header);
        Ok(Self { out, key, nonces: Nonces::new(), buffer, sealed: header.len(), begun: 0 })
    }

    /// Seals and writes the last chunk, and flushes `out`.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal_begun(true)?;
        self.out.write_all(&self.buffer[..self.sealed])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Seals the chunk that was begun, where it is.
    fn seal_begun(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.nonces.next(last)?;
        let (chunk, rest) = self.buffer[self.sealed..].split_at_mut(self.begun);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), chunk);
        rest[..TAG_BYTES].copy_from_slice(tag.map_err(io::Error::other)?.as_ref());
        self.sealed += self.begun + TAG_BYTES;
        self.begun = 0;
        self.write_piece()
    }

    /// Seals a whole chunk that is not the last one into the buffer, while none is begun.
    fn seal_from(&mut self, chunk: &[u8]) -> io::Result<()> {
        let nonce = self.nonces.next(false)?;
        let (sealed, rest) = self.buffer[self.sealed..].split_at_mut(chunk.len());
        let tag = &mut rest[..TAG_BYTES];
        self.key
            .seal_out_of_place_scatter(nonce, Aad::empty(), chunk, sealed, &[], tag)
            .map_err(io::Error::other)?;
        self.sealed += chunk.len() + TAG_BYTES;
        self.write_piece()
    }

    /// Writes a piece as soon as there is one, so that there is always room for another chunk.
    fn write_piece(&mut self) -> io::Result<()> {
        if self.sealed >= PIECE_BYTES {
            self.out.write_all(&self.buffer[..PIECE_BYTES])?;
            self.buffer.copy_within(PIECE_BYTES..self.sealed, 0);
            self.sealed -= PIECE_BYTES;
        }
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    /// Takes all of `bytes`. A chunk is sealed when more bytes follow: only then is it not the
    /// last.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.begun == CHUNK_BYTES {
                self.seal_begun(false)?;
            }
            let now;
            if self.begun == 0 && rest.len() > CHUNK_BYTES {
                (now, rest) = rest.split_at(CHUNK_BYTES);
                self.seal_from(now)?;
            } else {
                (now, rest) = rest.split_at(rest.len().min(CHUNK_BYTES - self.begun));
                self.buffer[self.sealed + self.begun..][..now.len()].copy_from_slice(now);
                self.begun += now.len();
            }
        }
        Ok(bytes.len())
    }

    /// Does nothing: what is not written yet has to wait for the end of its chunk.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a [`Reader`] takes sealed bytes from.
pub(super) trait SealedInput {
    /// The sealed bytes that are next: at least `count`, or all that are left.
    fn ahead(&mut self, count: usize) -> io::Result<&[u8]>;

    /// Passes over bytes that [`Self::ahead`] has shown.
    fn consume(&mut self, count: usize);
}

/// A sealed file that is in memory as a whole.
impl SealedInput for &[u8] {
    fn ahead(&mut self, _: usize) -> io::Result<&[u8]> {
        Ok(self)
    }

    fn consume(&mut self, count: usize) {
        *self = &self[count..];
    }
}

/// A sealed file that is read in pieces of 256 KiB.
pub(super) struct Pieces<R> {
    input: R,
    buffer: Box<[u8]>,
    /// Where bytes are that were not consumed yet.
    held: Range<usize>,
    /// Whether the input has no more bytes.
    at_end: bool,
}

impl<R: Read> Pieces<R> {
    pub(super) fn new(input: R) -> Self {
        let buffer = vec![0; SEALED_BYTES + PIECE_BYTES].into_boxed_slice();
        Self { input, buffer, held: 0..0, at_end: false }
    }
}

impl<R: Read> SealedInput for Pieces<R> {
    fn ahead(&mut self, count: usize) -> io::Result<&[u8]> {
        debug_assert!(count <= SEALED_BYTES + 1, "{count} bytes do not fit next to a piece");
        if self.held.len() < count && !self.at_end {
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
            let room = &mut self.buffer[self.held.end..][..PIECE_BYTES];
            let got = read_up_to(&mut self.input, room)?;
            self.held.end += got;
            self.at_end = got < PIECE_BYTES;
        }
        Ok(&self.buffer[self.held.clone()])
    }

    fn consume(&mut self, count: usize) {
        self.held.start += count;
    }
}

/// Opens a sealed file, in bounded memory. No byte of a chunk is given before its tag was verified.
///
/// # Secrecy
/// The key is wiped when dropped, the plain bytes in the buffer are not.
///
/// # Errors
/// Reading fails with the kind [`io::ErrorKind::InvalidData`] and a [`PayloadDefect`] where the
/// file is changed, cut or extended, and with what `input` returns.
pub(super) struct Reader<S> {
    input: S,
    key: LessSafeKey,
    nonces: Nonces,
    /// The plain bytes of a chunk.
    buffer: Box<[u8]>,
    /// Where plain bytes are that were not given yet.
    plain: Range<usize>,
    /// Whether the last chunk was opened.
    is_complete: bool,
}

impl<S: SealedInput> Reader<S> {
    /// Verifies the header of a file.
    ///
    /// # Errors
    /// [`PartDefect::SealHeader`], [`PartDefect::OtherRecipient`] and [`PartDefect::Unseal`] for a
    /// file that is refused, and [`PartDefect::Read`].
    pub(super) fn new(mut input: S, identity: &Identity) -> Result<Self, PartDefect> {
        let max = age_header::MAX_BYTES;
        let ahead = input.ahead(max).map_err(PartDefect::Read)?;
        let header = age_header::len(ahead).ok_or(PartDefect::SealHeader { max })?;
        let header = header.min(ahead.len());
        let key = age_header::open(&ahead[..header], identity).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => PartDefect::OtherRecipient,
            age::DecryptError::Io(error) => PartDefect::Read(error),
            error => PartDefect::Unseal(error),
        })?;
        input.consume(header);
        let buffer = vec![0; CHUNK_BYTES].into_boxed_slice();
        Ok(Self { input, key, nonces: Nonces::new(), buffer, plain: 0..0, is_complete: false })
    }

    /// Opens the next chunk into `out`, which has room for any; returns the number of its plain
    /// bytes.
    fn open_chunk(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Only the last chunk has no byte after it.
        let ahead = self.input.ahead(SEALED_BYTES + 1)?;
        let last = ahead.len() <= SEALED_BYTES;
        let sealed = &ahead[..ahead.len().min(SEALED_BYTES)];
        let (sealed, tag) =
            sealed.split_last_chunk::<TAG_BYTES>().ok_or(PayloadDefect::Truncated)?;
        if sealed.is_empty() && !self.nonces.is_first() {
            return Err(PayloadDefect::EmptyChunk.into());
        }
        let (chunk, nonce) = (self.nonces.index(), self.nonces.next(last)?);
        let plain = &mut out[..sealed.len()];
        if self.key.open_separate_gather(nonce, Aad::empty(), sealed, tag, plain).is_err() {
            plain.fill(0);
            return Err(PayloadDefect::Tag { chunk }.into());
        }
        let opened = sealed.len();
        self.input.consume(opened + TAG_BYTES);
        self.is_complete = last;
        Ok(opened)
    }
}

impl<S: SealedInput> BufRead for Reader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.plain.is_empty() && !self.is_complete {
            let mut buffer = std::mem::take(&mut self.buffer);
            let opened = self.open_chunk(&mut buffer);
            self.buffer = buffer;
            self.plain = 0..opened?;
        }
        Ok(&self.buffer[self.plain.clone()])
    }

    fn consume(&mut self, count: usize) {
        self.plain.start += count;
    }
}

impl<S: SealedInput> Read for Reader<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.plain.is_empty() && !self.is_complete && out.len() >= CHUNK_BYTES {
            return self.open_chunk(out);
        }
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

/// The nonces of the chunks, none of them twice.
struct Nonces {
    /// The index of the next chunk; `None` after the largest.
    next: Option<u64>,
}

impl Nonces {
    const fn new() -> Self {
        Self { next: Some(0) }
    }

    fn is_first(&self) -> bool {
        self.next == Some(0)
    }

    /// The index of the next chunk.
    fn index(&self) -> u64 {
        self.next.unwrap_or(u64::MAX)
    }

    /// The index as 11 bytes, big-endian, and whether the chunk is the last one.
    fn next(&mut self, last: bool) -> Result<Nonce, PayloadDefect> {
        let index = self.next.ok_or(PayloadDefect::TooManyChunks)?;
        self.next = index.checked_add(1);
        let mut nonce = [0; NONCE_LEN];
        nonce[3..11].copy_from_slice(&index.to_be_bytes());
        nonce[11] = u8::from(last);
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Why the payload of a file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum PayloadDefect {
    /// Another key, or bytes that were changed, cut off or added.
    #[error("chunk {chunk} of the sealed bytes does not fit its tag")]
    Tag {
        /// The chunk, from 0 on.
        chunk: u64,
    },
    /// Too few bytes for a tag.
    #[error("the sealed bytes are truncated")]
    Truncated,
    /// A chunk without content after others.
    #[error("the sealed bytes end with an empty chunk")]
    EmptyChunk,
    /// More chunks than there are nonces.
    #[error("the sealed bytes have more chunks than can be counted")]
    TooManyChunks,
}

impl From<PayloadDefect> for io::Error {
    fn from(defect: PayloadDefect) -> Self {
        Self::new(io::ErrorKind::InvalidData, defect)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::iter;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::keys::SealKind;

    const KINDS: [SealKind; 2] = [SealKind::Hybrid, SealKind::Classic];

    const SIZES: [usize; 9] =
        [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073, 5 * CHUNK_BYTES, 1_000_003];

    fn plain(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Seals in writes of at most `piece` bytes.
    fn sealed(plain: &[u8], piece: usize, recipient: &Recipient) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), recipient).unwrap();
        plain.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap()
    }

    fn sealed_by_age(plain: &[u8], recipient: &Recipient) -> Vec<u8> {
        let recipients = iter::once(recipient as &dyn age::Recipient);
        let mut writer =
            age::Encryptor::with_recipients(recipients).unwrap().wrap_output(Vec::new()).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    /// Reads to the end in pieces that are larger than a chunk, or smaller, by turns.
    fn read_in_turns(reader: &mut impl Read, got: &mut Vec<u8>) -> io::Result<usize> {
        let sizes = [CHUNK_BYTES + 1000, 10, CHUNK_BYTES, 2 * CHUNK_BYTES - 1, CHUNK_BYTES - 1];
        for size in sizes.into_iter().cycle() {
            let mut piece = vec![7; size];
            let count = reader.read(&mut piece).inspect_err(|_| {
                assert!(piece.iter().all(|byte| [0, 7].contains(byte)), "unverified bytes");
            });
            match count? {
                0 => break,
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        Ok(got.len())
    }

    /// Opens all of a file. Fails when bytes were given that are not the beginning of `plain`.
    fn open(file: &[u8], identity: &Identity, plain: &[u8]) -> Result<(), String> {
        let from_memory = open_from(file, identity, plain);
        let in_pieces = open_from(Pieces::new(file), identity, plain);
        assert_eq!(from_memory, in_pieces);
        in_pieces
    }

    fn open_from(file: impl SealedInput, identity: &Identity, plain: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(file, identity).map_err(|error| format!("{error:?}"))?;
        let mut got = Vec::new();
        let read = if plain.len().is_multiple_of(2) {
            reader.read_to_end(&mut got)
        } else {
            // Chunks that fit whole are opened in place, others are not.
            read_in_turns(&mut reader, &mut got)
        };
        assert!(plain.starts_with(&got), "bytes that were never sealed");
        read.map_err(|error| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            error.to_string()
        })?;
        assert_eq!(got.len(), plain.len(), "fewer bytes without an error");
        Ok(())
    }

    /// Where the header and each chunk end.
    fn ends(file: &[u8]) -> Vec<usize> {
        let header = age_header::len(file).unwrap();
        let chunks = (header..file.len()).step_by(SEALED_BYTES).skip(1);
        iter::once(header).chain(chunks).chain([file.len()]).collect()
    }

    #[test]
    fn the_crate_age_opens_what_is_sealed_in_writes_of_any_size() {
        for kind in KINDS {
            let identity = Identity::generate(kind);
            for len in SIZES {
                let plain = plain(len);
                for piece in [1000, 65_536, 65_537, 131_072, 200_000, usize::MAX] {
                    let file = sealed(&plain, piece, &identity.to_public());
                    assert!(age::decrypt(&identity, &file).unwrap() == plain, "{len} in {piece}");
                    open(&file, &identity, &plain).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_the_crate_age_seals_is_opened() {
        for identity in KINDS.map(Identity::generate) {
            for len in SIZES {
                let plain = plain(len);
                open(&sealed_by_age(&plain, &identity.to_public()), &identity, &plain).unwrap();
            }
        }
    }

    #[test]
    fn the_age_command_opens_what_is_sealed_and_seals_what_is_opened() {
        // The command knows hybrid recipients from age 1.3 on, which Debian 12 does not have.
        let identity = Identity::generate(SealKind::Classic);
        let recipient = identity.to_public();
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        let secret = identity.to_secret_string();
        fs::write(&key, age::secrecy::ExposeSecret::expose_secret(&secret)).unwrap();
        let run = |arguments: &[&str], input: &[u8]| {
            let from = directory.path().join("input");
            fs::write(&from, input).unwrap();
            let out = Command::new("age")
                .args(arguments)
                .arg(from)
                .stderr(Stdio::inherit())
                .output()
                .expect("the age command is needed: run `make setup`");
            assert!(out.status.success(), "age {arguments:?}");
            out.stdout
        };
        for len in SIZES {
            let plain = plain(len);
            let file = sealed(&plain, 131_072, &recipient);
            assert!(run(&["-d", "-i", key.to_str().unwrap()], &file) == plain, "{len} bytes");
            open(&run(&["-r", &recipient.to_string()], &plain), &identity, &plain).unwrap();
        }
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let sizes = [0, 1, 65_536, 65_537, 131_072, 5 * CHUNK_BYTES, 300_000];
        for (kind, len) in KINDS.into_iter().flat_map(|kind| sizes.map(|len| (kind, len))) {
            let identity = Identity::generate(kind);
            let plain = plain(len);
            let file = sealed(&plain, usize::MAX, &identity.to_public());
            let near = ends(&file).into_iter().flat_map(|end| end.saturating_sub(18)..end + 18);
            for cut in near.chain([0, 1, 100]).filter(|cut| *cut < file.len()) {
                let refused = open(&file[..cut], &identity, &plain);
                assert!(refused.is_err(), "{cut} of {} bytes", file.len());
            }
        }
    }

    #[test]
    fn a_file_with_a_chunk_added_lost_repeated_or_moved_is_refused() {
        let identity = Identity::generate(SealKind::Classic);
        let recipient = identity.to_public();
        for len in [0, 1, 65_536, 65_537, 131_072, 300_000] {
            let plain = plain(len);
            let file = sealed(&plain, usize::MAX, &recipient);
            let ends = ends(&file);
            let last = ends[ends.len() - 2];
            let other = sealed(&plain, usize::MAX, &recipient);
            let other_header = age_header::len(&other).unwrap();
            let mut changed = vec![
                [&file[..], &[0]].concat(),
                [&file[..], &[0; TAG_BYTES]].concat(),
                [&file[..], &[0; SEALED_BYTES]].concat(),
                [&file[..], &file[last..]].concat(),
                [&file[..], &file].concat(),
                // The header of one file and the payload of another one of the same recipient.
                [&file[..ends[0]], &other[other_header..]].concat(),
            ];
            for pair in ends.windows(2) {
                let chunk = pair[0]..pair[1];
                changed.push([&file[..chunk.start], &file[chunk.end..]].concat());
                changed.push([&file[..chunk.end], &file[chunk.start..]].concat());
            }
            if ends.len() > 3 {
                let [a, b, c] = [ends[0], ends[1], ends[2]];
                changed.push([&file[..a], &file[b..c], &file[a..b], &file[c..]].concat());
            }
            for (n, file) in changed.iter().enumerate() {
                assert!(open(file, &identity, &plain).is_err(), "{len} bytes, change {n}");
            }
        }
    }

    #[test]
    fn a_bit_flipped_anywhere_is_refused() {
        let sizes = [0, 1, 65_536, 131_073].map(|len| (SealKind::Classic, len));
        // The longer header, once.
        for (kind, len) in sizes.into_iter().chain([(SealKind::Hybrid, 1)]) {
            let identity = Identity::generate(kind);
            let plain = plain(len);
            let mut file = sealed(&plain, usize::MAX, &identity.to_public());
            let ends = ends(&file);
            let near = ends.iter().flat_map(|end| end.saturating_sub(20)..end + 20);
            let places = (0..ends[0]).chain(near).chain((0..file.len()).step_by(30_011));
            for place in places.filter(|place| *place < file.len()).collect::<Vec<_>>() {
                file[place] ^= 1 << (place % 8);
                assert!(open(&file, &identity, &plain).is_err(), "byte {place} of {len}");
                file[place] ^= 1 << (place % 8);
            }
            open(&file, &identity, &plain).unwrap();
        }
    }

    #[test]
    fn an_empty_last_chunk_after_another_one_is_refused() {
        let identity = Identity::generate(SealKind::Classic);
        let plain = plain(CHUNK_BYTES);
        let mut writer = Writer::new(Vec::new(), &identity.to_public()).unwrap();
        writer.write_all(&plain).unwrap();
        writer.seal_begun(false).unwrap();
        let refused = open(&writer.finish().unwrap(), &identity, &plain);
        assert_eq!(refused, Err(PayloadDefect::EmptyChunk.to_string()));
    }

    #[test]
    fn another_identity_opens_nothing() {
        for (kind, other) in KINDS.into_iter().flat_map(|kind| KINDS.map(|other| (kind, other))) {
            let file = sealed(b"rows", usize::MAX, &Identity::generate(kind).to_public());
            let refused = Reader::new(&file[..], &Identity::generate(other)).err();
            assert!(matches!(refused, Some(PartDefect::OtherRecipient)), "{refused:?}");
        }
    }

    #[test]
    fn nonces_are_the_index_and_the_last_flag_and_end_with_the_largest_index() {
        let mut nonces = Nonces { next: Some(u64::MAX - 1) };
        let bytes = |nonce: Nonce| *nonce.as_ref();
        let expected = [0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 254, 0];
        assert_eq!(bytes(nonces.next(false).unwrap()), expected);
        let expected = [0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(bytes(nonces.next(true).unwrap()), expected);
        assert_eq!(nonces.next(true).err(), Some(PayloadDefect::TooManyChunks));
        assert_eq!(bytes(Nonces::new().next(true).unwrap()), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn all_writes_but_the_last_have_256_kib() {
        struct Sizes(Vec<usize>);
        impl Write for Sizes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let recipient = Identity::generate(SealKind::Hybrid).to_public();
        for len in [0, 1_000_000, 20 << 20] {
            let mut writer = Writer::new(Sizes(vec![]), &recipient).unwrap();
            plain(len).chunks(131_072).for_each(|piece| writer.write_all(piece).unwrap());
            let Sizes(sizes) = writer.finish().unwrap();
            let (last, others) = sizes.split_last().unwrap();
            assert!(others.iter().all(|size| *size == PIECE_BYTES), "{sizes:?}");
            assert!(*last < PIECE_BYTES + SEALED_BYTES, "{last}");
        }
    }
}
