//! One TLS connection, either side: cipher bytes in, plain bytes out, and the other way round.

use std::fmt;
use std::mem;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::unbuffered::EncodeError;
use rustls::unbuffered::EncryptError;
use rustls::unbuffered::UnbufferedStatus;

use crate::io::tls::Client;
use crate::io::tls::Error;
use crate::io::tls::Server;
use crate::io::tls::tail::Tail;

/// Longest unfinished input: one handshake message of the largest size that rustls takes, in the
/// records around it.
const TAIL_BYTES_MAX: usize = 80 * 1024;
/// Largest plain text of one record (RFC 8446 §5.1).
const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// More than any record adds to its plain text.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// More than a closing alert takes.
const ALERT_BYTES_MAX: usize = 128;

/// One side of one TLS connection.
///
/// ```text
/// new ─ receive, answers ─► handshaking ─ receive ─► open ─ receive/send ─► closed by the peer
///                                 └──────── an error: what was appended is sent, then the end ──┘
/// ```
///
/// Whatever a call appends for the peer has to leave in the order of the calls.
pub struct Session {
    side: Side,
    /// What has come of a record, or of a handshake message, that is not complete.
    tail: Tail,
    is_peer_closed: bool,
    has_failed: bool,
}

enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What one step of rustls came to.
enum Step {
    Again,
    NeedsInput,
    Open,
    PeerClosed,
    Failed(rustls::Error),
}

/// What to do once the session is open.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Receive,
    Send(&'a [u8]),
    Close,
}

impl Session {
    /// A client's session to the server `name`, a name or an address. It speaks first: its greeting
    /// is appended to `out`.
    ///
    /// # Errors
    ///
    /// When no certificate can be for `name`.
    pub fn client(config: &Client, name: &str, out: &mut Vec<u8>) -> Result<Self, Error> {
        let wrong = || Error::BadName(name.to_owned());
        let server = ServerName::try_from(name.to_owned()).map_err(|_| wrong())?;
        let connection = UnbufferedClientConnection::new(config.config(), server)?;
        let mut session = Self::new(Side::Client(Box::new(connection)));
        session.process(&mut [], &mut Vec::new(), out)?;
        Ok(session)
    }

    /// A server's session with a client that was accepted.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn server(config: &Server) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(config.config())?;
        Ok(Self::new(Side::Server(Box::new(connection))))
    }

    fn new(side: Side) -> Self {
        Self { side, tail: Tail::default(), is_peer_closed: false, has_failed: false }
    }

    /// Whether plain bytes cannot be sent yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Client(connection) => connection.is_handshaking(),
            Side::Server(connection) => connection.is_handshaking(),
        }
    }

    /// Whether the handshake went the short way, by a ticket of an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.side {
            Side::Client(connection) => connection.handshake_kind(),
            Side::Server(connection) => connection.handshake_kind(),
        };
        kind == Some(rustls::HandshakeKind::Resumed)
    }

    /// Whether the peer has said that nothing more comes. Without it, the end of the stream may
    /// be the work of somebody in between.
    #[must_use]
    pub fn is_peer_closed(&self) -> bool {
        self.is_peer_closed
    }

    /// Bytes that it keeps of records that have not come whole.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.tail.bytes.len()
    }

    /// Takes bytes of the peer and works on them where they lie; what is incomplete is copied.
    /// Appends plain bytes to `plain`, and to `out` what has to be sent to the peer.
    ///
    /// # Errors
    ///
    /// When the connection cannot go on; what was appended to `out` tells the peer why.
    pub fn receive(
        &mut self,
        cipher: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut cipher = cipher;
        // The record that began with the last bytes is completed in the tail, and no more than it.
        while !self.tail.bytes.is_empty() && !cipher.is_empty() {
            let missing = self.tail.missing_bytes().min(cipher.len());
            let (these, rest) = cipher.split_at_mut(missing);
            self.tail.bytes.extend_from_slice(these);
            cipher = rest;
            if self.tail.ends_with_record() {
                let mut tail = mem::take(&mut self.tail);
                let used = self.process(&mut tail.bytes, plain, out)?;
                if used < tail.bytes.len() {
                    tail.bytes.drain(..used);
                    tail.record_at = tail.record_at.saturating_sub(used);
                    self.tail = tail;
                }
            }
            if TAIL_BYTES_MAX < self.tail.bytes.len() {
                return Err(Error::TooLong);
            }
        }
        if !cipher.is_empty() {
            let used = self.process(cipher, plain, out)?;
            self.tail.bytes.extend_from_slice(cipher.get(used..).unwrap_or(&[]));
        }
        Ok(())
    }

    /// Encrypts `plain` and appends it to `out`.
    ///
    /// # Errors
    ///
    /// [`Error::NotOpen`] before the handshake is done.
    pub fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.wish(Wish::Send(plain), out)
    }

    /// Appends to `out` that nothing more comes from this side.
    ///
    /// # Errors
    ///
    /// [`Error::NotOpen`] before the handshake is done.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.wish(Wish::Close, out)
    }

    fn wish(&mut self, wish: Wish<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut tail = mem::take(&mut self.tail);
        // All that was complete was worked on when it came: nothing plain can come of the tail.
        let result = self.advance(&mut tail.bytes, wish, &mut Vec::new(), out);
        self.tail = tail;
        match result?.1 {
            Step::Open => Ok(()),
            Step::Again | Step::NeedsInput | Step::PeerClosed | Step::Failed(_) => {
                Err(Error::NotOpen)
            }
        }
    }

    /// Works on complete records; gives how many bytes are done with.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        if self.is_peer_closed {
            return Ok(bytes.len());
        }
        let (used, _) = self.advance(bytes, Wish::Receive, plain, out)?;
        Ok(if self.is_peer_closed { bytes.len() } else { used })
    }

    /// Steps until nothing more comes of `bytes`.
    fn advance(
        &mut self,
        bytes: &mut [u8],
        wish: Wish<'_>,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), Error> {
        if self.has_failed {
            return Err(Error::NotOpen);
        }
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or(&mut []);
            let (discarded, step) = self.side.step(rest, wish, plain, out);
            used += discarded;
            match step {
                Step::Again => {}
                Step::PeerClosed => self.is_peer_closed = true,
                Step::NeedsInput | Step::Open => return Ok((used, step)),
                Step::Failed(error) => {
                    self.has_failed = true;
                    // The alert that tells the peer waits to be fetched. Without one, another step
                    // would work on the bad bytes again, and rustls asserts that nobody does.
                    while self.side.wants_write() {
                        let rest = bytes.get_mut(used..).unwrap_or(&mut []);
                        self.side.step(rest, Wish::Receive, plain, out);
                    }
                    return Err(Error::Protocol(error));
                }
            }
        }
    }
}

impl Side {
    fn step(
        &mut self,
        bytes: &mut [u8],
        wish: Wish<'_>,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (usize, Step) {
        match self {
            Self::Client(it) => step(it.process_tls_records(bytes), wish, plain, out),
            Self::Server(it) => step(it.process_tls_records(bytes), wish, plain, out),
        }
    }

    fn wants_write(&self) -> bool {
        match self {
            Self::Client(it) => it.wants_write(),
            Self::Server(it) => it.wants_write(),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match &self.side {
            Side::Client(_) => "client",
            Side::Server(_) => "server",
        };
        formatter
            .debug_struct("Session")
            .field("side", &side)
            .field("tail", &self.tail.bytes.len())
            .finish()
    }
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    wish: Wish<'_>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, Step) {
    let mut discarded = status.discard;
    let step = match status.state {
        Err(error) => Step::Failed(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut step = Step::Again;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discarded += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    Err(error) => step = Step::Failed(error),
                }
            }
            step
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            append(out, RECORD_PLAIN_BYTES_MAX, |room| match data.encode(room) {
                Ok(bytes) => Ok(bytes),
                Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
                Err(EncodeError::AlreadyEncoded) => Err(None),
            });
            Step::Again
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in `out`, whose owner sends all of it before anything later.
            data.done();
            Step::Again
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let told = |result| match result {
                Ok(bytes) => Ok(bytes),
                Err(EncryptError::InsufficientSize(size)) => Err(Some(size.required_size)),
                Err(EncryptError::EncryptExhausted) => Err(None),
            };
            let is_done = match wish {
                Wish::Receive => true,
                Wish::Send(bytes) => {
                    let records_count = bytes.len().div_ceil(RECORD_PLAIN_BYTES_MAX) + 1;
                    let room_bytes = bytes.len() + records_count * RECORD_OVERHEAD_BYTES;
                    append(out, room_bytes, |room| told(traffic.encrypt(bytes, room)))
                }
                Wish::Close => {
                    append(out, ALERT_BYTES_MAX, |room| told(traffic.queue_close_notify(room)))
                }
            };
            if is_done { Step::Open } else { Step::Failed(rustls::Error::EncryptError) }
        }
        Ok(ConnectionState::PeerClosed) => Step::PeerClosed,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Step::NeedsInput,
        // Early data is never offered, and what is newer than this code cannot be asked for.
        Ok(_) => Step::NeedsInput,
    };
    (discarded, step)
}

/// Lets `write` fill room behind `out`, more of it if it says so; `false` when it cannot write.
fn append(
    out: &mut Vec<u8>,
    room_bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> bool {
    let end = out.len();
    let mut room_bytes = room_bytes;
    loop {
        out.resize(end + room_bytes, 0);
        match write(out.get_mut(end..).unwrap_or(&mut [])) {
            Ok(written_bytes) => {
                out.truncate(end + written_bytes);
                return true;
            }
            Err(Some(required_bytes)) if room_bytes < required_bytes => room_bytes = required_bytes,
            Err(_) => {
                out.truncate(end);
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tls::ClientFiles;
    use crate::io::tls::ServerFiles;
    use crate::io::tls::testing::Authority;

    /// Two sessions and the bytes on their way.
    struct Pair {
        client: Session,
        server: Session,
        to_server: Vec<u8>,
        to_client: Vec<u8>,
        at_server: Vec<u8>,
        at_client: Vec<u8>,
    }

    impl Pair {
        fn new(client: &Client, server: &Server, name: &str) -> Self {
            let mut to_server = Vec::new();
            let client = Session::client(client, name, &mut to_server).unwrap();
            let server = Session::server(server).unwrap();
            let (to_client, at_server, at_client) = (Vec::new(), Vec::new(), Vec::new());
            Self { client, server, to_server, to_client, at_server, at_client }
        }

        /// Carries all that is on its way, in pieces of `piece_bytes`.
        fn carry(&mut self, piece_bytes: usize) -> Result<(), Error> {
            while !self.to_server.is_empty() || !self.to_client.is_empty() {
                for piece in mem::take(&mut self.to_server).chunks_mut(piece_bytes) {
                    self.server.receive(piece, &mut self.at_server, &mut self.to_client)?;
                }
                for piece in mem::take(&mut self.to_client).chunks_mut(piece_bytes) {
                    self.client.receive(piece, &mut self.at_client, &mut self.to_server)?;
                }
            }
            Ok(())
        }
    }

    fn server_of(authority: &Authority, name: &str) -> Server {
        let (certificate, key) = authority.issue("server", &[name]);
        Server::load(&ServerFiles { certificate, key, client_ca: None }).unwrap()
    }

    fn client_of(authority: &Authority) -> Client {
        Client::load(&ClientFiles { ca: Some(authority.ca()), ..Default::default() }).unwrap()
    }

    #[test]
    fn bytes_arrive_whole_in_pieces_of_any_size() {
        let authority = Authority::new();
        let server = server_of(&authority, "redis.test");
        let client = client_of(&authority);
        let long: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for piece_bytes in [1, 2, 3, 7, 100, 16_401, 70_000, usize::MAX] {
            let mut pair = Pair::new(&client, &server, "redis.test");
            assert_eq!(pair.client.send(b"early", &mut Vec::new()), Err(Error::NotOpen));
            pair.carry(piece_bytes).unwrap();
            assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
            for plain in [&b"PING"[..], b"", &long] {
                pair.client.send(plain, &mut pair.to_server).unwrap();
                pair.carry(piece_bytes).unwrap();
                assert_eq!(mem::take(&mut pair.at_server), plain);
                pair.server.send(plain, &mut pair.to_client).unwrap();
                pair.carry(piece_bytes).unwrap();
                assert_eq!(mem::take(&mut pair.at_client), plain);
            }
            assert_eq!(pair.client.tail_bytes() + pair.server.tail_bytes(), 0);
            let tails = [&pair.client.tail.bytes, &pair.server.tail.bytes];
            assert_eq!(tails.map(Vec::capacity), [0, 0]);
        }
    }

    #[test]
    fn sending_between_the_pieces_of_a_record_disturbs_neither_side() {
        let authority = Authority::new();
        let (server, client) = (server_of(&authority, "redis.test"), client_of(&authority));
        let mut pair = Pair::new(&client, &server, "redis.test");
        pair.carry(usize::MAX).unwrap();
        let mut record = Vec::new();
        pair.client.send(b"in many pieces", &mut record).unwrap();
        for (index, piece) in record.chunks_mut(1).enumerate() {
            pair.server.receive(piece, &mut pair.at_server, &mut pair.to_client).unwrap();
            pair.server.send(&[u8::try_from(index).unwrap()], &mut pair.to_client).unwrap();
        }
        pair.carry(5).unwrap();
        assert_eq!(pair.at_server, b"in many pieces");
        let sent: Vec<u8> = (0..u8::try_from(record.len()).unwrap()).collect();
        assert_eq!(pair.at_client, sent);
    }

    #[test]
    fn the_end_is_told_and_what_follows_is_ignored() {
        let authority = Authority::new();
        let (server, client) = (server_of(&authority, "redis.test"), client_of(&authority));
        let mut pair = Pair::new(&client, &server, "redis.test");
        pair.carry(usize::MAX).unwrap();
        pair.client.send(b"last", &mut pair.to_server).unwrap();
        pair.client.close(&mut pair.to_server).unwrap();
        pair.to_server.extend_from_slice(b"\x17\x03\x03\x00\x05junk!");
        pair.carry(3).unwrap();
        assert!(pair.server.is_peer_closed() && !pair.client.is_peer_closed());
        assert_eq!((&pair.at_server[..], pair.server.tail_bytes()), (&b"last"[..], 0));
        pair.server.send(b"answer", &mut pair.to_client).unwrap();
        pair.server.close(&mut pair.to_client).unwrap();
        pair.carry(3).unwrap();
        assert_eq!(pair.at_client, b"answer");
        assert!(pair.client.is_peer_closed());
    }

    #[test]
    fn a_client_that_comes_back_goes_the_short_way_until_the_files_are_loaded_again() {
        let authority = Authority::new();
        let (server, client) = (server_of(&authority, "redis.test"), client_of(&authority));
        let is_resumed = |server: &Server| {
            let mut pair = Pair::new(&client, server, "redis.test");
            pair.carry(usize::MAX).unwrap();
            assert_eq!(pair.client.is_resumed(), pair.server.is_resumed());
            pair.server.is_resumed()
        };
        assert_eq!([is_resumed(&server), is_resumed(&server)], [false, true]);
        assert!(!is_resumed(&server_of(&authority, "redis.test")));
    }

    #[track_caller]
    fn check_failed(client: &Client, server: &Server, name: &str, at_client: bool, part: &str) {
        let mut pair = Pair::new(client, server, name);
        let error = pair.carry(usize::MAX).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        // The other side hears why, in its own words.
        let (to, bytes) = if at_client {
            (&mut pair.server, &mut pair.to_server)
        } else {
            (&mut pair.client, &mut pair.to_client)
        };
        let told = to.receive(bytes, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(told.to_string().starts_with("the peer refused the TLS session: "), "{told}");
    }

    #[test]
    fn certificates_are_checked_and_both_sides_hear_why() {
        let (authority, other) = (Authority::new(), Authority::new());
        let server = server_of(&authority, "redis.test");
        let stranger = client_of(&other);
        check_failed(&stranger, &server, "redis.test", true, "signed by no CA that is trusted");
        let client = client_of(&authority);
        check_failed(&client, &server, "else.test", true, "not valid for name");

        let (certificate, key) = authority.issue("strict", &["redis.test"]);
        let client_ca = Some(other.ca());
        let strict = Server::load(&ServerFiles { certificate, key, client_ca }).unwrap();
        check_failed(&client, &strict, "redis.test", false, "no certificates");
        let known = Client::load(&ClientFiles {
            ca: Some(authority.ca()),
            certificate_and_key: Some(other.issue("client", &["somebody"])),
        });
        let mut pair = Pair::new(&known.unwrap(), &strict, "redis.test");
        pair.carry(usize::MAX).unwrap();
        pair.client.send(b"PING", &mut pair.to_server).unwrap();
        pair.carry(usize::MAX).unwrap();
        assert_eq!(pair.at_server, b"PING");
    }

    #[test]
    fn what_is_not_tls_fails_at_once_and_what_never_ends_fails_at_its_bound() {
        let authority = Authority::new();
        let server = server_of(&authority, "redis.test");
        let feed = |bytes: &mut [u8]| {
            let mut session = Session::server(&server).unwrap();
            session.receive(bytes, &mut Vec::new(), &mut Vec::new()).map(|()| session)
        };
        let error = feed(&mut b"GET / HTTP/1.1\r\n\r\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "the peer does not speak TLS");
        // A greeting that announces 65,535 bytes and comes in records of one byte.
        let mut slow = b"\x16\x03\x01\x00\x04\x01\x00\xff\xff".to_vec();
        slow.extend((0..40_000).flat_map(|_| *b"\x16\x03\x01\x00\x01x"));
        let mut session = Session::server(&server).unwrap();
        let mut receive = |bytes: &mut [u8]| {
            session.receive(bytes, &mut Vec::new(), &mut Vec::new()).map(|()| session.tail_bytes())
        };
        let fed = slow.chunks_mut(600).try_fold(0, |_, it| receive(it));
        assert_eq!(fed, Err(Error::TooLong));
    }

    #[test]
    fn no_bytes_of_a_peer_make_it_panic() {
        let authority = Authority::new();
        let (server, client) = (server_of(&authority, "redis.test"), client_of(&authority));
        let mut random = crate::stdx::random::Random::new(7);
        for _ in 0..300 {
            let mut pair = Pair::new(&client, &server, "redis.test");
            let is_open = random.next().is_multiple_of(2);
            if is_open {
                pair.carry(usize::MAX).unwrap();
                pair.client.send(b"some bytes", &mut pair.to_server).unwrap();
            }
            for _ in 0..1 + random.next() % 3 {
                let at = usize::try_from(random.next()).unwrap() % pair.to_server.len();
                pair.to_server[at] ^= u8::try_from(random.next() % 255).unwrap() + 1;
            }
            let piece_bytes = 1 + usize::try_from(random.next() % 50).unwrap();
            for piece in pair.to_server.chunks_mut(piece_bytes) {
                let mut out = Vec::new();
                if pair.server.receive(piece, &mut pair.at_server, &mut out).is_err() {
                    break;
                }
                // Answers go out between the pieces, whatever state they meet.
                let _sent = pair.server.send(b"x", &mut out);
            }
        }
    }
}
