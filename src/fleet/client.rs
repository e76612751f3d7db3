//! One connection to Redis that blocks: a question, its answer, the next question.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::time::Duration;

use crate::fleet::Servers;
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
    /// The texts of an array, and what is none.
    Items(Vec<Option<String>>),
    Other,
}

/// One command and its arguments.
pub(super) type Command = Vec<Vec<u8>>;

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(out, "{number}"),
            Self::Error(text) => out.write_str(text),
            Self::Items(_) | Self::Other => out.write_str("something else"),
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

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Client {
    /// A connection to the first of the servers that takes writes, or to any of a cluster.
    pub(super) fn connect(servers: &Servers) -> Result<Self, String> {
        let mut whys = Vec::new();
        for (host, port) in &servers.addresses {
            match Self::open(servers, host, *port) {
                Ok(client) => return Ok(client),
                Err(why) => whys.push(format!("Redis at {host}:{port}: {why}")),
            }
        }
        Err(whys.join("; "))
    }

    fn open(servers: &Servers, host: &str, port: u16) -> Result<Self, String> {
        let stream = connect(host, port)?;
        let told = |error: io::Error| error.to_string();
        stream.set_read_timeout(Some(STEP_TIMEOUT)).map_err(told)?;
        stream.set_write_timeout(Some(STEP_TIMEOUT)).map_err(told)?;
        let mut client = Self { stream, tls: None, received: Vec::new(), host: host.into() };
        if let Some(tls) = &servers.tls {
            let name = tls.server_name.as_deref().unwrap_or(host);
            let mut greeting = Vec::new();
            let session = Session::client(&tls.config, name, &mut greeting);
            client.tls = Some(session.map_err(|error| error.to_string())?);
            client.write(&greeting)?;
            while client.tls.as_ref().is_some_and(Session::is_handshaking) {
                client.receive()?;
            }
        }
        if let Some(password) = &servers.password {
            let password = password.reveal().as_bytes();
            let reply = match &servers.user {
                None => client.ask(&[b"AUTH", password])?,
                Some(user) => client.ask(&[b"AUTH", user.as_bytes(), password])?,
            };
            if let Reply::Error(text) = reply {
                return Err(text);
            }
        }
        // What a replica is told is not heard elsewhere. A cluster leads to the master by itself.
        if !servers.is_sharded
            && let Reply::Items(role) = client.ask(&[b"ROLE"])?
            && let Some(Some(role)) = role.first()
            && role != "master"
        {
            return Err(format!("it is no primary but \"{role}\""));
        }
        Ok(client)
    }

    /// Asks whoever has the key of a command: the cluster says who that is.
    pub(super) fn ask_owner(
        &mut self,
        servers: &Servers,
        parts: &[&[u8]],
    ) -> Result<Reply, String> {
        let command = parts.iter().map(|it| it.to_vec()).collect();
        let mut replies = self.ask_owner_all(servers, &[command])?;
        Ok(replies.pop().unwrap_or(Reply::Other))
    }

    /// The same of several commands, whose keys have one owner: all are sent at once, and all again
    /// when another server has the keys.
    pub(super) fn ask_owner_all(
        &mut self,
        servers: &Servers,
        commands: &[Command],
    ) -> Result<Vec<Reply>, String> {
        for _ in 0..REDIRECTS_MAX {
            let replies = self.ask_all(commands)?;
            let refused = replies.iter().find_map(|it| match it {
                Reply::Error(text) => Some(text),
                Reply::Integer(_) | Reply::Items(_) | Reply::Other => None,
            });
            let Some(text) = refused else { return Ok(replies) };
            let Some((host, port)) = redirect(text, &self.host) else {
                return Err(format!("Redis refuses it: {text}"));
            };
            *self = Self::open(servers, &host, port)
                .map_err(|why| format!("Redis at {host}:{port}: {why}"))?;
        }
        Err("the cluster sends the question in a circle".to_owned())
    }

    fn ask(&mut self, parts: &[&[u8]]) -> Result<Reply, String> {
        let mut plain = Vec::new();
        resp::push_command(&mut plain, parts);
        self.say(&plain)?;
        self.hear()
    }

    fn ask_all(&mut self, commands: &[Command]) -> Result<Vec<Reply>, String> {
        let mut plain = Vec::new();
        for command in commands {
            let parts: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            resp::push_command(&mut plain, &parts);
        }
        self.say(&plain)?;
        commands.iter().map(|_| self.hear()).collect()
    }

    fn say(&mut self, plain: &[u8]) -> Result<(), String> {
        let Some(tls) = &mut self.tls else { return self.write(plain) };
        let mut cipher = Vec::new();
        tls.send(plain, &mut cipher).map_err(|error| error.to_string())?;
        self.write(&cipher)
    }

    /// The next answer.
    fn hear(&mut self) -> Result<Reply, String> {
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
    let texts = |items: &[Value<'_>]| items.iter().map(|it| it.as_bytes().map(text)).collect();
    value.items().map_or(Reply::Other, |items| Reply::Items(texts(items)))
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
    fn an_answer_is_a_number_an_error_or_texts() {
        let check = |wire: &str, expected: Reply| {
            let (value, _) = resp::parse(wire.as_bytes(), &LIMITS).unwrap().unwrap();
            assert_eq!(reply_of(&value), expected);
        };
        check(":3\r\n", Reply::Integer(3));
        check("-ERR no\r\n", Reply::Error("ERR no".to_owned()));
        let items = vec![Some("master".to_owned()), None];
        check("*2\r\n$6\r\nmaster\r\n:9\r\n", Reply::Items(items));
        check("+OK\r\n", Reply::Other);
    }
}
