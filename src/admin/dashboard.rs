//! The dashboard: one page, its style and its script, part of the binary.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::REFERRER_POLICY;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;

/// The page loads what comes from here, talks to nobody else, and stands in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// `/` and what belongs to it. Everything it shows it asks of the other routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || page("text/html", include_str!("page/index.html"))))
        .route("/dashboard.css", get(async || page("text/css", include_str!("page/dashboard.css"))))
        .route(
            "/dashboard.js",
            get(async || page("text/javascript", include_str!("page/dashboard.js"))),
        )
}

fn page(kind: &str, text: &'static str) -> Response {
    let kind = format!("{kind}; charset=utf-8");
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, &kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A new version has new ones.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    use crate::metrics;
    use crate::metrics::Driver;
    use crate::metrics::HistoryCounters;
    use crate::metrics::Info;

    #[test]
    fn the_page_is_whole_and_asks_nobody_else() {
        let response = page("text/html", include_str!("page/index.html"));
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        for text in [
            include_str!("page/index.html"),
            include_str!("page/dashboard.css"),
            include_str!("page/dashboard.js").replace("http://www.w3.org/2000/svg", "").as_str(),
        ] {
            assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
        }
    }

    #[test]
    fn every_series_that_the_page_reads_is_one_of_ours() {
        let script = include_str!("page/dashboard.js");
        let words = script.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        let mut names: Vec<&str> = words.filter(|it| it.starts_with("websocket_")).collect();
        names.retain(|it| *it != "websocket_" && *it != "websocket_drain_");
        assert!(10 < names.len());
        let info = Info { driver: Driver::Epoll };
        let page = metrics::render(&[Arc::default()], &HistoryCounters::default(), &info);
        for name in names {
            assert!(page.contains(&format!("# TYPE {name} ")), "{name} is not ours");
        }
    }
}
