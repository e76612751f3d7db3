//! A back end that publishes through Redis: PUBLISH in a pipeline, replies counted.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;

use crate::clock;
use crate::plan::fill;

/// A connection to Redis must be there, and take what is written, within this time.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One publisher.
pub struct Redis {
    socket: TcpStream,
    channel: String,
    envelope: String,
    replies: Replies,
}

/// Counts replies to PUBLISH, from bytes in any pieces.
#[derive(Default)]
struct Replies {
    line: Vec<u8>,
    confirmed_count: u64,
    first_error: Option<String>,
}

impl Redis {
    /// Connects to `url`, `redis://[:PASSWORD@]HOST:PORT`.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or the password is wrong.
    pub fn connect(url: &str, channel: &str, envelope: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("redis://").context("a Redis URL begins with redis://")?;
        let (user, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let address = address.trim_end_matches('/');
        let socket = TcpStream::connect(address)
            .with_context(|| format!("cannot connect to Redis at {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let (channel, envelope) = (channel.to_owned(), envelope.to_owned());
        let mut redis = Self { socket, channel, envelope, replies: Replies::default() };
        if let Some((_, password)) = user.split_once(':') {
            redis.socket.write_all(&command(&[b"AUTH", password.as_bytes()]))?;
            let mut answer = [0; 128];
            let answer_bytes = redis.socket.read(&mut answer)?;
            anyhow::ensure!(
                answer.starts_with(b"+OK"),
                "Redis refuses the password: {}",
                String::from_utf8_lossy(&answer[..answer_bytes]).trim()
            );
        }
        redis.socket.set_nonblocking(true)?;
        Ok(redis)
    }

    /// Publishes `body` for `room`.
    ///
    /// # Errors
    ///
    /// Redis is gone, or has not read for some seconds.
    pub fn publish(&mut self, room: usize, body: &[u8]) -> anyhow::Result<()> {
        let (room0, room) = (room.to_string(), (room + 1).to_string());
        let now_ms = clock::unix_ms().to_string();
        let body = String::from_utf8_lossy(body);
        let values = [("room", &*room), ("room0", &*room0), ("now_ms", &*now_ms), ("body", &*body)];
        let channel = fill(&self.channel, &values);
        let envelope = fill(&self.envelope, &values);
        let command = command(&[b"PUBLISH", channel.as_bytes(), envelope.as_bytes()]);
        self.socket.set_nonblocking(false)?;
        let written = self.socket.write_all(&command).context("Redis is gone or does not read");
        self.socket.set_nonblocking(true)?;
        written
    }

    /// Counts from nothing again; called when nothing is under way.
    pub fn forget(&mut self) {
        self.replies = Replies::default();
    }

    /// Messages that Redis has taken so far, and its first error.
    ///
    /// # Errors
    ///
    /// Redis is gone.
    pub fn confirmed(&mut self) -> anyhow::Result<(u64, Option<&str>)> {
        let mut input = [0; 4096];
        loop {
            match self.socket.read(&mut input) {
                Ok(0) => anyhow::bail!("Redis closed the connection"),
                Ok(bytes) => self.replies.feed(&input[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("Redis is gone"),
            }
        }
        Ok((self.replies.confirmed_count, self.replies.first_error.as_deref()))
    }
}

impl Replies {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if line.first() == Some(&b':') {
                self.confirmed_count += 1;
            } else {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                self.first_error.get_or_insert(text);
            }
        }
    }
}

/// One command of RESP: an array of bulk strings.
fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        assert_eq!(command(&[b"PUBLISH", b"c"]), b"*2\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n");
    }

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        let mut replies = Replies::default();
        for byte in b":1\r\n:20\r\n-ERR no\r\n:0\r\n" {
            replies.feed(&[*byte]);
        }
        assert_eq!((replies.confirmed_count, replies.first_error.as_deref()), (3, Some("-ERR no")));
    }
}
