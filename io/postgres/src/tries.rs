//! How often a transaction is tried that the server undoes in favour of another one.

use std::time::Duration;

use reshare_files::causes::with_causes;

use super::load_error::LoadError;

/// The most tries of one transaction.
const TRIES: u32 = 5;
/// The pause after the first one, which doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The tries of one transaction so far.
#[derive(Debug, Default)]
pub struct Tries {
    failed: u32,
}

impl Tries {
    /// Waits a moment before the next try of a transaction that was undone for another one.
    ///
    /// # Errors
    /// The same error when there is no sense in another try: it is of another kind, or that was the
    /// last one.
    pub async fn after(&mut self, what: &str, error: LoadError) -> Result<(), LoadError> {
        self.failed += 1;
        if !error.is_undone_for_others() || self.failed >= TRIES {
            return Err(error);
        }
        tracing::warn!("{what}: {}; trying again", with_causes(&error));
        tokio::time::sleep(PAUSE * 2_u32.pow(self.failed - 1)).await;
        Ok(())
    }
}
