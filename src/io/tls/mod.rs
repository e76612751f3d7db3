//! TLS 1.2 and 1.3 as a machine that is fed slices: it has no socket, and while nothing is on its
//! way it holds no buffer.
//!
//! Read `session` (one connection, either side), then `settings` (certificates and keys, read once
//! at start and again when told) and `error`. Crypto is `ring`, which needs no more than a C
//! compiler to build. Whom a client trusts without a CA of its own is the host's list and not one
//! that is compiled in: the host's is kept up to date, and operators add to it.

mod error;
mod session;
mod settings;
mod tail;

pub use error::Error;
pub use session::Session;
pub use settings::Client;
pub use settings::ClientFiles;
pub use settings::FileOf;
pub use settings::Server;
pub use settings::ServerFiles;
pub use settings::Unusable;

#[cfg(test)]
pub(crate) mod testing;
