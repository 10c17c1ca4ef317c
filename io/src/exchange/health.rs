//! `/health` and `/metrics`: plain HTTP, for the machine's own monitoring.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::inbox::Inbox;
use super::metrics::Metrics;
use crate::pipeline::progress::Progress;

/// What the figures come from.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) inbox: Arc<Inbox>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rebuild: Arc<Progress>,
}

/// The two routes.
pub(super) fn router(health: Health) -> Router {
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let text = health.metrics.text(&health.inbox, &health.rebuild);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
