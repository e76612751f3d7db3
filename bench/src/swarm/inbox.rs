//! What a server sends on one connection, from bytes: the answer to the upgrade, then messages.

use tungstenite::handshake::derive_accept_key;

use crate::ws::Header;
use crate::ws::Opcode;

/// The longest answer to an upgrade that is waited for.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// One thing that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// The upgrade is done.
    Upgraded,
    /// A whole message, text or binary.
    Message(&'a [u8]),
    /// To be answered with a pong.
    Ping(&'a [u8]),
    /// The end: the close frame of the server, or what the socket said.
    Closed(&'a str),
}

/// What the end of a connection begins with whose upgrade the server has answered with a status
/// other than 101.
pub(super) const REFUSED_UPGRADE: &str = "the upgrade was refused";

/// Why bytes could not be taken.
#[derive(Debug)]
pub enum Trouble {
    /// The server refused or broke the protocol.
    Server(String),
    /// The scenario wants to stop.
    Ours(anyhow::Error),
}

/// Bytes of one connection that do not make a whole yet.
#[derive(Debug)]
pub struct Inbox {
    /// What the server must answer to our key; `None` once it has.
    accept: Option<Box<str>>,
    pending: Vec<u8>,
    fragments: Vec<u8>,
    in_message: bool,
}

impl Inbox {
    /// An inbox that waits for the answer to an upgrade with this `Sec-WebSocket-Key`.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self {
            accept: Some(derive_accept_key(key.as_bytes()).into_boxed_str()),
            pending: Vec::new(),
            fragments: Vec::new(),
            in_message: false,
        }
    }

    /// What the server said of a refusal when it hung up before its answer was complete.
    #[must_use]
    pub fn half_answer(&self) -> Option<String> {
        let is_half = self.accept.is_some() && !self.pending.is_empty();
        is_half.then(|| format!("the server hung up after {:?}", preview(&self.pending)))
    }

    /// Takes `bytes` as they were read and gives every whole thing in them to `sink`.
    ///
    /// # Errors
    ///
    /// The server refused the upgrade or broke the protocol; or `sink` failed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Incoming<'_>) -> anyhow::Result<()>,
    ) -> Result<(), Trouble> {
        // Most reads end where a frame does: then nothing is copied.
        if self.pending.is_empty() {
            let used_bytes = self.take(bytes, sink)?;
            self.pending.extend_from_slice(&bytes[used_bytes..]);
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let used_bytes = self.take(&pending, sink)?;
        pending.drain(..used_bytes);
        if !pending.is_empty() {
            self.pending = pending;
        }
        Ok(())
    }

    fn take(
        &mut self,
        input: &[u8],
        sink: &mut impl FnMut(Incoming<'_>) -> anyhow::Result<()>,
    ) -> Result<usize, Trouble> {
        let mut used_bytes = 0;
        if let Some(accept) = &self.accept {
            let Some(head_bytes) = find_head(input)? else { return Ok(0) };
            check_head(&input[..head_bytes], &input[head_bytes..], accept)?;
            self.accept = None;
            used_bytes = head_bytes;
            sink(Incoming::Upgraded).map_err(Trouble::Ours)?;
        }
        loop {
            let rest = &input[used_bytes..];
            let header = Header::decode(rest)
                .map_err(|error| Trouble::Server(format!("the server broke RFC 6455: {error}")))?;
            let Some(header) = header else { return Ok(used_bytes) };
            let frame_bytes = header.header_bytes + header.payload_bytes;
            let Some(payload) = rest.get(header.header_bytes..frame_bytes) else {
                return Ok(used_bytes);
            };
            self.take_frame(header, payload, sink)?;
            used_bytes += frame_bytes;
        }
    }

    fn take_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        sink: &mut impl FnMut(Incoming<'_>) -> anyhow::Result<()>,
    ) -> Result<(), Trouble> {
        let incoming = match header.opcode {
            Opcode::Ping => Incoming::Ping(payload),
            Opcode::Pong => return Ok(()),
            Opcode::Close => {
                let why = describe_close(payload);
                return sink(Incoming::Closed(&why)).map_err(Trouble::Ours);
            }
            Opcode::Text | Opcode::Binary if !self.in_message && header.fin => {
                Incoming::Message(payload)
            }
            Opcode::Text | Opcode::Binary if !self.in_message => {
                self.in_message = true;
                self.fragments.extend_from_slice(payload);
                return Ok(());
            }
            Opcode::Continuation if self.in_message => {
                self.fragments.extend_from_slice(payload);
                if !header.fin {
                    return Ok(());
                }
                self.in_message = false;
                let message = std::mem::take(&mut self.fragments);
                return sink(Incoming::Message(&message)).map_err(Trouble::Ours);
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let error = crate::ws::Error::Fragments;
                return Err(Trouble::Server(format!("the server broke RFC 6455: {error}")));
            }
        };
        sink(incoming).map_err(Trouble::Ours)
    }
}

fn find_head(input: &[u8]) -> Result<Option<usize>, Trouble> {
    match input.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(index) => Ok(Some(index + 4)),
        None if HEAD_BYTES_MAX < input.len() => {
            Err(Trouble::Server("the answer to the upgrade has no end".to_owned()))
        }
        None => Ok(None),
    }
}

/// Checks the answer to the upgrade (RFC 6455 §4.1, what the client must validate).
fn check_head(head: &[u8], rest: &[u8], accept: &str) -> Result<(), Trouble> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        let body = preview(rest);
        return Err(Trouble::Server(format!("{REFUSED_UPGRADE}: {status} {body}")));
    }
    let mut accepted = false;
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("sec-websocket-accept") {
            accepted = value.trim() == accept;
        }
        if name.eq_ignore_ascii_case("sec-websocket-extensions") {
            let why = format!("the server uses an extension that nobody offered: {value}");
            return Err(Trouble::Server(why));
        }
    }
    if !accepted {
        let why = "the upgrade lacks the Sec-WebSocket-Accept of our key";
        return Err(Trouble::Server(why.to_owned()));
    }
    Ok(())
}

fn describe_close(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            let reason = String::from_utf8_lossy(reason);
            format!("the server closed with {} {reason}", u16::from_be_bytes(*code))
        }
        None => "the server closed without a code".to_owned(),
    }
}

fn preview(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    /// The accept of RFC 6455 §1.3 for that key.
    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn feed_in_pieces(input: &[u8], piece_bytes: usize) -> Result<Vec<String>, String> {
        let mut inbox = Inbox::new(KEY);
        let mut seen = Vec::new();
        for piece in input.chunks(piece_bytes) {
            let fed = inbox.feed(piece, &mut |incoming| {
                seen.push(match incoming {
                    Incoming::Upgraded => "upgraded".to_owned(),
                    Incoming::Message(message) => preview(message),
                    Incoming::Ping(payload) => format!("ping {}", preview(payload)),
                    Incoming::Closed(why) => why.to_owned(),
                });
                Ok(())
            });
            match fed {
                Ok(()) => {}
                Err(Trouble::Server(why)) => return Err(why),
                Err(Trouble::Ours(error)) => panic!("{error}"),
            }
        }
        Ok(seen)
    }

    #[test]
    fn messages_come_out_alike_however_the_bytes_are_cut() {
        let frames =
            b"\x81\x02ab\x01\x01c\x89\x01p\x00\x01d\x80\x01e\x8a\0\x82\0\x88\x05\x03\xe8bye";
        let input = [HEAD, frames].concat();
        let expected = ["upgraded", "ab", "ping p", "cde", "", "the server closed with 1000 bye"];
        for piece_bytes in 1..=input.len() {
            assert_eq!(feed_in_pieces(&input, piece_bytes).unwrap(), expected);
        }
    }

    #[test]
    fn a_refusal_tells_what_the_server_said() {
        let why = feed_in_pieces(b"HTTP/1.1 503 Full\r\nRetry-After: 1\r\n\r\nlater", 999);
        assert_eq!(why.unwrap_err(), "the upgrade was refused: HTTP/1.1 503 Full later");
        let other = String::from_utf8_lossy(HEAD).replace("s3p", "xxx");
        assert!(feed_in_pieces(other.as_bytes(), 999).unwrap_err().contains("Accept"));
    }

    #[test]
    fn fragments_out_of_place_are_an_error() {
        for frames in [&b"\x80\x01a"[..], b"\x01\x01a\x81\x01b"] {
            let input = [HEAD, frames].concat();
            assert!(feed_in_pieces(&input, 999).unwrap_err().contains("fragments"));
        }
    }
}
