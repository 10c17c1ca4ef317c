//! The main workflow with rows of real size, through packages only and through share files.

use std::path::Path;
use std::sync::Arc;

use reshare_engine::layout::RowLayout;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::seed::{SeedPlan, SeedTarget, seed};
use reshare_fixtures::synthetic::IdPattern;
use reshare_format::session::{Session, SessionIds};
use reshare_format::share_file::Kind;
use reshare_pipeline::export::export;
use reshare_pipeline::load::load;
use reshare_pipeline::merge::merge;
use reshare_pipeline::pack::pack;
use reshare_pipeline::rebuild::rebuild;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::send::send;
use reshare_pipeline::verify::verify_file;
use reshare_pipeline::workers::{Source, Target};
use reshare_postgres::load_options::LoadOptions;
use tokio::sync::OnceCell;

use crate::support::{Cast, Place, database, equal_rows, party, range, source, workers};

/// Ids from -200 on with holes: a thousand rows.
const ROWS: usize = 1000;
const FIRST_ID: i64 = -200;

/// Three parties' tables of a thousand iris rows, and the targets of the tests.
async fn seeded() -> &'static str {
    static SEEDED: OnceCell<String> = OnceCell::const_new();
    let seed_all = || async {
        let mut place = Place::new().await;
        let target = |index| SeedTarget {
            party: party(index),
            database: place.database(),
            schema: schema(index),
        };
        let plan = SeedPlan {
            rows: ROWS,
            first_id: FIRST_ID,
            ids: IdPattern::Gaps,
            ..SeedPlan::default()
        };
        seed(&[0, 1, 2].map(target), &plan, |_| ()).await.expect("seeded");
        for receiver in 0..3 {
            for path in ["files", "packages"] {
                let schema = format!("{path}_{receiver}");
                IrisTable::Triggers.create(&mut place.sql, &schema, "irises").await.expect("made");
            }
        }
        place.url
    };
    SEEDED.get_or_init(seed_all).await
}

fn schema(index: u8) -> String {
    format!("SMPC_dev_{index}")
}

/// One of the three ways in which two of three parties can rebuild the third one's rows.
struct Job {
    cast: Cast,
    url: &'static str,
    session: Session,
    ids: RowIds,
    bounds: IdRange,
}

impl Job {
    async fn new(senders: [u8; 2], receiver: u8, bounds: IdRange) -> Self {
        let (url, cast) = (seeded().await, Cast::new(senders, receiver));
        let layout = Arc::new(RowLayout::iris());
        let session = cast.session(&layout, SessionIds::Range(bounds));
        Self { cast, url, session, ids: RowIds::Range(bounds), bounds }
    }

    fn source(&self, schema: &str) -> Source {
        source(database(self.url), schema, "irises", self.session.layout())
    }

    fn target(&self, path: &str) -> Target {
        let schema = format!("{path}_{}", self.cast.receiver);
        Target { source: self.source(&schema), options: LoadOptions::default() }
    }

    fn sender(&self, side: usize) -> Source {
        self.source(&schema(self.cast.senders[side].index()))
    }

    async fn through_packages(&self, rows_per_part: [usize; 2]) -> u64 {
        let paths = ["sent-lower", "sent-higher"].map(|name| self.cast.path(name));
        for side in [0, 1] {
            let sender = self.cast.sender(&self.session, side);
            let (source, workers) = (self.sender(side), workers(2, rows_per_part[side]));
            let sent = send(
                &self.session,
                &self.ids,
                sender,
                &source,
                &paths[side],
                workers,
                Arc::default(),
            );
            let report = sent.await.expect("sent");
            // So few rows make parts of 64 at the most.
            assert_eq!(report.parts, report.rows.div_ceil(rows_per_part[side].min(64) as u64));
        }
        // In any order.
        let packages = self.cast.packages(&self.session, [&paths[1], &paths[0]]).expect("good");
        let target = self.target("packages");
        let (workers, progress) = (workers(2, 64), Arc::new(Progress::default()));
        let report = rebuild(&self.session, packages, &target, workers, Arc::clone(&progress));
        let report = report.await.expect("rebuilt");
        assert!(report.leftovers.is_empty());
        assert_eq!(progress.snapshot().rows_done, report.rows);
        assert_eq!(report.share_bytes, report.rows * 76_800);
        let equal = self.equal_rows(&target).await;
        assert_eq!(equal, report.rows);
        equal
    }

    async fn through_files(&self, rows_per_part: [usize; 2]) -> u64 {
        let paths = ["packed-lower", "packed-higher"].map(|name| self.cast.path(name));
        for side in [0, 1] {
            let plain = self.cast.path(&format!("plain-{side}"));
            self.export_and_pack(side, &plain, &paths[side], rows_per_part[side]).await;
        }
        let packages = self.cast.packages(&self.session, [&paths[0], &paths[1]]).expect("good");
        let (rebuilt, target) = (self.cast.path("rebuilt"), self.target("files"));
        let merged = merge(&self.session, packages, &rebuilt, workers(2, 50), Arc::default()).await;
        let merged = merged.expect("merged");
        assert!(merged.leftovers.is_empty());
        let reference = self.source(&schema(self.cast.receiver.index()));
        self.assert_file_equals(&rebuilt, Kind::Rebuilt, &reference, merged.rows).await;
        let loaded = load(&self.session, &rebuilt, &target, workers(2, 33), Arc::default()).await;
        let loaded = loaded.expect("loaded");
        assert_eq!((loaded.rows, loaded.rows_skipped), (merged.rows, 0));
        let again = load(&self.session, &rebuilt, &target, workers(1, 70), Arc::default()).await;
        let again = again.expect("loaded");
        assert_eq!((again.rows, again.rows_skipped), (0, merged.rows));
        self.equal_rows(&target).await
    }

    async fn export_and_pack(&self, side: usize, plain: &Path, package: &Path, rows: usize) {
        let (source, jobs) = (self.sender(side), workers(2, 90));
        let party = self.cast.senders[side];
        let exported =
            export(&self.session, &self.ids, party, &source, plain, jobs, Arc::default()).await;
        let exported = exported.expect("exported");
        self.assert_file_equals(plain, Kind::Plain, &source, exported.rows).await;
        let sender = self.cast.sender(&self.session, side);
        let jobs = workers(2, rows);
        let packed = pack(&self.session, sender, plain, package, jobs, Arc::default()).await;
        let packed = packed.expect("packed");
        assert_eq!((packed.rows, packed.share_bytes), (exported.rows, exported.share_bytes));
    }

    async fn assert_file_equals(&self, path: &Path, kind: Kind, source: &Source, rows: u64) {
        let progress = Progress::default();
        let found = verify_file(&self.session, path, kind, source, workers(1, 77), &progress).await;
        let found = found.expect("compared");
        assert!(found.is_equal(), "{found:?}");
        assert_eq!(found.rows_equal, rows);
    }

    /// Compares with the receiver's own table, and looks for rows beyond the session's.
    async fn equal_rows(&self, target: &Target) -> u64 {
        let reference = self.source(&schema(self.cast.receiver.index()));
        let equal = equal_rows(&reference, &target.source, self.bounds).await;
        let rows = equal_rows(&target.source, &target.source, IdRange::ALL).await;
        assert_eq!(rows, equal, "every row is one of the session's");
        equal
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_0_and_1_rebuild_a_thousand_rows_of_party_2() {
    let job = Job::new([0, 1], 2, range(FIRST_ID, i64::MAX)).await;
    assert_eq!(job.through_packages([77, 101]).await, ROWS as u64);
    assert_eq!(job.through_files([101, 77]).await, ROWS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_0_and_2_rebuild_the_rows_of_party_1() {
    let job = Job::new([0, 2], 1, range(-123, 250)).await;
    let rows = job.through_packages([77, 101]).await;
    assert!(rows > 200 && rows < ROWS as u64, "{rows} rows");
    assert_eq!(job.through_files([512, 1]).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_1_and_2_rebuild_the_rows_of_party_0() {
    let job = Job::new([1, 2], 0, range(700, i64::MAX)).await;
    let rows = job.through_packages([101, 77]).await;
    assert!(rows > 200 && rows < ROWS as u64, "{rows} rows");
    assert_eq!(job.through_files([77, 101]).await, rows);
}
