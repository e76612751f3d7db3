//! Readiness of many sockets at once, for the epoll driver: one registration per socket, no task.
//!
//! The set is an epoll instance of its own, which the runtime's driver waits for like for a socket.
//! Edges only: whoever is told reads until a short read, and to the end where the end was told.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;

use rustix::event::EventfdFlags;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustix::event::eventfd;

use crate::io::socket::Socket;

/// Sockets that one look can report; more come with the next.
const EVENTS_MAX: usize = 1024;

/// What became of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The number that it was added with.
    pub token: u64,
    /// There is something to receive.
    pub is_readable: bool,
    /// The peer has ended its side, or the connection failed: receive until that is seen.
    pub has_ended: bool,
    /// It takes bytes.
    pub is_writable: bool,
}

/// A set of sockets and its edges.
pub struct Poller {
    set: OwnedFd,
    waiter: monoio::net::UnixStream,
    /// What [`Poller::step_aside`] tells itself by.
    bell: OwnedFd,
    bell_waiter: monoio::net::UnixStream,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// When the kernel has no descriptor for it.
    pub fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // The runtime waits for any descriptor, but only takes sockets by their names.
        let waiter = |fd: &OwnedFd| -> io::Result<_> {
            monoio::net::UnixStream::from_std(UnixStream::from(fd.try_clone()?))
        };
        let (waiter, bell_waiter) = (waiter(&set)?, waiter(&bell)?);
        Ok(Self { set, waiter, bell, bell_waiter, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Adds a socket; it leaves the set when it is closed.
    ///
    /// # Errors
    ///
    /// When the kernel will not watch it.
    pub fn add(&self, socket: &Socket, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.set, socket.fd(), EventData::new_u64(token), flags)?)
    }

    /// Waits until some socket has an edge.
    ///
    /// # Errors
    ///
    /// When the driver will not wait.
    pub async fn wait(&self) -> io::Result<()> {
        self.waiter.readable(false).await
    }

    /// Lets everything else have a turn: other tasks, and what the driver and the timers have for
    /// them, which the runtime looks at only when no task is left to run.
    ///
    /// # Errors
    ///
    /// When the driver will not wait.
    pub async fn step_aside(&self) -> io::Result<()> {
        let mut count = [0; 8];
        // That of the last time; nobody else rings.
        let _silent = rustix::io::read(&self.bell, &mut count);
        let mut heard = pin!(self.bell_waiter.readable(false));
        let mut has_rung = false;
        poll_fn(|context| match heard.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending if has_rung => Poll::Pending,
            Poll::Pending => {
                has_rung = true;
                // Now that the driver listens, the way back leads through it.
                match rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
                    Ok(_) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error.into())),
                }
            }
        })
        .await
    }

    /// The edges there are now, at most a bounded number; `true` when there may be more.
    ///
    /// # Errors
    ///
    /// When the kernel will not tell.
    pub fn take(&mut self, ready: &mut Vec<Readiness>) -> io::Result<bool> {
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.set, spare, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        ready.extend(self.events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            Readiness {
                token: data.u64(),
                is_readable: flags.intersects(EventFlags::IN | ends),
                has_ended: flags.intersects(ends),
                is_writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(self.events.len() == EVENTS_MAX)
    }
}
