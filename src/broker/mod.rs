//! What a STOMP broker decides: who is subscribed to what, what may be sent where, what goes out.
//!
//! It knows frames and policy, and takes time as an argument; it must never know sockets, clocks,
//! threads or the configuration. Read `publication` (what is said), `router` (where to), `session`
//! (one client's side), `table` (who gets it), `relay` (how shards agree on an order), then
//! `outbox` and `close` (how it leaves, and how it ends).
#![forbid(unsafe_code)]

pub mod close;
mod expression;
pub mod identity;
pub mod message;
pub mod outbox;
pub mod patterns;
pub mod publication;
pub mod refusal;
pub mod relay;
pub mod router;
pub mod seats;
pub mod session;
mod stored;
pub mod table;
