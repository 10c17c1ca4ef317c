//! Delivery over the network: the receiver's server and inbox, the senders' client.
//!
//! Both ends authenticate with the certificates that the session names. Routes, headers and
//! answers are defined in `docs/protocol.md`. The server writes into an inbox: one package
//! directory for each sender, exactly like those on removable media.
//!
//! # Reading order
//! * Who is who: `identity` (certificates and names), `tls` (what both ends verify).
//! * The receiver: `inbox`, `slot` (one sender's package) and
//!   `proofs` (who signed it), `announced`, `recorded` and `part_records`
//!   (parts that come with a record, and which were used), `room` and `held` (parts on their way
//!   and in memory), `stored` and `journal` (what a restart finds), then a connection's way through `server`, `admission`, `gate`, `http`, `routes`,
//!   `body` and `refusal`. `limits` bounds all of it; `monitor` and `health` show it.
//! * The sender: `client` and `connection` (one request), `idle` (connections for the next one), `retry`,
//!   `part_uploads` (several at once, as many as `pace` says), `retained` (those to send again after a
//!   crash of the receiver, which `standing` shows), `upload` (a package from a directory), `line` (what
//!   a line carries).
//! * `progress` is here because deliveries and pipelines share the counters of a run.
//!
//! # What is absent
//! No share is read here: parts are sealed bytes with a digest. No database, no terminal, no
//! exit code. A receiver never connects to a sender.
//!
//! # Example
//! The receiver's health endpoint, from its start to its end:
//!
//! ```
//! use std::sync::Arc;
//!
//! use reshare_exchange::{HealthEndpoint, Limits, Monitor, Shutdown, Stage};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let monitor = Monitor::new(Arc::default());
//! let address = ([127, 0, 0, 1], 0).into();
//! let health = HealthEndpoint::bind(address, Arc::clone(&monitor), Limits::default()).await?;
//! let shutdown = Shutdown::default();
//! let serving = tokio::spawn(health.serve(shutdown.clone()));
//! monitor.enter(Stage::Receiving);
//! shutdown.ask();
//! serving.await?;
//! # Ok(())
//! # })
//! # }
//! ```

mod admission;
mod announced;
mod body;
mod client;
mod client_error;
mod connection;
mod digest;
mod families;
mod gate;
mod health;
mod held;
mod http;
mod identity;
mod idle;
mod inbox;
mod inbox_error;
mod journal;
mod limits;
mod line;
mod listing;
mod log;
mod metrics;
mod monitor;
mod pace;
mod part_records;
mod part_upload;
mod part_uploads;
pub mod progress;
mod proofs;
mod recorded;
mod refusal;
mod retained;
mod retry;
mod room;
mod routes;
mod run_facts;
pub mod sealed_buffer;
mod sender_metrics;
mod server;
mod shutdown;
mod slot;
mod standing;
mod statements;
mod stored;
mod tls;
mod traffic;
mod upload;
mod upload_body;

pub use client::{Client, ClientOptions, DeliveryTarget, ReceiverState};
pub use client_error::ClientError;
pub use health::HealthEndpoint;
pub use identity::{IdentityError, TlsFiles, TlsIdentity};
pub use inbox::{ClosedPackage, Inbox, InboxFigures, LoadedParts};
pub use inbox_error::{InboxDefect, InboxError};
pub use limits::Limits;
pub use line::{LineRate, measure_line};
pub use monitor::{Monitor, Stage};
pub use pace::UploadOptions;
pub use run_facts::RunFacts;
pub use sender_metrics::SenderMetrics;
pub use server::{Endpoint, EndpointParts, ServerError, try_listen};
pub use shutdown::Shutdown;
pub use statements::{SignedStatements, Statements};
pub use tls::KeyExchange;
pub use upload::{UploadReport, upload};

pub use listing::{ListedPart, Listing};
pub use part_upload::PartUpload;
pub use part_uploads::{Delivered, PartUploads};
pub use recorded::ArrivedParts;
pub use retained::Retained;
pub use upload::{close_retaining, introduce};
pub use upload_body::Content;
