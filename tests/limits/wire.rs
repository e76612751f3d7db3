//! A client's bytes, and what a server's bytes say to it.

use std::fmt;

/// The head of an upgrade that nothing is wrong with.
pub(crate) const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: limits.test\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An upgrade head with these header lines besides.
pub(crate) fn upgrade_with(lines: &str) -> String {
    format!("{}{lines}\r\n", UPGRADE.strip_suffix("\r\n").expect("a head ends in a blank line"))
}

/// One masked frame whose header may say anything (RFC 6455 §5.2).
pub(crate) fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first_byte];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// One whole text message.
pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    masked(0x81, payload)
}

/// The client's close frame.
pub(crate) fn close(code: u16) -> Vec<u8> {
    masked(0x88, &code.to_be_bytes())
}

/// One STOMP frame; `lines` are its headers with their line ends.
pub(crate) fn stomp(command: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = format!("{command}\n{lines}\n").into_bytes();
    frame.extend(body);
    frame.push(0);
    frame
}

/// What the server said, one of these after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A response to the request: its status and all of its text.
    Http(u16, String),
    /// A STOMP frame.
    Stomp(Frame),
    /// A heart-beat.
    Beat,
    /// A ping.
    Ping,
    /// A pong and its payload.
    Pong(Vec<u8>),
    /// A close frame: its code (0 without one) and its reason.
    Close(u16, String),
}

/// A STOMP frame of the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) command: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Bytes of the whole WebSocket frame that carried it.
    pub(crate) wire_bytes: usize,
}

impl Frame {
    /// The value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("this body is text")
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(60).collect();
        write!(formatter, "{} {:?} {body:?}", self.command, self.head)
    }
}

/// Takes all that is whole off the front of `bytes`; `is_http` until an upgrade was answered.
#[track_caller]
pub(crate) fn read(bytes: &mut Vec<u8>, is_http: &mut bool) -> Vec<Said> {
    let mut said = Vec::new();
    while let Some((one, taken)) = if *is_http { read_response(bytes) } else { read_frame(bytes) } {
        bytes.drain(..taken);
        *is_http &= !matches!(one, Said::Http(101, _));
        said.push(one);
    }
    said
}

fn read_response(bytes: &[u8]) -> Option<(Said, usize)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("heads are text");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status line");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |it| it.parse().expect("a number"));
    let body = bytes.get(end..end + length)?;
    let whole = format!("{head}{}", String::from_utf8_lossy(body));
    Some((Said::Http(status, whole), end + length))
}

fn read_frame(bytes: &[u8]) -> Option<(Said, usize)> {
    let (&[first, second], _) = bytes.split_first_chunk()?;
    assert!(second < 0x80, "a server does not mask (RFC 6455 §5.1)");
    assert!(first & 0xF0 == 0x80, "a whole frame without reserved bits");
    let (header, length) = match second {
        126 => (4, bytes.get(2..4)?.iter().fold(0, |sum, it| sum << 8 | usize::from(*it))),
        127 => (10, bytes.get(2..10)?.iter().fold(0, |sum, it| sum << 8 | usize::from(*it))),
        short => (2, usize::from(short)),
    };
    let payload = bytes.get(header..header + length)?;
    let said = match first & 0x0F {
        1 | 2 if payload == b"\n" => Said::Beat,
        1 | 2 => Said::Stomp(read_stomp(payload, header + length)),
        8 => {
            let code = payload.first_chunk().map_or(0, |it| u16::from_be_bytes(*it));
            let reason = payload.get(2..).unwrap_or_default();
            Said::Close(code, String::from_utf8_lossy(reason).into_owned())
        }
        9 => Said::Ping,
        10 => Said::Pong(payload.to_vec()),
        other => panic!("opcode {other}"),
    };
    Some((said, header + length))
}

/// Reads the one STOMP frame that a message must hold.
fn read_stomp(payload: &[u8], wire_bytes: usize) -> Frame {
    let whole = payload.strip_suffix(b"\0").expect("a message holds one whole STOMP frame");
    let end = whole.windows(2).position(|it| it == b"\n\n").expect("a head ends in a blank line");
    let head = std::str::from_utf8(&whole[..end]).expect("heads are UTF-8");
    let (command, head) = head.split_once('\n').unwrap_or((head, ""));
    let body = whole[end + 2..].to_vec();
    Frame { command: command.to_owned(), head: head.to_owned(), body, wire_bytes }
}
