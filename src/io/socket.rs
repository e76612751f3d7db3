//! One connection's socket: waits for input, receives into a borrowed buffer, sends batches.
#![expect(unsafe_code, reason = "monoio lends descriptors and takes buffers as raw pointers")]

use std::cell::UnsafeCell;
use std::io;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;

use arrayvec::ArrayVec;
use monoio::buf::IoBuf;
use monoio::buf::IoVecBuf;
use monoio::io::AsyncWriteRent;
use monoio::net::TcpStream;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::Shutdown;

use crate::stdx::bytes::Batch;
use crate::stdx::bytes::Shared;

/// A connected stream socket that belongs to one shard.
///
/// The owner sees to it that one send at the most is under way (two would interleave once the
/// socket buffer fills).
pub struct Socket(Kind);

enum Kind {
    /// Its readiness and operations go through the runtime: its ring, or its own epoll.
    Ring(UnsafeCell<TcpStream>),
    /// Its readiness is told by a [`Poller`](crate::io::poller::Poller).
    Polled(OwnedFd),
}

impl Socket {
    /// Takes over an accepted stream, for operations through the ring.
    #[must_use]
    pub fn ring(stream: TcpStream) -> Self {
        Self(Kind::Ring(UnsafeCell::new(stream)))
    }

    /// Takes over an accepted stream, away from the runtime, for a poller.
    #[must_use]
    pub fn polled(stream: TcpStream) -> Self {
        let descriptor = stream.into_raw_fd();
        // SAFETY: `into_raw_fd` gives up the only owner of this open descriptor.
        Self(Kind::Polled(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Waits on the ring until there is something to receive: bytes, the end, or an error.
    ///
    /// # Errors
    ///
    /// When the kernel will not wait on this socket, or a poller does.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Ring(stream) => borrow(stream).readable(false).await,
            Kind::Polled(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Waits through the runtime until there is room to send, or the connection is over.
    ///
    /// # Errors
    ///
    /// When the kernel will not wait on this socket, or a poller does.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Ring(stream) => borrow(stream).writable(false).await,
            Kind::Polled(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Receives what is there without waiting; 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is there; otherwise the connection is over.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (received_bytes, _) = rustix::net::recv(self.fd(), buffer, RecvFlags::DONTWAIT)?;
        Ok(received_bytes)
    }

    /// Sends what the socket takes without waiting, maybe in part.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it takes nothing now; otherwise the connection is over.
    pub fn try_send(&self, batch: &Batch) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let Batch::Gathered(..) = batch {
            let slices: ArrayVec<IoSlice<'_>, 64> =
                batch.slices().take(64).map(IoSlice::new).collect();
            let mut control = rustix::net::SendAncillaryBuffer::default();
            return Ok(rustix::net::sendmsg(self.fd(), &slices, &mut control, flags)?);
        }
        let bytes = batch.slices().next().unwrap_or(&[]);
        Ok(rustix::net::send(self.fd(), bytes, flags)?)
    }

    /// Sends bytes without waiting, maybe in part.
    ///
    /// # Errors
    ///
    /// As [`Socket::try_send`].
    pub fn try_send_bytes(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::send(self.fd(), bytes, flags)?)
    }

    /// Sends a batch through the ring and waits until it was taken, maybe in part.
    ///
    /// # Errors
    ///
    /// When the connection is over, or the socket is a poller's.
    pub async fn send(&self, batch: Batch) -> io::Result<usize> {
        let Kind::Ring(stream) = &self.0 else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // SAFETY: as in `borrow`; monoio submits inside the call and its future keeps only the
        // descriptor's clone, so this reference is not used after the call has returned.
        let stream = unsafe { &mut *stream.get() };
        match batch {
            Batch::One(bytes, offset) => stream.write(Rest { bytes, offset }).await.0,
            Batch::Copied(bytes) => stream.write(bytes).await.0,
            Batch::Gathered(runs, offset) => stream.writev(Gather::new(runs, offset)).await.0,
        }
    }

    /// Ends both directions: a waiting receive sees the end, a waiting send fails.
    pub fn shutdown(&self) {
        // The peer may have ended it first; either way it is over.
        let _gone = rustix::net::shutdown(self.fd(), Shutdown::Both);
    }

    /// Says that nothing more will be sent, so that the peer reads to the end.
    pub fn shutdown_write(&self) {
        let _gone = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }

    /// The descriptor, for calls that do not outlive the socket.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            // SAFETY: the descriptor is open as long as the stream, which `self` keeps for at least
            // the life of this borrow.
            Kind::Ring(stream) => unsafe { BorrowedFd::borrow_raw(borrow(stream).as_raw_fd()) },
            Kind::Polled(descriptor) => descriptor.as_fd(),
        }
    }
}

fn borrow(stream: &UnsafeCell<TcpStream>) -> &TcpStream {
    // SAFETY: the pointer is to the stream that the caller holds. A stream holds one counted
    // descriptor that no method changes: `write` and `writev` take `&mut` only to clone that
    // descriptor into their operation, on this same thread (the cell makes `Socket` neither `Sync`
    // nor shared with another), so no reference is ever read after another was written through.
    unsafe { &*stream.get() }
}

/// What is left of one shared run.
struct Rest {
    bytes: Shared,
    offset: usize,
}

// SAFETY: `Shared` never moves or changes its bytes while any clone lives, and the operation owns
// `self`, so the pointer stays valid and constant; `bytes_init` is the length of that same slice.
unsafe impl IoBuf for Rest {
    fn read_ptr(&self) -> *const u8 {
        self.rest().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.rest().len()
    }
}

impl Rest {
    fn rest(&self) -> &[u8] {
        self.bytes.as_slice().get(self.offset..).unwrap_or(&[])
    }
}

/// Several runs for one gathering write.
struct Gather {
    vectors: Vec<libc::iovec>,
    /// Keeps alive what `vectors` point to.
    _runs: Vec<Shared>,
}

impl Gather {
    fn new(runs: Vec<Shared>, offset: usize) -> Self {
        let vectors = runs
            .iter()
            .enumerate()
            .map(|(index, run)| {
                let skipped = if index == 0 { offset } else { 0 };
                let rest = run.as_slice().get(skipped..).unwrap_or(&[]);
                libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() }
            })
            .collect();
        Self { vectors, _runs: runs }
    }
}

// SAFETY: the vectors are on the heap and not touched after `new`, so their address stays; each
// points into a run that `_runs` keeps alive and unchanged for as long as the operation owns
// `self`;
// the kernel only reads through them.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.vectors.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.vectors.len()
    }
}
