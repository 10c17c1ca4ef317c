//! `reshare seed`.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_synthetic::records::IdPattern;
use reshare_synthetic::seed::{SeedPlan, SeedTarget, seed};
use serde_json::json;

use crate::args::{OutputArgs, split_party, within};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::setup::database::database;

#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// A party and its database (or env:NAME): once for every database to fill
    #[arg(long = "db", value_name = "PARTY=URL", required = true, num_args = 1)]
    databases: Vec<String>,

    /// The environment in the schema's name, SMPC_{environment}_{party}
    #[arg(long, value_name = "NAME", default_value = "dev")]
    environment: String,

    /// The table
    #[arg(long, value_name = "NAME", default_value = "irises")]
    table: String,

    /// Rows of every party
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = within::<usize>(0..=MAX_ROWS))]
    rows: usize,

    /// The lowest id
    #[arg(long, value_name = "ID", default_value_t = 1, allow_negative_numbers = true)]
    db_start: i64,

    /// Which ids the rows have
    #[arg(long, value_enum, default_value_t = Ids::Contiguous)]
    ids: Ids,

    /// Seed of the records: the same seed gives the same records
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Give the tables the triggers of a production table
    #[arg(long)]
    triggers: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ids {
    Contiguous,
    Gaps,
}

/// The most rows that are made: their shares are 50 TB in every database.
const MAX_ROWS: u64 = 1_000_000_000;

impl SeedArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let targets = self.databases.iter().map(|text| {
            let (party, url) = split_party(text)?;
            Ok(SeedTarget { party, database: database(Some(url))?, schema: self.schema(party) })
        });
        let targets: Vec<SeedTarget> = targets.collect::<Result<_, Failure>>()?;
        let plan = self.plan();
        let ((), took) = run(output, Rerun::Continues, |progress| async {
            progress.begin("seed", plan.rows as u64);
            let row_bytes = (plan.layout.row_share_bytes() * targets.len()) as u64;
            let seeded = seed(&targets, &plan, move |rows| progress.add(rows, rows * row_bytes));
            seeded.await.map_err(Failure::of)
        })?;
        let bytes = (plan.rows * plan.layout.row_share_bytes() * targets.len()) as u64;
        let report = json!({ "rows": plan.rows, "databases": targets.len(), "share_bytes": bytes });
        report::print(output, &report, took, || {
            let rate = report::rate(plan.rows as u64, bytes, took);
            format!("seeded {} rows in each of {} databases{rate}", plan.rows, targets.len())
        })?;
        Ok(Exit::Done)
    }

    fn schema(&self, party: PartyId) -> String {
        format!("SMPC_{}_{party}", self.environment)
    }

    fn plan(&self) -> SeedPlan {
        SeedPlan {
            rows: self.rows,
            first_id: self.db_start,
            ids: match self.ids {
                Ids::Contiguous => IdPattern::Contiguous,
                Ids::Gaps => IdPattern::Gaps,
            },
            seed: self.seed,
            table: self.table.clone(),
            id_column: "id".to_owned(),
            layout: Arc::new(RowLayout::iris()),
            triggers: self.triggers,
        }
    }
}
