//! The socket of one connection, bare or with TLS on it.

use std::io;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use rustls::ClientConnection;

/// What is wrong with TLS, in the words of whoever made a typing error in a URL.
fn explain(error: &rustls::Error) -> String {
    if let rustls::Error::InvalidMessage(_) = error {
        return format!("{error}: the server does not speak TLS here; is it ws:// instead?");
    }
    error.to_string()
}

/// A connected or connecting socket that never blocks.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// A stream over `socket`, which does not block.
    #[must_use]
    pub fn new(socket: TcpStream, tls: Option<ClientConnection>) -> Self {
        Self { socket, tls: tls.map(Box::new) }
    }

    /// Whether one read may leave bytes behind that the kernel no longer knows of.
    #[must_use]
    pub fn holds_bytes_back(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads what has come; 0 is the end.
    ///
    /// # Errors
    ///
    /// Nothing is there, the socket failed, or the peer broke TLS.
    pub fn read(&mut self, input: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(input) };
        loop {
            match tls.reader().read(input) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            if let Err(error) = tls.process_new_packets() {
                // The alert says why to the server, if it still listens.
                drop(tls.write_tls(&mut self.socket));
                return Err(io::Error::new(ErrorKind::InvalidData, explain(&error)));
            }
        }
    }

    /// Takes bytes to be sent and sends what the socket has room for; tells how many were taken.
    ///
    /// # Errors
    ///
    /// The socket failed or has no room.
    pub fn write(&mut self, output: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(output) };
        tls.writer().write_all(output)?;
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(output.len())
    }

    /// Whether bytes wait below what was written.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
