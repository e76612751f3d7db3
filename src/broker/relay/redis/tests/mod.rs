//! The machine against imitated servers: `server` is a small Redis, `rig` carries bytes and time,
//! and each other file has claims of one kind.

mod chaos;
mod connecting;
mod hostile;
mod interests;
mod publishing;
mod receiving;
mod record;
mod rig;
mod server;
mod sharded;

pub(super) use server::matches;
