//! Comparisons: tables are equal, or the first differing ids are listed.

use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_files::ids::IdRange;
use reshare_postgres::compare::{CompareError, Comparison, Difference, TableCheck, compare_tables};
use reshare_postgres::plan::ExportIds;

use crate::support::{
    Place, count, push_row, range, small_layout, small_rows, small_spec, usual_agree,
};

async fn compare(left: &Place, right: &Place, per_part: usize, jobs: usize) -> Comparison {
    let spec = small_spec();
    let sides = ((&left.database, &spec), (&right.database, &spec));
    let all = ExportIds::Range(IdRange::ALL);
    let found = compare_tables(sides.0, sides.1, &all, count(per_part), count(jobs)).await;
    found.expect("compares")
}

async fn check(place: &Place, within: IdRange, page: usize, rows: &[RowBatch]) -> Comparison {
    let check = TableCheck::open(&place.database, &small_spec(), within, count(page)).await;
    let mut check = check.expect("opens");
    for rows in rows {
        check.rows(&rows.rows()).await.expect("compares");
    }
    check.finish().await.expect("compares")
}

#[tokio::test]
async fn equal_tables_are_equal_for_any_parts() {
    let (left, right) = (Place::with_table().await, Place::with_table().await);
    let ids = [i64::MIN, -4, -3, 0, 1, 2, 9, i64::MAX];
    left.load(&small_rows(&ids)).await;
    right.load(&small_rows(&ids)).await;
    let equal = Comparison { rows_equal: 8, ..Comparison::default() };
    for (per_part, jobs) in [(1, 3), (3, 2), (100, 1)] {
        assert_eq!(compare(&left, &right, per_part, jobs).await, equal);
        let halves = [small_rows(&ids[..3]), small_rows(&ids[3..])];
        assert_eq!(check(&left, IdRange::ALL, per_part, &halves).await, equal);
    }
}

#[tokio::test]
async fn every_kind_of_difference_is_found() {
    let (left, mut right) = (Place::with_table().await, Place::with_table().await);
    let ids: Vec<i64> = (1..=40).collect();
    left.load(&small_rows(&ids)).await;
    right.load(&small_rows(&ids)).await;
    right
        .run(
            "DELETE FROM \"SMPC_dev_0\".rows WHERE id IN (1, 17, 40); \
             UPDATE \"SMPC_dev_0\".rows SET id = 41 WHERE id = 39; \
             INSERT INTO \"SMPC_dev_0\".rows SELECT 0, note, mask, version_id, epoch, big, \
                 semantic, code FROM \"SMPC_dev_0\".rows WHERE id = 2; \
             UPDATE \"SMPC_dev_0\".rows SET semantic = NULL WHERE id = 3; \
             UPDATE \"SMPC_dev_0\".rows SET mask = set_byte(mask, 7, get_byte(mask, 7) # 128) \
                 WHERE id = 20; \
             UPDATE \"SMPC_dev_0\".rows SET version_id = version_id + 1, mask = '\\x0102030405060708' \
                 WHERE id = 21",
        )
        .await;
    let column = |name: &str| Difference::Column(name.to_owned());
    let expected = [
        (0, Difference::MissingLeft),
        (1, Difference::MissingRight),
        (3, column("semantic")),
        (17, Difference::MissingRight),
        (20, column("mask")),
        (21, column("version_id")),
        (39, Difference::MissingRight),
        (40, Difference::MissingRight),
        (41, Difference::MissingLeft),
    ];
    for (per_part, jobs) in [(1, 4), (7, 2), (100, 1)] {
        let found = compare(&left, &right, per_part, jobs).await;
        assert_eq!(found.first_differences, expected);
        assert_eq!((found.rows_equal, found.differing), (33, 9));
        let batches = [small_rows(&ids[..25]), small_rows(&ids[25..])];
        assert_eq!(check(&right, IdRange::ALL, per_part, &batches).await, found);
        assert!(!found.is_equal());
    }
    let within = check(&right, range(4, 16), 5, &[small_rows(&ids[3..16])]).await;
    assert!(within.is_equal() && within.rows_equal == 13);
}

#[tokio::test]
async fn only_the_lowest_differences_are_listed() {
    let (left, right) = (Place::with_table().await, Place::with_table().await);
    let ids: Vec<i64> = (1..=200).collect();
    right.load(&small_rows(&ids)).await;
    for (per_part, jobs) in [(3, 4), (500, 1)] {
        let found = compare(&left, &right, per_part, jobs).await;
        assert_eq!((found.rows_equal, found.differing), (0, 200));
        let listed: Vec<i64> = found.first_differences.iter().map(|(id, _)| *id).collect();
        assert_eq!(listed, (1..=20).collect::<Vec<_>>());
        let found = compare(&right, &left, per_part, jobs).await;
        assert!(found.first_differences.iter().all(|(_, how)| *how == Difference::MissingRight));
        assert_eq!(found.differing, 200);
    }
}

#[tokio::test]
async fn rows_out_of_order_are_refused() {
    let place = Place::with_table().await;
    let within = range(0, 100);
    let opened = TableCheck::open(&place.database, &small_spec(), within, count(5)).await;
    let mut check = opened.expect("opens");
    check.rows(&small_rows(&[3, 8]).rows()).await.expect("compares");
    for ids in [&[8_i64, 9][..], &[2], &[101], &[50, 101], &[12, 11]] {
        let mut rows = RowBatch::with_capacity(small_layout(), 2);
        for &id in ids {
            push_row(&mut rows, id, usual_agree(id).map(|_| AgreeValue::Null), 0);
        }
        let error = check.rows(&rows.rows()).await.expect_err("must be refused");
        assert!(matches!(error, CompareError::MisplacedRow { .. }));
    }
}
