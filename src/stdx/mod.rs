//! What std could have had: containers, time and chance, all without a system call.
//!
//! Read `time` first (every machine takes a `Now`), then `slab` and `wheel`, then `bytes`, the unit
//! that outboxes hold and sockets send. Nothing here knows anything else of ours.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod cidr;
pub mod hash_index;
pub mod percent;
pub mod planted;
pub mod random;
pub mod rate;
pub mod slab;
pub mod time;
pub mod wheel;
