//! The request that a running server ends.

use tokio::sync::watch;

/// Asks a running server to end. Requests in flight may finish.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Asks the server to end.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn asked(&self) {
        // This side holds the sender, so the channel cannot end first.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
