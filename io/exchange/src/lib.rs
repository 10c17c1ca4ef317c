//! Delivery over the network: the receiver's server, the senders' client.
//!
//! Both ends prove who they are with the certificates that the session names; the routes,
//! headers and answers are defined in `docs/protocol.md`. The server writes into an inbox, one
//! package directory a sender, exactly like those that travel by hand.

mod admission;
mod answer;
mod attempt_log;
mod body;
mod client;
mod client_error;
mod connection;
mod digest;
mod gate;
mod health;
mod identity;
mod impostor;
mod inbox;
mod inbox_error;
mod journal;
mod limits;
mod listing;
mod metrics;
mod monitor;
mod names;
mod part_uploads;
mod peer;
pub mod progress;
mod refusal_log;
mod retry;
mod room;
mod routes;
mod serve;
mod server;
mod shown;
mod slot;
mod stored;
mod traffic;
mod upload;
mod upload_body;

pub use client::{Client, ClientOptions, DeliveryTarget, ReceiverState};
pub use client_error::ClientError;
pub use health::HealthEndpoint;
pub use identity::{IdentityError, TlsFiles, TlsIdentity};
pub use inbox::{ClosedPackage, Inbox, InboxFigures};
pub use inbox_error::InboxError;
pub use limits::Limits;
pub use monitor::{Monitor, Stage};
pub use server::{Endpoint, ServerError, Shutdown, try_listen};
pub use upload::{UploadOptions, UploadReport, upload};

pub use listing::Listing;
pub use part_uploads::{Delivered, PartUpload, PartUploads};
pub use upload::close;
pub use upload_body::Content;
