//! The destination of a sender's package: a directory or the receiver.

use std::path::Path;
use std::time::Duration;

use reshare_engine::party::PartyId;
use reshare_exchange::{
    ClientError, DeliveryTarget, LineRate, ReceiverState, TlsIdentity, measure_line,
};
use reshare_format::package::{PackageDefect, PackageError};
use reshare_format::session::{Session, SessionTrust};
use reshare_pipeline::directory_package::examine_package;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::ledger::SealedBefore;
use reshare_pipeline::preflight::{Filesystem, Place};
use time::OffsetDateTime;

use super::checklist::Checklist;
use crate::args::DeliveryArgs;
use crate::failure::Failure;
use crate::named::check_place;
use crate::text::{counted, human_bytes, human_duration};

/// A sender's package: whose it is, and where the flags send it.
pub(super) struct Destination<'a> {
    pub(super) session: &'a Session,
    pub(super) sender: PartyId,
    /// The session's authority, if it could be opened.
    pub(super) trust: Option<&'a SessionTrust>,
    /// What the ledger has recorded, if it could be opened.
    pub(super) sealed: Option<&'a SealedBefore>,
    /// About how many rows will be sent, if that is known.
    pub(super) rows: Option<u64>,
    pub(super) to: Option<&'a Path>,
    pub(super) delivery: &'a DeliveryArgs,
}

/// Upper bound of what a row takes in a part in addition to its shares, in bytes.
pub(super) const ROW_OVERHEAD_BYTES: u64 = 256;

/// How far two clocks may differ before one side refuses what the other has signed.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

impl Destination<'_> {
    /// Checks the directory or the receiver for the package; `tls` is what this party connects
    /// with.
    pub(super) async fn check(
        &self,
        list: &mut Checklist,
        tls: Option<Result<TlsIdentity, Failure>>,
    ) {
        let certified = self.session.ca_sha256().is_some();
        let url = self.delivery.server_url.as_deref().or(self.session.server_url());
        if let Some(directory) = self.to {
            if certified && self.trust.is_none() {
                list.skipped("package", "the authority");
            } else {
                self.package(list, directory);
            }
            self.room(list, directory);
        }
        match (url, self.to) {
            (Some(_), _) if certified => match tls {
                None => list.skipped("receiver", "the authority and this party's certificate"),
                Some(tls) => self.receiver(list, tls).await,
            },
            (_, None) if certified => list.not_checked("receiver", "--server-url URL, or --to DIR"),
            (_, None) => list.not_checked("package", "--to DIR"),
            (_, Some(_)) => {}
        }
    }

    /// Asks the receiver what it has, over a connection as a delivery makes it.
    async fn receiver(&self, list: &mut Checklist, tls: Result<TlsIdentity, Failure>) {
        const WHAT: &str = "receiver";
        let target = tls.and_then(|tls| self.delivery.target(self.session, self.sender, &tls));
        let Some(target) = list.take(WHAT, target) else {
            list.skipped("clock", "the receiver");
            return list.skipped("line", "the receiver");
        };
        let target = target.once(ANSWER_TIMEOUT);
        let probed = target.client().probe().await;
        let probed = probed.map_err(|error| {
            let failure = match error {
                // There was only one attempt: report its error.
                ClientError::GaveUp { source, .. } => Failure::failed(*source),
                error => Failure::from(error),
            };
            failure.hint(
                "check that `reshare receive` runs there, and the URL, firewall and proxy on the \
                 way",
            )
        });
        let Some(found) = list.take(WHAT, probed) else {
            list.skipped("clock", "the receiver");
            return list.skipped("line", "the receiver");
        };
        let ReceiverState { listing, parts, bytes: there, receiver_time } = found;
        if let Some(sealed) = self.sealed
            && let Err(error) = listing.check_known(|part, digest| sealed.has(part, digest))
        {
            list.failed(WHAT, &Failure::from(error));
            return clock(list, receiver_time);
        }
        let said = match (listing.closed, parts) {
            (true, _) => {
                format!("has all {} of this sender: the package is closed", counted(parts, "part"))
            }
            (false, 0) => "lets this sender in, and has nothing of it yet".to_owned(),
            (false, _) => {
                format!("has {} of this sender, {}", counted(parts, "part"), human_bytes(there))
            }
        };
        list.ok(WHAT, said);
        clock(list, receiver_time);
        self.line(list, &target).await;
    }

    /// Measures the line, and says what a run takes over it.
    async fn line(&self, list: &mut Checklist, target: &DeliveryTarget) {
        const WHAT: &str = "line";
        let connections = self.delivery.options().at_first();
        let rate = match measure_line(target, connections, MEASURED).await {
            Ok(rate) => rate,
            Err(ClientError::Refused { status: 404 | 405, .. }) => {
                let hint = "have the receiver run the same version of this program";
                return list.warning(WHAT, "the receiver cannot have it measured", hint);
            }
            Err(error) => return list.failed(WHAT, &Failure::from(error)),
        };
        let LineRate { round_trip, bytes_per_second } = rate;
        let mut said = format!(
            "round trip {:.0} ms, {}/s over {}",
            round_trip.as_secs_f64() * 1e3,
            human_bytes(bytes_per_second as u64),
            counted(connections.get() as u64, "connection"),
        );
        if let Some(rows) = self.rows.filter(|rows| *rows > 0) {
            let bytes = rows.saturating_mul(self.row_bytes());
            let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1.0));
            let (bytes, takes) = (human_bytes(bytes), human_duration(takes));
            said = format!("{said}: {bytes} take about {takes} on it");
        }
        list.ok(WHAT, said);
    }

    /// About how many bytes a row takes in a part.
    fn row_bytes(&self) -> u64 {
        self.session.layout().row_share_bytes() as u64 + ROW_OVERHEAD_BYTES
    }

    /// Examines the directory of the package as a run does.
    fn package(&self, list: &mut Checklist, directory: &Path) {
        const WHAT: &str = "package";
        let shown = directory.display();
        if let Err(failure) = check_place(directory, "--to", false) {
            return list.failed(WHAT, &failure);
        }
        match examine_package(self.session, self.sender, self.trust, self.sealed, directory) {
            Ok(None) => list.ok(WHAT, format!("{shown} will be made")),
            Ok(Some((0, _))) => list.ok(WHAT, format!("{shown} is empty")),
            Ok(Some((parts, there))) => {
                let there = human_bytes(there);
                let said = format!(
                    "{shown} has {}, {there}: a run continues with it",
                    counted(parts as u64, "part")
                );
                list.ok(WHAT, said);
            }
            Err(PipelineError::Package(PackageError::Defect {
                defect: PackageDefect::AlreadyClosed,
                ..
            })) => list.warning(
                WHAT,
                format!("{shown} is a complete package already"),
                "a run ends at once if it is the one that the ledger has recorded, and is refused \
                 otherwise: name another directory for another package",
            ),
            Err(error @ PipelineError::UnknownPart { .. }) => {
                list.failed(WHAT, &Failure::from(error));
            }
            Err(error) => list.failed(WHAT, &Failure::from(error).hint("name another directory")),
        }
    }

    /// Whether the package has room where it is to be made.
    fn room(&self, list: &mut Checklist, directory: &Path) {
        const WHAT: &str = "package's disk";
        let place = match Place::of(directory) {
            Ok(place) => place,
            Err(error) => {
                let detail = format!("{} cannot be written: {error}", directory.display());
                return list.not_ok(WHAT, detail, "name a directory that this user can write");
            }
        };
        let Some(rows) = self.rows else { return list.skipped(WHAT, "an estimate of the rows") };
        let there = directory_bytes(directory);
        let needed = rows.saturating_mul(self.row_bytes()).saturating_sub(there);
        let detail =
            format!("{} free, about {} needed", human_bytes(place.free_bytes), human_bytes(needed));
        if place.free_bytes < needed {
            return list.not_ok(WHAT, detail, "make room, or name a directory on a larger disk");
        }
        match place.filesystem {
            Filesystem::Memory => list.warning(
                WHAT,
                format!("{detail}; in memory"),
                "what is there does not outlive a restart of this machine: name a directory on a disk",
            ),
            Filesystem::Local(name) | Filesystem::Network(name) => {
                list.ok(WHAT, format!("{detail}; {name}"));
            }
        }
    }
}

/// How long the line is measured.
const MEASURED: Duration = Duration::from_secs(3);

/// How long a receiver may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Compares the receiver's clock with this one.
fn clock(list: &mut Checklist, receiver: Option<OffsetDateTime>) {
    const WHAT: &str = "clock";
    let Some(receiver) = receiver else {
        return list.ok(WHAT, "the receiver does not report its time");
    };
    let difference = (OffsetDateTime::now_utc() - receiver).whole_seconds();
    let seconds = difference.unsigned_abs();
    let side = if difference < 0 { "behind" } else { "ahead of" };
    if seconds > CLOCK_TOLERANCE.as_secs() {
        let detail = format!("this machine is {seconds} s {side} the receiver");
        let hint = "set both clocks, with NTP: signatures from the future are refused";
        return list.not_ok(WHAT, detail, hint);
    }
    list.ok(WHAT, format!("{seconds} s {side} the receiver's"));
}

/// Bytes of the files of a directory; zero if it cannot be read, which was reported before.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}
