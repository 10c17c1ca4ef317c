//! Both senders' parts while they arrive in the receiver's inbox.

use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::progress::Progress;
use reshare_exchange::{ArrivedParts, Inbox};
use reshare_files::causes::with_causes;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_format::keys::Identity;
use reshare_format::session::{IdList, Session};
use tokio::time::timeout;

use super::delivered_parts::{DeliveredParts, Receiver, SideParts};
use super::error::PipelineError;

/// An inbox that is merged while it fills.
pub struct Arriving {
    inbox: Arc<Inbox>,
    receiver: Arc<Receiver>,
    /// Whether the files of parts stay after their rows were loaded.
    keep_files: bool,
}

/// For how long nothing may arrive that can be merged before the log says what is missing.
const SILENCE: Duration = Duration::from_secs(60);

impl Arriving {
    /// Gets ready to open what arrives.
    ///
    /// # Errors
    /// [`PipelineError::OtherIdentity`].
    pub fn new(
        session: &Session,
        inbox: Arc<Inbox>,
        identity: Identity,
        list: Option<&IdList>,
        keep_files: bool,
    ) -> Result<Self, PipelineError> {
        let receiver = Receiver::new(session, identity)?;
        let receiver = Arc::new(match list {
            Some(list) => receiver.with_list(list),
            None => receiver,
        });
        Ok(Self { inbox, receiver, keep_files })
    }

    /// What has arrived, for ids after `after`; those parts are not replaced any more.
    pub(crate) fn taken(&self, after: Option<i64>) -> Result<DeliveredParts, PipelineError> {
        let arrived = self.inbox.take(after);
        if let [Some(lower), Some(higher)] = arrived.each_ref().map(|side| side.key_check)
            && lower != higher
        {
            let [lower, higher] = arrived.each_ref().map(|side| side.files.sender());
            return Err(PipelineError::KeyCheck { lower, higher });
        }
        let sides = arrived.map(|side| {
            let ArrivedParts { files, parts, covered_up_to, gone, held, .. } = side;
            SideParts::new(files, parts, covered_up_to).without_files(gone).holding(held)
        });
        Ok(DeliveredParts::new(Arc::clone(&self.receiver), sides))
    }

    /// Waits until both senders have begun to deliver: the first parts are then about to come.
    ///
    /// # Errors
    /// [`PipelineError::Stopped`].
    pub(crate) async fn begun(&self, progress: &Progress) -> Result<(), PipelineError> {
        self.until(progress, || Ok(self.inbox.have_both_begun().then_some(()))).await
    }

    /// Waits until both senders cover ids after `after`.
    ///
    /// # Errors
    /// [`PipelineError::KeyCheck`], and [`PipelineError::Stopped`].
    pub(crate) async fn next(
        &self,
        after: Option<i64>,
        progress: &Progress,
    ) -> Result<DeliveredParts, PipelineError> {
        let found = || {
            if self.inbox.frontier() <= after {
                return Ok(None);
            }
            let parts = tokio::task::block_in_place(|| self.taken(after))?;
            Ok((parts.frontier() > after).then_some(parts))
        };
        self.until(progress, found).await
    }

    /// Waits until something is found, which may be whenever the inbox has grown.
    async fn until<T>(
        &self,
        progress: &Progress,
        found: impl Fn() -> Result<Option<T>, PipelineError>,
    ) -> Result<T, PipelineError> {
        let mut growth = self.inbox.growth();
        let mut has_warned = false;
        loop {
            growth.mark_unchanged();
            if let Some(found) = found()? {
                return Ok(found);
            }
            tokio::select! {
                grown = timeout(SILENCE, growth.changed()) => {
                    if grown.is_err() && !has_warned {
                        self.warn_of_silence();
                        has_warned = true;
                    }
                }
                () = progress.until_stopped() => return Err(PipelineError::Stopped),
            }
        }
    }

    /// Names the sender that the other one is ahead of.
    fn warn_of_silence(&self) {
        let [lower, higher] = self.inbox.covered();
        let [behind, ahead] = if lower.1 <= higher.1 { [lower, higher] } else { [higher, lower] };
        let show = |covered: Option<i64>| match covered {
            Some(id) => format!("up to id {id}"),
            None => "nothing yet".to_owned(),
        };
        tracing::warn!(
            "nothing to merge for {} s: sender {} has delivered {}, sender {} {}",
            SILENCE.as_secs(),
            behind.0,
            show(behind.1),
            ahead.0,
            show(ahead.1),
        );
    }

    /// Opens what the load needs. As long as parts still arrive, what fails for the moment is tried
    /// again: deliveries go on meanwhile.
    ///
    /// # Errors
    /// What `open` returns: a refusal, or a failure when both packages are closed.
    pub(crate) async fn unless_closed<T, F>(
        &self,
        progress: &Progress,
        open: impl Fn() -> F,
    ) -> Result<T, PipelineError>
    where
        F: Future<Output = Result<T, PipelineError>>,
    {
        let mut has_warned = false;
        loop {
            let error = match open().await {
                Ok(opened) => return Ok(opened),
                Err(error) if error.is_refusal() || self.inbox.is_closed() => return Err(error),
                Err(error) => error,
            };
            if !has_warned {
                let why = with_causes(&error);
                tracing::warn!("cannot load yet, and tried again until it works: {why}");
                has_warned = true;
            }
            let closed = self.inbox.both_closed(|_| ());
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = closed => {}
                () = progress.until_stopped() => return Err(PipelineError::Stopped),
            }
        }
    }

    /// Notes that everything up to an id is in the table.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn use_up(&self, up_to: i64) -> Result<(), PipelineError> {
        Ok(self.inbox.use_up(up_to, self.keep_files)?)
    }

    /// The ids that the session is about.
    pub(crate) fn bounds(&self) -> IdRange {
        self.receiver.bounds()
    }
}

/// How long to leave a database alone that does not answer.
const AGAIN: Duration = Duration::from_secs(5);
