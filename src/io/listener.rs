//! Listeners: one per shard on the same address, among which the kernel spreads the connections.

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;

use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;

/// Opens `count` listeners on one address. Port 0 takes a free port, the same for all.
///
/// # Errors
///
/// When the address is taken, also by another process that shares ports, or is not ours to bind.
pub fn bind_all(address: SocketAddr, count: usize, backlog: i32) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        // Port sharing would let two servers split the clients of one address without a word.
        // A bind that does not share fails while anybody listens there.
        drop(bind(address, false)?);
    }
    let first = bind(address, true)?;
    let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, true)?);
    }
    for socket in &sockets {
        socket.listen(backlog)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

fn bind(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    // Accepted sockets inherit it: frames are small and leave when the turn ends, not later.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_listeners_share_one_free_port_and_a_second_server_is_refused() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = bind_all(any, 3, 16).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
        assert_ne!(addresses[0].port(), 0);
        assert!(addresses.iter().all(|it| *it == addresses[0]));
        let error = bind_all(addresses[0], 1, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
