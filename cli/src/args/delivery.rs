//! The flags of a delivery, at the sender and at the receiver.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_exchange::{
    ClientOptions, DeliveryTarget, KeyExchange, Limits, TlsIdentity, UploadOptions,
};
use reshare_format::session::Session;

use super::value::{MAX_SECONDS, parallel, within};
use crate::failure::Failure;

/// Where a sender delivers, and how long it tries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(crate) struct DeliveryArgs {
    /// The receiver's URL [default: the session's transport.server_url]
    #[arg(long, value_name = "URL", env = "RESHARE_SERVER_URL")]
    pub(crate) server_url: Option<String>,

    /// Parts to upload in parallel [default: from 4 to 24, as many as the line rewards]
    #[arg(long, value_name = "N", alias = "parts-at-once", value_parser = parallel)]
    pub(crate) uploads: Option<NonZeroUsize>,

    /// Seconds for which a request is retried before the delivery fails [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = within::<u64>(0..=MAX_SECONDS))]
    pub(crate) retry_for: Option<u64>,

    /// Seconds to wait for a connection, and for the answer to a request that is sent; then the
    /// request is retried [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = within::<u64>(1..=MAX_SECONDS))]
    pub(crate) answer_timeout: Option<u64>,

    /// Offer the key exchange X25519 too, for a receiver behind something that knows no
    /// X25519MLKEM768: who stores the connection can read it once there is a large quantum computer
    #[arg(long)]
    pub(crate) classic_tls: bool,
}

/// The fewest and the most parallel uploads unless `--uploads` is given. A receiver takes 32 requests
/// of a sender at once.
const UPLOADS: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");
const MOST_UPLOADS: NonZeroUsize = NonZeroUsize::new(24).expect("not zero");

impl DeliveryArgs {
    /// The first of these flags that is given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let flags = [
            (self.server_url.is_some(), "--server-url"),
            (self.uploads.is_some(), "--uploads"),
            (self.retry_for.is_some(), "--retry-for"),
            (self.answer_timeout.is_some(), "--answer-timeout"),
            (self.classic_tls, "--classic-tls"),
        ];
        flags.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }

    /// Where one sender delivers to.
    pub(crate) fn target(
        &self,
        session: &Session,
        sender: PartyId,
        identity: &TlsIdentity,
    ) -> Result<DeliveryTarget, Failure> {
        let url = self.server_url.as_deref().or(session.server_url()).ok_or_else(|| {
            Failure::usage("the session names no server_url")
                .hint("give the receiver's URL with --server-url")
        })?;
        let mut options = ClientOptions::default();
        if let Some(seconds) = self.retry_for {
            options.give_up_after = Duration::from_secs(seconds);
        }
        if let Some(seconds) = self.answer_timeout {
            options.timeout = Duration::from_secs(seconds);
        }
        if self.classic_tls {
            options.key_exchange = KeyExchange::HybridOrClassic;
        }
        Ok(DeliveryTarget::new(session, sender, url, identity, options)?)
    }

    /// How long to ask the receiver for what others have to give it first.
    pub(crate) fn patience(&self) -> Duration {
        self.retry_for.map_or(ClientOptions::default().give_up_after, Duration::from_secs)
    }

    /// How parts are uploaded.
    pub(crate) fn options(&self) -> UploadOptions {
        let adaptive = UploadOptions::adaptive(UPLOADS, MOST_UPLOADS);
        self.uploads.map_or(adaptive, UploadOptions::fixed)
    }
}

/// What a receiver takes from senders.
#[derive(Debug, Args)]
pub(crate) struct KeyExchangeArgs {
    /// Refuse senders whose key exchange is X25519 alone, as that of curl with OpenSSL before 3.5
    #[arg(long)]
    hybrid_tls_only: bool,
}

impl KeyExchangeArgs {
    pub(crate) fn taken(&self) -> KeyExchange {
        match self.hybrid_tls_only {
            true => KeyExchange::Hybrid,
            false => KeyExchange::HybridOrClassic,
        }
    }
}

/// Limits on what senders can make this machine do. The session limits the size of a part.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Maximum parts of a package
    #[arg(long, value_name = "N", default_value_t = Limits::default().parts, value_parser = within::<usize>(1..=MAX_PLACES))]
    max_parts: usize,

    /// Maximum bytes of a package
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().package_bytes)]
    max_package_bytes: u64,

    /// With --rebuild: bytes of parts that may wait in the inbox, half of them for each sender. A
    /// sender that is ahead by more waits
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_INBOX_BYTES)]
    inbox_limit: u64,

    /// With --rebuild: bytes of parts that may be in memory only until their rows are loaded, half of
    /// them for each sender; 0 writes every part to the inbox
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MEMORY_BYTES)]
    memory_limit: u64,

    /// Bytes of disk space to keep free
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().keep_free_bytes)]
    keep_free_bytes: u64,

    /// Maximum connections whose handshake is not done: the oldest is closed to admit another
    #[arg(long, value_name = "N", default_value_t = Limits::default().handshakes, value_parser = within::<usize>(1..=MAX_PLACES))]
    max_handshakes: usize,

    /// Maximum connections of one sender
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = within::<usize>(1..=MAX_PLACES))]
    max_connections: usize,

    /// Maximum requests of one sender in flight
    #[arg(long, value_name = "N", default_value_t = Limits::default().requests, value_parser = within::<usize>(1..=MAX_PLACES))]
    max_requests: usize,

    /// Seconds that a handshake, or the headers of a request, may take
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().header_timeout.as_secs(), value_parser = within::<u64>(1..=MAX_SECONDS))]
    header_timeout: u64,

    /// Seconds that a body may stall, or a connection be idle
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().body_timeout.as_secs(), value_parser = within::<u64>(1..=MAX_SECONDS))]
    body_timeout: u64,

    /// Bytes per second that a body must reach on average
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes_per_second)]
    min_body_rate: u64,
}

pub(crate) const DEFAULT_INBOX_BYTES: u64 = 8 << 30;
pub(crate) const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;

/// Maximum parts, connections or requests: more than any session has, and no overflow when they are
/// added up.
const MAX_PLACES: u64 = 1_000_000;

impl LimitArgs {
    /// `is_bounded`: parts leave the inbox when their rows are loaded.
    pub(crate) fn limits(&self, is_bounded: bool) -> Limits {
        Limits {
            inbox_bytes: is_bounded.then_some(self.inbox_limit),
            held_bytes: if is_bounded { self.memory_limit } else { 0 },
            parts: self.max_parts,
            package_bytes: self.max_package_bytes,
            keep_free_bytes: self.keep_free_bytes,
            handshakes: self.max_handshakes,
            connections: self.max_connections,
            requests: self.max_requests,
            header_timeout: Duration::from_secs(self.header_timeout),
            body_timeout: Duration::from_secs(self.body_timeout),
            body_bytes_per_second: self.min_body_rate,
            ..Limits::default()
        }
    }
}
