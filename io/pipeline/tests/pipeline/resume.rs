//! Interrupted runs, the runs after them, and concurrent runs.

use std::sync::Arc;

use reshare_exchange::progress::Progress;
use reshare_files::fault::Refusable;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::export::export;
use reshare_pipeline::load::load;
use reshare_pipeline::merge::merge;
use reshare_pipeline::rebuild::{RebuildReport, rebuild};
use reshare_pipeline::send::send;
use reshare_postgres::load_options::{LoadOptions, OnConflict};
use sqlx::postgres::PgConnection;
use tokio::task::JoinHandle;

use crate::support::{SENDERS, TARGET, World, file_names, number, run, workers};

/// The row at which the runs of these tests are held or cut off.
const HELD_ID: i64 = 50;
/// An advisory lock that a held row waits for.
const HOLD: i64 = 4242;
/// Who waits for it in this database; other tests may use it in theirs.
const WAITING: &str = "pg_locks WHERE locktype = 'advisory' AND objid = 4242 AND NOT granted \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn hundred_rows() -> World {
    World::new(&(1..=100).collect::<Vec<_>>()).await
}

/// Makes the row of [`HELD_ID`] do something when it is inserted into the target.
async fn on_insert(world: &mut World, what: &str) {
    let sql = format!(
        "CREATE FUNCTION target.event() RETURNS trigger AS $$ BEGIN \
             {what}; RETURN NEW; END $$ LANGUAGE plpgsql; \
         CREATE TRIGGER event BEFORE INSERT ON target.rows FOR EACH ROW \
             WHEN (NEW.id = {HELD_ID}) EXECUTE FUNCTION target.event()"
    );
    world.place.run(&sql).await;
}

async fn nothing_on_insert(world: &mut World) {
    world.place.run("DROP TRIGGER event ON target.rows").await;
}

/// A connection that keeps the held row waiting until it lets go.
async fn hold(world: &mut World) -> PgConnection {
    on_insert(world, &format!("PERFORM pg_advisory_xact_lock_shared({HOLD})")).await;
    let mut holder = world.place.connect().await;
    run(&mut holder, &format!("SELECT pg_advisory_lock({HOLD})")).await;
    holder
}

async fn let_go(holder: &mut PgConnection) {
    run(holder, &format!("SELECT pg_advisory_unlock({HOLD})")).await;
}

/// Returns when the held row waits: all rows before it are committed then, with one connection.
async fn until_held<T>(holder: &mut PgConnection, running: &JoinHandle<T>) {
    let waiting = format!("SELECT count(*) FROM {WAITING}");
    while number(holder, &waiting).await == 0 {
        assert!(!running.is_finished(), "the run ended without waiting");
    }
}

/// A rebuild in a task of its own.
fn spawn_rebuild(
    world: &World,
    jobs: usize,
    rows_per_range: usize,
    progress: &Arc<Progress>,
) -> JoinHandle<Result<RebuildReport, PipelineError>> {
    let packages = world.packages().expect("both are good");
    let (session, target) = (world.session.clone(), world.target(LoadOptions::default()));
    let progress = Arc::clone(progress);
    tokio::spawn(async move {
        rebuild(&session, packages, &target, workers(jobs, rows_per_range), progress).await
    })
}

/// Runs again, with ranges of other sizes, and checks that no row is missing or duplicated.
async fn assert_continues(world: &mut World, rows_there: i64) {
    assert!(rows_there > 0 && rows_there < 100, "{rows_there} rows are there");
    let packages = world.packages().expect("both are good");
    let report = world.rebuild_with(&packages, LoadOptions::default(), workers(2, 11)).await;
    let report = report.expect("rebuilt");
    let rows_there = rows_there.unsigned_abs();
    assert_eq!((report.rows, report.rows_skipped), (100 - rows_there, rows_there));
    assert_eq!(world.equal_rows().await, 100);
    let recorded = "SELECT sum(rows)::bigint FROM target.reshare_progress";
    assert_eq!(world.place.number(recorded).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_stopped_continues_where_it_was() {
    let mut world = hundred_rows().await;
    world.send_both([7, 11]).await;
    let mut holder = hold(&mut world).await;
    let progress = Arc::new(Progress::default());
    let running = spawn_rebuild(&world, 1, 8, &progress);
    until_held(&mut holder, &running).await;
    progress.stop();
    let_go(&mut holder).await;
    let stopped = running.await.expect("no panic").expect_err("was stopped");
    assert!(matches!(stopped, PipelineError::Stopped) && !stopped.is_refusal());
    let rows = world.place.rows_in(TARGET).await;
    // The current range is finished, and no other one is begun.
    assert_eq!(rows, 56);
    nothing_on_insert(&mut world).await;
    assert_continues(&mut world, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_whose_connection_breaks_continues_where_it_was() {
    for jobs in [1, 3] {
        let mut world = hundred_rows().await;
        world.send_both([7, 11]).await;
        on_insert(&mut world, "PERFORM pg_terminate_backend(pg_backend_pid())").await;
        let broken = spawn_rebuild(&world, jobs, 8, &Arc::default()).await.expect("no panic");
        let broken = broken.expect_err("the connection broke");
        assert!(matches!(broken, PipelineError::Load(_)) && !broken.is_refusal(), "{broken:?}");
        let rows = world.place.rows_in(TARGET).await;
        nothing_on_insert(&mut world).await;
        assert_continues(&mut world, rows).await;
    }
}

/// Two connections are held at their ranges and then cut off; the third loads all the rest.
#[tokio::test(flavor = "multi_thread")]
async fn holes_that_broken_connections_leave_are_filled() {
    let mut world = hundred_rows().await;
    world.send_both([7, 11]).await;
    let mut holder = hold(&mut world).await;
    world
        .place
        .run(
            "CREATE TRIGGER event_too BEFORE INSERT ON target.rows FOR EACH ROW \
             WHEN (NEW.id = 82) EXECUTE FUNCTION target.event()",
        )
        .await;
    let running = spawn_rebuild(&world, 3, 8, &Arc::default());
    let waiting = format!("SELECT count(*) FROM {WAITING}");
    while number(&mut holder, &waiting).await < 2 || world.place.rows_in(TARGET).await < 84 {
        assert!(!running.is_finished(), "the run ended before");
    }
    run(&mut holder, &format!("SELECT pg_terminate_backend(pid) FROM {WAITING}")).await;
    running.await.expect("no panic").expect_err("connections broke");
    nothing_on_insert(&mut world).await;
    world.place.run("DROP TRIGGER event_too ON target.rows").await;
    assert_continues(&mut world, 84).await;
    let ranges = "SELECT count(*) FROM target.reshare_progress WHERE first_id IN (49, 81)";
    assert_eq!(world.place.number(ranges).await, 2, "each hole is a range of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_dropped_leaves_nothing_half_done() {
    let mut world = hundred_rows().await;
    world.send_both([7, 11]).await;
    let mut holder = hold(&mut world).await;
    let running = spawn_rebuild(&world, 1, 8, &Arc::default());
    until_held(&mut holder, &running).await;
    running.abort();
    assert!(running.await.expect_err("was dropped").is_cancelled());
    let rows = world.place.rows_in(TARGET).await;
    assert_eq!(rows, 48);
    let_go(&mut holder).await;
    assert_continues(&mut world, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rebuilds_at_the_same_time_write_every_row_once() {
    let mut world = hundred_rows().await;
    world.send_both([7, 11]).await;
    let mut holder = hold(&mut world).await;
    let first = spawn_rebuild(&world, 2, 8, &Arc::default());
    until_held(&mut holder, &first).await;
    let second = spawn_rebuild(&world, 2, 13, &Arc::default());
    let_go(&mut holder).await;
    let first = first.await.expect("no panic").expect("rebuilt");
    let second = second.await.expect("no panic").expect("rebuilt");
    assert_eq!((first.rows, first.rows_skipped), (100, 0));
    assert_eq!((second.rows, second.rows_skipped), (0, 100));
    assert_eq!(world.equal_rows().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_connection_breaks_continues_where_it_was() {
    let mut world = hundred_rows().await;
    let packages = world.send_both([7, 11]).await;
    let file = world.cast.path("rebuilt");
    let merged = merge(&world.session, packages, &file, workers(2, 20), Arc::default()).await;
    merged.expect("merged");
    on_insert(&mut world, "PERFORM pg_terminate_backend(pg_backend_pid())").await;
    let target = world.target(LoadOptions::default());
    let broken = load(&world.session, &file, &target, workers(2, 6), Arc::default()).await;
    assert!(!broken.expect_err("the connection broke").is_refusal());
    let rows = world.place.rows_in(TARGET).await.unsigned_abs();
    assert!(rows > 0 && rows < 100, "{rows} rows are there");
    nothing_on_insert(&mut world).await;
    let loaded = load(&world.session, &file, &target, workers(2, 17), Arc::default()).await;
    let loaded = loaded.expect("loaded");
    assert_eq!((loaded.rows, loaded.rows_skipped), (100 - rows, rows));
    assert_eq!(world.equal_rows().await, 100);
}

/// A load of the merged file may finish what a rebuild has begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_continues_where_a_rebuild_was_stopped() {
    let mut world = hundred_rows().await;
    let packages = world.send_both([7, 11]).await;
    on_insert(&mut world, "PERFORM pg_terminate_backend(pg_backend_pid())").await;
    spawn_rebuild(&world, 1, 8, &Arc::default()).await.expect("no panic").expect_err("broken");
    nothing_on_insert(&mut world).await;
    let file = world.cast.path("rebuilt");
    let merged = merge(&world.session, packages, &file, workers(2, 20), Arc::default()).await;
    merged.expect("merged");
    let target = world.target(LoadOptions::default());
    let loaded = load(&world.session, &file, &target, workers(2, 9), Arc::default()).await;
    let loaded = loaded.expect("loaded");
    assert_eq!((loaded.rows, loaded.rows_skipped), (52, 48));
    assert_eq!(world.equal_rows().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_at_once_leaves_neither_file_nor_package_nor_row() {
    let mut world = hundred_rows().await;
    let packages = world.send_both([7, 11]).await;
    let before = file_names(world.cast.scratch.path());
    let stopped = Arc::new(Progress::default());
    stopped.stop();
    let (session, jobs) = (&world.session, workers(2, 20));
    let (file, directory) = (world.cast.path("file"), world.cast.path("package"));
    let (source, party) = (world.source(SENDERS[0]), world.cast.senders[0]);
    let merged = merge(session, Arc::clone(&packages), &file, jobs, Arc::clone(&stopped)).await;
    assert!(matches!(merged, Err(PipelineError::Stopped)));
    let exported =
        export(session, &world.ids, party, &source, &file, jobs, Arc::clone(&stopped)).await;
    assert!(matches!(exported, Err(PipelineError::Stopped)));
    assert_eq!(file_names(world.cast.scratch.path()), before);
    let sender = world.cast.sender(session, 0);
    let stop = Arc::clone(&stopped);
    let sent = send(session, &world.ids, sender, &source, &directory, jobs, stop).await;
    assert!(matches!(sent, Err(PipelineError::Stopped)));
    assert!(file_names(&directory).is_empty());
    let target = world.target(LoadOptions::default());
    let rebuilt = rebuild(session, packages, &target, jobs, stopped).await;
    assert!(matches!(rebuilt, Err(PipelineError::Stopped)));
    world.place.assert_target_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_checks_its_packages_can_be_stopped() {
    let mut world = hundred_rows().await;
    let packages = world.send_both([1, 1]).await;
    let on_conflict = OnConflict::Replace { allow_older: false };
    let target = world.target(LoadOptions { on_conflict, ..LoadOptions::default() });
    let progress = Arc::new(Progress::default());
    let stopper = async {
        while ["start", "connect to the database"].contains(&progress.snapshot().stage) {
            tokio::task::yield_now().await;
        }
        progress.stop();
        progress.snapshot().stage
    };
    let rebuilt = rebuild(&world.session, packages, &target, workers(2, 20), Arc::clone(&progress));
    // In one task, as a signal and the work are: a stage that never waits cannot be stopped.
    let (rebuilt, stage) = tokio::join!(rebuilt, stopper);
    assert_eq!(stage, "check the packages");
    assert!(matches!(rebuilt, Err(PipelineError::Stopped)));
    world.place.assert_target_untouched().await;
}
