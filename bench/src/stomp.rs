//! STOMP frames as a client needs them: a few to send, a few to understand.
//!
//! STOMP 1.2, "STOMP Frames" and "Augmented BNF".

use std::fmt;

/// One frame from a server, borrowed from the WebSocket message that held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// `MESSAGE`, `RECEIPT`, …
    pub command: &'a [u8],
    /// The header lines, each with its line feed.
    pub headers: &'a [u8],
    /// The body without the NUL that ends it.
    pub body: &'a [u8],
}

/// What one WebSocket message held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// A lone line feed.
    HeartBeat,
    /// Exactly one frame: many clients look for no second one.
    Frame(Frame<'a>),
}

/// How a message from the server was not STOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The frame ends before its header block, its body or its NUL.
    Incomplete,
    /// The body is longer or shorter than `content-length` says.
    ContentLength,
    /// Something follows the frame in the same message.
    Trailing,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Incomplete => "a STOMP frame is not complete in its WebSocket message",
            Self::ContentLength => "a STOMP body does not have the length that its header says",
            Self::Trailing => "a WebSocket message holds more than one STOMP frame",
        })
    }
}

impl std::error::Error for Error {}

impl<'a> Inbound<'a> {
    /// Parses one WebSocket message.
    ///
    /// # Errors
    ///
    /// The message does not hold exactly one frame or one heart-beat.
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        if matches!(message, b"\n" | b"\r\n") {
            return Ok(Self::HeartBeat);
        }
        let command_end = memchr::memchr(b'\n', message).ok_or(Error::Incomplete)?;
        let headers_start = command_end + 1;
        let mut line_start = headers_start;
        let mut content_bytes = None;
        loop {
            let rest = &message[line_start..];
            let line_end = memchr::memchr(b'\n', rest).ok_or(Error::Incomplete)?;
            let line = without_return(&rest[..line_end]);
            let headers_end = line_start;
            line_start += line_end + 1;
            if line.is_empty() {
                let (body, after) = split_body(&message[line_start..], content_bytes)?;
                if !after.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
                    return Err(Error::Trailing);
                }
                let command = without_return(&message[..command_end]);
                let headers = &message[headers_start..headers_end];
                return Ok(Self::Frame(Frame { command, headers, body }));
            }
            if content_bytes.is_none()
                && let Some(digits) = line.strip_prefix(b"content-length:")
            {
                content_bytes = Some(parse_count(digits).ok_or(Error::ContentLength)?);
            }
        }
    }
}

impl<'a> Frame<'a> {
    /// The value of the first header called `name`, as it was sent (STOMP 1.2, "Repeated Header
    /// Entries").
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.split(|byte| *byte == b'\n').find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            Some(without_return(value))
        })
    }

    /// The frame in one line, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let headers = String::from_utf8_lossy(self.headers);
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
        let headers = headers.trim_end().replace('\n', ", ");
        format!("{} ({headers}) {body}", String::from_utf8_lossy(self.command))
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_body(rest: &[u8], content_bytes: Option<usize>) -> Result<(&[u8], &[u8]), Error> {
    let body_bytes = match content_bytes {
        Some(bytes) => bytes,
        None => memchr::memchr(0, rest).ok_or(Error::Incomplete)?,
    };
    let (body, rest) = rest.split_at_checked(body_bytes).ok_or(Error::Incomplete)?;
    match rest.split_first() {
        Some((0, after)) => Ok((body, after)),
        Some(_) => Err(Error::ContentLength),
        None => Err(Error::Incomplete),
    }
}

fn parse_count(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends a CONNECT that offers and wants a heart-beat every `heart_beat_ms`, 0 for none, and has
/// further `headers`.
pub fn encode_connect(
    host: &str,
    heart_beat_ms: u32,
    headers: &[(&str, String)],
    output: &mut Vec<u8>,
) {
    let mut text = format!(
        "CONNECT\naccept-version:1.2\nhost:{host}\nheart-beat:{heart_beat_ms},{heart_beat_ms}\n"
    );
    for (name, value) in headers {
        // CONNECT knows no escapes (STOMP 1.2, "Value Encoding").
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str("\n\0");
    output.extend_from_slice(text.as_bytes());
}

/// Appends a SUBSCRIBE with id 0 that asks for the receipt `subscribed`.
pub fn encode_subscribe(destination: &str, history: u32, output: &mut Vec<u8>) {
    let history = if history == 0 { String::new() } else { format!("history:{history}\n") };
    let text =
        format!("SUBSCRIBE\nid:0\ndestination:{destination}\n{history}receipt:subscribed\n\n\0");
    output.extend_from_slice(text.as_bytes());
}

/// Appends a SEND; with `receipt` it asks for that receipt.
pub fn encode_send(destination: &str, receipt: Option<u64>, body: &[u8], output: &mut Vec<u8>) {
    let receipt = receipt.map_or_else(String::new, |receipt| format!("receipt:{receipt}\n"));
    let text = format!(
        "SEND\ndestination:{destination}\ncontent-type:text/plain\n{receipt}content-length:{}\n\n",
        body.len()
    );
    output.extend_from_slice(text.as_bytes());
    output.extend_from_slice(body);
    output.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &[u8], expected: Result<(&str, &str), Error>) {
        let parsed = Inbound::parse(message).map(|inbound| match inbound {
            Inbound::HeartBeat => ("", ""),
            Inbound::Frame(frame) => (
                std::str::from_utf8(frame.command).unwrap(),
                std::str::from_utf8(frame.body).unwrap(),
            ),
        });
        assert_eq!(parsed, expected);
    }

    #[test]
    fn frames_are_read_with_and_without_a_length() {
        check(b"\n", Ok(("", "")));
        check(b"RECEIPT\nreceipt-id:1\n\n\0", Ok(("RECEIPT", "")));
        check(b"MESSAGE\r\na:b\r\n\r\nbody\0\n\r\n", Ok(("MESSAGE", "body")));
        check(b"MESSAGE\ncontent-length:3\n\na\0b\0", Ok(("MESSAGE", "a\0b")));
    }

    #[test]
    fn what_is_not_exactly_one_frame_is_an_error() {
        check(b"MESSAGE\ncontent-length:2\n\nabc\0", Err(Error::ContentLength));
        check(b"MESSAGE\ncontent-length:4\n\nabc\0", Err(Error::Incomplete));
        check(b"MESSAGE\ncontent-length:x\n\nabc\0", Err(Error::ContentLength));
        check(b"MESSAGE\n\nabc\0MESSAGE\n\nabc\0", Err(Error::Trailing));
        check(b"", Err(Error::Incomplete));
    }

    #[test]
    fn every_prefix_of_a_frame_is_incomplete() {
        let whole = b"MESSAGE\nsubscription:0\ncontent-length:4\n\nbody\0";
        for cut in 0..whole.len() {
            check(&whole[..cut], Err(Error::Incomplete));
        }
    }

    #[test]
    fn the_first_of_repeated_headers_counts_and_names_match_whole() {
        let message = b"MESSAGE\nid-x:0\nid:1\nid:2\n\n\0";
        let Inbound::Frame(frame) = Inbound::parse(message).unwrap() else {
            panic!("a frame was sent")
        };
        assert_eq!(frame.header("id"), Some(&b"1"[..]));
        assert_eq!(frame.header("i"), None);
    }

    #[test]
    fn what_is_sent_parses_back() {
        let mut sent = Vec::new();
        encode_send("/app/room.1", Some(7), b"a\0b", &mut sent);
        check(&sent, Ok(("SEND", "a\0b")));
        sent.clear();
        encode_subscribe("/topic/room.1", 0, &mut sent);
        check(&sent, Ok(("SUBSCRIBE", "")));
        sent.clear();
        encode_connect("localhost", 0, &[], &mut sent);
        check(&sent, Ok(("CONNECT", "")));
    }
}
