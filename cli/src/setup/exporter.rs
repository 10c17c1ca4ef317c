//! Shows a sender's figures to monitoring for as long as it delivers.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reshare_exchange::{HealthEndpoint, SenderMetrics, Shutdown};
use tokio::task::JoinHandle;

use crate::args::MetricsArgs;
use crate::failure::Failure;
use crate::streams::say;

/// How often the file is written: as often as Prometheus usually looks.
const WRITE_PERIOD: Duration = Duration::from_secs(15);

/// Ends with the run: the file then says how the run has ended.
pub(crate) struct Exporter {
    metrics: SenderMetrics,
    file: Option<PathBuf>,
    tasks: Vec<JoinHandle<()>>,
    is_done: bool,
}

impl Exporter {
    /// Begins to show what the flags ask for.
    ///
    /// # Errors
    /// That the address is taken, or that the file cannot be written.
    pub(crate) async fn start(args: &MetricsArgs, metrics: SenderMetrics) -> Result<Self, Failure> {
        let mut tasks = Vec::new();
        if let Some(listen) = args.metrics_listen {
            let endpoint = HealthEndpoint::of_sender(listen, metrics.clone()).await;
            let endpoint = endpoint.map_err(|error| {
                Failure::failed(error).hint("give another address with --metrics-listen")
            })?;
            tasks.push(tokio::spawn(endpoint.serve(Shutdown::default())));
        }
        let file = args.metrics_textfile.clone();
        if let Some(path) = file.clone() {
            write(&path, &metrics.text(None)).map_err(|error| {
                let error = format!("cannot write {}: {error}", path.display());
                Failure::failed(error).hint("check --metrics-textfile")
            })?;
            tasks.push(tokio::spawn(keep_writing(path, metrics.clone())));
        }
        Ok(Self { metrics, file, tasks, is_done: false })
    }

    /// Notes how the run has ended.
    pub(crate) fn end(mut self, is_done: bool) {
        self.is_done = is_done;
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let Some(path) = &self.file else { return };
        if let Err(error) = write(path, &self.metrics.text(Some(self.is_done))) {
            say!("warning: cannot write {}: {error}", path.display());
        }
    }
}

async fn keep_writing(path: PathBuf, metrics: SenderMetrics) {
    let mut ticks = tokio::time::interval(WRITE_PERIOD);
    let mut has_failed = false;
    loop {
        ticks.tick().await;
        // A run does not end because nobody can watch it.
        match write(&path, &metrics.text(None)) {
            Err(error) if !has_failed => {
                say!("warning: cannot write {}: {error}", path.display());
                has_failed = true;
            }
            written => has_failed = written.is_err(),
        }
    }
}

/// Writes the whole file or nothing. Others may read it, as a collector does.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o644).open(&temporary);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    let moved = written.and_then(|()| fs::rename(&temporary, path));
    moved.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}
