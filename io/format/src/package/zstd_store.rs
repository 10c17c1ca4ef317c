//! zstd frames that only store: blinded shares are pseudo-random and do not shrink.
//!
//! A frame of raw blocks (RFC 8878, sections 3.1.1.1 and 3.1.1.2) costs three bytes in 128
//! KiB, and no search for matches. Every zstd decoder reads it. The library's copies each byte of
//! it three times, this one once.

use std::io::{self, BufRead, Chain, Cursor, Read, Write};

use crate::read::read_up_to;

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

/// Reads frames one after the other: those of [`StoreWriter`] itself, all others with the library.
pub(super) struct FrameReader<R: BufRead> {
    state: State<R>,
}

enum State<R: BufRead> {
    /// Before a frame, or at the end.
    Between(R),
    /// In a frame of raw blocks.
    Stored(R, StoredFrame),
    /// In any other frame, whose first bytes were read to tell them apart.
    Other(zstd::Decoder<'static, Chain<Cursor<[u8; MARK_BYTES]>, R>>),
    /// After an error.
    Broken,
}

/// What is left of a frame of raw blocks.
struct StoredFrame {
    /// Bytes of the content.
    content: u64,
    /// Bytes of the block that is being read.
    block: usize,
    /// Whether that is the last one.
    is_last: bool,
}

/// What a frame of [`StoreWriter`] begins with: magic number, descriptor and window.
const MARK_BYTES: usize = MAGIC.len() + 2;

impl<R: BufRead> FrameReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { state: State::Between(input) }
    }

    /// Reads the beginning of a frame; the state stays as it is at the end of the input.
    fn begin(mut input: R) -> io::Result<State<R>> {
        let mut mark = [0; MARK_BYTES];
        let got = read_up_to(&mut input, &mut mark)?;
        if got == 0 {
            return Ok(State::Between(input));
        }
        if got < MARK_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if mark[..4] == MAGIC && mark[4..] == [DESCRIPTOR, WINDOW_DESCRIPTOR] {
            let mut content = [0; 8];
            input.read_exact(&mut content)?;
            let content = u64::from_le_bytes(content);
            return Ok(State::Stored(input, StoredFrame { content, block: 0, is_last: false }));
        }
        let mut decoder =
            zstd::Decoder::with_buffer(Cursor::new(mark).chain(input))?.single_frame();
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(State::Other(decoder))
    }

    /// Reads from the frame that is open; 0 bytes at its end.
    fn read_on(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Stored(input, frame) => frame.read(input, out),
            State::Other(decoder) => decoder.read(out),
            State::Between(_) | State::Broken => Ok(0),
        }
    }
}

impl<R: BufRead> Read for FrameReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.read_on(out)?;
            if count > 0 {
                return Ok(count);
            }
            let input = match std::mem::replace(&mut self.state, State::Broken) {
                State::Between(input) | State::Stored(input, _) => input,
                State::Other(mut decoder) => {
                    decoder.finish_frame()?;
                    decoder.into_inner().into_inner().1
                }
                State::Broken => return Err(io::ErrorKind::InvalidData.into()),
            };
            self.state = Self::begin(input)?;
            if matches!(self.state, State::Between(_)) {
                return Ok(0);
            }
        }
    }
}

impl StoredFrame {
    fn read(&mut self, input: &mut impl BufRead, out: &mut [u8]) -> io::Result<usize> {
        while self.block == 0 {
            if self.is_last {
                return if self.content == 0 { Ok(0) } else { Err(StoreDefect::Size.into()) };
            }
            self.next_block(input)?;
        }
        let most = self.block.min(out.len());
        let count = input.read(&mut out[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block -= count;
        Ok(count)
    }

    fn next_block(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        let mut header = [0; 4];
        input.read_exact(&mut header[..3])?;
        let header = u32::from_le_bytes(header);
        let (is_last, kind, size) = (header & 1 == 1, header >> 1 & 3, header >> 3);
        if kind != RAW {
            return Err(StoreDefect::Kind.into());
        }
        self.block = size as usize;
        let left = self.content.checked_sub(u64::from(size)).filter(|_| self.block <= BLOCK_BYTES);
        self.content = left.ok_or(StoreDefect::Size)?;
        self.is_last = is_last;
        Ok(())
    }
}

/// The type of a block that is stored.
const RAW: u32 = 0;

/// What is wrong with a frame that begins as those of [`StoreWriter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum StoreDefect {
    #[error("a zstd frame that begins as one of raw blocks has another block")]
    Kind,
    #[error("a zstd frame of raw blocks has another size than it says, or too large a block")]
    Size,
}

impl From<StoreDefect> for io::Error {
    fn from(defect: StoreDefect) -> Self {
        Self::new(io::ErrorKind::InvalidData, defect)
    }
}

/// `size << 3 | type << 1 | last`, in three bytes; type 0 is raw.
const fn block_header(size: usize, last: bool) -> [u8; 3] {
    let [a, b, c, _] = ((size as u32) << 3 | last as u32).to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
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

    /// Reads frames with the library and with [`FrameReader`], which must agree.
    fn read(frames: &[u8]) -> Result<Vec<u8>, String> {
        let (mut by_library, mut own) = (Vec::new(), Vec::new());
        let mut decoder = zstd::Decoder::new(frames).unwrap();
        decoder.window_log_max(WINDOW_LOG).unwrap();
        let library = decoder.read_to_end(&mut by_library);
        let read = FrameReader::new(frames).read_to_end(&mut own);
        assert_eq!(library.is_ok(), read.is_ok(), "{library:?} {read:?}");
        read.map_err(|error| error.to_string())?;
        assert!(own == by_library);
        Ok(own)
    }

    #[test]
    fn frames_of_all_kinds_are_read_one_after_the_other() {
        let content = noise(BLOCK_BYTES + 1000);
        let kinds = [
            zstd::bulk::compress(&[0; 100_000], 1).unwrap(),
            stored(&[&content]),
            stored(&[]),
            zstd::bulk::compress(b"prefix", 19).unwrap(),
            // A frame that any decoder skips.
            [&0x184D_2A50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat(),
            zstd::bulk::compress(&content[..100_000], 3).unwrap(),
        ];
        for first in &kinds {
            for second in &kinds {
                read(&[&first[..], second].concat()).unwrap();
            }
        }
        assert!(read(&kinds.concat()).unwrap().ends_with(&content[..100_000]));
        assert_eq!(FrameReader::new(&[][..]).read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_stored_frame_that_is_cut_or_changed_anywhere_but_in_its_content_is_refused() {
        let content = noise(BLOCK_BYTES + 10);
        let frame = stored(&[&content]);
        for cut in (1..40).chain(frame.len() - 20..frame.len()) {
            assert!(read(&frame[..cut]).is_err(), "cut at {cut}");
        }
        // Every bit of the content size, of the first block's header and of the last one's.
        let end = frame.len() - 3;
        for place in (6..17).chain(end..frame.len()) {
            for bit in 0..8 {
                let mut changed = frame.clone();
                changed[place] ^= 1 << bit;
                let read = FrameReader::new(&changed[..]).read_to_end(&mut Vec::new());
                assert!(read.is_err(), "bit {bit} of byte {place}");
            }
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
