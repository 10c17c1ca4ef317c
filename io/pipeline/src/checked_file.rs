//! Share files in a run: checked as a whole, digested row by row.

use std::path::Path;

use reshare_engine::row_key::RowIdentity;
use reshare_engine::rows::Rows;
use reshare_engine::staged_hasher::StagedHasher;
use reshare_exchange::progress::Progress;
use reshare_format::share_file::{Expected, ShareFile};

use super::error::PipelineError;
use super::tasks::blocking;

/// Maps a share file and reads all of it once to check its digest.
///
/// # Errors
/// [`PipelineError::ShareFile`].
pub(crate) async fn open_checked(
    path: &Path,
    expected: Expected,
    progress: &Progress,
) -> Result<ShareFile, PipelineError> {
    progress.begin("check the file", 0);
    let path = path.to_owned();
    blocking(move || {
        let file = ShareFile::open(path, &expected)?;
        file.verify_digest()?;
        Ok(file)
    })
    .await
}

/// Hashes rows one after the other, so a table can be checked as a stream.
///
/// Formula: BLAKE3 over, per row: id as i64 LE, per agree column a tag (0 NULL, 1 integer,
/// 2 uuid) and the value (i64 LE or 16 bytes), then the share columns as u16 LE.
///
/// # Secrecy
/// The digest of rebuilt shares reveals nothing about them: they are uniform.
#[derive(Default)]
pub(crate) struct RowsDigest(StagedHasher);

impl RowsDigest {
    /// Adds the rows whose ids are `wanted`, and returns how many there were.
    pub(crate) fn update(&mut self, rows: &Rows<'_>, wanted: impl Fn(i64) -> bool) -> u64 {
        let mut count = 0;
        for row in (0..rows.len()).filter(|row| wanted(rows.ids[*row])) {
            self.0.update(RowIdentity::new(rows.ids[row], rows.agree_values(row)).as_bytes());
            for shares in rows.share_row(row) {
                self.0.update(bytemuck::cast_slice(shares));
            }
            count += 1;
        }
        count
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The digest of all rows: see [`RowsDigest`].
pub(crate) fn rows_digest(rows: &Rows<'_>) -> [u8; 32] {
    let mut digest = RowsDigest::default();
    digest.update(rows, |_| true);
    digest.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
    use reshare_engine::row_batch::RowBatch;
    use reshare_engine::rows::AgreeValue;

    use super::*;

    #[test]
    fn the_digest_is_over_ids_agree_values_and_shares_row_by_row() {
        let agree = vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }];
        let shares = vec![
            ShareColumn { name: "code".into(), len: 4 },
            ShareColumn { name: "mask".into(), len: 4 },
        ];
        let layout = Arc::new(RowLayout::new(agree, shares).expect("valid"));
        let mut batch = RowBatch::with_capacity(layout, 2);
        batch.push_bytes(-1, &[AgreeValue::Integer(5)], &[&[1; 8], &[2; 8]]).expect("fits");
        batch.push_bytes(7, &[AgreeValue::Null], &[&[3; 8], &[4; 8]]).expect("fits");
        let mut bytes = vec![];
        bytes.extend((-1_i64).to_le_bytes());
        bytes.push(1);
        bytes.extend(5_i64.to_le_bytes());
        bytes.extend([[1; 8], [2; 8]].concat());
        bytes.extend(7_i64.to_le_bytes());
        bytes.push(0);
        bytes.extend([[3; 8], [4; 8]].concat());
        assert_eq!(rows_digest(&batch.rows()), *blake3::hash(&bytes).as_bytes());
    }
}
