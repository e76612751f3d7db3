//! What a test of the edge needs: the server as a process, raw HTTP, and a client.
//!
//! Never knows how the server is built: it starts the binary, reads its two announcements and talks
//! to its sockets. Read `server` first, then `client`; `http` is a page of its own.
//!
//! Frames are written in a notation of one line: `|` stands for a line end, `^@` for NUL.

mod client;
mod http;
mod server;

use std::time::Duration;

pub(crate) use client::Client;
pub(crate) use client::Frame;
pub(crate) use client::Wire;
pub(crate) use client::bytes;
pub(crate) use http::Response;
pub(crate) use http::UPGRADE;
pub(crate) use http::ask;
pub(crate) use http::read_response;
pub(crate) use http::upgrade_head;
pub(crate) use server::Driver;
pub(crate) use server::Server;
pub(crate) use server::program;

/// How long a test waits for what must come: far longer than a healthy server on a busy machine
/// needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes two tests of every claim, one per driver; a machine that lacks a driver fails that half.
macro_rules! on_each_driver {
    ($($claim:ident),+ $(,)?) => {
        mod on_io_uring {
            $(#[test]
            fn $claim() {
                super::$claim(crate::support::Driver::IoUring);
            })+
        }
        mod on_epoll {
            $(#[test]
            fn $claim() {
                super::$claim(crate::support::Driver::Epoll);
            })+
        }
    };
}

pub(crate) use on_each_driver;
