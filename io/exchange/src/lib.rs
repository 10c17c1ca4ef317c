//! Delivery over the network: the receiver's server, the senders' client.
//!
//! Both ends prove who they are with the certificates that the session names; the routes,
//! headers and answers are defined in `docs/protocol.md`. The server writes into an inbox, one
//! package directory a sender, exactly like those that travel by hand.

mod admission;
mod answer;
mod body;
mod client;
mod client_error;
mod connection;
mod digest;
mod gate;
mod health;
mod identity;
mod inbox;
mod inbox_error;
mod journal;
mod limits;
mod listing;
mod logging;
mod metrics;
mod monitor;
mod names;
mod part_uploads;
mod peer;
pub mod progress;
mod retry;
mod routes;
mod serve;
mod server;
mod shutdown;
mod slot;
mod stage;
mod stored;
mod traffic;
mod upload;
mod upload_body;
mod wrong_server;

pub use client::{Client, ClientOptions, DeliveryTarget, ReceiverState};
pub use client_error::ClientError;
pub use health::HealthEndpoint;
pub use identity::{IdentityError, TlsFiles, TlsIdentity};
pub use inbox::{ClosedPackage, Inbox, InboxFigures};
pub use inbox_error::InboxError;
pub use limits::Limits;
pub use monitor::Monitor;
pub use server::{Endpoint, ServerError, try_listen};
pub use shutdown::Shutdown;
pub use stage::Stage;
pub use upload::{UploadOptions, UploadReport, upload};

pub use listing::Listing;
pub use part_uploads::{Delivered, PartUpload, PartUploads};
pub use upload::close;
pub use upload_body::Content;
