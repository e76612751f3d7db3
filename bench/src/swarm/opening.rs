//! Opening connections: many at once, each up to the point where a scenario can begin.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;
use tungstenite::handshake::client::generate_key;

use crate::clock;
use crate::latency::Latencies;
use crate::speech::Client;
use crate::speech::Speech;
use crate::speech::Stage;
use crate::speech::Step;
use crate::swarm::Connection;
use crate::swarm::Inbox;
use crate::swarm::Incoming;
use crate::swarm::Swarm;
use crate::swarm::inbox::REFUSED_UPGRADE;
use crate::swarm::stream::Stream;
use crate::url::Url;

/// One source address has some 28,000 ports, and those of an earlier run stay taken for a minute.
const CONNECTIONS_PER_SOURCE: usize = 5_000;
/// Loopback addresses that are used as sources: 127.0.0.2 and up.
const SOURCES_COUNT: usize = 200;
/// How often the caller hears of the progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// How to open connections.
#[derive(Clone)]
pub struct Opening<'a> {
    /// Where to.
    pub url: &'a Url,
    /// What to say there.
    pub speech: &'a Speech,
    /// What to believe of a server with TLS.
    pub tls: Arc<ClientConfig>,
    /// Local addresses to spread the connections over; empty chooses.
    pub sources: &'a [Ipv4Addr],
    /// Connections that may be between connect and ready at one time; 0 is all.
    pub in_flight: usize,
    /// All must be ready within this time.
    pub timeout: Duration,
    /// Receive buffer of clients that will stop reading.
    pub slow_buffer: usize,
    /// Since when all clients want to be connected; otherwise each since its turn. Then a refusal
    /// is counted, not the end of the run, and with a duration the client tries again after it.
    pub storm: Option<(Instant, Option<Duration>)>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Time until each was ready.
    pub ready: Latencies,
    /// Attempts that failed, by what the server or the socket said.
    pub failures: BTreeMap<String, u64>,
    /// Clients that are ready.
    pub ready_count: usize,
    /// When the last one was.
    pub ready_at: Option<Instant>,
    /// Clients that were refused, as they must be.
    pub refused_count: u64,
    /// Messages that came before their subscription was confirmed.
    pub replayed_count: u64,
}

/// One client on its way.
#[derive(Clone, Copy)]
struct Attempt {
    stage: Stage,
    began_at: Instant,
}

impl Swarm {
    /// Opens a connection for each of `clients`, the first as number `first` of this swarm: over
    /// old ones that have ended, or behind the last. Returns when all are ready: upgraded,
    /// connected and subscribed with a confirmation. `on_progress` hears how many are.
    ///
    /// # Errors
    ///
    /// A connection was refused or ended, or not all were ready in time; in a storm, nobody was.
    pub fn open(
        &mut self,
        opening: &Opening<'_>,
        first: usize,
        clients: &[Client],
        on_progress: &mut dyn FnMut(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Opened> {
        let mut queue = Queue::new(opening, clients);
        self.make_places(first + clients.len());
        let mut progress_at = clock::now() + PROGRESS_EVERY;
        let deadline = clock::now() + opening.timeout;
        while queue.is_busy() {
            let now = clock::now();
            if deadline <= now {
                queue.give_up()?;
                break;
            }
            if progress_at <= now {
                progress_at = now + PROGRESS_EVERY;
                on_progress(queue.opened.ready_count)?;
            }
            // Starting many takes time in which those already started wait to be read.
            for _ in 0..64 {
                let Some(position) = queue.next(now) else { break };
                if let Err(error) = self.start(opening, first + position, clients[position]) {
                    queue.fail(position, &format!("{error:#}"), now)?;
                }
            }
            let timeout = if queue.has_next(now) { Duration::ZERO } else { PROGRESS_EVERY / 10 };
            let mut heart_beats = self.heart_beats;
            self.poll(timeout, &mut |outlet, index, incoming| {
                let position = index.checked_sub(first).filter(|it| *it < clients.len());
                let Some(position) = position else { return Ok(()) };
                let Some(step) = queue.step(position, incoming, outlet.now)? else { return Ok(()) };
                for text in &step.texts {
                    outlet.message(text);
                }
                heart_beats = step.heart_beats.or(heart_beats);
                Ok(())
            })?;
            self.heart_beats = heart_beats;
        }
        if opening.storm.is_some() {
            // They are told as failures of the storm.
            self.closings.clear();
        }
        Ok(queue.opened)
    }

    fn start(&mut self, opening: &Opening<'_>, index: usize, client: Client) -> anyhow::Result<()> {
        let socket = connect(opening, client).with_context(|| {
            format!("cannot connect to {} (connection {})", opening.url, client.number)
        })?;
        let now = clock::now();
        let key = generate_key();
        let tls = match opening.url.is_tls {
            false => None,
            true => {
                let name = ServerName::try_from(opening.url.name().to_owned())?;
                let mut tls = ClientConnection::new(Arc::clone(&opening.tls), name)?;
                tls.set_buffer_limit(None);
                Some(tls)
            }
        };
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &socket, data, EventFlags::IN | EventFlags::OUT)
            .context("cannot watch a socket")?;
        let connection = Connection {
            stream: Some(Stream::new(socket, tls)),
            inbox: Inbox::new(&key),
            outbox: opening.speech.head(client, &key).into_bytes(),
            awaits_room: true,
            is_paused: false,
            heard_at: now,
            said_at: now,
        };
        let old = &mut self.connections[index];
        self.open_count -= usize::from(old.stream.is_some());
        *old = connection;
        self.open_count += 1;
        Ok(())
    }
}

/// Who is on the way and who waits for it.
struct Queue<'a> {
    opening: &'a Opening<'a>,
    clients: &'a [Client],
    attempts: Vec<Option<Attempt>>,
    is_ready: Vec<bool>,
    under_way_count: usize,
    /// Positions that wait, with the time before which they do not start.
    waiting: VecDeque<(Instant, usize)>,
    opened: Opened,
}

impl<'a> Queue<'a> {
    fn new(opening: &'a Opening<'a>, clients: &'a [Client]) -> Self {
        let now = clock::now();
        Self {
            opening,
            clients,
            attempts: vec![None; clients.len()],
            is_ready: vec![false; clients.len()],
            under_way_count: 0,
            waiting: mixed(clients).into_iter().map(|position| (now, position)).collect(),
            opened: Opened::default(),
        }
    }

    fn is_busy(&self) -> bool {
        self.under_way_count != 0 || !self.waiting.is_empty()
    }

    fn has_next(&self, now: Instant) -> bool {
        let has_room = self.opening.in_flight == 0 || self.under_way_count < self.opening.in_flight;
        has_room && self.waiting.front().is_some_and(|(from, _)| *from <= now)
    }

    fn next(&mut self, now: Instant) -> Option<usize> {
        if !self.has_next(now) {
            return None;
        }
        let (_, position) = self.waiting.pop_front()?;
        self.attempts[position] = Some(Attempt { stage: Stage::Upgrading, began_at: now });
        self.under_way_count += 1;
        Some(position)
    }

    /// What the client at `position` does now; `None` when it is not on its way.
    fn step(
        &mut self,
        position: usize,
        incoming: Incoming<'_>,
        now: Instant,
    ) -> anyhow::Result<Option<Step>> {
        let Some(attempt) = self.attempts[position] else {
            if let (Incoming::Closed(why), true) = (incoming, self.is_ready[position]) {
                let why = format!("ended after it was ready: {why}");
                *self.opened.failures.entry(why).or_default() += 1;
            }
            return Ok(None);
        };
        let client = self.clients[position];
        if client.is_rejected
            && let Some(step) = self.step_rejected(position, client, attempt, incoming)
        {
            return Ok(step);
        }
        let step = match incoming {
            Incoming::Upgraded => Ok(self.opening.speech.upgraded(client)),
            Incoming::Message(message) => {
                self.opened.replayed_count += u64::from(message.starts_with(b"MESSAGE\n"));
                self.opening.speech.answered(client, attempt.stage, message)
            }
            Incoming::Ping(_) => return Ok(None),
            Incoming::Closed(why) => Err(anyhow::anyhow!("{why}")),
        };
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                self.fail(position, &format!("{error:#}"), now)?;
                return Ok(None);
            }
        };
        if step.stage == Stage::Ready {
            self.attempts[position] = None;
            self.is_ready[position] = true;
            self.under_way_count -= 1;
            let began_at = self.opening.storm.map_or(attempt.began_at, |(began_at, _)| began_at);
            self.opened.ready.record(clock::elapsed_ns(began_at, now));
            self.opened.ready_count += 1;
            self.opened.ready_at = Some(now);
        } else {
            self.attempts[position] = Some(Attempt { stage: step.stage, ..attempt });
        }
        Ok(Some(step))
    }

    /// What comes of a client that must be refused: a status that refuses its upgrade, or the end
    /// of its connection after it, is what is wanted. What the server says before the end is not
    /// looked at.
    fn step_rejected(
        &mut self,
        position: usize,
        client: Client,
        attempt: Attempt,
        incoming: Incoming<'_>,
    ) -> Option<Option<Step>> {
        let is_upgraded = attempt.stage != Stage::Upgrading;
        match incoming {
            Incoming::Closed(why) if is_upgraded || why.starts_with(REFUSED_UPGRADE) => {
                self.attempts[position] = None;
                self.under_way_count -= 1;
                self.opened.refused_count += 1;
                Some(None)
            }
            Incoming::Message(message) if is_upgraded => {
                let answer = self.opening.speech.answered(client, attempt.stage, message);
                match answer {
                    Ok(step) if step.stage != attempt.stage => {
                        let why = "let in with a token that must be refused".to_owned();
                        *self.opened.failures.entry(why).or_default() += 1;
                        self.attempts[position] = None;
                        self.under_way_count -= 1;
                    }
                    Ok(_) | Err(_) => {}
                }
                Some(None)
            }
            Incoming::Upgraded | Incoming::Message(_) | Incoming::Ping(_) | Incoming::Closed(_) => {
                None
            }
        }
    }

    fn fail(&mut self, position: usize, why: &str, now: Instant) -> anyhow::Result<()> {
        let number = self.clients[position].number;
        let Some((_, retry_after)) = self.opening.storm else {
            anyhow::bail!("client {number} of {}: {why}", self.clients.len());
        };
        self.attempts[position] = None;
        self.under_way_count -= 1;
        *self.opened.failures.entry(why.to_owned()).or_default() += 1;
        if let Some(after) = retry_after {
            self.waiting.push_back((now + after, position));
        }
        Ok(())
    }

    fn give_up(&mut self) -> anyhow::Result<()> {
        let (ready_count, count) = (self.opened.ready_count, self.clients.len());
        let timeout = self.opening.timeout;
        let why = format!("only {ready_count} of {count} clients were ready after {timeout:?}");
        anyhow::ensure!(self.opening.storm.is_some() && 0 < ready_count, "{why}");
        let late_count = (count - ready_count) as u64;
        self.opened.failures.insert(format!("not ready after {timeout:?}"), late_count);
        Ok(())
    }
}

/// Positions of `clients` in the order in which they start: those that must be refused are spread
/// evenly among the others.
fn mixed(clients: &[Client]) -> Vec<usize> {
    let rejected_count = clients.iter().filter(|it| it.is_rejected).count();
    let counts = [clients.len() - rejected_count, rejected_count];
    let mut places = [0_usize; 2];
    let mut order: Vec<(u64, usize)> = Vec::with_capacity(clients.len());
    for (position, client) in clients.iter().enumerate() {
        let kind = usize::from(client.is_rejected);
        // The middle of its share, in parts of a whole.
        let share = (2 * places[kind] as u64 + 1) * 1_000_000 / (2 * counts[kind] as u64);
        places[kind] += 1;
        order.push((share, position));
    }
    order.sort_unstable();
    order.into_iter().map(|(_, position)| position).collect()
}

fn connect(opening: &Opening<'_>, client: Client) -> anyhow::Result<TcpStream> {
    let address = opening.url.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)
        .context("no socket: is the limit of open files (ulimit -n) too low?")?;
    socket.set_tcp_nodelay(true)?;
    if client.is_slow && opening.slow_buffer != 0 {
        socket.set_recv_buffer_size(opening.slow_buffer)?;
    }
    if let Some(source) = source_of(opening, client) {
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

fn source_of(opening: &Opening<'_>, client: Client) -> Option<Ipv4Addr> {
    let number = client.number;
    let group = number / CONNECTIONS_PER_SOURCE;
    if !opening.sources.is_empty() {
        return Some(opening.sources[number % opening.sources.len()]);
    }
    let IpAddr::V4(target) = opening.url.address.ip() else { return None };
    if !target.is_loopback() {
        return None;
    }
    // Runs that follow each other begin at different addresses.
    let run = usize::try_from(std::process::id()).unwrap_or_default();
    let last = u8::try_from(2 + (run + group) % SOURCES_COUNT).unwrap_or(1);
    Some(Ipv4Addr::new(127, 0, u8::from(client.is_rejected), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_must_be_refused_come_among_the_others() {
        let client = |number| Client { number, is_rejected: 6 <= number, ..Client::default() };
        let clients: Vec<Client> = (0..9).map(client).collect();
        assert_eq!(mixed(&clients), [0, 6, 1, 2, 7, 3, 4, 8, 5]);
        assert_eq!(mixed(&clients[..3]), [0, 1, 2]);
    }
}
