//! The flags of a sender's monitoring.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Where a sender's figures go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Monitoring")]
pub(crate) struct MetricsArgs {
    /// Serve /metrics for Prometheus at this address as long as parts are delivered; it is not
    /// encrypted: keep it local
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// Write the same figures to this file, every 15 seconds and at the end: for the textfile
    /// collector of node_exporter
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_textfile: Option<PathBuf>,
}

impl MetricsArgs {
    /// The first of these flags that is given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let listen = self.metrics_listen.map(|_| "--metrics-listen");
        listen.or_else(|| self.metrics_textfile.as_ref().map(|_| "--metrics-textfile"))
    }
}
