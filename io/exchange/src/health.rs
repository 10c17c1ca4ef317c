//! `/health` and `/metrics`: plain HTTP for monitoring on this machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::http::{Serving, serve};
use super::limits::Limits;
use super::monitor::{Monitor, Stage};
use super::sender_metrics::SenderMetrics;
use super::server::{ServerError, accept, bind};
use super::shutdown::Shutdown;

/// The listener for monitoring. It answers even while the inbox is still being read.
#[derive(Debug)]
pub struct HealthEndpoint {
    listener: TcpListener,
    router: Router,
    limits: Limits,
}

/// Connections that are open at the same time.
const CONNECTIONS: usize = 16;

impl HealthEndpoint {
    /// Listens.
    ///
    /// # Errors
    /// [`ServerError`] when the address is taken.
    pub async fn bind(
        listen: SocketAddr,
        monitor: Arc<Monitor>,
        limits: Limits,
    ) -> Result<Self, ServerError> {
        let router = Router::new()
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .with_state(monitor);
        Ok(Self { listener: bind(listen).await?, router, limits })
    }

    /// Listens at a sender, which has `/metrics` alone.
    ///
    /// # Errors
    /// [`ServerError`] when the address is taken.
    pub async fn of_sender(
        listen: SocketAddr,
        metrics: SenderMetrics,
    ) -> Result<Self, ServerError> {
        let router = Router::new().route("/metrics", get(sender_metrics)).with_state(metrics);
        Ok(Self { listener: bind(listen).await?, router, limits: Limits::default() })
    }

    /// The address of the listener.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until it is asked to end.
    pub fn serve(self, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { listener, router, limits } = self;
            let places = Arc::new(Semaphore::new(CONNECTIONS));
            let ends = shutdown.clone();
            let admit = |_| Arc::clone(&places).acquire_owned();
            accept(&listener, &ends, admit, |stream, _, place| {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                let serving = Serving { http_2: false, router, peer: None, limits, shutdown };
                async move {
                    // A client that does not speak HTTP gets no answer: this listener is local.
                    let _ = serve(stream, serving).await;
                    drop(place);
                }
            })
            .await;
        })
    }
}

async fn health(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    match monitor.stage() {
        stage @ Stage::Failed => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", stage.word())),
        stage => (StatusCode::OK, format!("ok {}\n", stage.word())),
    }
}

async fn metrics(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    // May wait for the inbox while a part is made durable.
    let text = tokio::task::spawn_blocking(move || monitor.text()).await;
    let status = if text.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    (status, TEXT_FORMAT, text.unwrap_or_default())
}

async fn sender_metrics(State(metrics): State<SenderMetrics>) -> impl IntoResponse {
    (TEXT_FORMAT, metrics.text(None))
}

/// Prometheus' text format.
const TEXT_FORMAT: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
