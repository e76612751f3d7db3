//! One connection to Redis that blocks: a question, its answer, the next question.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::io::tls::Session;
use crate::proto::resp;
use crate::proto::resp::Value;

/// How long one step may take: a connect, a write, a read.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one question is sent on by a cluster.
const REDIRECTS_MAX: usize = 5;
/// Received at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Far larger than any answer to what is asked here.
const LIMITS: resp::Limits =
    resp::Limits { bulk_bytes_max: 64 * 1024, items_max: 4096, depth_max: 8 };

/// What was answered, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Integer(i64),
    Error(String),
    /// The first word of an array: what ROLE says.
    Words(String),
    Other,
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(out, "{number}"),
            Self::Error(text) => out.write_str(text),
            Self::Words(_) | Self::Other => out.write_str("something else"),
        }
    }
}

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    tls: Option<Session>,
    /// Plain bytes that belong to no answer yet.
    received: Vec<u8>,
    host: Box<str>,
}

impl Client {
    /// A connection to the first of the fleet's servers that takes writes, or to any of a cluster.
    pub(super) fn connect(fleet: &Fleet) -> Result<Self, String> {
        let mut whys = Vec::new();
        for (host, port) in &fleet.addresses {
            match Self::open(fleet, host, *port) {
                Ok(client) => return Ok(client),
                Err(why) => whys.push(format!("Redis at {host}:{port}: {why}")),
            }
        }
        Err(whys.join("; "))
    }

    fn open(fleet: &Fleet, host: &str, port: u16) -> Result<Self, String> {
        let stream = connect(host, port)?;
        let told = |error: io::Error| error.to_string();
        stream.set_read_timeout(Some(STEP_TIMEOUT)).map_err(told)?;
        stream.set_write_timeout(Some(STEP_TIMEOUT)).map_err(told)?;
        let mut client = Self { stream, tls: None, received: Vec::new(), host: host.into() };
        if let Some(tls) = &fleet.tls {
            let name = tls.server_name.as_deref().unwrap_or(host);
            let mut greeting = Vec::new();
            let session = Session::client(&tls.config, name, &mut greeting);
            client.tls = Some(session.map_err(|error| error.to_string())?);
            client.write(&greeting)?;
            while client.tls.as_ref().is_some_and(Session::is_handshaking) {
                client.receive()?;
            }
        }
        if let Some(password) = &fleet.password {
            let password = password.reveal().as_bytes();
            let reply = match &fleet.user {
                None => client.ask(&[b"AUTH", password])?,
                Some(user) => client.ask(&[b"AUTH", user.as_bytes(), password])?,
            };
            if let Reply::Error(text) = reply {
                return Err(text);
            }
        }
        // What a replica is told is not heard elsewhere. A cluster leads to the master by itself.
        if !fleet.is_sharded
            && let Reply::Words(role) = client.ask(&[b"ROLE"])?
            && role != "master"
        {
            return Err(format!("it is no primary but \"{role}\""));
        }
        Ok(client)
    }

    /// Asks whoever has the key of a command: the cluster says who that is.
    pub(super) fn ask_owner(&mut self, fleet: &Fleet, parts: &[&[u8]]) -> Result<Reply, String> {
        for _ in 0..REDIRECTS_MAX {
            let reply = self.ask(parts)?;
            let Reply::Error(text) = &reply else { return Ok(reply) };
            let Some((host, port)) = redirect(text, &self.host) else {
                return Err(format!("Redis refuses it: {text}"));
            };
            *self = Self::open(fleet, &host, port)
                .map_err(|why| format!("Redis at {host}:{port}: {why}"))?;
        }
        Err("the cluster sends the question in a circle".to_owned())
    }

    fn ask(&mut self, parts: &[&[u8]]) -> Result<Reply, String> {
        let mut plain = Vec::new();
        resp::push_command(&mut plain, parts);
        match &mut self.tls {
            None => self.write(&plain)?,
            Some(tls) => {
                let mut cipher = Vec::new();
                tls.send(&plain, &mut cipher).map_err(|error| error.to_string())?;
                self.write(&cipher)?;
            }
        }
        loop {
            let parsed = resp::parse(&self.received, &LIMITS);
            if let Some((value, end)) = parsed.map_err(|error| error.to_string())? {
                let reply = reply_of(&value);
                self.received.drain(..end);
                return Ok(reply);
            }
            self.receive()?;
        }
    }

    /// Waits for more bytes; with TLS they may be none that are of use yet.
    fn receive(&mut self) -> Result<(), String> {
        let mut piece = vec![0; PIECE_BYTES];
        let count = match self.stream.read(&mut piece) {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(count) => count,
            Err(error) => return Err(told(&error)),
        };
        piece.truncate(count);
        let Some(tls) = &mut self.tls else {
            self.received.append(&mut piece);
            return Ok(());
        };
        let mut out = Vec::new();
        let taken = tls.receive(&mut piece, &mut self.received, &mut out);
        self.write(&out)?;
        taken.map_err(|error| error.to_string())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| told(&error))
    }
}

fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, STEP_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = told(&error),
        }
    }
    Err(why)
}

fn told(error: &io::Error) -> String {
    // A socket's timeout is the one or the other, depending on the system.
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return "no answer in time".to_owned();
    }
    error.to_string()
}

fn reply_of(value: &Value<'_>) -> Reply {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Value::Error(bytes) = value {
        return Reply::Error(text(bytes));
    }
    if let Value::Integer(number) = value {
        return Reply::Integer(*number);
    }
    let first = value.items().and_then(<[_]>::first).and_then(Value::as_bytes);
    first.map_or(Reply::Other, |it| Reply::Words(text(it)))
}

/// Where a cluster sends the question; without a host it is another port of the one asked.
fn redirect(text: &str, asked: &str) -> Option<(Box<str>, u16)> {
    let place = text.strip_prefix("MOVED ")?.split(' ').nth(1)?;
    let (host, port) = place.rsplit_once(':')?;
    let host = if host.is_empty() || host == "?" { asked } else { host };
    Some((host.into(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_leads_to_another_address() {
        let found =
            |text: &str| redirect(text, "asked").map(|(host, port)| format!("{host} {port}"));
        assert_eq!(found("MOVED 1 10.0.0.1:6379").as_deref(), Some("10.0.0.1 6379"));
        assert_eq!(found("MOVED 1 ::1:6379").as_deref(), Some("::1 6379"));
        assert_eq!(found("MOVED 1 :6379").as_deref(), Some("asked 6379"));
        for text in ["ERR MOVED 1 a:1", "MOVED", "MOVED 1", "MOVED 1 a", "MOVED 1 a:b"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_is_a_number_an_error_or_words() {
        let check = |wire: &str, expected: Reply| {
            let (value, _) = resp::parse(wire.as_bytes(), &LIMITS).unwrap().unwrap();
            assert_eq!(reply_of(&value), expected);
        };
        check(":3\r\n", Reply::Integer(3));
        check("-ERR no\r\n", Reply::Error("ERR no".to_owned()));
        check("*2\r\n$6\r\nmaster\r\n:9\r\n", Reply::Words("master".to_owned()));
        check("+OK\r\n", Reply::Other);
    }
}
