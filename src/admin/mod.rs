//! What operators ask over HTTP: health and metrics, on a listener and a thread of their own.
//!
//! It reads counters and the process's health; it must never know the insides of a connection, and
//! nothing it does can hold a shard.

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;

use crate::metrics;
use crate::metrics::Info;
use crate::metrics::ShardCounters;
use crate::metrics::health::Health;
use crate::metrics::health::Probe;

/// What the admin listener may look at.
#[derive(Clone, Debug)]
pub struct View {
    /// The counters of every shard.
    pub counters: Arc<[Arc<ShardCounters>]>,
    /// The process's health.
    pub health: Arc<Health>,
    /// What `/metrics` says of the process.
    pub info: Info,
}

/// Serves the admin listener on this thread, for as long as the process lives.
///
/// # Errors
///
/// When the thread's runtime cannot be made or the listener fails for good.
pub fn serve(listener: TcpListener, view: View) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, routes(view)).await
    })
}

fn routes(view: View) -> Router {
    Router::new()
        .route("/actuator/health", get(health))
        .route("/actuator/health/liveness", get(health))
        .route("/actuator/health/readiness", get(health))
        .route("/metrics", get(scrape))
        .route("/actuator/prometheus", get(scrape))
        .fallback(unknown)
        .with_state(view)
}

async fn health(State(view): State<View>, OriginalUri(uri): OriginalUri) -> Response {
    let probe = Probe::of_path(uri.path()).unwrap_or(Probe::Combined);
    let (status, body) = view.health.answer(probe, true);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body)
        .into_response()
}

async fn scrape(State(view): State<View>) -> Response {
    let text = metrics::render(&view.counters, &view.info);
    ([(CONTENT_TYPE, metrics::text::CONTENT_TYPE)], text).into_response()
}

async fn unknown(OriginalUri(uri): OriginalUri) -> Response {
    let body = format!("nothing at {}; see /actuator/health and /metrics\n", uri.path());
    (StatusCode::NOT_FOUND, body).into_response()
}
