//! Ranges that were loaded from other parts than the packages have now are loaded again.

use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::{Packages, PackagesSoFar};
use reshare_pipeline::rebuild::{RebuildReport, rebuild_so_far};
use reshare_pipeline::verify_digests::verify_digests;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::load_options::{LoadOptions, OnConflict};
use reshare_postgres::verified::{load_state, record_verified};

use crate::support::{
    REFERENCE, SENDERS, TARGET, World, assert_refusal, chain, pick, range, workers,
};

const ROWS: i64 = 60;
/// The packages of the second delivery.
const AGAIN: [&str; 2] = ["lower-again", "higher-again"];
/// Rows whose shares are others in the second delivery.
const CHANGED: std::ops::RangeInclusive<i64> = 29..=36;

impl World {
    async fn redo(
        &self,
        names: [&str; 2],
        ids: &[(i64, i64)],
        on_conflict: OnConflict,
    ) -> Result<RebuildReport, PipelineError> {
        let target = self.target(LoadOptions { on_conflict, ..LoadOptions::default() });
        let redo: Vec<IdRange> = ids.iter().map(|(first, last)| range(*first, *last)).collect();
        let directories = names.map(|name| self.cast.path(name));
        let identity = self.cast.identity.clone();
        let packages = PackagesSoFar::open(&self.session, None, directories, identity)?;
        let jobs = workers(2, 7);
        rebuild_so_far(&self.session, &packages, &target, &redo, jobs, Arc::default()).await
    }

    async fn redo_all(&self) -> Result<RebuildReport, PipelineError> {
        self.redo(AGAIN, &[(i64::MIN, i64::MAX)], OnConflict::Error).await
    }

    /// Everything that the target and its records hold.
    async fn contents(&mut self) -> [String; 2] {
        let mut all = [const { String::new() }; 2];
        let rows = "SELECT string_agg(r::text, ' ' ORDER BY id) FROM target.rows r";
        let records = "SELECT string_agg(p::text, ' ' ORDER BY first_id) FROM \
            (SELECT first_id, last_id, rows, digest, source, leftovers \
             FROM target.reshare_progress) p";
        for (text, sql) in all.iter_mut().zip([rows, records]) {
            let found: Option<String> =
                sqlx::query_scalar(sql).fetch_one(&mut self.place.sql).await.expect("read");
            *text = found.unwrap_or_default();
        }
        all
    }

    /// The first rows that differ from what was loaded, by the digests of the load.
    async fn digests_differ(&self) -> Vec<IdRange> {
        let (source, of) = (self.source(TARGET), self.session.fingerprint());
        let state = load_state(&source.database, source.table.name(), of).await.expect("read");
        let found = verify_digests(&source, state.loaded, workers(2, 7), &Arc::default()).await;
        found.expect("compared").differing
    }
}

/// Sixty rows that are loaded; then some have newer versions at both senders, who have made their
/// packages again. The reference is what these packages add up to.
async fn sent_otherwise() -> (World, Arc<Packages>) {
    let mut world = loaded().await;
    change_rows(&mut world).await;
    for schema in [SENDERS[0], SENDERS[1], REFERENCE] {
        let newer = format!("UPDATE {schema}.rows SET version_id = version_id + 1000 WHERE id");
        world
            .place
            .run(&format!("{newer} BETWEEN {} AND {}", CHANGED.start(), CHANGED.end()))
            .await;
    }
    let packages = send_again(&world).await;
    (world, packages)
}

async fn loaded() -> World {
    let world = World::new(&(1..=ROWS).collect::<Vec<_>>()).await;
    let packages = world.send_both([6, 8]).await;
    world.rebuild(&packages).await;
    assert_eq!(world.equal_rows().await, ROWS.unsigned_abs());
    world
}

/// Gives rows of both senders, and those of the reference, the shares of other records.
async fn change_rows(world: &mut World) {
    let others: Vec<i64> = (1..=ROWS).map(|id| id + 1_000).collect();
    let others = world.cast.shares(&world.layout, &others);
    for (schema, rows) in [SENDERS[0], SENDERS[1], REFERENCE].into_iter().zip(&others) {
        let rows = renamed(&pick(rows, |id| CHANGED.contains(&(id - 1_000))));
        let named: Vec<String> = rows.rows().ids.iter().map(i64::to_string).collect();
        let gone = format!("DELETE FROM {schema}.rows WHERE id IN ({})", named.join(","));
        world.place.run(&gone).await;
        world.place.insert(schema, &rows.rows()).await;
    }
}

async fn send_again(world: &World) -> Arc<Packages> {
    for (side, name) in AGAIN.into_iter().enumerate() {
        world.try_send(side, name, [6, 8][side]).await.expect("sent");
    }
    world.packages_of(AGAIN).expect("both are good")
}

fn lose_ledgers(world: &World) {
    std::fs::remove_dir_all(world.cast.state()).expect("removed");
    std::fs::create_dir(world.cast.state()).expect("made");
}

/// The same shares under the ids that they are to have.
fn renamed(rows: &RowBatch) -> RowBatch {
    let from = rows.rows();
    let mut to = RowBatch::with_capacity(Arc::clone(rows.layout()), from.len());
    for row in 0..from.len() {
        let agree: Vec<_> = from.agree_values(row).collect();
        crate::support::push(&mut to, from.ids[row] - 1_000, &agree, &from, row);
    }
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redo_that_is_undone_for_another_transaction_is_tried_again() {
    for (code, when) in [("40001", "BEFORE DELETE"), ("40P01", "AFTER INSERT")] {
        let (mut world, _) = sent_otherwise().await;
        // The second range is undone twice, after the first one is committed.
        let undo = format!(
            "CREATE SEQUENCE tries; CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN IF nextval('tries') IN (2, 3) THEN RAISE EXCEPTION 'undone' USING ERRCODE = \
             '{code}'; END IF; RETURN NULL; END $$; CREATE TRIGGER undo {when} ON target.rows \
             FOR EACH STATEMENT EXECUTE FUNCTION undo()"
        );
        world.place.run(&undo).await;
        let report = world.redo_all().await.expect("the third try");
        assert!(report.redone.len() > 2, "{report:?}");
        assert_eq!(world.equal_rows().await, ROWS.unsigned_abs(), "{code}");
        assert_eq!(world.digests_differ().await, []);
        let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries")
            .fetch_one(&mut world.place.sql)
            .await
            .expect("read");
        assert_eq!(tries.unsigned_abs(), report.redone.len() as u64 + 2, "{code}");
        world.place.run("DROP TRIGGER undo ON target.rows").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_were_loaded_from_other_parts_are_named_and_loaded_again() {
    let (mut world, again) = sent_otherwise().await;
    let before = world.contents().await;
    let error = world.try_rebuild(&again).await.expect_err("other parts");
    let PipelineError::Load(LoadError::OtherSource { ranges, is_of_packages, .. }) = &error else {
        panic!("{}", chain(&error));
    };
    // Three ranges of the load have ids of parts that are others now: 25 to 36 of the lower sender,
    // 25 to 40 of the higher one.
    assert!(*is_of_packages);
    assert_eq!(*ranges, [range(22, 42)]);
    assert_refusal(&error, &format!("since this session loaded ids {} at ", ranges[0]));
    assert_eq!(world.contents().await, before);
    let report = world.redo(AGAIN, &[(22, 42)], OnConflict::Error).await.expect("loaded again");
    assert_eq!((report.rows, report.rows_skipped), (21, 39));
    assert_eq!(report.redone, [(22, 28), (29, 35), (36, 42)]);
    assert!(report.redo_kept.is_empty());
    assert_eq!(world.equal_rows().await, 60);
    assert_eq!(world.digests_differ().await, []);
    // What was loaded again is loaded: the session goes on with these packages, and not with
    // others.
    let report = world.rebuild(&again).await;
    assert_eq!((report.rows, report.rows_skipped), (0, 60));
    world.try_rebuild(&world.packages().expect("good")).await.expect_err("the first ones");
}

/// Content digests are keyed by the ledger: without it no part is known to be the same.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_ledger_all_ranges_differ_and_are_loaded_again() {
    let mut world = loaded().await;
    change_rows(&mut world).await;
    lose_ledgers(&world);
    let again = send_again(&world).await;
    let error = world.try_rebuild(&again).await.expect_err("other parts");
    let PipelineError::Load(LoadError::OtherSource { ranges, .. }) = &error else {
        panic!("{}", chain(&error))
    };
    assert_eq!(*ranges, [IdRange::ALL]);
    let report = world.redo_all().await.expect("loaded again");
    assert_eq!((report.rows, report.rows_skipped), (60, 0));
    assert_eq!(world.equal_rows().await, 60);
    assert_eq!(world.digests_differ().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redo_takes_whole_ranges_and_goes_on_where_it_was_interrupted() {
    let (mut world, _) = sent_otherwise().await;
    // One id is enough to name a range; the others that differ must be named, too.
    let before = world.contents().await;
    let error = world.redo(AGAIN, &[(30, 30)], OnConflict::Error).await.expect_err("not all");
    let PipelineError::Load(LoadError::OtherSource { ranges, .. }) = &error else {
        panic!("{}", chain(&error))
    };
    assert_eq!(*ranges, [range(22, 28), range(36, 42)]);
    assert_eq!(world.contents().await, before);
    let ids = [(28, 29), (42, 45)];
    let report = world.redo(AGAIN, &ids, OnConflict::Error).await.expect("loaded again");
    assert_eq!(report.redone, [(22, 28), (29, 35), (36, 42)]);
    assert_eq!(report.redo_kept, [(43, 49)]);
    assert_eq!(world.equal_rows().await, 60);
    // The same command once more, as after an interruption, finds them done.
    let after = world.contents().await;
    let report = world.redo(AGAIN, &ids, OnConflict::Error).await.expect("done");
    assert!(report.redone.is_empty() && report.rows == 0, "{report:?}");
    assert_eq!(report.redo_kept, [(22, 28), (29, 35), (36, 42), (43, 49)]);
    assert_eq!(world.contents().await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_changed_since_are_neither_taken_back_nor_overwritten() {
    for change in [
        "UPDATE target.rows SET version_id = version_id + 1 WHERE id = 30",
        "UPDATE target.rows SET code = mask || mask WHERE id = 30",
        "UPDATE target.rows SET id = 3000 WHERE id = 30",
        "INSERT INTO target.rows SELECT 0, version_id, code, mask FROM target.rows WHERE id = 30",
    ] {
        let (mut world, _) = sent_otherwise().await;
        world.place.run(change).await;
        let before = world.contents().await;
        let error = world.redo_all().await.expect_err("changed");
        let PipelineError::RowsChanged { ranges, .. } = &error else { panic!("{}", chain(&error)) };
        assert!(error.is_refusal());
        let id = if change.starts_with("INSERT") { 0 } else { 30 };
        assert!(ranges.iter().any(|range| range.contains(id)), "{ranges:?}");
        assert!(chain(&error).contains("are not as this session loaded them"), "{}", chain(&error));
        assert_eq!(world.contents().await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_not_delivered_may_have_changed() {
    let (mut world, _) = sent_otherwise().await;
    world.place.run("UPDATE target.rows SET last_modified_at = 7").await;
    world.redo_all().await.expect("loaded again");
    assert_eq!(world.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_were_not_loaded_cannot_be_loaded_again() {
    let world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    let packages = world.send_both([6, 8]).await;
    let error = world.redo(SENDERS, &[(1, 9)], OnConflict::Error).await.expect_err("nothing");
    assert_refusal(&error, "this session has loaded no range with ids of 1..=9");
    world.rebuild(&packages).await;
    // Of the same parts: nothing is to be done, and nothing is.
    let report = world.redo(SENDERS, &[(1, 9)], OnConflict::Error).await.expect("of these");
    assert!(report.redone.is_empty() && !report.redo_kept.is_empty(), "{report:?}");
    assert_eq!(world.equal_rows().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_delivered_any_more_leaves_and_one_that_was_left_over_comes() {
    let ids: Vec<i64> = (1..=20).collect();
    let mut world = World::new(&ids).await;
    // Row 9 comes from one sender only at first, row 11 at last.
    world.place.run("CREATE TABLE kept AS SELECT * FROM higher.rows WHERE id = 9").await;
    world.place.run("DELETE FROM higher.rows WHERE id = 9").await;
    let first = world.send_both([6, 8]).await;
    let report = world.rebuild(&first).await;
    assert_eq!(report.leftovers.only_lower_sender, [9]);
    world.place.run("INSERT INTO higher.rows SELECT * FROM kept").await;
    world.place.run("DELETE FROM higher.rows WHERE id = 11").await;
    lose_ledgers(&world);
    send_again(&world).await;
    // A row of that id has come from elsewhere: it is not the session's, and stays where it is.
    world
        .place
        .run("INSERT INTO target.rows SELECT 9, 5, code, mask FROM target.rows WHERE id = 1")
        .await;
    let before = world.contents().await;
    let error = world.redo_all().await.expect_err("a foreign row");
    assert!(matches!(&error, PipelineError::Load(LoadError::Conflict { ids, .. }) if ids == &[9]));
    assert_eq!(world.contents().await[0], before[0]);
    let whole = [(i64::MIN, i64::MAX)];
    let replace = |allow_older| OnConflict::Replace { allow_older };
    let error = world.redo(AGAIN, &whole, replace(false)).await.expect_err("a newer row");
    assert!(matches!(&error, PipelineError::Load(LoadError::OlderDelivered { .. })), "{error:?}");
    let report = world.redo(AGAIN, &whole, replace(true)).await.expect("loaded again");
    assert_eq!(report.leftovers.only_lower_sender, [11]);
    world.place.run("DELETE FROM reference.rows WHERE id = 11").await;
    assert_eq!(world.equal_rows().await, 19);
    assert_eq!(world.digests_differ().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_others_refer_to_and_a_trigger_that_keeps_rows_are_refused() {
    let (mut world, _) = sent_otherwise().await;
    world
        .place
        .run("CREATE TABLE target.other (hit bigint REFERENCES target.rows ON DELETE CASCADE)")
        .await;
    let before = world.contents().await;
    let error = world.redo_all().await.expect_err("referred to");
    assert_refusal(
        &error,
        "to load a range again is to delete its rows first, and the foreign key",
    );
    assert_refusal(&error, "ON DELETE CASCADE");
    world
        .place
        .run(
            "DROP TABLE target.other; \
             CREATE FUNCTION target.keep() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN IF OLD.id = 30 THEN RETURN NULL; END IF; RETURN OLD; END'; \
             CREATE TRIGGER keeper BEFORE DELETE ON target.rows FOR EACH ROW \
             EXECUTE FUNCTION target.keep()",
        )
        .await;
    let error = world.redo_all().await.expect_err("kept");
    assert_refusal(&error, "does a trigger keep rows?");
    // The range before it is loaded again, and this one is as it was.
    let rows = world.place.number("SELECT count(*) FROM target.rows WHERE id = 30").await;
    assert_eq!((rows, world.place.rows_in(TARGET).await), (1, 60));
    world.place.run("DROP TRIGGER keeper ON target.rows").await;
    world.redo_all().await.expect("loaded again");
    assert_eq!(world.equal_rows().await, 60);
    assert_ne!(world.contents().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_verified_is_not_any_more_once_a_range_was_loaded_again() {
    let (world, _) = sent_otherwise().await;
    let (source, of) = (world.source(TARGET), world.session.fingerprint());
    let state = async || load_state(&source.database, source.table.name(), of).await.expect("read");
    let mark = state().await.mark().expect("loaded");
    let (database, name) = (&source.database, source.table.name());
    record_verified(database, name, of, mark, "packages").await.expect("recorded");
    assert!(state().await.verified.is_some());
    world.redo_all().await.expect("loaded again");
    assert!(state().await.verified.is_none());
    assert_eq!(state().await.rows(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_right_to_delete_cannot_load_again_and_changes_nothing() {
    let (mut world, _) = sent_otherwise().await;
    let before = world.contents().await;
    world
        .place
        .run(
            "CREATE ROLE adds_more LOGIN; GRANT USAGE ON SCHEMA target TO adds_more; \
             GRANT SELECT, INSERT ON target.rows, target.reshare_progress TO adds_more",
        )
        .await;
    let owner = world.place.url.clone();
    world.place.url = owner.replace("user=postgres", "user=adds_more");
    let error = world.redo_all().await.expect_err("no right");
    assert!(chain(&error).contains("permission denied"), "{}", chain(&error));
    assert_eq!(world.contents().await, before);
    world.place.run("GRANT DELETE ON target.rows, target.reshare_progress TO adds_more").await;
    world.redo_all().await.expect("loaded again");
    world.place.url = owner;
    assert_eq!(world.equal_rows().await, 60);
}
