//! Any rows on either side, cut in any way, compared with the expected result.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reshare_engine::layout::{AgreeKind, RowLayout};
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_format::session::{Session, SessionIds};
use reshare_format::share_file::Kind;
use reshare_pipeline::load::load;
use reshare_pipeline::merge::merge;
use reshare_pipeline::rebuild::rebuild;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::send::send;
use reshare_pipeline::verify::verify_file;
use reshare_pipeline::workers::Target;
use reshare_postgres::load_options::LoadOptions;
use tokio::runtime::Runtime;

use crate::support::{Cast, Place, REFERENCE, SENDERS, TARGET, layout, push, range, workers};

/// The agree values of one row.
type Agree = [AgreeValue; 3];

/// What the two senders have at an id, the lower party first.
type Sides = [Option<Agree>; 2];

#[derive(Debug, Clone)]
struct Case {
    rows: BTreeMap<i64, Sides>,
    bounds: IdRange,
    senders: [u8; 2],
    receiver: u8,
    /// Rows a part at either sender, and in a range of the rebuild, its second run and the file.
    sizes: [usize; 5],
    jobs: usize,
    /// The type of the first agree column: senders, target, reference.
    types: [&'static str; 4],
}

impl Case {
    fn in_bounds(&self) -> impl Iterator<Item = (i64, &Sides)> {
        let rows = self.rows.iter().map(|(id, sides)| (*id, sides));
        rows.filter(|(id, _)| self.bounds.contains(*id))
    }

    fn rebuilt(&self) -> impl Iterator<Item = (i64, Agree)> {
        self.in_bounds().filter_map(|(id, sides)| match sides {
            [Some(lower), Some(higher)] if lower == higher => Some((id, *lower)),
            _ => None,
        })
    }

    fn leftovers(&self) -> Leftovers {
        let mut leftovers = Leftovers::default();
        for (id, sides) in self.in_bounds() {
            match sides {
                [Some(lower), Some(higher)] if lower == higher => {}
                [Some(_), Some(_)] => leftovers.disagreeing.push(id),
                [Some(_), None] => leftovers.only_lower_sender.push(id),
                [None, Some(_)] => leftovers.only_higher_sender.push(id),
                [None, None] => {}
            }
        }
        leftovers
    }
}

fn integer_layout() -> Arc<RowLayout> {
    let integer = AgreeKind::Integer;
    layout(&[("version_id", integer), ("big", integer), ("content", AgreeKind::Uuid)])
}

fn agree() -> impl Strategy<Value = Agree> {
    let integer = |lowest: i64, highest: i64| {
        prop_oneof![
            4 => (0_i64..3).prop_map(AgreeValue::Integer),
            1 => Just(AgreeValue::Null),
            1 => prop::sample::select(vec![lowest, -1, highest]).prop_map(AgreeValue::Integer),
        ]
    };
    let uuid = prop_oneof![
        Just(AgreeValue::Null),
        prop::sample::select(vec![[0; 16], [0xff; 16]]).prop_map(AgreeValue::Uuid),
    ];
    (integer(i16::MIN.into(), i16::MAX.into()), integer(i64::MIN, i64::MAX), uuid)
        .prop_map(|(version, big, content)| [version, big, content])
}

fn sides() -> impl Strategy<Value = Sides> {
    prop_oneof![
        6 => agree().prop_map(|both| [Some(both), Some(both)]),
        1 => agree().prop_map(|lower| [Some(lower), None]),
        1 => agree().prop_map(|higher| [None, Some(higher)]),
        1 => (agree(), agree()).prop_map(|(lower, higher)| [Some(lower), Some(higher)]),
    ]
}

fn id() -> impl Strategy<Value = i64> {
    let ends = vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];
    prop_oneof![9 => -40_i64..40, 1 => prop::sample::select(ends)]
}

fn case() -> impl Strategy<Value = Case> {
    let bounds = prop_oneof![
        3 => Just(IdRange::ALL),
        2 => (-50_i64..50, 0_i64..60).prop_map(|(first, more)| range(first, first + more)),
    ];
    let parties = prop::sample::subsequence((0..15_u8).collect::<Vec<_>>(), 3).prop_shuffle();
    let integer = || prop::sample::select(vec!["smallint", "integer", "bigint"]);
    (
        prop::collection::btree_map(id(), sides(), 0..60),
        bounds,
        parties,
        prop::array::uniform5(1_usize..20),
        1_usize..4,
        [integer(), integer(), integer(), integer()],
    )
        .prop_map(|(rows, bounds, parties, sizes, jobs, types)| Case {
            rows,
            bounds,
            senders: [parties[0].min(parties[1]), parties[0].max(parties[1])],
            receiver: parties[2],
            sizes,
            jobs,
            types,
        })
}

/// One case on its way through the pipelines.
struct Run<'a> {
    case: &'a Case,
    cast: Cast,
    layout: Arc<RowLayout>,
    session: Session,
    expected_rows: u64,
}

impl<'a> Run<'a> {
    async fn prepare(place: &mut Place, case: &'a Case) -> Self {
        let layout = integer_layout();
        let schemas = [SENDERS[0], SENDERS[1], TARGET, REFERENCE];
        for (schema, integer) in schemas.into_iter().zip(case.types) {
            place.table(schema, &layout, &[integer, "bigint", "uuid"]).await;
        }
        let cast = Cast::new(case.senders, case.receiver);
        let ids: Vec<i64> = case.rows.keys().copied().collect();
        let shares = cast.shares(&layout, &ids);
        for (side, schema) in SENDERS.into_iter().enumerate() {
            let rows = case.rows.iter().filter_map(|(id, sides)| Some((*id, sides[side]?)));
            place.insert(schema, &with_agree(&shares[side], rows).rows()).await;
        }
        let reference = with_agree(&shares[2], case.rebuilt());
        place.insert(REFERENCE, &reference.rows()).await;
        let session = cast.session(&layout, SessionIds::Range(case.bounds));
        Self { case, cast, layout, session, expected_rows: reference.len() as u64 }
    }

    async fn check(&self, place: &Place) {
        let (case, session) = (self.case, &self.session);
        let paths = SENDERS.map(|name| self.cast.path(name));
        for side in [0, 1] {
            let sender = self.cast.sender(session, side);
            let (source, ids) =
                (place.source(SENDERS[side], &self.layout), RowIds::Range(case.bounds));
            let jobs = workers(case.jobs, case.sizes[side]);
            let report =
                send(session, &ids, sender, &source, &paths[side], jobs, Arc::default()).await;
            let report = report.expect("sent");
            let rows = case.in_bounds().filter(|(_, sides)| sides[side].is_some()).count();
            assert_eq!(report.rows, rows as u64);
        }
        let packages = || self.cast.packages(session, [&paths[0], &paths[1]]).expect("good");
        let source = place.source(TARGET, &self.layout);
        let target = Target { source, options: LoadOptions::default() };
        for (rows_per_range, expected) in
            [(case.sizes[2], (self.expected_rows, 0)), (case.sizes[3], (0, self.expected_rows))]
        {
            let jobs = workers(case.jobs, rows_per_range);
            let report = rebuild(session, packages(), &target, jobs, Arc::default()).await;
            let report = report.expect("rebuilt");
            assert_eq!((report.rows, report.rows_skipped), expected);
            assert_eq!(report.leftovers, case.leftovers());
            assert_eq!(place.equal_rows(&self.layout).await, self.expected_rows);
        }
        let (file, jobs) = (self.cast.path("rebuilt"), workers(case.jobs, case.sizes[4]));
        let merged = merge(session, packages(), &file, jobs, Arc::default()).await;
        let merged = merged.expect("merged");
        assert_eq!((merged.rows, merged.leftovers), (self.expected_rows, case.leftovers()));
        let reference = place.source(REFERENCE, &self.layout);
        let (kind, progress) = (Kind::Rebuilt, Progress::default());
        let found = verify_file(session, &file, kind, &reference, workers(1, 5), &progress).await;
        let found = found.expect("compared");
        assert!(found.is_equal(), "{found:?}");
        let loaded = load(session, &file, &target, jobs, Arc::default()).await.expect("loaded");
        assert_eq!((loaded.rows, loaded.rows_skipped), (0, self.expected_rows));
    }
}

/// The shares of some rows with these agree values.
fn with_agree(shares: &RowBatch, rows: impl Iterator<Item = (i64, Agree)>) -> RowBatch {
    let all = shares.rows();
    let mut batch = RowBatch::with_capacity(Arc::clone(shares.layout()), all.len());
    for (id, agree) in rows {
        let row = all.ids.binary_search(&id).expect("there is a share of every row");
        push(&mut batch, id, &agree, &all, row);
    }
    batch
}

#[test]
fn any_rows_of_the_senders_are_rebuilt_right_however_they_are_cut() {
    let runtime = Runtime::new().expect("a runtime");
    let place = tokio::sync::Mutex::new(runtime.block_on(Place::new()));
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&case(), |case| {
        runtime.block_on(async {
            let mut place = place.lock().await;
            Run::prepare(&mut place, &case).await.check(&place).await;
        });
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

/// A case with one row, or none.
fn small_case(rows: &[i64], bounds: IdRange) -> Case {
    let agree = [AgreeValue::Integer(1), AgreeValue::Null, AgreeValue::Uuid([7; 16])];
    Case {
        rows: rows.iter().map(|id| (*id, [Some(agree), Some(agree)])).collect(),
        bounds,
        senders: [0, 1],
        receiver: 2,
        sizes: [512; 5],
        jobs: 2,
        types: ["smallint", "integer", "bigint", "bigint"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_and_no_row_are_jobs_like_any_other() {
    let mut place = Place::new().await;
    let lowest = range(i64::MIN, i64::MIN);
    for (rows, bounds, expected) in [
        (&[][..], IdRange::ALL, 0),
        (&[1, 2, 3], range(10, 20), 0),
        (&[1, 2, 3], range(2, 2), 1),
        (&[i64::MIN, i64::MAX], IdRange::ALL, 2),
        (&[i64::MIN, i64::MAX], lowest, 1),
        (&[i64::MIN, i64::MAX], range(0, i64::MAX), 1),
    ] {
        let case = small_case(rows, bounds);
        let run = Run::prepare(&mut place, &case).await;
        assert_eq!(run.expected_rows, expected);
        run.check(&place).await;
    }
}
