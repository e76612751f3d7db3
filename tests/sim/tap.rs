//! Reads what the server writes, strictly: every byte that a socket takes must belong to a whole
//! and valid answer, frame and STOMP frame.

use ringway::proto::stomp::Version;

use crate::wire::BINARY;
use crate::wire::CLOSE;
use crate::wire::PING;
use crate::wire::TEXT;

const PONG: u8 = 0xA;

/// What the server said.
pub(crate) enum Heard {
    /// 101: frames follow.
    Upgraded,
    /// Any other answer, whole.
    Answer(u16),
    Message {
        is_text: bool,
        payload: Vec<u8>,
    },
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// One direction of one connection.
#[derive(Default)]
pub(crate) struct Tap {
    /// The beginning of something that is not whole.
    bytes: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    Body(u16, usize),
    Frames,
    Over,
}

impl Tap {
    /// Takes the next bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.bytes.extend_from_slice(bytes);
        let mut heard = Vec::new();
        let mut rest = &self.bytes[..];
        loop {
            let (found, bytes) = match self.stage {
                Stage::Head => match head(rest) {
                    None => break,
                    Some((101, bytes)) => {
                        self.stage = Stage::Frames;
                        (Some(Heard::Upgraded), bytes)
                    }
                    Some((status, bytes)) => {
                        self.stage = Stage::Body(status, length(&rest[..bytes]));
                        (None, bytes)
                    }
                },
                Stage::Body(_, bytes) if rest.len() < bytes => break,
                Stage::Body(status, bytes) => {
                    self.stage = Stage::Over;
                    (Some(Heard::Answer(status)), bytes)
                }
                Stage::Frames => match frame(rest) {
                    None => break,
                    Some((heard, bytes)) => {
                        if matches!(heard, Heard::Close(..)) {
                            self.stage = Stage::Over;
                        }
                        (Some(heard), bytes)
                    }
                },
                Stage::Over => {
                    assert!(rest.is_empty(), "{} bytes follow the last ones", rest.len());
                    break;
                }
            };
            heard.extend(found);
            rest = &rest[bytes..];
        }
        let taken = self.bytes.len() - rest.len();
        self.bytes.drain(..taken);
        heard
    }

    /// Whether the last thing was said: a close frame, or an answer that is no upgrade.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}

/// The status of a head, and its size.
fn head(bytes: &[u8]) -> Option<(u16, usize)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&bytes[..end]).expect("a head is text");
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3)).expect("a status line");
    Some((status.parse().expect("three digits"), end))
}

fn length(head: &[u8]) -> usize {
    let text = str::from_utf8(head).expect("a head is text");
    let mut lines = text.lines();
    let line = lines.find_map(|it| it.strip_prefix("Content-Length: "));
    line.expect("an answer has a length").parse().expect("digits")
}

/// The frame at the front of `bytes`, and its size.
fn frame(bytes: &[u8]) -> Option<(Heard, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert_eq!(first & 0xF0, 0x80, "a server's frame is final and has no reserved bits");
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (payload_bytes, rest) = match second {
        126 => {
            let (&length, rest) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(length));
            assert!(125 < length);
            (length, rest)
        }
        127 => {
            let (&length, rest) = rest.split_first_chunk()?;
            let length = usize::try_from(u64::from_be_bytes(length)).expect("it fits");
            assert!(0xFFFF < length && length < 1 << 24, "a frame of {length} bytes");
            (length, rest)
        }
        short => (usize::from(short), rest),
    };
    let opcode = first & 0x0F;
    assert!(opcode < CLOSE || payload_bytes <= 125, "a long control frame");
    let payload = rest.get(..payload_bytes)?;
    let heard = match opcode {
        TEXT | BINARY => {
            let is_text = opcode == TEXT;
            assert!(!is_text || str::from_utf8(payload).is_ok(), "text that is not UTF-8");
            Heard::Message { is_text, payload: payload.to_vec() }
        }
        PING => Heard::Ping,
        PONG => Heard::Pong(payload.to_vec()),
        CLOSE => match payload.split_first_chunk() {
            None => {
                assert!(payload.is_empty());
                Heard::Close(None, String::new())
            }
            Some((&code, reason)) => {
                let reason = str::from_utf8(reason).expect("a reason is text").to_owned();
                Heard::Close(Some(u16::from_be_bytes(code)), reason)
            }
        },
        other => panic!("opcode {other}"),
    };
    Some((heard, bytes.len() - rest.len() + payload_bytes))
}

/// One STOMP frame of the server.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) command: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Decodes a message that holds exactly one frame.
    pub(crate) fn decode(payload: &[u8], version: Version) -> Self {
        let head_bytes = payload.windows(2).position(|it| it == b"\n\n").expect("a head") + 2;
        let head = str::from_utf8(&payload[..head_bytes - 2]).expect("a head is text");
        let body = payload[head_bytes..].strip_suffix(b"\0").expect("a NUL ends the frame");
        let mut lines = head.split('\n');
        let command = lines.next().expect("split gives one").to_owned();
        let version = if command == "CONNECTED" { Version::V1_0 } else { version };
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a header line has a colon");
                assert!(!name.is_empty() && !value.is_empty(), "an empty header: {head}");
                // For a 1.0 peer, a line end that another's header escapes can only be a blank.
                let is_plain = command != "MESSAGE" || version == Version::V1_0;
                let is_spaced = !is_plain && value.contains(char::is_whitespace);
                assert!(!is_spaced, "white space in a header: {head}");
                (unescaped(name, version), unescaped(value, version))
            })
            .collect();
        let reply = Self { command, headers, body: body.to_vec() };
        match reply.header("content-length") {
            Some(length) => assert_eq!(length, body.len().to_string(), "{head}"),
            None => assert!(body.is_empty(), "a body without its length: {head}"),
        }
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0 == name).map(|it| &*it.1)
    }
}

fn unescaped(text: &str, version: Version) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' || version == Version::V1_0 {
            out.push(letter);
            continue;
        }
        out.push(match letters.next() {
            Some('n') => '\n',
            Some('c') => ':',
            Some('\\') => '\\',
            Some('r') if version == Version::V1_2 => '\r',
            other => panic!("the escape {other:?} in {text}"),
        });
    }
    out
}
