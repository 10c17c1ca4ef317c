//! Parts on their way to the receiver: a short queue, and several clients that read it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reshare_format::package::SignedPartRecord;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::client::{Client, DeliveryTarget, Taken, Upload};
use super::client_error::ClientError;
use super::pace::{LineFigures, Pace, UploadOptions};
use super::part_upload::PartUpload;
use super::retained::Retained;
use crate::progress::Progress;

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
    retained: Arc<Retained>,
    figures: Arc<LineFigures>,
    pace: Option<Pace>,
}

/// Parts that wait for a client, not counting those on their way.
const QUEUED_PARTS: usize = 1;

impl PartUploads {
    /// Starts clients, which connect when there is a part for them.
    pub fn start(
        target: &DeliveryTarget,
        options: UploadOptions,
        progress: &Arc<Progress>,
        count: Count,
    ) -> Self {
        let (queue, parts) = mpsc::channel(QUEUED_PARTS);
        let parts = Arc::new(Mutex::new(parts));
        let mut tasks = JoinSet::new();
        let retained = Arc::<Retained>::default();
        let figures = Arc::<LineFigures>::default();
        let (pace, at_once) = Pace::start(options, &figures);
        for index in 0..options.most.get() {
            let (parts, progress) = (Arc::clone(&parts), Arc::clone(progress));
            let mut client = target.client().counting(&figures.sent);
            let is_first = index < options.least.get();
            let (turn, retained) =
                (Turn { index, at_once: at_once.clone() }, Arc::clone(&retained));
            tasks.spawn(async move {
                let uploading = async {
                    if is_first {
                        // While the first parts are sealed.
                        client.connect_ahead().await;
                    }
                    upload_parts(client, turn, &parts, &retained, &progress, count).await
                };
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
        Self { queue: Some(queue), tasks, retained, figures, pace: Some(pace) }
    }

    /// Waits for room in the queue.
    ///
    /// # Errors
    /// [`ClientError::Stopped`] when no client takes parts any more; [`Self::finish`] returns why.
    pub async fn put(&self, part: PartUpload) -> Result<(), ClientError> {
        let queue = self.queue()?;
        queue.send(part).await.map_err(|_| ClientError::Stopped)
    }

    /// The same, on a thread that may block.
    pub fn put_blocking(&self, part: PartUpload) -> Result<(), ClientError> {
        let queue = self.queue()?;
        queue.blocking_send(part).map_err(|_| ClientError::Stopped)
    }

    fn queue(&self) -> Result<&mpsc::Sender<PartUpload>, ClientError> {
        let queue = self.queue.as_ref().ok_or(ClientError::Stopped)?;
        if queue.capacity() == 0 {
            self.figures.is_full.store(true, Ordering::Relaxed);
        }
        Ok(queue)
    }

    /// The parts that the receiver has in memory, for [`super::close_retaining`].
    #[must_use]
    pub fn retained(&self) -> &Arc<Retained> {
        &self.retained
    }

    /// Waits until all parts are at the receiver. No more parts may follow.
    ///
    /// # Errors
    /// The first failure, and [`ClientError::Stopped`] when the run was asked to stop.
    pub fn finish(&mut self) -> BoxFuture<'_, Result<Delivered, ClientError>> {
        Box::pin(async move {
            self.queue = None;
            // Uploads that wait for their turn end with it.
            self.pace = None;
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
    mut turn: Turn,
    parts: &Mutex<mpsc::Receiver<PartUpload>>,
    retained: &Retained,
    progress: &Progress,
    count: Count,
) -> Result<Delivered, ClientError> {
    let (mut all, mut waiting) = (Delivered::default(), None);
    loop {
        if waiting.is_none() && !turn.has_come().await {
            return Ok(all);
        }
        // The receiver waits for these, and may take nothing else before.
        if let Some(lost) = retained.take_lost() {
            tracing::info!("{} is sent again: the receiver was started again", lost.name);
            upload_again(&mut client, &lost, retained).await?;
            continue;
        }
        let next = match waiting.take() {
            Some(part) => Some(part),
            None => parts.lock().await.recv().await,
        };
        let Some(part) = next else { return Ok(all) };
        if !upload_part(&mut client, &part, retained).await? {
            waiting = Some(part);
            tokio::time::sleep(FULL_PAUSE).await;
            continue;
        }
        let bytes = part.content.bytes();
        all.add(Delivered { parts: 1, rows: part.rows, bytes });
        count(progress, part.rows, bytes);
    }
}

/// Whether a client may begin an upload: as long as fewer than the pace allows do so.
struct Turn {
    index: usize,
    at_once: watch::Receiver<usize>,
}

impl Turn {
    /// Waits; `false` when there are no more parts.
    async fn has_come(&mut self) -> bool {
        let index = self.index;
        self.at_once.wait_for(|at_once| index < *at_once).await.is_ok()
    }
}

/// Uploads a part, and retains it if the receiver has it in memory; `false` while there is no room.
async fn upload_part(
    client: &mut Client,
    part: &PartUpload,
    retained: &Retained,
) -> Result<bool, ClientError> {
    let record = part.record.as_ref().map(SignedPartRecord::to_text);
    let (content, blake3) = (&part.content, part.blake3);
    let upload = Upload { content, blake3, record: record.as_deref() };
    let (taken, standing) = client.put_part(part.name, upload).await?;
    if let Some(standing) = &standing {
        retained.note(standing);
    }
    match taken {
        Taken::Durable => Ok(true),
        Taken::Full => Ok(false),
        Taken::Held => {
            retained.keep(part.clone(), standing.as_ref());
            Ok(true)
        }
    }
}

/// Uploads a part that the receiver has lost, as soon as there is room.
async fn upload_again(
    client: &mut Client,
    part: &PartUpload,
    retained: &Retained,
) -> Result<(), ClientError> {
    while !upload_part(client, part, retained).await? {
        tokio::time::sleep(FULL_PAUSE).await;
    }
    Ok(())
}

/// Sends all retained parts again.
///
/// # Errors
/// As every upload.
pub(super) async fn upload_retained(
    target: &DeliveryTarget,
    retained: &Retained,
) -> Result<usize, ClientError> {
    let parts = retained.take_all();
    let mut client = target.client();
    for part in &parts {
        upload_again(&mut client, part, retained).await?;
    }
    Ok(parts.len())
}

/// How long a sender waits that is ahead of the other one.
const FULL_PAUSE: Duration = Duration::from_secs(2);
