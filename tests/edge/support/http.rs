//! Raw HTTP/1.1: a request as text, the answer as a status, its head and its body.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;

use super::PATIENCE;

/// A request that the server must accept: each refusal is this one with one line changed.
pub(crate) const UPGRADE: &str = "GET /ws HTTP/1.1\r\n\
    Host: edge.test\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The status line and the header lines.
    pub(crate) head: String,
    /// As many bytes as `Content-Length` says, or all until the end of the stream.
    pub(crate) body: String,
}

impl Response {
    /// The first value of the header called `name`, in any spelling.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The accepted request with `lines` added, each ended by CR LF.
pub(crate) fn upgrade_head(lines: &str) -> String {
    let open = UPGRADE.strip_suffix("\r\n").expect("a head ends in an empty line");
    format!("{open}{lines}\r\n")
}

/// Sends `request` on a connection of its own and reads the answer.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, request: &str) -> Response {
    let mut stream = TcpStream::connect(address).expect("the listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
    stream.write_all(request.as_bytes()).expect("the socket takes it");
    read_response(&mut stream).unwrap_or_else(|| {
        let start: String = request.chars().take(1_000).collect();
        panic!("no answer to {start:?}")
    })
}

/// Reads one answer and nothing past it; `None` when the stream ends or fails before one is whole.
pub(crate) fn read_response(stream: &mut TcpStream) -> Option<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.extend(byte),
            Ok(_) | Err(_) => return None,
        }
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line in {head:?}"));
    let mut response = Response { status, head, body: String::new() };
    let length = response.header("content-length").and_then(|value| value.parse::<u64>().ok());
    // The answer to an upgrade has no body: what follows it are frames (RFC 9110 §8.6).
    let body_bytes = if status == 101 { 0 } else { length.unwrap_or(u64::MAX) };
    stream.take(body_bytes).read_to_string(&mut response.body).ok()?;
    Some(response)
}
