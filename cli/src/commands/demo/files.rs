//! The demo without a database: generated share files, packages, and a merged share file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use reshare_format::share_file::{Expected, Kind, ShareFile, ShareFileSpec, ShareFileWriter};
use reshare_pipeline::merge::merge;
use reshare_pipeline::pack::pack;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_synthetic::records::{IdPattern, SyntheticRecords};

use super::delivery::deliver;
use super::stages::{Demo, Stages};
use crate::failure::Failure;

/// Rows that are generated at once.
const ROWS_AT_ONCE: usize = 256;

/// Writes three parties' shares to files, packs two, merges them, and compares the result with
/// the third one's file.
pub(super) async fn demo(demo: &Demo, stages: &mut Stages) -> Result<bool, Failure> {
    let session = demo.parties.session.clone();
    let [lower, higher] = demo.parties.senders();
    let parties = [lower, higher, demo.receiver()];
    let files = parties.map(|party| demo.directory.join(format!("party-{party}.rsh")));
    let generate = async { generate(demo, &parties, &files) };
    stages.run("write three share files", 3, generate).await?;
    for (sender, file) in [lower, higher].into_iter().zip(&files) {
        let (ledgered, package) = (demo.parties.sender(sender)?, demo.parties.package(sender));
        let (workers, progress) = (demo.workers, Arc::clone(&demo.progress));
        stages
            .run(format!("pack party {sender}'s shares"), 1, async {
                Ok(pack(&session, ledgered, file, &package, workers, progress).await?)
            })
            .await?;
    }
    deliver(demo, stages).await?;
    let receiver = demo.receiver();
    let rebuilt = demo.directory.join("rebuilt.rsh");
    let (workers, progress) = (demo.workers, Arc::clone(&demo.progress));
    let packages = demo.parties.packages()?;
    let report = stages
        .run(format!("merge party {receiver}'s shares"), 1, async {
            Ok(merge(&session, packages, &rebuilt, workers, progress).await?)
        })
        .await?;
    let compare = async { same_rows(demo, &files[2], &rebuilt) };
    let equal = stages.run("compare with the original", 2, compare).await?;
    Ok(equal && report.rows == demo.rows as u64)
}

fn generate(demo: &Demo, parties: &[PartyId; 3], files: &[PathBuf; 3]) -> Result<(), Failure> {
    let session = &demo.parties.session;
    let ids = RowIds::of(session, None).map_or(IdRange::ALL, |ids| ids.bounds());
    let records = SyntheticRecords::new(demo.seed, Arc::clone(session.layout()));
    let mut writers = Vec::new();
    for (party, file) in parties.iter().zip(files) {
        let spec = ShareFileSpec {
            kind: Kind::Plain,
            fingerprint: session.fingerprint(),
            party: *party,
            part_index: 0,
            ids,
            rows: demo.rows as u64,
            layout: Arc::clone(session.layout()),
        };
        writers.push(ShareFileWriter::create(file, spec).map_err(Failure::failed)?);
    }
    let ids: Vec<i64> = IdPattern::Contiguous.ids(ids.first(), demo.rows).collect();
    let batch = || RowBatch::with_capacity(Arc::clone(session.layout()), ROWS_AT_ONCE);
    let mut batches = [batch(), batch(), batch()];
    for (index, ids) in ids.chunks(ROWS_AT_ONCE).enumerate() {
        batches.iter_mut().for_each(RowBatch::clear);
        records.fill(ids, parties, &mut batches).map_err(Failure::failed)?;
        for (writer, batch) in writers.iter().zip(&batches) {
            let first_row = (index * ROWS_AT_ONCE) as u64;
            writer.write_rows(first_row, &batch.rows()).map_err(Failure::failed)?;
        }
    }
    for writer in writers {
        writer.finish().map_err(Failure::failed)?;
    }
    Ok(())
}

fn same_rows(demo: &Demo, reference: &Path, rebuilt: &Path) -> Result<bool, Failure> {
    let open = |path: &Path, kind| {
        let expected = Expected {
            fingerprint: demo.parties.session.fingerprint(),
            kind,
            party: Some(demo.receiver()),
            layout: None,
        };
        ShareFile::open(path, &expected).map_err(Failure::refused)
    };
    let (reference, rebuilt) = (open(reference, Kind::Plain)?, open(rebuilt, Kind::Rebuilt)?);
    let (left, right) = (reference.rows(), rebuilt.rows());
    Ok(left.ids == right.ids && left.agree == right.agree && left.shares == right.shares)
}
