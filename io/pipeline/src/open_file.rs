//! Opens a share file for a pipeline: checked whole, before anything is done with it.

use std::path::Path;

use reshare_exchange::progress::Progress;
use reshare_format::share_file::{Expected, ShareFile};

use super::error::PipelineError;

/// Maps a share file, and reads all of it once for its digest.
///
/// # Errors
/// [`PipelineError::ShareFile`].
pub(crate) async fn open_checked(
    path: &Path,
    expected: Expected,
    progress: &Progress,
) -> Result<ShareFile, PipelineError> {
    progress.begin("check", 0);
    let path = path.to_owned();
    super::blocking(move || {
        let file = ShareFile::open(path, &expected)?;
        file.verify_digest()?;
        Ok(file)
    })
    .await
}
