//! The demo from database to database.

use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_pipeline::rebuild::rebuild;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::send::send;
use reshare_pipeline::verify::verify_tables;
use reshare_pipeline::workers::{Source, Target};
use reshare_postgres::connect::Database;
use reshare_postgres::load_options::LoadOptions;
use reshare_synthetic::seed::{SeedPlan, SeedTarget, prepare, seed};

use super::databases::Databases;
use super::delivery::deliver;
use super::stages::{Demo, Stages};
use crate::failure::Failure;
use crate::setup::database::table_of;

/// Seeds three parties, sends from two, rebuilds the third one's share into the target, and
/// compares it with the third one's table.
pub(super) async fn demo(
    demo: &Demo,
    databases: &Databases,
    stages: &mut Stages,
) -> Result<bool, Failure> {
    seed_parties(demo, databases, stages).await?;
    let session = demo.parties.session.clone();
    let ids = RowIds::of(&session, None).ok_or_else(|| Failure::failed("the demo has a range"))?;
    for sender in demo.parties.senders() {
        let source = source(demo, sender, databases.of(sender))?;
        let (ledgered, package) = (demo.parties.sender(sender)?, demo.parties.package(sender));
        let (workers, progress) = (demo.workers, Arc::clone(&demo.progress));
        stages
            .run(format!("send from party {sender}"), 1, async {
                let sent =
                    send(&session, &ids, ledgered, &source, &package, workers, progress).await?;
                Ok(sent)
            })
            .await?;
    }
    deliver(demo, stages).await?;
    let receiver = demo.receiver();
    let rebuilt = source(demo, receiver, databases.target())?;
    let target = Target { source: rebuilt.clone(), options: LoadOptions::default() };
    let packages = demo.parties.packages()?;
    let (workers, progress) = (demo.workers, Arc::clone(&demo.progress));
    let report = stages
        .run(format!("rebuild party {receiver}'s share"), 1, async {
            Ok(rebuild(&session, packages, &target, workers, progress).await?)
        })
        .await?;
    let reference = source(demo, receiver, databases.of(receiver))?;
    let progress = Arc::clone(&demo.progress);
    let comparison = stages
        .run("verify against the original", 2, async {
            Ok(verify_tables(&reference, &rebuilt, &ids, workers, &progress).await?)
        })
        .await?;
    let all = demo.rows as u64;
    Ok(comparison.is_equal() && comparison.rows_equal == all && report.rows == all)
}

fn source(demo: &Demo, party: PartyId, database: &Database) -> Result<Source, Failure> {
    let table = table_of(&demo.parties.session, party, None)?;
    Ok(Source { database: database.clone(), table })
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
