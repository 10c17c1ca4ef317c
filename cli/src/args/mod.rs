//! Flags that several commands share.

mod age_limit;
mod certificates;
mod database;
pub(crate) mod delivery;
mod keys;
mod metrics;
mod network;
mod output;
mod session;
mod value;
mod work;

pub(crate) use age_limit::AgeLimit;
pub(crate) use certificates::{AuthorityArgs, CertificateArgs, CredentialArgs, TlsArgs};
pub(crate) use database::{ConflictArgs, ConnectionArgs, DatabaseArgs};
pub(crate) use delivery::{DeliveryArgs, KeyExchangeArgs, LimitArgs};
pub(crate) use keys::{
    AgreementKeyArgs, EvidenceArgs, LedgerArgs, OwnKeyArgs, SenderKeyArgs, StateArgs,
};
pub(crate) use metrics::MetricsArgs;
pub(crate) use network::{NetworkArgs, WordsArgs};
pub(crate) use output::{LogFormat, OutputArgs, PackagesArgs, ReportArgs};
pub(crate) use session::SessionArgs;
pub(crate) use value::{MAX_SECONDS, id_range, split_party, user_directory, within};
pub(crate) use work::{PackingArgs, WorkArgs};
