//! The edge from outside: the real binary over loopback, with each driver.
#![expect(
    clippy::disallowed_methods,
    reason = "a peer of the server has clocks and threads of its own"
)]

mod support;

mod admin;
mod cloudwatch;
mod destinations;
mod drain;
mod forgeries;
mod framing;
mod guards;
mod http;
mod lifecycle;
mod limits;
mod operations;
mod session;
mod subscriptions;
mod tls;
mod tokens;
mod websocket;
