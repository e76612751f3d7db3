//! Bytes to values and back: HTTP heads, WebSocket frames, STOMP frames, Redis replies, envelopes.
//!
//! Everything here is a function of the bytes that were handed in: no sockets, no clocks, no
//! policy, and nothing of ours above `stdx`. What a peer may write is judged here and nowhere else,
//! so no byte of a peer reaches an assertion, an index or an unchecked cast.
//!
//! Read `ws` first (the smallest), then `stomp`, then `http`, then `resp`. These codecs have one
//! form: incomplete input is `None` and never an error, an error is a small `Copy` enum, and after
//! an error the stream cannot be resynchronised. `envelope` and `control` are what `resp` carries:
//! whole messages of JSON, each judged for itself; `json` and `signature` are what they share.
//! `proxy` is what a load balancer may put before all of it.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod control;
pub mod envelope;
pub mod http;
mod json;
pub mod proxy;
pub mod resp;
mod signature;
pub mod stomp;
pub mod ws;
