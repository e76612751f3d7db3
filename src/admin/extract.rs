//! What handlers take from a request, where what is wrong with it is told as the API tells all.

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::Value;

use crate::admin::guard::Failure;

/// The `{id}` of a path.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|_| bad("the path is no UTF-8"))?;
        Ok(Self(id))
    }
}

/// The JSON of a body.
pub(super) struct Document(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        parse(&body_of(request, state).await?).map(Self)
    }
}

/// A body of which nothing is asked: none, or any object.
pub(super) struct Nothing;

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = body_of(request, state).await?;
        match body.is_empty() || parse(&body)?.is_object() {
            true => Ok(Self),
            false => Err(bad("the body is no object")),
        }
    }
}

async fn body_of<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let status = rejection.status();
        let is_too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if is_too_large { "too-large" } else { "bad-request" };
        Failure::new(status, code, rejection.body_text())
    })
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body is no JSON: {error}")))
}

/// A request that is wrong in itself.
pub(super) fn bad(text: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "bad-request", text)
}
