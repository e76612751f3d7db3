//! What a test of the relay needs around the servers: real `redis-server` processes, a client that
//! speaks RESP, a TCP proxy that can fail, a name that moves, certificates, and the servers with
//! their relay.
//!
//! Never knows how the relay is built. Read `redis` first, then `ringway`; the others are a page
//! each.

pub(crate) mod certificates;
mod cluster;
mod name;
mod proxy;
mod redis;
mod resp;
mod ringway;

use std::thread;
use std::time::Duration;
use std::time::Instant;

pub(crate) use certificates::Certificates;
pub(crate) use cluster::Cluster;
pub(crate) use name::Name;
pub(crate) use proxy::Proxy;
pub(crate) use redis::Redis;
pub(crate) use redis::ReplicaPair;
pub(crate) use resp::Reply;
pub(crate) use resp::Resp;
pub(crate) use ringway::Ringway;

use crate::support::PATIENCE;

/// Looks again and again until `look` gives something; fails after the time that every wait has.
///
/// For what announces nothing: figures on a page, counters of Redis, a port that opens.
#[track_caller]
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// As [`await_some`], for what is only true or false.
#[track_caller]
pub(crate) fn await_true(what: &str, mut look: impl FnMut() -> bool) {
    await_some(what, || look().then_some(()));
}
