//! One shard: one core's connections, their sessions and subscriptions, and the loop that drives
//! them.
//!
//! The only composer of `proto`, `broker` and `io`. [`Shard`] itself is synchronous and knows
//! neither sockets nor tasks: bytes, completions, mail and ticks go in by `handle_*`; sends,
//! actions and mail come out by `poll_*`. [`runtime`] is the thin layer that carries these over a
//! monoio runtime; the simulation in `tests/sim` carries them by the numbers of a seed.
//!
//! Read `state` (what a shard is), `connection`, `handshake` (HTTP), `admission`, `ingest` (bytes
//! to frames), `apply` (frames to effects), `auth`, `audit`, `relay`, `fanout`, `replay`, `watch`,
//! `caught_up`, `flush`, `closing`, `drain`, `timers`, `ask` with `inquiry` and `saying`, then
//! `mailbox`, `runtime`, `accepting`, `carry`,
//! `polled` and `ending`, `link` (connections to Redis) and `secure` (TLS of the listener).
#![forbid(unsafe_code)]

mod accepting;
mod admission;
mod answer;
mod apply;
mod ask;
mod audit;
mod auth;
mod behind;
mod carry;
mod caught_up;
mod closing;
mod connection;
mod drain;
mod ending;
mod fanout;
mod flush;
mod handshake;
mod ingest;
mod inquiry;
mod invariants;
pub mod link;
mod load;
mod log_limit;
pub mod mailbox;
mod polled;
mod rates;
mod relay;
mod replay;
pub mod runtime;
mod saying;
pub mod secure;
mod sending;
mod spans;
mod state;
mod suspects;
mod tasks;
mod timers;
mod turns;
mod waiting;
mod watch;

pub use admission::Admission;
pub use admission::ProxyProtocol;
pub use ask::Answer;
pub use ask::Ask;
pub use ask::Failure;
pub use ask::Message;
pub use ask::Question;
pub use ask::user_destination;
pub use auth::AuthOptions;
pub use auth::Notice;
pub use connection::ConnectionId;
pub use drain::DrainOptions;
pub use flush::Action;
pub use inquiry::Left;
pub use state::Identity;
pub use state::Options;
pub use state::Shard;
pub use waiting::Newcomer;
