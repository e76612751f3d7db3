//! WebSocket (RFC 6455), the server's side, strict: frames in, messages out, and frames to send.
//!
//! It knows neither the handshake (`http`) nor what a message means. permessage-deflate (RFC 7692)
//! is not spoken yet: its place is the first reserved bit in `header` and a step between unmasking
//! and the UTF-8 check in `decoder`.
//!
//! Read `header` (the bits), then `decoder` (the state), then `encode`; `close` holds the rules of
//! close payloads, `mask` the XOR and `error` what a peer can get wrong.

mod close;
mod decoder;
mod encode;
mod error;
mod header;
mod mask;

pub use decoder::Decoder;
pub use decoder::Event;
pub use decoder::Limits;
pub use encode::header;
pub use encode::push_close;
pub use encode::push_frame;
pub use error::Error;
pub use header::Header;
pub use header::Opcode;
