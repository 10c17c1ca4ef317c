//! The demo's deliveries: over mutual TLS, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_exchange::{
    ClientOptions, DeliveryTarget, Endpoint, EndpointParts, Inbox, KeyExchange, Limits, Listing,
    Monitor, Shutdown, UploadOptions, upload,
};
use reshare_format::package::{Package, PackageExpectations};

use super::stages::{Demo, Stages};
use crate::failure::Failure;

/// How parts are uploaded: as many at once as `reshare upload` begins with.
pub(super) const UPLOAD: UploadOptions =
    UploadOptions::fixed(NonZeroUsize::new(4).expect("four is not zero"));

/// The receiver's endpoint, which does not serve yet.
pub(super) struct Receiver {
    pub(super) endpoint: Endpoint,
    pub(super) inbox: Arc<Inbox>,
    pub(super) url: String,
}

impl Receiver {
    /// Opens the inbox, and listens.
    pub(super) async fn bind(demo: &Demo, limits: Limits) -> Result<Self, Failure> {
        let parties = &demo.parties;
        let (session, progress) = (&parties.session, Arc::clone(&demo.progress));
        let opened = Inbox::open(&parties.inbox(), session, &parties.trust()?, limits, &progress);
        let inbox = Arc::new(opened.map_err(Failure::failed)?);
        let identity = parties.tls(demo.receiver())?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let monitor = Monitor::new(progress);
        let parts = EndpointParts {
            session,
            identity: &identity,
            inbox: inbox.clone(),
            monitor,
            limits,
            key_exchange: KeyExchange::Hybrid,
        };
        let endpoint = Endpoint::bind(listen, parts).await.map_err(Failure::failed)?;
        let url = format!("https://{}", endpoint.address().map_err(Failure::failed)?);
        Ok(Self { endpoint, inbox, url })
    }
}

/// Where one sender delivers to, with its certificate.
pub(super) fn target(demo: &Demo, url: &str, sender: PartyId) -> Result<DeliveryTarget, Failure> {
    let parties = &demo.parties;
    let (session, identity) = (&parties.session, parties.tls(sender)?);
    Ok(DeliveryTarget::new(session, sender, url, &identity, ClientOptions::default())?)
}

/// Starts the receiver's endpoint and uploads both packages to it, each with its own sender's
/// certificate.
pub(super) async fn deliver(demo: &Demo, stages: &mut Stages) -> Result<(), Failure> {
    let Receiver { endpoint, url, .. } = Receiver::bind(demo, Limits::default()).await?;
    let shutdown = Shutdown::default();
    let serving = endpoint.serve(shutdown.clone());
    let uploading = async {
        let uploaded = upload_both(demo, &url, stages).await;
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
    let target = target(demo, url, sender)?;
    let check = |listing: &Listing| listing.check_within(package.manifest().parts());
    upload(&package, &target, UPLOAD, &demo.progress, check).await?;
    Ok(())
}
