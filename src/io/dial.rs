//! Opens a connection to a server, with either driver, and gives up in time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use monoio::net::TcpStream;
use socket2::Domain;
use socket2::Protocol;
use socket2::TcpKeepalive;
use socket2::Type;

use crate::io::socket::Socket;

/// Silence after which the kernel asks whether the other end is still there.
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(15);
/// How often it then asks.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Questions without an answer after which the connection is over.
const KEEP_ALIVE_RETRIES: u32 = 3;

/// Connects to `address` within `timeout`; sent bytes that stay unanswered for `user_timeout` end
/// the connection. The future may be dropped at any time.
///
/// The kernel connects by itself while we wait for room to send: a connect operation of the
/// runtime would go on when it is no longer waited for.
///
/// # Errors
///
/// When the other end refuses, cannot be reached, or does not answer in time.
pub async fn dial(
    address: SocketAddr,
    timeout: Duration,
    user_timeout: Duration,
) -> io::Result<Socket> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEP_ALIVE_TIME)
            .with_interval(KEEP_ALIVE_INTERVAL)
            .with_retries(KEEP_ALIVE_RETRIES),
    )?;
    socket.set_tcp_user_timeout(Some(user_timeout))?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let socket = Socket::ring(TcpStream::from_std(socket.into())?);
    match monoio::time::timeout(timeout, socket.writable()).await {
        Ok(waited) => waited?,
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
    match socket2::SockRef::from(&socket.fd()).take_error()? {
        Some(error) => Err(error),
        None => Ok(socket),
    }
}
