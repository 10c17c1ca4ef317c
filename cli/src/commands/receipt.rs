//! `reshare receipt`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reshare_engine::party::PartyId;
use reshare_format::receipt::{Compared, ComparedWith};
use reshare_pipeline::purge::Purge;
use serde_json::json;

use crate::args::{AuthorityArgs, OutputArgs, SessionArgs, StateArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::setup::context::Context;
use crate::setup::receipt::{self, Aim, Removal};
use crate::text::counted;

#[derive(Debug, Args)]
pub(crate) struct ReceiptCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Sender: check that the receiver has signed a receipt, and that it is about what this sender
    /// has sent
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The receipt that `verify --receipt` wrote
    #[arg(value_name = "FILE")]
    receipt: PathBuf,

    #[command(flatten)]
    session: SessionArgs,

    /// Compare it with this package, and not with the ledger
    #[arg(long, value_name = "DIR")]
    package: Option<PathBuf>,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    state: StateArgs,
}

impl ReceiptCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let Action::Check(args) = &self.action;
        args.run(output)
    }
}

impl CheckArgs {
    fn run(&self, output: &OutputArgs) -> Outcome {
        let session = Context::open(&self.session)?.session;
        let mut package = Purge::default();
        if let Some(path) = &self.package {
            package.add_package(&session, path).map_err(|error| {
                Failure::of(error).hint("check --package: it is a closed package of this session")
            })?;
            package.check_any().map_err(Failure::of)?;
        }
        let claimed = self.session.checks.party_id.map(PartyId::try_from).transpose();
        let claimed = claimed.map_err(Failure::usage)?;
        let (authority, state) = (&self.authority, &self.state);
        let (session, purge, aim) = (&session, &package, Aim::Know);
        let removal = Removal { session, purge, claimed, authority, state, aim };
        let (receipt, of_ledger) = receipt::check(&self.receipt, &removal)?;
        let Compared { rows, left_over, with, .. } = *receipt.compared();
        let with = match with {
            ComparedWith::Packages => "packages",
            ComparedWith::Digests => "digests",
        };
        let (receiver, at) = (receipt.receiver(), receipt.verified_at());
        if output.json {
            let report = json!({
                "receiver": receiver.index(),
                "verified_at": at.to_string(),
                "rows_equal": rows,
                "left_over": left_over,
                "compared_with": with,
                "ledger_of": of_ledger.map(PartyId::index),
                "package": self.package,
            });
            report::line(&format!("{report:#}"))?;
            return Ok(Exit::Done);
        }
        let about = match (of_ledger, &self.package) {
            (Some(sender), _) => format!("what the ledger of sender {sender} has"),
            (None, Some(path)) => format!("the package {}", path.display()),
            (None, None) => "this session".to_owned(),
        };
        let rows = counted(rows, "row");
        report::line(&format!(
            "signed by party {receiver}, {at}\n{rows} equal to the {with}, {left_over} left over\nit is about \
             {about}"
        ))?;
        Ok(Exit::Done)
    }
}
