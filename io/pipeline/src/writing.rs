//! The writing side of a load: many transactions over many connections, or one.

use std::sync::Arc;

use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_postgres::fresh::FreshTable;
use reshare_postgres::load::{Loader, OnConflict};
use reshare_postgres::load_error::LoadError;
use reshare_postgres::write::{RangeWriter, Written};
use tokio::sync::Mutex;

use super::error::PipelineError;

/// A load that has begun to write.
pub(crate) struct Writing {
    loader: Loader,
    fresh: Option<Arc<Mutex<FreshTable>>>,
}

/// One connection's hand.
pub(crate) enum Writer {
    /// A transaction a range.
    Ranges(Box<RangeWriter>),
    /// One transaction for all.
    Fresh(Arc<Mutex<FreshTable>>),
}

/// Empties the target if it is to be a fresh one, unless `is_done`: this session has loaded
/// everything already.
///
/// The loader has then forgotten what was loaded before.
pub(crate) async fn begin_fresh(
    loader: &mut Loader,
    on_conflict: OnConflict,
    is_done: bool,
) -> Result<Option<FreshTable>, PipelineError> {
    let OnConflict::FreshTable { truncate } = on_conflict else { return Ok(None) };
    if is_done && !loader.starts_over() {
        return Ok(None);
    }
    let fresh = loader.fresh_table(truncate).await?;
    let table = loader.table().spec().name();
    tracing::warn!(%table, "one transaction loads all rows: a run that ends early leaves nothing, and the next one starts over");
    Ok(Some(fresh))
}

impl Writing {
    pub(crate) fn new(loader: Loader, fresh: Option<FreshTable>) -> Self {
        Self { loader, fresh: fresh.map(|fresh| Arc::new(Mutex::new(fresh))) }
    }

    /// Writers for at most `connections`: a single one where there is one transaction.
    pub(crate) fn writers(&self, connections: usize) -> Vec<Writer> {
        match &self.fresh {
            Some(fresh) => vec![Writer::Fresh(Arc::clone(fresh))],
            None => (0..connections.max(1))
                .map(|_| Writer::Ranges(Box::new(self.loader.writer())))
                .collect(),
        }
    }

    /// Ends the load after every writer has ended well.
    ///
    /// # Errors
    /// A [`PipelineError`]: what one transaction was to load is then not there.
    pub(crate) async fn finish(self) -> Result<(), PipelineError> {
        if let Some(fresh) = self.fresh {
            let fresh = Arc::into_inner(fresh).ok_or(PipelineError::WorkerLost)?;
            fresh.into_inner().commit().await?;
        }
        self.loader.close().await;
        Ok(())
    }
}

impl Writer {
    /// Writes a range: see [`RangeWriter::write`] and [`FreshTable::write`].
    ///
    /// # Errors
    /// A [`LoadError`].
    pub(crate) async fn write(
        &mut self,
        range: IdRange,
        rows: &Rows<'_>,
        digest: [u8; 32],
        leftovers: &Leftovers,
    ) -> Result<Written, LoadError> {
        match self {
            Self::Ranges(writer) => writer.write(range, rows, digest, leftovers).await,
            Self::Fresh(fresh) => fresh.lock().await.write(range, rows, digest, leftovers).await,
        }
    }

    /// Says goodbye to the server, where there is a connection of its own.
    pub(crate) async fn close(self) {
        if let Self::Ranges(writer) = self {
            writer.close().await;
        }
    }
}
