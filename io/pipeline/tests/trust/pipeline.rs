//! From share file to packages and back, in a session with certificates.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_format::session::Approvals;
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::merge::merge;
use reshare_pipeline::pack::pack;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::sender::{LedgeredSender, SenderCredentials, SenderKeys};
use reshare_pipeline::workers::Workers;

use crate::support::{World, now, party};

pub(crate) fn workers() -> Workers {
    let rows_per_part = NonZeroUsize::new(2).expect("not zero");
    Workers { connections: 1, threads: 2, rows_per_part }
}

/// Writes one sender's plain shares of some rows of the first five.
fn share_file(world: &World, sender: u8, ids: RangeInclusive<i64>) -> PathBuf {
    let layout = world.session.layout();
    let mut batch = RowBatch::with_capacity(Arc::clone(layout), 5);
    for id in ids {
        batch.push_bytes(id, &[AgreeValue::Integer(0)], &[&[sender; 32]]).expect("fits");
    }
    let spec = ShareFileSpec {
        kind: Kind::Plain,
        fingerprint: world.session.fingerprint(),
        party: party(sender),
        part_index: 0,
        ids: IdRange::new(1, 5).expect("in order"),
        rows: batch.len() as u64,
        layout: Arc::clone(layout),
    };
    let path = world.path().join(format!("shares-{sender}"));
    let writer = ShareFileWriter::create(&path, spec).expect("made");
    writer.write_rows(0, &batch.rows()).expect("written");
    writer.finish().expect("finished");
    path
}

pub(crate) fn credentials(world: &World, sender: u8) -> SenderCredentials {
    let (session, trust) = (&world.session, &world.trust);
    let approvals = [0, 1, 2].map(|index| world.approve(index));
    let approvals = Approvals::verify(session, trust, party(sender), &approvals, now());
    SenderCredentials {
        trust: trust.clone(),
        certificate: world.certificate(usize::from(sender)),
        approvals: approvals.expect("approved"),
    }
}

/// Packs a sender's rows with its credentials into `package-SENDER`.
pub(crate) async fn pack_signed(
    world: &World,
    sender: u8,
    ids: RangeInclusive<i64>,
) -> Result<PackReport, PipelineError> {
    let keys = world.sender_keys(usize::from(sender));
    let own = credentials(world, sender);
    let keys = keys.with_credentials(&world.session, own, now());
    pack_with(world, keys.expect("a sender's credentials"), ids).await
}

async fn pack_with(
    world: &World,
    keys: SenderKeys,
    ids: RangeInclusive<i64>,
) -> Result<PackReport, PipelineError> {
    let sender = keys.sender();
    let from = share_file(world, sender.index(), ids);
    let to = world.path().join(format!("package-{sender}"));
    let (state, fingerprint) = (world.path().join("state"), world.session.fingerprint());
    Ledger::create(&state, &fingerprint, sender).expect("made or there");
    let ledger = Ledger::open(&state, &fingerprint, sender).expect("sound");
    let sender = LedgeredSender::new(&world.session, keys, ledger).expect("its own");
    pack(&world.session, sender, &from, &to, workers(), Arc::new(Progress::default())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_packages_are_made_with_approvals_and_merged_with_the_authority() {
    let world = World::new();
    for sender in [0, 1] {
        let keys = || world.sender_keys(usize::from(sender));
        let refused = pack_with(&world, keys(), 1..=5).await.unwrap_err();
        assert!(matches!(refused, PipelineError::NoCredentials), "{refused:?}");
        assert!(!world.path().join(format!("package-{sender}")).exists(), "nothing is blinded");
        assert_eq!(pack_signed(&world, sender, 1..=5).await.unwrap().rows, 5);
    }
    let directories = [0, 1].map(|sender| world.path().join(format!("package-{sender}")));
    let identity = world.identity.clone();
    let packages =
        Packages::open_signed(&world.session, Some(&world.trust), directories, identity).unwrap();
    let out = world.path().join("rebuilt");
    let progress = Arc::new(Progress::default());
    let merged = merge(&world.session, Arc::new(packages), &out, workers(), progress).await;
    assert_eq!(merged.unwrap().rows, 5);
}
