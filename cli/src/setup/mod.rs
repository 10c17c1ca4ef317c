//! What commands open before they begin: the session, this party's keys and credentials, its ledger,
//! its table.

pub(crate) mod agreement;
pub(crate) mod carried;
pub(crate) mod context;
pub(crate) mod credentials;
pub(crate) mod database;
pub(crate) mod exporter;
pub(crate) mod ledger;
pub(crate) mod network;
pub(crate) mod own_key;
pub(crate) mod public_party;
pub(crate) mod receipt;
pub(crate) mod receiver;
pub(crate) mod session;
pub(crate) mod text_file;
