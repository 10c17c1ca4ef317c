//! zstd frames that only store: blinded shares are pseudo-random and do not shrink.
//!
//! A frame of raw blocks (RFC 8878, sections 3.1.1.1 and 3.1.1.2) costs three bytes in 128
//! KiB, and no search for matches. Every zstd decoder reads it.

use std::io::{self, Write};

/// The largest block, and the window of every part, which a decoder must keep in memory.
pub(super) const WINDOW_LOG: u32 = 17;
const BLOCK_BYTES: usize = 1 << WINDOW_LOG;

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Eight bytes of content size, no single segment, no checksum, no dictionary.
const DESCRIPTOR: u8 = 0b1100_0000;
/// Exponent above 10, mantissa 0.
const WINDOW_DESCRIPTOR: u8 = ((WINDOW_LOG - 10) as u8) << 3;

/// Bytes that a frame adds to `content_bytes`, written in `writes` pieces.
pub(super) const fn overhead(content_bytes: u64, writes: u64) -> u64 {
    14 + 3 * (content_bytes / BLOCK_BYTES as u64 + writes + 1)
}

/// Writes one frame of raw blocks.
pub(super) struct StoreWriter<'a, W> {
    out: &'a mut W,
    remaining: u64,
}

impl<'a, W: Write> StoreWriter<'a, W> {
    /// Begins a frame that will hold exactly `content_bytes`.
    pub(super) fn new(out: &'a mut W, content_bytes: u64) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&[DESCRIPTOR, WINDOW_DESCRIPTOR])?;
        out.write_all(&content_bytes.to_le_bytes())?;
        Ok(Self { out, remaining: content_bytes })
    }

    /// Ends the frame with an empty block.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.remaining != 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.out.write_all(&block_header(0, true))
    }
}

impl<W: Write> Write for StoreWriter<'_, W> {
    /// Writes one block: all of `bytes` up to the largest size.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let block = &bytes[..bytes.len().min(BLOCK_BYTES)];
        if block.is_empty() {
            return Ok(0);
        }
        let left = self.remaining.checked_sub(block.len() as u64);
        self.remaining = left.ok_or(io::ErrorKind::InvalidInput)?;
        self.out.write_all(&block_header(block.len(), false))?;
        self.out.write_all(block)?;
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `size << 3 | type << 1 | last`, in three bytes; type 0 is raw.
const fn block_header(size: usize, last: bool) -> [u8; 3] {
    let [a, b, c, _] = ((size as u32) << 3 | last as u32).to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    fn stored(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let total = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut store = StoreWriter::new(&mut out, total).unwrap();
        for piece in pieces {
            store.write_all(piece).unwrap();
        }
        store.finish().unwrap();
        let overhead = overhead(total, pieces.len() as u64);
        assert!(out.len() as u64 <= total + overhead, "{} of {total} + {overhead}", out.len());
        out
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn stored_frames_are_read_by_the_library_one_after_the_other() {
        for len in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7] {
            let content = noise(len);
            let (front, back) = content.split_at(len / 3);
            let mut frames = zstd::bulk::compress(b"prefix", 1).unwrap();
            frames.extend(stored(&[front, back]));
            let mut decoder = zstd::Decoder::new(&frames[..]).unwrap();
            decoder.window_log_max(WINDOW_LOG).unwrap();
            let mut got = Vec::new();
            decoder.read_to_end(&mut got).unwrap();
            assert!(got == [b"prefix", &content[..]].concat(), "{len} bytes");
        }
    }

    #[test]
    fn the_zstd_command_reads_a_stored_frame() {
        let content = noise(2 * BLOCK_BYTES + 9);
        let mut child = Command::new("zstd")
            .args(["-d", "-c", "-q", "--memory=256KB"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the zstd command is needed: run `make setup`");
        let mut stdin = child.stdin.take().unwrap();
        let frames = stored(&[&content]);
        let feeder = std::thread::spawn(move || stdin.write_all(&frames));
        let out = child.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        assert!(out.status.success() && out.stdout == content);
    }

    #[test]
    fn another_number_of_bytes_than_announced_is_refused() {
        let mut out = Vec::new();
        let store = StoreWriter::new(&mut out, 1).unwrap();
        assert!(store.finish().is_err());
        let mut store = StoreWriter::new(&mut out, 1).unwrap();
        assert!(store.write_all(&[0, 0]).is_err());
    }
}
