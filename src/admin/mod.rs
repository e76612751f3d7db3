//! What operators ask over HTTP: health, metrics, the API and the dashboard, on a listener and a
//! thread of their own.
//!
//! It reads counters and the process's health, and asks shards what they answer between two turns;
//! it must never know the insides of a connection, and nothing it does can hold a shard. Read
//! `guard` (who may ask), `api` and `archive` (what),
//! `dashboard`.

mod api;
mod archive;
mod dashboard;
mod extract;
mod guard;
mod listener;

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::OriginalUri;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;

pub use crate::admin::archive::Archive;
pub use crate::admin::archive::Leaf;
pub use crate::admin::archive::Look;
pub use crate::admin::archive::Start;
pub use crate::admin::archive::Unread;
use crate::admin::guard::Failure;
use crate::admin::listener::Bounded;
use crate::metrics;
use crate::metrics::HistoryCounters;
use crate::metrics::Info;
use crate::metrics::ShardCounters;
use crate::metrics::health::Health;
use crate::metrics::health::Probe;
use crate::shard::mailbox::Asks;

/// What the admin listener may look at.
#[derive(Clone, Debug)]
pub struct View {
    /// The counters of every shard.
    pub counters: Arc<[Arc<ShardCounters>]>,
    /// Those of the store of the history.
    pub store: Arc<HistoryCounters>,
    /// The process's health.
    pub health: Arc<Health>,
    /// What `/metrics` says of the process.
    pub info: Info,
    /// The way to the shards.
    pub asks: Asks,
    /// Reads what was said.
    pub archive: Archive,
    /// Says what concerns more than this process.
    pub operator: Operator,
    /// What callers have to show; may change while they call.
    pub tokens: Arc<ArcSwap<Tokens>>,
}

/// What an operator orders, to the whole fleet where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// End the sessions of a user.
    Disconnect(String),
    /// Believe the token of this id no more.
    RevokeToken {
        /// Its `jti`.
        id: String,
        /// When it ends anyhow, if that is known.
        until_ms: Option<u64>,
    },
    /// Believe no token that a user has now.
    RevokeUser {
        /// As tokens have it.
        id: String,
        /// When the last of them ends anyhow, if that is known.
        until_ms: Option<u64>,
    },
}

/// Whether an order has gone to the fleet, or to this process only; or why to nobody.
pub type Said = Result<bool, String>;

/// Who hears what became of an order.
pub type Hear = Box<dyn FnOnce(Said) + Send>;

/// Takes orders, and says later what became of each.
#[derive(Clone)]
pub struct Operator(Arc<dyn Fn(Order, Hear) + Send + Sync>);

impl Operator {
    /// One who does it so.
    #[must_use]
    pub fn new(say: impl Fn(Order, Hear) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operator")
    }
}

/// Bearer tokens: what of them is `None` is not asked for.
#[derive(Debug, Default)]
pub struct Tokens {
    /// For the API.
    pub admin: Option<Token>,
    /// For a scrape.
    pub metrics: Option<Token>,
}

/// A bearer token, never shown.
pub struct Token(String);

impl Token {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether the request shows it; takes as long for a wrong one, wherever it differs.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let (scheme, shown) = shown.split_at(shown.len().min(BEARER.len()));
        let differs = shown.iter().zip(self.0.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        scheme.eq_ignore_ascii_case(BEARER) && shown.len() == self.0.len() && differs == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Serves the admin listener on this thread, for as long as the process lives.
///
/// # Errors
///
/// When the thread's runtime cannot be made or the listener fails for good.
pub fn serve(listener: TcpListener, view: View) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(Bounded::new(listener), routes(view)).await
    })
}

fn routes(view: View) -> Router {
    Router::new()
        .route("/actuator/health", get(health))
        .route("/actuator/health/liveness", get(health))
        .route("/actuator/health/readiness", get(health))
        .route("/metrics", get(scrape))
        .route("/actuator/prometheus", get(scrape))
        .merge(dashboard::routes())
        .merge(api::routes(&view))
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

async fn scrape(State(view): State<View>, headers: HeaderMap) -> Response {
    if view.tokens.load().metrics.as_ref().is_some_and(|it| !it.is_shown(&headers)) {
        let body = "send the token of metrics.token: Authorization: Bearer …\n";
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], body).into_response();
    }
    let text = metrics::render(&view.counters, &view.store, &view.info);
    ([(CONTENT_TYPE, metrics::text::CONTENT_TYPE)], text).into_response()
}

async fn unknown(OriginalUri(uri): OriginalUri) -> Response {
    if uri.path().starts_with("/api/") {
        let text = format!("nothing at {}; see /api/openapi.json", uri.path());
        return Failure::new(StatusCode::NOT_FOUND, "not-found", text).into_response();
    }
    let body = format!("nothing at {}; see /, /actuator/health and /metrics\n", uri.path());
    (StatusCode::NOT_FOUND, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_whole_or_not_at_all() {
        let token = Token::new("a-long-token-one".to_owned());
        let check = |header: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(header).expect("visible"));
            assert_eq!(token.is_shown(&headers), expected, "{header}");
        };
        check("Bearer a-long-token-one", true);
        check("bearer a-long-token-one", true);
        check("Bearer a-long-token-onf", false);
        check("Bearer a-long-token-on", false);
        check("Bearer a-long-token-one2", false);
        check("Basic a-long-token-one", false);
        check("Bearer ", false);
        check("", false);
        assert!(!token.is_shown(&HeaderMap::new()));
        assert!(!format!("{token:?}").contains("long"));
    }
}
