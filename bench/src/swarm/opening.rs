//! Opening connections: many at once, each up to the point where a scenario can begin.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use clap::ValueEnum;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use serde::Serialize;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;
use tungstenite::handshake::client::generate_key;

use crate::clock;
use crate::stomp;
use crate::stomp::Inbound;
use crate::swarm::Connection;
use crate::swarm::Inbox;
use crate::swarm::Incoming;
use crate::swarm::Swarm;
use crate::url::Url;

/// Connections that are between connect and ready at one time; servers queue some hundreds.
const OPENING_COUNT_MAX: usize = 256;
/// One source address has some 28,000 ports, and those of an earlier run stay taken for a minute.
const CONNECTIONS_PER_SOURCE: usize = 5_000;
/// Loopback addresses that are used as sources: 127.0.0.2 and up.
const SOURCES_COUNT: usize = 200;
/// How often the terminal hears of the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What the server speaks on top of WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// STOMP 1.2: sessions subscribe with a receipt.
    Stomp,
    /// Bare text messages: `subscribe`, answered by `subscribed`, and from then on what is sent.
    Plain,
}

/// How to open connections.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Where to.
    pub url: &'a Url,
    /// What to say there.
    pub dialect: Dialect,
    /// STOMP heart-beats offered and wanted; 0 is none.
    pub heart_beat_ms: u32,
    /// Local addresses to spread the connections over; empty chooses.
    pub sources: &'a [Ipv4Addr],
    /// All must be ready within this time.
    pub timeout: Duration,
}

impl Swarm {
    /// Opens `count` more connections; `destination` says what each subscribes to, by its position
    /// among the new ones. Returns when all are ready: upgraded, and with STOMP connected and
    /// subscribed with a receipt.
    ///
    /// # Errors
    ///
    /// A connection was refused or ended, or not all were ready in time.
    pub fn open(
        &mut self,
        opening: &Opening<'_>,
        count: usize,
        destination: impl Fn(usize) -> Option<String>,
    ) -> anyhow::Result<()> {
        let first = self.connections.len();
        let deadline = clock::now() + opening.timeout;
        let mut progress_at = clock::now() + PROGRESS_EVERY;
        let mut started_count = 0;
        let mut ready_count = 0;
        let mut heart_beats = self.heart_beats;
        while ready_count < count {
            let now = clock::now();
            anyhow::ensure!(
                now < deadline,
                "only {ready_count} of {count} connections were ready after {:?}",
                opening.timeout
            );
            if progress_at <= now {
                eprintln!("  {ready_count} of {count} connections are ready");
                progress_at = now + PROGRESS_EVERY;
            }
            while started_count < count && started_count < ready_count + OPENING_COUNT_MAX {
                self.start(opening, started_count, now)?;
                started_count += 1;
            }
            self.poll(Duration::from_millis(100), &mut |outlet, index, incoming| {
                let Some(position) = index.checked_sub(first) else { return Ok(()) };
                let step = next_step(opening, incoming, &mut heart_beats, || destination(position))
                    .with_context(|| format!("connection {position} of {count}"))?;
                match step {
                    Step::Ready => ready_count += 1,
                    Step::Say(text) => outlet.text(&text),
                    Step::Wait => {}
                }
                Ok(())
            })?;
        }
        self.heart_beats = heart_beats;
        Ok(())
    }

    fn start(
        &mut self,
        opening: &Opening<'_>,
        position: usize,
        now: Instant,
    ) -> anyhow::Result<()> {
        let stream = connect(opening, position).with_context(|| {
            format!("cannot connect to {} (connection {position})", opening.url)
        })?;
        let key = generate_key();
        let protocol = match opening.dialect {
            Dialect::Stomp => "Sec-WebSocket-Protocol: v12.stomp\r\n",
            Dialect::Plain => "",
        };
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n",
            opening.url.path, opening.url.host
        );
        let data = EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &stream, data, EventFlags::IN | EventFlags::OUT)
            .context("cannot watch a socket")?;
        self.connections.push(Connection {
            stream: Some(stream),
            inbox: Inbox::new(&key),
            outbox: head.into_bytes(),
            awaits_room: true,
            heard_at: now,
            said_at: now,
        });
        Ok(())
    }
}

/// What an opening connection does next.
enum Step {
    Say(Vec<u8>),
    Wait,
    Ready,
}

fn next_step(
    opening: &Opening<'_>,
    incoming: Incoming<'_>,
    heart_beats: &mut Option<(Duration, Duration)>,
    destination: impl FnOnce() -> Option<String>,
) -> anyhow::Result<Step> {
    let message = match (incoming, opening.dialect) {
        (Incoming::Closed(why), _) => anyhow::bail!("{why}"),
        // A subscriber speaks first here too. TCP acknowledges less on connections that both ends
        // have spoken on, so a client that only listens would make the peer's sends look cheaper.
        (Incoming::Upgraded, Dialect::Plain) => {
            return Ok(destination().map_or(Step::Ready, |_| Step::Say(b"subscribe".to_vec())));
        }
        (Incoming::Message(b"subscribed"), Dialect::Plain) => return Ok(Step::Ready),
        (Incoming::Upgraded, Dialect::Stomp) => {
            let mut text = Vec::new();
            stomp::encode_connect(&opening.url.host, opening.heart_beat_ms, &mut text);
            return Ok(Step::Say(text));
        }
        (Incoming::Message(_) | Incoming::Ping(_), Dialect::Plain) => return Ok(Step::Wait),
        (Incoming::Ping(_), Dialect::Stomp) => return Ok(Step::Wait),
        (Incoming::Message(message), Dialect::Stomp) => message,
    };
    let Inbound::Frame(frame) = Inbound::parse(message)? else { return Ok(Step::Wait) };
    match frame.command {
        b"CONNECTED" => {
            *heart_beats = Some(agree(opening.heart_beat_ms, frame.header("heart-beat")));
            let Some(destination) = destination() else { return Ok(Step::Ready) };
            let mut text = Vec::new();
            stomp::encode_subscribe(&destination, &mut text);
            Ok(Step::Say(text))
        }
        b"RECEIPT" if frame.header("receipt-id") == Some(b"subscribed") => Ok(Step::Ready),
        b"MESSAGE" => Ok(Step::Wait),
        _ => anyhow::bail!("the server answered {}", frame.summary()),
    }
}

/// How often the server speaks and how often we do, from our wish and its answer (STOMP 1.2,
/// "Heart-beating").
fn agree(ours_ms: u32, answer: Option<&[u8]>) -> (Duration, Duration) {
    let answer = answer.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("0,0");
    let (can, wants) = answer.split_once(',').unwrap_or(("0", "0"));
    let slower = |theirs: &str| {
        let theirs_ms: u32 = theirs.trim().parse().unwrap_or(0);
        let is_on = ours_ms != 0 && theirs_ms != 0;
        Duration::from_millis(if is_on { u64::from(ours_ms.max(theirs_ms)) } else { 0 })
    };
    (slower(can), slower(wants))
}

fn connect(opening: &Opening<'_>, position: usize) -> anyhow::Result<TcpStream> {
    let address = opening.url.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)
        .context("no socket: is the limit of open files (ulimit -n) too low?")?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source_of(opening, position) {
        // The port is chosen by connect, which knows the other end and may share ports.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket
            .bind(&SocketAddr::from((source, 0)).into())
            .with_context(|| format!("cannot use {source} as a source address"))?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket.into())
}

fn source_of(opening: &Opening<'_>, position: usize) -> Option<Ipv4Addr> {
    let group = position / CONNECTIONS_PER_SOURCE;
    if !opening.sources.is_empty() {
        return Some(opening.sources[position % opening.sources.len()]);
    }
    let IpAddr::V4(target) = opening.url.address.ip() else { return None };
    if !target.is_loopback() {
        return None;
    }
    // Runs that follow each other begin at different addresses.
    let run = usize::try_from(std::process::id()).unwrap_or_default();
    let last = u8::try_from(2 + (run + group) % SOURCES_COUNT).unwrap_or(1);
    Some(Ipv4Addr::new(127, 0, 0, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_wish_sets_a_heart_beat_and_zero_on_either_side_stops_it() {
        let ms = Duration::from_millis;
        assert_eq!(agree(10_000, Some(b"25000,5000")), (ms(25_000), ms(10_000)));
        assert_eq!(agree(10_000, Some(b"0,5000")), (ms(0), ms(10_000)));
        assert_eq!(agree(0, Some(b"25000,5000")), (ms(0), ms(0)));
        assert_eq!(agree(10_000, None), (ms(0), ms(0)));
    }

    #[test]
    fn sources_are_spread_on_loopback_and_left_alone_elsewhere() {
        let url: Url = "ws://127.0.0.1:1/".parse().unwrap();
        let far: Url = "ws://192.0.2.1:1/".parse().unwrap();
        let opening = |url| Opening {
            url,
            dialect: Dialect::Plain,
            heart_beat_ms: 0,
            sources: &[],
            timeout: Duration::from_secs(1),
        };
        let near = opening(&url);
        assert_eq!(source_of(&near, 0), source_of(&near, CONNECTIONS_PER_SOURCE - 1));
        assert_ne!(source_of(&near, 0), source_of(&near, CONNECTIONS_PER_SOURCE));
        assert_eq!(source_of(&opening(&far), 0), None);
        let given = [Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::new(127, 0, 0, 10)];
        let given = Opening { sources: &given, ..near };
        assert_eq!(source_of(&given, 3), Some(Ipv4Addr::new(127, 0, 0, 10)));
    }
}
