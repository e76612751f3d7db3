//! HTTP/1.1, as much of it as an upgrade and a health check need (RFC 9112, RFC 6455 §4).
//!
//! It knows neither routes nor who may come from where: it says what was asked and writes what is
//! answered. Bodies of requests are not read.
//!
//! Read `request` (the head), then `upgrade` (the WebSocket handshake), `response` and `origin`.

pub mod origin;

pub mod credentials;
mod error;
pub mod forwarded;
mod request;
mod response;
mod upgrade;

pub use error::Error;
pub use request::HEADERS_COUNT_MAX;
pub use request::Limits;
pub use request::Request;
pub use request::decode;
pub use request::decode_from;
pub use response::encode_response;
pub use response::encode_switching_protocols;
pub use upgrade::Upgrade;
pub use upgrade::UpgradeError;
pub use upgrade::upgrade;
