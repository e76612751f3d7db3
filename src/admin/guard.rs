//! Who may use the API: whoever shows the token; without one, whoever is on this machine and is no
//! web page. A browser here obeys pages from anywhere, so what only a page would send is refused.

use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::HOST;
use axum::http::header::ORIGIN;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::admin::Tokens;
use crate::admin::View;

/// Why something is not done, as the API says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) text: String,
    /// What was done all the same.
    pub(super) done: Vec<(&'static str, Value)>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into(), done: Vec::new() }
    }

    /// Tells of something that was done, beside the error.
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.done.push((name, value));
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": { "code": self.code, "message": self.text } });
        for (name, value) in self.done {
            body[name] = value;
        }
        let kind = [(CONTENT_TYPE, "application/json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let value = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}

/// Stands before each path of the API.
pub(super) async fn guard(State(view): State<View>, request: Request, next: Next) -> Response {
    let checked = check(&view.tokens.load(), request.headers());
    match checked {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

fn check(tokens: &Tokens, headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let forbidden = |text: &str| Failure::new(StatusCode::FORBIDDEN, "forbidden", text);
    let host = text(HOST.as_str()).unwrap_or("");
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or("").to_ascii_lowercase();
        let own = ["http", "https"].map(|it| format!("{it}://{}", host.to_ascii_lowercase()));
        if !own.contains(&origin) {
            return Err(forbidden("a page of another origin may not use the API"));
        }
    }
    if text("sec-fetch-site").is_some_and(|it| !["same-origin", "none"].contains(&it)) {
        return Err(forbidden("a page of another site may not use the API"));
    }
    match &tokens.admin {
        Some(token) if token.is_shown(headers) => {}
        Some(_) => {
            let text = "send the token of admin.token: Authorization: Bearer …";
            return Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", text));
        }
        // A name that leads here today may be a page's that led elsewhere before.
        None if !is_loopback(host) => {
            let text = "without admin.token the API is used as localhost or a loopback address";
            return Err(forbidden(text));
        }
        None => {}
    }
    Ok(())
}

/// Stands before what changes something: a form that a page made a browser send is no JSON.
pub(super) async fn json_only(request: Request, next: Next) -> Response {
    match check_type(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or("");
    let content_type = content_type.split(';').next().unwrap_or("");
    if content_type.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let text = "send Content-Type: application/json";
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", text))
}

/// Whether a `Host` names this machine whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback());
    is_address || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Token;

    #[track_caller]
    fn check_post(token: Option<&str>, lines: &[(&'static str, &str)], expected: u16) {
        let tokens = Tokens { admin: token.map(|it| Token::new(it.to_owned())), metrics: None };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, value.parse().unwrap());
        }
        let status = match check(&tokens, &headers).and_then(|()| check_type(&headers)) {
            Ok(()) => 200,
            Err(failure) => failure.status.as_u16(),
        };
        assert_eq!(status, expected, "{lines:?}");
    }

    #[test]
    fn pages_of_others_forms_and_names_of_others_are_turned_away() {
        const HERE: (&str, &str) = ("host", "127.0.0.1:9090");
        const JSON: (&str, &str) = ("content-type", "application/json");
        check_post(None, &[HERE, JSON], 200);
        check_post(None, &[("host", "LOCALHOST:9090"), JSON], 200);
        check_post(None, &[("host", "[::1]:9090"), JSON], 200);
        check_post(None, &[HERE, ("content-type", "Application/JSON; charset=utf-8")], 200);
        check_post(None, &[HERE, JSON, ("origin", "http://127.0.0.1:9090")], 200);
        check_post(None, &[HERE, JSON, ("sec-fetch-site", "same-origin")], 200);
        check_post(None, &[HERE], 415);
        check_post(None, &[HERE, ("content-type", "application/x-www-form-urlencoded")], 415);
        check_post(None, &[HERE, ("content-type", "text/plain")], 415);
        check_post(None, &[HERE, JSON, ("origin", "null")], 403);
        check_post(None, &[HERE, JSON, ("origin", "http://evil.test")], 403);
        check_post(None, &[HERE, JSON, ("origin", "http://127.0.0.1:8080")], 403);
        check_post(None, &[HERE, JSON, ("sec-fetch-site", "cross-site")], 403);
        check_post(None, &[HERE, JSON, ("sec-fetch-site", "same-site")], 403);
        let rebound = ("host", "evil.test:9090");
        check_post(None, &[rebound, JSON, ("origin", "http://evil.test:9090")], 403);
        check_post(None, &[JSON], 403);
        check_post(None, &[("host", "127.0.0.1.evil.test"), JSON], 403);
    }

    #[test]
    fn with_a_token_any_name_will_do_and_nothing_goes_without_it() {
        let json = ("content-type", "application/json");
        let token = Some("a-long-token-one");
        let shown = ("authorization", "Bearer a-long-token-one");
        check_post(token, &[("host", "edge.internal:9090"), json, shown], 200);
        check_post(token, &[("host", "127.0.0.1:9090"), json], 401);
        let wrong = ("authorization", "Bearer a-long-token-two");
        check_post(token, &[("host", "127.0.0.1:9090"), json, wrong], 401);
        let origin = ("origin", "https://evil.test");
        check_post(token, &[("host", "edge.internal:9090"), json, shown, origin], 403);
        check_post(token, &[("host", "edge.internal:9090"), shown], 415);
    }
}
