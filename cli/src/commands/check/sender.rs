//! `reshare check sender`.

use std::path::PathBuf;

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_format::keys::certificate::Purpose;
use reshare_format::session::{Approval, Approvals};
use reshare_pipeline::ledger::{Ledger, LedgerFigures};
use reshare_pipeline::preflight::Place;

use super::certificate::Credentials;
use super::checklist::{Checklist, StrictArgs};
use super::delivery::Destination;
use super::{certificate, sender_table, session};
use crate::args::{
    DatabaseArgs, DeliveryArgs, OutputArgs, SenderKeyArgs, SessionArgs, StateArgs, WorkArgs,
};
use crate::failure::{Failure, Outcome};
use crate::run::block_on;
use crate::setup::agreement::OwnKey;
use crate::setup::context::Context;
use crate::text::{counted, human_bytes};

#[derive(Debug, Args)]
// A key that is not given is reported as not checked.
#[command(mut_group("own_key", |group| group.required(false)))]
pub(super) struct CheckSenderArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    keys: SenderKeyArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// The directory to write the package to
    #[arg(long, value_name = "DIR", help_heading = "Delivery")]
    to: Option<PathBuf>,

    #[command(flatten)]
    delivery: DeliveryArgs,

    #[command(flatten)]
    strict: StrictArgs,
}

/// Bytes of the ledger's record of a row: id, version, content tag.
const LEDGER_BYTES_PER_ROW: u64 = 40;

impl CheckSenderArgs {
    pub(super) fn run(&self, output: &OutputArgs) -> Outcome {
        let mut list = Checklist::new("sender");
        match session::open(&mut list, &self.session) {
            Some(context) => self.check(&mut list, &context)?,
            None => {
                let rest =
                    ["fingerprint", "period", "network", "seal", "blinding", "agreement key"];
                let more = [
                    "authority",
                    "certificate",
                    "approvals",
                    "ledger",
                    "database",
                    "package",
                    "receiver",
                ];
                rest.iter().chain(&more).for_each(|what| list.skipped(what, "the session"));
            }
        }
        list.finish(output, &self.strict)
    }

    fn check(&self, list: &mut Checklist, context: &Context) -> Result<(), Failure> {
        let session = &context.session;
        let SenderKeyArgs { expect_fingerprint, credentials, .. } = &self.keys;
        session::fingerprint(list, context, expect_fingerprint.as_deref());
        session::period(list, context);
        session::network(list, context, &credentials.network);
        session::receiver(list, context, self.session.checks.target_party_id, &self.state);
        session::seal(list, context);
        session::blinding(list, context);
        let own = self.own_key(list, context);
        let by_key = own.as_ref().map(OwnKey::sender);
        let (authority, certificate) = (&credentials.authority, &credentials.certificate);
        let opened = certificate::open(list, session, authority, certificate);
        let party = by_key.or_else(|| self.claimed(context, &opened));
        if opened.check_one_party(list, by_key) {
            opened.check(list, session, party, &[Purpose::Signature, Purpose::TlsClient]);
            let approvals = opened.check_approvals(list, session, party, &credentials.approvals);
            self.key_check(list, context, own.as_ref(), approvals.as_ref());
        } else {
            list.skipped("approvals", "a certificate and an agreement key of one party");
        }
        let Some(party) = party else {
            for what in ["ledger", "database", "package", "receiver"] {
                list.skipped(what, "knowing which sender this is: give --party-id");
            }
            return Ok(());
        };
        let figures = self.ledger(list, context, party);
        block_on(async {
            let rows = sender_table::check_source(list, context, party, &self.database, &self.work);
            let rows = rows.await;
            if let Some(rows) = rows {
                self.room_of_ledger(list, rows);
            }
            let destination = Destination {
                session,
                sender: party,
                trust: opened.trust.as_ref(),
                sealed: figures.as_ref().map(|figures| &figures.sealed),
                rows,
                to: self.to.as_deref(),
                delivery: &self.delivery,
            };
            destination.check(list, opened.tls(session, authority, certificate)).await;
            Ok(())
        })
    }

    /// Opens the agreement key, and agrees with the other sender's as a run does.
    fn own_key(&self, list: &mut Checklist, context: &Context) -> Option<OwnKey> {
        const WHAT: &str = "agreement key";
        let key = &self.keys.agreement;
        if key.source().is_none() {
            list.not_checked(WHAT, "--agreement-key file:PATH or kms:ARN");
            return None;
        }
        let opened = context.own_key(&self.session, key).map_err(|failure| {
            failure
                .hint("give the private half of the key that the session file has of this sender")
        });
        let own = list.take(WHAT, opened)?;
        list.ok(WHAT, format!("party {}'s, and it agrees with the other sender's", own.sender()));
        Some(own)
    }

    /// Derives the session's keys as a run does.
    fn key_check(
        &self,
        list: &mut Checklist,
        context: &Context,
        own: Option<&OwnKey>,
        approvals: Option<&Approvals>,
    ) {
        const WHAT: &str = "key check";
        // What is wrong with it was said before.
        let Some(own) = own else { return };
        let session = &context.session;
        let carried = session.encapsulation_key().is_some();
        if carried && !Approval::encapsulates(session, own.sender()) && approvals.is_none() {
            return list.skipped(WHAT, "the other sender's approval");
        }
        if let Some(keys) = list.take(WHAT, own.derive(session, approvals, &self.state)) {
            let both = "at the other sender this line must be the same";
            list.ok(WHAT, format!("{} ({both})", keys.key_check()));
        }
    }

    /// Which sender this is according to its flags, if no key shows it.
    fn claimed(&self, context: &Context, opened: &Credentials) -> Option<PartyId> {
        if self.session.checks.party_id.is_some() {
            return context.sender_named(&self.session).ok();
        }
        opened.claimed_party().filter(|party| context.session.sender(*party).is_some())
    }

    fn ledger(
        &self,
        list: &mut Checklist,
        context: &Context,
        party: PartyId,
    ) -> Option<LedgerFigures> {
        const WHAT: &str = "ledger";
        let state = list.take(WHAT, self.state.directory())?;
        let fingerprint = context.session.fingerprint();
        let examined = Ledger::examine(&state, &fingerprint, party).map_err(Failure::from);
        let figures = list.take(WHAT, examined)?;
        let parts = &figures.parts;
        let path = Ledger::path_in(&state, &fingerprint, party);
        let rows: u64 = parts.iter().map(|part| part.rows).sum();
        let said = match parts.len() {
            0 => "nothing was blinded yet".to_owned(),
            count => {
                format!(
                    "{} in {} were blinded",
                    counted(rows, "row"),
                    counted(count as u64, "part")
                )
            }
        };
        list.ok(WHAT, format!("{}: {said}", path.display()));
        Some(figures)
    }

    /// The ledger grows with every row. If its disk is full, nothing can be sent.
    fn room_of_ledger(&self, list: &mut Checklist, rows: u64) {
        const WHAT: &str = "ledger's disk";
        let Ok(state) = self.state.directory() else { return };
        let needed = rows.saturating_mul(LEDGER_BYTES_PER_ROW);
        match Place::of(&state) {
            Err(error) => list.not_ok(
                WHAT,
                format!("{} cannot be written: {error}", state.display()),
                "give this user a --state-dir that it can write",
            ),
            Ok(place) if place.free_bytes < needed => list.not_ok(
                WHAT,
                format!(
                    "{} free, about {} needed",
                    human_bytes(place.free_bytes),
                    human_bytes(needed)
                ),
                "make room, and never move a ledger that is in use",
            ),
            Ok(place) => list.ok(
                WHAT,
                format!(
                    "{} free, about {} needed",
                    human_bytes(place.free_bytes),
                    human_bytes(needed)
                ),
            ),
        }
    }
}
