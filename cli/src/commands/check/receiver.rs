//! `reshare check receiver`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use reshare_exchange::{KeyExchange, try_listen};
use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::Purpose;
use reshare_format::session::fingerprint_groups;

use super::checklist::{Checklist, StrictArgs};
use super::{certificate, inbox, receiver_table, session};
use crate::args::{
    AuthorityArgs, CertificateArgs, ConflictArgs, DatabaseArgs, KeyExchangeArgs, LimitArgs,
    NetworkArgs, OutputArgs, SessionArgs, WorkArgs, id_range,
};
use crate::failure::{Failure, Outcome};
use crate::run::block_on;
use crate::setup::context::Context;

#[derive(Debug, Args)]
pub(super) struct CheckReceiverArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// The address to accept deliveries at
    #[arg(long, value_name = "ADDRESS:PORT", env = "RESHARE_LISTEN")]
    listen: Option<SocketAddr>,

    /// Directory for deliveries
    #[arg(long, value_name = "DIR", env = "RESHARE_INBOX")]
    inbox: Option<PathBuf>,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    certificate: CertificateArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    key_exchange: KeyExchangeArgs,

    /// The address of /health and /metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8444")]
    health_listen: SocketAddr,

    /// The receiver's age identity, a file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_IDENTITY")]
    identity: Option<PathBuf>,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    conflicts: ConflictArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// Check what `rebuild --redo` needs, too
    #[arg(long, value_name = "FIRST-LAST", value_parser = id_range, allow_hyphen_values = true)]
    redo: Vec<IdRange>,

    /// Accepted because `receive` accepts it: its command line can be checked unchanged
    #[arg(long, hide = true)]
    rebuild: bool,

    #[command(flatten)]
    strict: StrictArgs,
}

impl CheckReceiverArgs {
    pub(super) fn run(&self, output: &OutputArgs) -> Outcome {
        let mut list = Checklist::new("receiver");
        match session::open(&mut list, &self.session) {
            Some(context) => self.check(&mut list, &context)?,
            None => {
                let rest = ["fingerprint", "period", "network", "seal", "authority", "certificate"];
                let more = ["identity", "inbox", "database"];
                rest.iter().chain(&more).for_each(|what| list.skipped(what, "the session"));
                block_on(async {
                    self.addresses(&mut list).await;
                    Ok(())
                })?;
            }
        }
        list.finish(output, &self.strict)
    }

    fn check(&self, list: &mut Checklist, context: &Context) -> Result<(), Failure> {
        let session = &context.session;
        let party = list.take("party", context.receiver(&self.session));
        list.ok("fingerprint", fingerprint_groups(&session.fingerprint()));
        session::period(list, context);
        session::network(list, context, &self.network);
        session::seal(list, context);
        let opened = certificate::open(list, session, &self.authority, &self.certificate);
        opened.check(list, session, party, &[Purpose::TlsServer]);
        if let Some(tls) = opened.tls(session, &self.authority, &self.certificate) {
            // The same configuration with which a receiver listens.
            let checked = tls.and_then(|tls| Ok(tls.check_receiver()?));
            if list.take("tls", checked).is_some() {
                let taken = match self.key_exchange.taken() {
                    KeyExchange::Hybrid => "no key exchange is taken but X25519MLKEM768",
                    KeyExchange::HybridOrClassic => {
                        "X25519 is taken where a sender knows no better"
                    }
                };
                list.ok("tls", format!("senders can prove this receiver; {taken}"));
            }
        }
        self.identity(list, context);
        let limits = self.limits.limits(self.rebuild);
        match (&self.inbox, &opened.trust) {
            (None, _) => list.not_checked("inbox", "--inbox DIR"),
            (Some(_), _) if session.ca_sha256().is_none() => list.not_ok(
                "inbox",
                "this session names no certificates: nothing can be delivered over the network",
                "carry packages on removable media and use `reshare rebuild --package DIR`, or \
                 make a session with --certificate-name",
            ),
            (Some(_), None) => list.skipped("inbox", "the authority"),
            (Some(directory), Some(trust)) => {
                inbox::check(list, session, trust, directory, &limits);
            }
        }
        block_on(async {
            self.addresses(list).await;
            let options =
                list.take("conflicts", self.conflicts.options(&self.database.connections));
            if let Some((party, options)) = party.zip(options) {
                let redo = !self.redo.is_empty();
                receiver_table::check_target(list, context, party, &self.database, options, redo)
                    .await;
            }
            Ok(())
        })
    }

    fn identity(&self, list: &mut Checklist, context: &Context) {
        const WHAT: &str = "identity";
        let Some(path) = &self.identity else { return list.not_checked(WHAT, "--identity FILE") };
        let opened = context.receiver_identity(path).map_err(|failure| {
            failure
                .hint("`reshare keygen recipient` makes it: a file of mode 0600 with one identity")
        });
        if list.take(WHAT, opened).is_some() {
            list.ok(WHAT, "opens what is sealed for the session's recipient");
        }
    }

    /// Whether both addresses are free. Binds them for a moment.
    async fn addresses(&self, list: &mut Checklist) {
        let Some(listen) = self.listen else {
            return list.not_checked("listen", "--listen ADDRESS:PORT");
        };
        for (what, address) in [("listen", listen), ("health", self.health_listen)] {
            let free = try_listen(address).await.map_err(|error| {
                Failure::failed(error).hint(
                    "another process has it, perhaps a receiver that runs; or the address is not \
                     this machine's, or the port needs more rights",
                )
            });
            if list.take(what, free).is_some() {
                list.ok(what, format!("{address} is free"));
            }
        }
    }
}
