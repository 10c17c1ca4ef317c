//! What the line to the receiver carries, measured before a delivery.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use hyper::Method;
use tokio::task::JoinSet;

use super::client::{Client, DeliveryTarget, Upload};
use super::client_error::ClientError;
use super::upload_body::Content;

/// What a line carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineRate {
    /// From a request to its answer, the shortest of some.
    pub round_trip: Duration,
    /// Bytes a second, over all connections together.
    pub bytes_per_second: f64,
}

/// Sends bytes that the receiver drops, over some connections at once, for about as long as `span`.
///
/// Bodies grow until each takes a while, as long as parts do: on a long line a small one measures
/// little but the round trip.
///
/// # Errors
/// A [`ClientError`]; [`ClientError::Refused`] by a receiver that does not know of this.
pub async fn measure_line(
    target: &DeliveryTarget,
    connections: NonZeroUsize,
    span: Duration,
) -> Result<LineRate, ClientError> {
    let mut client = target.client();
    send(&mut client, Bytes::new()).await?;
    let mut round_trip = Duration::MAX;
    for _ in 0..ROUND_TRIPS {
        round_trip = round_trip.min(send(&mut client, Bytes::new()).await?);
    }
    drop(client);
    let sample = sample();
    let end = Instant::now() + span;
    let mut sending = JoinSet::new();
    for _ in 0..connections.get() {
        sending.spawn(send_until(end, target.client(), sample.clone()));
    }
    let mut bytes_per_second = 0.0;
    while let Some(sent) = sending.join_next().await {
        bytes_per_second += sent.unwrap_or(Err(ClientError::WorkerLost))?;
    }
    Ok(LineRate { round_trip, bytes_per_second })
}

/// The largest body: as many bytes as a part of the default size, about.
pub(super) const MAX_BODY_BYTES: usize = 16 << 20;
const FIRST_BODY_BYTES: usize = 256 << 10;
const ROUND_TRIPS: usize = 3;
/// Bodies grow while they take less.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

/// Bytes that nothing on the way can compress.
fn sample() -> Bytes {
    let mut bytes = vec![0; MAX_BODY_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Sends one body after the other; the rate of the last one, in bytes a second.
async fn send_until(end: Instant, mut client: Client, sample: Bytes) -> Result<f64, ClientError> {
    let mut bytes = FIRST_BODY_BYTES;
    loop {
        let took = send(&mut client, sample.slice(..bytes)).await?;
        if Instant::now() >= end {
            return Ok(bytes as f64 / took.as_secs_f64().max(f64::EPSILON));
        }
        if took < LONG_ENOUGH {
            bytes = (2 * bytes).min(MAX_BODY_BYTES);
        }
    }
}

/// How long one body takes, from its beginning to the answer.
async fn send(client: &mut Client, body: Bytes) -> Result<Duration, ClientError> {
    let (blake3, content) = (blake3::hash(&body), Content::Memory(body));
    let start = Instant::now();
    let upload = Upload { content: &content, blake3, record: None };
    client.request(Method::POST, "/line", Some(upload)).await?;
    Ok(start.elapsed())
}
