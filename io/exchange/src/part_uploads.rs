//! Parts on their way to the receiver: a short queue, and several clients that read it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_format::package::{PartName, SignedPartRecord};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::client::{Client, DeliveryTarget, Upload};
use super::client_error::ClientError;
use super::upload_body::Content;
use crate::progress::Progress;

/// One part to be delivered.
#[derive(Debug)]
pub struct PartUpload {
    /// Its name in the package.
    pub name: PartName,
    /// Its rows.
    pub rows: u64,
    /// The sealed bytes.
    pub content: Content,
    /// Their digest.
    pub blake3: blake3::Hash,
    /// What the sender says of them, where the receiver merges parts as they arrive.
    pub record: Option<SignedPartRecord>,
}

/// What was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Parts.
    pub parts: u64,
    /// Their rows.
    pub rows: u64,
    /// Their sealed bytes.
    pub bytes: u64,
}

/// How a delivered part is counted in the progress, by its rows and bytes.
type Count = fn(&Progress, u64, u64);

/// Clients with a connection each, and the parts that wait for a client.
///
/// The first failure stops the whole run, as does a request to stop. Parts on their way are then
/// abandoned. Dropping this value changes nothing at the receiver.
pub struct PartUploads {
    /// `None` once all parts are in the queue.
    queue: Option<mpsc::Sender<PartUpload>>,
    tasks: JoinSet<Result<Delivered, ClientError>>,
}

/// Parts that wait for a client, not counting those on their way.
const QUEUED_PARTS: usize = 1;

impl PartUploads {
    /// Starts clients, which connect when there is a part for them.
    pub fn start(
        target: &DeliveryTarget,
        clients: NonZeroUsize,
        progress: &Arc<Progress>,
        count: Count,
    ) -> Self {
        let (queue, parts) = mpsc::channel(QUEUED_PARTS);
        let parts = Arc::new(Mutex::new(parts));
        let mut tasks = JoinSet::new();
        for _ in 0..clients.get() {
            let (parts, progress) = (Arc::clone(&parts), Arc::clone(progress));
            let client = target.client();
            tasks.spawn(async move {
                let uploading = upload_parts(client, &parts, &progress, count);
                let uploaded = tokio::select! {
                    uploaded = uploading => uploaded,
                    () = progress.until_stopped() => Err(ClientError::Stopped),
                };
                if uploaded.is_err() {
                    progress.stop();
                }
                uploaded
            });
        }
        Self { queue: Some(queue), tasks }
    }

    /// Waits for room in the queue.
    ///
    /// # Errors
    /// [`ClientError::Stopped`] when no client takes parts any more; [`Self::finish`] returns why.
    pub async fn put(&self, part: PartUpload) -> Result<(), ClientError> {
        let queue = self.queue.as_ref().ok_or(ClientError::Stopped)?;
        queue.send(part).await.map_err(|_| ClientError::Stopped)
    }

    /// The same, on a thread that may block.
    pub fn put_blocking(&self, part: PartUpload) -> Result<(), ClientError> {
        let queue = self.queue.as_ref().ok_or(ClientError::Stopped)?;
        queue.blocking_send(part).map_err(|_| ClientError::Stopped)
    }

    /// Waits until all parts are durable at the receiver. No more parts may follow.
    ///
    /// # Errors
    /// The first failure, and [`ClientError::Stopped`] when the run was asked to stop.
    pub fn finish(&mut self) -> BoxFuture<'_, Result<Delivered, ClientError>> {
        Box::pin(async move {
            self.queue = None;
            let (mut all, mut stopped) = (Delivered::default(), false);
            while let Some(task) = self.tasks.join_next().await {
                match task.unwrap_or(Err(ClientError::WorkerLost)) {
                    Ok(delivered) => all.add(delivered),
                    Err(ClientError::Stopped) => stopped = true,
                    Err(error) => {
                        self.tasks.abort_all();
                        return Err(error);
                    }
                }
            }
            if stopped { Err(ClientError::Stopped) } else { Ok(all) }
        })
    }
}

impl Delivered {
    fn add(&mut self, more: Self) {
        self.parts += more.parts;
        self.rows += more.rows;
        self.bytes += more.bytes;
    }
}

/// One client's work: part after part, until the queue is empty and closed.
async fn upload_parts(
    mut client: Client,
    parts: &Mutex<mpsc::Receiver<PartUpload>>,
    progress: &Progress,
    count: Count,
) -> Result<Delivered, ClientError> {
    let mut all = Delivered::default();
    loop {
        let next = parts.lock().await.recv().await;
        let Some(PartUpload { name, rows, content, blake3, record }) = next else {
            return Ok(all);
        };
        let record = record.as_ref().map(SignedPartRecord::to_text);
        let upload = Upload { content: &content, blake3, record: record.as_deref() };
        client.put(&format!("/parts/{name}"), upload).await?;
        all.add(Delivered { parts: 1, rows, bytes: content.bytes() });
        count(progress, rows, content.bytes());
    }
}
