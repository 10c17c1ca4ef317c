//! The demo from database to database.

use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_exchange::progress::Progress;
use reshare_exchange::{Limits, Shutdown};
use reshare_format::keys::load_identity;
use reshare_pipeline::arriving::Arriving;
use reshare_pipeline::deliver::{Delivery, deliver};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::rebuild::{RebuildReport, rebuild_arriving};
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::verify::verify_tables;
use reshare_pipeline::workers::{OnBadRow, Source, Target};
use reshare_postgres::connect::Database;
use reshare_postgres::load_options::LoadOptions;
use reshare_synthetic::seed::{SeedPlan, SeedTarget, prepare, seed};

use super::databases::Databases;
use super::delivery::{self, Receiver, UPLOAD};
use super::stages::{Demo, Stages};
use crate::args::delivery::{DEFAULT_INBOX_BYTES, DEFAULT_MEMORY_BYTES};
use crate::failure::Failure;
use crate::setup::database::table_of;

/// Seeds three parties, sends from two while the third one's share is rebuilt into the target, and
/// compares it with the third one's table.
pub(super) async fn demo(
    demo: &Demo,
    databases: &Databases,
    stages: &mut Stages,
) -> Result<bool, Failure> {
    seed_parties(demo, databases, stages).await?;
    let session = demo.parties.session.clone();
    let ids = RowIds::of(&session, None).ok_or_else(|| Failure::failed("the demo has a range"))?;
    let receiver = demo.receiver();
    let rebuilt = source(demo, receiver, databases.target())?;
    let target = Target { source: rebuilt.clone(), options: LoadOptions::default() };
    let one_pass = one_pass(demo, databases, &ids, &target);
    let report = stages.run("database to database", 1, one_pass).await?;
    let reference = source(demo, receiver, databases.of(receiver))?;
    let comparison = stages
        .run("verify against the original", 2, async {
            Ok(verify_tables(&reference, &rebuilt, &ids, demo.workers, &demo.progress).await?)
        })
        .await?;
    let all = demo.rows as u64;
    Ok(comparison.is_equal() && comparison.rows_equal == all && report.rows == all)
}

/// Sends from both senders, and loads what has arrived of both, at the same time.
async fn one_pass(
    demo: &Demo,
    databases: &Databases,
    ids: &RowIds,
    target: &Target,
) -> Result<RebuildReport, Failure> {
    let limits = Limits {
        inbox_bytes: Some(DEFAULT_INBOX_BYTES),
        held_bytes: DEFAULT_MEMORY_BYTES,
        ..Limits::default()
    };
    let Receiver { endpoint, inbox, url } = Receiver::bind(demo, limits).await?;
    let session = &demo.parties.session;
    let identity = load_identity(&demo.parties.identity()).map_err(Failure::failed)?;
    let arriving = Arriving::new(session, Arc::clone(&inbox), identity, None, false)?;
    let progress = Arc::clone(&demo.progress);
    // The senders' progress is their own, as in their own processes.
    let sending = Arc::<Progress>::default();
    let [lower, higher] = demo.parties.senders();
    let send = |sender| send_one(demo, databases, ids, (sender, &url), &sending);
    let shutdown = Shutdown::default();
    let working = async {
        let rebuilding = rebuild_arriving(session, arriving, target, demo.workers, progress);
        let working =
            async { tokio::try_join!(send(lower), send(higher), async { Ok(rebuilding.await?) }) };
        let done = tokio::select! {
            done = working => done,
            () = demo.progress.until_stopped() => Err(PipelineError::Stopped.into()),
        };
        sending.stop();
        shutdown.ask();
        done
    };
    let ((), done) = tokio::join!(endpoint.serve(shutdown.clone()), working);
    done.map(|((), (), report)| report)
}

async fn send_one(
    demo: &Demo,
    databases: &Databases,
    ids: &RowIds,
    (sender, url): (PartyId, &str),
    progress: &Arc<Progress>,
) -> Result<(), Failure> {
    let (session, source) = (&demo.parties.session, source(demo, sender, databases.of(sender))?);
    let delivery = Delivery { target: delivery::target(demo, url, sender)?, options: UPLOAD };
    let (ledgered, progress) = (demo.parties.sender(sender)?, Arc::clone(progress));
    deliver(session, ids, ledgered, &source, delivery, demo.workers, progress).await?;
    Ok(())
}

fn source(demo: &Demo, party: PartyId, database: &Database) -> Result<Source, Failure> {
    let table = table_of(&demo.parties.session, party, None)?;
    Ok(Source { database: database.clone(), table, on_bad_row: OnBadRow::Refuse })
}

async fn seed_parties(
    demo: &Demo,
    databases: &Databases,
    stages: &mut Stages,
) -> Result<(), Failure> {
    let session = demo.parties.session.clone();
    let target = |party: PartyId, database: &Database| SeedTarget {
        party,
        database: database.clone(),
        schema: session.database_schema(party),
    };
    let parties: Vec<PartyId> = PartyId::all().take(3).collect();
    let targets: Vec<SeedTarget> =
        parties.iter().map(|party| target(*party, databases.of(*party))).collect();
    let plan = SeedPlan { rows: demo.rows, seed: demo.seed, ..SeedPlan::default() };
    let row_bytes = (targets.len() * plan.layout.row_share_bytes()) as u64;
    let progress = Arc::clone(&demo.progress);
    progress.begin("seed", plan.rows as u64);
    stages
        .run("seed three parties", targets.len() as u64, async {
            let count = move |rows| progress.add(rows, rows * row_bytes);
            seed(&targets, &plan, count).await.map_err(Failure::of)
        })
        .await?;
    let receiver = demo.receiver();
    prepare(&target(receiver, databases.target()), &plan).await.map_err(Failure::of)?;
    Ok(())
}
