//! STOMP 1.0, 1.1 and 1.2: client frames in, server frames out.
//!
//! It knows neither WebSocket messages (it takes bytes, however they were cut) nor what a frame
//! does to a session. The session tells it the negotiated version, because escapes depend on it.
//!
//! Read `command` and `version` (the words), then `scan` (where does a frame end), `frame` (what is
//! in it), `decoder` (the state between reads), and `encode`; `heart_beat` parses one header and
//! `error` lists what a peer can get wrong.

mod command;
mod decoder;
mod encode;
mod error;
mod frame;
mod heart_beat;
mod scan;
mod version;

pub use command::Command;
pub use decoder::Decoder;
pub use decoder::Event;
pub use decoder::Limits;
pub use encode::push_client_frame;
pub use encode::push_escaped;
pub use encode::push_frame;
pub use encode::push_header;
pub use error::Error;
pub use frame::Frame;
pub use frame::Headers;
pub use heart_beat::HeartBeat;
pub use version::Version;
