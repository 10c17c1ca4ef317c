//! The flags of the work on rows.

use std::num::NonZeroUsize;

use clap::Args;
use reshare_format::package::Compression;
use reshare_pipeline::sender::LedgeredSender;

use super::value::{MAX_BATCH, parallel, within};

/// The work on rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct WorkArgs {
    /// Maximum rows of a part, or of one transaction of a load; few rows are cut into smaller
    /// parts, so that all threads have work. Smaller parts take less memory, and more of them are
    /// in progress at once
    #[arg(long, value_name = "ROWS", default_value = "256", value_parser = within::<NonZeroUsize>(1..=MAX_BATCH))]
    pub(crate) batch_size: NonZeroUsize,

    /// Threads that seal, open and merge parts [default: RAYON_NUM_THREADS, else one per core]; a
    /// command that only moves rows between a file and a database uses -j alone
    #[arg(long, value_name = "N", value_parser = parallel)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// How a sender writes parts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct PackingArgs {
    /// Compress ids and agree columns: auto, off, or a level of zstd from 1 to 19; blinded shares
    /// do not compress and are stored as they are
    #[arg(long, value_name = "HOW", default_value = "auto", allow_negative_numbers = true)]
    compression: Compression,
}

impl PackingArgs {
    /// Sets how a sender compresses.
    pub(crate) fn compress(&self, sender: LedgeredSender) -> LedgeredSender {
        sender.compressing(self.compression)
    }
}

impl WorkArgs {
    /// Threads for sealing and opening.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(reshare_pipeline::default_threads, NonZeroUsize::get)
    }
}
