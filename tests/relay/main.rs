//! The Redis relay from outside: two or more servers, real `redis-server` processes, and back ends
//! that publish as the reference article's does.
#![expect(
    clippy::disallowed_methods,
    reason = "a peer of the server has clocks, threads and an environment of its own"
)]

#[path = "../edge/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests of the edge use the rest")]
mod support;
mod world;

mod access;
mod api;
mod backend;
mod cluster;
mod draining;
mod egress;
mod faults;
mod harness;
mod hostile;
mod interest;
mod outage;
mod revoking;
mod rooms;
mod seats;
