//! Tables that do not fit a session.

use std::sync::Arc;

use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout};
use reshare_files::fault::Refusable;
use reshare_fixtures::iris_table::IrisTable;
use reshare_postgres::schema::{SchemaError, has_rerand_epoch};
use reshare_postgres::table::{AgreeType, IntegerWidth, Table, TableName, TableSpec};

use crate::support::{Place, small_spec};

async fn inspect(place: &mut Place) -> Result<Table, SchemaError> {
    Table::inspect(&mut place.sql, &small_spec()).await
}

#[tokio::test]
async fn the_real_types_of_the_columns_are_found() {
    let mut place = Place::with_table().await;
    let table = inspect(&mut place).await.expect("fits");
    let (two, four) = (IntegerWidth::Two, IntegerWidth::Four);
    let eight = AgreeType::Integer(IntegerWidth::Eight);
    let expected = [AgreeType::Integer(two), AgreeType::Integer(four), eight, AgreeType::Uuid];
    assert_eq!(table.agree_types(), expected);
    assert_eq!(table.id_width(), IntegerWidth::Eight);
    place.run("ALTER TABLE \"SMPC_dev_0\".rows ALTER id TYPE integer").await;
    assert_eq!(inspect(&mut place).await.expect("fits").id_width(), IntegerWidth::Four);
}

#[tokio::test]
async fn each_misfit_names_table_and_column() {
    let mut place = Place::with_table().await;
    let table = "table SMPC_dev_0.rows";
    let cases = [
        ("ALTER code TYPE text USING ''", ", column \"code\": the type is text, expected bytea"),
        (
            "ALTER version_id TYPE numeric",
            ", column \"version_id\": the type is numeric, expected smallint, integer or bigint",
        ),
        ("ALTER semantic TYPE text", ", column \"semantic\": the type is text, expected uuid"),
        (
            "ALTER epoch TYPE uuid USING NULL",
            ", column \"epoch\": the type is uuid, expected smallint, integer or bigint",
        ),
        ("ALTER id TYPE text", ", column \"id\": the type is text, expected bigint"),
        ("DROP COLUMN mask", " has no column \"mask\""),
        ("DROP COLUMN id", " has no column \"id\""),
        (
            "DROP CONSTRAINT rows_pkey",
            ", column \"id\": ids must be NOT NULL and have a unique index",
        ),
        (
            "DROP CONSTRAINT rows_pkey, ADD UNIQUE (id, note)",
            ", column \"id\": ids must be NOT NULL and have a unique index",
        ),
        (
            "ADD rerand_epoch integer",
            " has a column \"rerand_epoch\" that is not among the agree columns",
        ),
    ];
    for (change, text) in cases {
        place.run(&format!("BEGIN; ALTER TABLE \"SMPC_dev_0\".rows {change}")).await;
        let error = inspect(&mut place).await.expect_err(change);
        place.run("ROLLBACK").await;
        assert_eq!(error.to_string(), format!("{table}{text}"));
        assert!(error.is_refusal());
    }
    place.run("DROP TABLE \"SMPC_dev_0\".rows").await;
    let error = inspect(&mut place).await.expect_err("no table");
    assert_eq!(error.to_string(), format!("{table} does not exist"));
    place.run("CREATE VIEW \"SMPC_dev_0\".rows AS SELECT 1 AS id").await;
    let error = inspect(&mut place).await.expect_err("a view");
    assert!(matches!(error, SchemaError::NotATable { .. }));
}

#[tokio::test]
async fn a_table_with_epochs_fits_when_they_are_agreed_on() {
    let mut place = Place::new().await;
    let name = TableName::new("SMPC_dev_0", "irises").expect("usable");
    IrisTable::Epochs.create(&mut place.sql, name.schema(), name.table()).await.expect("made");
    assert!(has_rerand_epoch(&mut place.sql, &name).await.expect("reads"));
    let iris = RowLayout::iris();
    let spec = TableSpec::new(name.clone(), "id", Arc::new(iris.clone())).expect("usable");
    let refused = Table::inspect(&mut place.sql, &spec).await;
    assert!(matches!(refused, Err(SchemaError::EpochNotAgreed { .. })));
    let mut agree = iris.agree().to_vec();
    agree.push(AgreeColumn { name: "rerand_epoch".into(), kind: AgreeKind::Integer });
    agree.push(AgreeColumn { name: "semantic_id".into(), kind: AgreeKind::Uuid });
    let layout = RowLayout::new(agree, iris.shares().to_vec()).expect("valid");
    let spec = TableSpec::new(name, "id", Arc::new(layout)).expect("usable");
    Table::inspect(&mut place.sql, &spec).await.expect("fits");
    let plain = TableName::new("SMPC_dev_1", "irises").expect("usable");
    IrisTable::Plain.create(&mut place.sql, plain.schema(), plain.table()).await.expect("made");
    assert!(!has_rerand_epoch(&mut place.sql, &plain).await.expect("reads"));
}
