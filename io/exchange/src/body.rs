//! The body of a request, with limits on length and speed.

use std::time::Instant;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::limits::Limits;
use super::refusal::Refusal;

/// Reads a body piece by piece under the limits.
pub(super) struct BodyReader {
    body: Body,
    announced: u64,
    got: u64,
    limits: Limits,
    start: Instant,
}

impl BodyReader {
    pub(super) fn new(body: Body, announced: u64, limits: Limits) -> Self {
        Self { body, announced, got: 0, limits, start: Instant::now() }
    }

    /// The length that was announced.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// The next piece; `None` at the end, which is at the announced length.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = timeout(self.limits.body_timeout, self.body.frame()).await;
            let frame = match frame {
                Err(_) => return Err(Refusal::Slow),
                Ok(None) if self.got == self.announced => return Ok(None),
                Ok(None | Some(Err(_))) => return Err(Refusal::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            self.got += piece.len() as u64;
            if self.got > self.announced {
                let (announced, got) = (self.announced, self.got);
                return Err(Refusal::OtherLength { announced, got });
            }
            self.check_rate()?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Reads the whole body; its length was checked against a limit before.
    ///
    /// The buffer grows with what has arrived, since a sender can announce any length at no cost. It
    /// never grows beyond the announced length.
    pub(super) async fn collect(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        let announced = usize::try_from(self.announced).unwrap_or(usize::MAX);
        while let Some(piece) = self.next().await? {
            let len = bytes.len() + piece.len();
            if len > bytes.capacity() {
                let room = len.saturating_mul(2).min(announced);
                bytes.reserve_exact(room.saturating_sub(bytes.len()));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Reads the rest and drops it, so that the client has written everything when the refusal
    /// comes: a client whose connection is closed while it writes never reads the reason. Beyond a
    /// limit the connection is closed anyway.
    pub(super) async fn drain(&mut self) {
        let end = self.got + MAX_DRAINED_BYTES;
        while let Ok(Some(_)) = self.next().await {
            if self.got > end {
                break;
            }
        }
    }

    fn check_rate(&self) -> Result<(), Refusal> {
        let late = self.start.elapsed().saturating_sub(self.limits.body_timeout).as_secs();
        let least = late.saturating_mul(self.limits.body_bytes_per_second);
        if self.got < least { Err(Refusal::Slow) } else { Ok(()) }
    }
}

/// The size of the largest part in most sessions.
const MAX_DRAINED_BYTES: u64 = 64 << 20;
