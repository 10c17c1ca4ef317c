//! The demo's deliveries: over mutual TLS, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_exchange::{
    ClientOptions, DeliveryTarget, Endpoint, EndpointParts, Inbox, Limits, Monitor, Shutdown,
    UploadOptions, upload,
};
use reshare_format::package::{Package, PackageExpectations};

use super::stages::{Demo, Stages};
use crate::failure::Failure;

/// As many as `reshare upload` sends at once.
const PARTS_AT_ONCE: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");

/// Starts the receiver's endpoint and uploads both packages to it, each with its own sender's
/// certificate.
pub(super) async fn deliver(demo: &Demo, stages: &mut Stages) -> Result<(), Failure> {
    let parties = &demo.parties;
    let (session, limits) = (&parties.session, Limits::default());
    let progress = Arc::clone(&demo.progress);
    let inbox = Inbox::open(&parties.inbox(), session, &parties.trust()?, limits, &progress);
    let inbox = Arc::new(inbox.map_err(Failure::failed)?);
    let identity = parties.tls(demo.receiver())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let monitor = Monitor::new(progress);
    let parts = EndpointParts { session, identity: &identity, inbox, monitor, limits };
    let endpoint = Endpoint::bind(listen, parts).await.map_err(Failure::failed)?;
    let address = endpoint.address().map_err(Failure::failed)?;
    let shutdown = Shutdown::default();
    let serving = endpoint.serve(shutdown.clone());
    let uploading = async {
        let uploaded = upload_both(demo, &format!("https://{address}"), stages).await;
        shutdown.ask();
        uploaded
    };
    let ((), uploaded) = tokio::join!(serving, uploading);
    uploaded
}

async fn upload_both(demo: &Demo, url: &str, stages: &mut Stages) -> Result<(), Failure> {
    for sender in demo.parties.senders() {
        let uploading = upload_one(demo, url, sender);
        stages.run(format!("upload from party {sender}"), 1, uploading).await?;
    }
    Ok(())
}

async fn upload_one(demo: &Demo, url: &str, sender: PartyId) -> Result<(), Failure> {
    let parties = &demo.parties;
    let session = &parties.session;
    let expected = PackageExpectations::of(session, sender, Some(&parties.trust()?));
    let expected = expected.map_err(Failure::failed)?;
    let package = Package::open(parties.package(sender), expected).map_err(Failure::refused)?;
    let identity = parties.tls(sender)?;
    let target = DeliveryTarget::new(session, sender, url, &identity, ClientOptions::default())?;
    let options = UploadOptions { parts_at_once: PARTS_AT_ONCE };
    upload(&package, &target, options, &demo.progress).await?;
    Ok(())
}
