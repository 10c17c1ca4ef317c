//! The body of a request: nothing, bytes in memory, or a file that is read while it is sent.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// What is delivered. A retried request sends it again.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file, and its size when it was listed.
    File {
        /// Where it is.
        path: Arc<PathBuf>,
        /// Its size.
        bytes: u64,
    },
    /// Bytes in memory, which all attempts share.
    Memory(Bytes),
}

impl Content {
    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

/// The body of one attempt.
pub(super) struct UploadBody {
    left: u64,
    pieces: Pieces,
    /// Counts what is taken from it.
    sent: Arc<AtomicU64>,
}

enum Pieces {
    Memory(Bytes),
    File(mpsc::Receiver<io::Result<Bytes>>),
}

impl UploadBody {
    pub(super) fn empty() -> Self {
        Self { left: 0, pieces: Pieces::Memory(Bytes::new()), sent: Arc::default() }
    }

    /// Starts at the beginning. A file is read by a thread that may wait for the disk.
    pub(super) fn of(content: &Content, sent: &Arc<AtomicU64>) -> Self {
        let left = content.bytes();
        let pieces = match content {
            Content::Memory(bytes) => Pieces::Memory(bytes.clone()),
            Content::File { path, .. } => Pieces::File(read(Arc::clone(path))),
        };
        Self { left, pieces, sent: Arc::clone(sent) }
    }
}

const PIECES_AHEAD: usize = 2;
const PIECE_BYTES: usize = 256 << 10;

fn read(path: Arc<PathBuf>) -> mpsc::Receiver<io::Result<Bytes>> {
    let (tx, rx) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_pieces(&path, &tx) {
            // Nobody reads any more: the request was answered before its end.
            let _ = tx.blocking_send(Err(error));
        }
    });
    rx
}

fn send_pieces(path: &std::path::Path, tx: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut file = reshare_files::input_file::open_input(path)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        io::Read::read_to_end(&mut io::Read::take(&mut file, PIECE_BYTES as u64), &mut piece)?;
        if piece.is_empty() || tx.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut self.pieces {
            Pieces::File(pieces) => ready!(pieces.poll_recv(context)),
            Pieces::Memory(rest) if rest.is_empty() => None,
            // In pieces: a TLS connection would copy one large piece as a whole.
            Pieces::Memory(rest) => Some(Ok(rest.split_to(rest.len().min(PIECE_BYTES)))),
        };
        Poll::Ready(match piece {
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(piece)) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    Some(Ok(Frame::data(piece)))
                }
                // The file has grown since its size was listed.
                None => Some(Err(io::ErrorKind::InvalidData.into())),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
