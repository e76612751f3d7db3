//! A client of Redis that blocks: one command, one reply; or what a subscriber is pushed.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use crate::support::PATIENCE;

/// One value of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `+`: a status.
    Status(String),
    /// `-`: an error.
    Error(String),
    /// `:`: a number.
    Number(i64),
    /// `$`: bytes.
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`: nothing.
    Null,
    /// `*`: a list.
    List(Vec<Reply>),
}

impl Reply {
    /// The text of a status or of bulk bytes.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Status(text) => text,
            Self::Bulk(bytes) => std::str::from_utf8(bytes).expect("this reply is text"),
            Self::Error(_) | Self::Number(_) | Self::Null | Self::List(_) => {
                panic!("no text: {self:?}")
            }
        }
    }

    /// The number.
    #[track_caller]
    pub(crate) fn number(&self) -> i64 {
        let Self::Number(number) = self else { panic!("no number: {self:?}") };
        *number
    }

    /// The items of a list.
    #[track_caller]
    pub(crate) fn list(&self) -> &[Reply] {
        let Self::List(items) = self else { panic!("no list: {self:?}") };
        items
    }
}

/// One connection to a Redis.
pub(crate) struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    /// Connects without a password.
    pub(crate) fn connect(host: &str, port: u16) -> Self {
        Self::try_connect(host, port).expect("a started Redis accepts")
    }

    /// Connects to a Redis that may not be there.
    pub(crate) fn try_connect(host: &str, port: u16) -> Option<Self> {
        let stream = TcpStream::connect((host, port)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and reads its reply, which may be an error; `None` when the stream ends.
    pub(crate) fn try_ask<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Option<Reply> {
        self.send(parts)?;
        self.read()
    }

    /// Sends one command and reads its reply, which must not be an error.
    #[track_caller]
    pub(crate) fn ask<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Reply {
        let reply = self.try_ask(parts).expect("Redis answers");
        let command = || parts.iter().map(|it| String::from_utf8_lossy(it.as_ref()).into_owned());
        let failed = matches!(reply, Reply::Error(_));
        assert!(!failed, "{:?}: {reply:?}", command().collect::<Vec<_>>());
        reply
    }

    /// Publishes, and returns how many subscribers of this Redis it went to.
    #[track_caller]
    pub(crate) fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) -> i64 {
        self.ask(&[b"PUBLISH", channel.as_bytes(), payload.as_ref()]).number()
    }

    /// Subscribes to `channels` and reads the confirmations.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, channels: &[&str]) {
        let mut parts = vec!["SUBSCRIBE"];
        parts.extend(channels);
        self.send(&parts).expect("Redis reads");
        for _ in channels {
            self.read().expect("a confirmation comes");
        }
    }

    /// The next message of a subscriber: its channel and its payload.
    #[track_caller]
    pub(crate) fn message(&mut self) -> (String, Vec<u8>) {
        let push = self.read().expect("a message comes");
        let [kind, channel, Reply::Bulk(payload)] = push.list() else { panic!("{push:?}") };
        assert_eq!(kind.text(), "message", "{push:?}");
        (channel.text().to_owned(), payload.clone())
    }

    /// How many connections are subscribed to exactly `channel`.
    #[track_caller]
    pub(crate) fn subscribers_count(&mut self, channel: &str) -> i64 {
        self.ask(&["PUBSUB", "NUMSUB", channel]).list()[1].number()
    }

    /// The figure called `name` on the page `section` of INFO.
    #[track_caller]
    pub(crate) fn info(&mut self, section: &str, name: &str) -> String {
        let page = self.ask(&["INFO", section]).text().to_owned();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }

    /// How often `command` was called since the counts were reset.
    #[track_caller]
    pub(crate) fn calls_count(&mut self, command: &str) -> u64 {
        let line = self.info("commandstats", &format!("cmdstat_{command}"));
        let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a count is a number"))
    }

    /// Sends one command; `None` when the stream has ended.
    pub(crate) fn send<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Option<()> {
        let mut command = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            let part = part.as_ref();
            command.extend(format!("${}\r\n", part.len()).into_bytes());
            command.extend(part);
            command.extend(b"\r\n");
        }
        self.stream.get_mut().write_all(&command).ok()
    }

    /// Reads one value; `None` when the stream ends or nothing comes in time.
    pub(crate) fn read(&mut self) -> Option<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let line = line.strip_suffix("\r\n")?;
        let (kind, rest) = line.split_at_checked(1)?;
        let reply = match kind {
            "+" => Reply::Status(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(rest.parse().ok()?),
            "$" | "*" if rest == "-1" => Reply::Null,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().ok()? + 2];
                self.stream.read_exact(&mut bytes).ok()?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => {
                let count: usize = rest.parse().ok()?;
                Reply::List((0..count).map(|_| self.read()).collect::<Option<_>>()?)
            }
            _ => panic!("no RESP2: {line:?}"),
        };
        Some(reply)
    }
}
