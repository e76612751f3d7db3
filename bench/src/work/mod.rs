//! A process that makes load: it opens its share of the clients, does as it is told, and tells what
//! it found.
//!
//! Read this file (what all scenarios share), then `load` and `phase` (messages to subscribers),
//! `schedule` and `crowd` (what is sent when, and what arrived), `echo` and
//! `still` (those that send nothing). Nothing here looks at the server from outside: that is done
//! by `conduct`.

use std::io::BufRead as _;
use std::io::Write as _;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;

use crate::clock;
use crate::cpu;
use crate::environment;
use crate::latency::Latencies;
use crate::plan::Plan;
use crate::plan::Scenario;
use crate::speech::Client;
use crate::speech::Speech;
use crate::swarm;
use crate::swarm::Incoming;
use crate::swarm::Opened;
use crate::swarm::Opening;
use crate::swarm::Outlet;
use crate::swarm::Swarm;
use crate::tls;
use crate::url::Url;
use crate::wire;
use crate::wire::Assignment;
use crate::wire::Note;
use crate::wire::Order;
use crate::wire::Part;

pub mod crowd;
pub mod echo;
pub mod load;
pub mod phase;
pub mod schedule;
pub mod still;

/// Between two looks for an order or a heart-beat that is due.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Everything that all scenarios need.
pub struct Work {
    /// What to do.
    pub assignment: Assignment,
    /// With these connections.
    pub swarm: Swarm,
    /// In these words.
    pub speech: Speech,
    url: Url,
    orders: mpsc::Receiver<Order>,
}

/// Does what the first line on standard input says, and tells on standard output.
///
/// # Errors
///
/// Nobody listens any more. All else is told.
pub fn run() -> anyhow::Result<()> {
    if let Err(error) = run_assignment() {
        tell(&Note::Failed { why: format!("{error:#}") })?;
    }
    Ok(())
}

fn run_assignment() -> anyhow::Result<()> {
    environment::raise_nofile()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let assignment: Assignment = serde_json::from_str(&line).context("no assignment")?;
    if let Some(cpu) = assignment.cpu {
        cpu::pin(&[cpu])?;
    }
    swarm::set_spin(assignment.plan.generator.spin);
    let scenario = assignment.plan.scenario;
    let mut work = Work::new(assignment)?;
    let part = match scenario {
        Scenario::Idle => still::idle(&mut work)?,
        Scenario::Storm | Scenario::ReplayStorm => still::storm(&mut work)?,
        Scenario::Echo => echo::run(&mut work)?,
        Scenario::Fanout
        | Scenario::Rooms
        | Scenario::Users
        | Scenario::RedisFanout
        | Scenario::Slow
        | Scenario::Drain
        | Scenario::Soak => load::run(&mut work)?,
    };
    work.swarm.close();
    tell(&Note::Part(Box::new(part)))
}

/// Writes `note` to the reporting process.
///
/// # Errors
///
/// It is gone.
pub fn tell(note: &Note) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(note)?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}

impl Work {
    fn new(assignment: Assignment) -> anyhow::Result<Self> {
        let plan = &assignment.plan;
        let mut url: Url = plan.place.url.parse()?;
        if let Some(path) = &plan.place.path {
            url = url.with_path(path);
        }
        let speech = Speech::new(&plan.words, &url)?;
        let seed = u64::from(assignment.run) + assignment.worker as u64;
        let swarm = Swarm::new(seed, speech.is_binary())?;
        Ok(Self { assignment, swarm, speech, url, orders: listen()? })
    }

    /// The run that this is a share of.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.assignment.plan
    }

    /// Whether client or sender `number` is this process's.
    #[must_use]
    pub fn is_mine(&self, number: usize) -> bool {
        number % self.assignment.workers == self.assignment.worker
    }

    /// Clients of this process that subscribe, or are just there when `has_rooms` is not set.
    #[must_use]
    pub fn clients(&self, has_rooms: bool) -> Vec<Client> {
        let load = &self.plan().load;
        let rooms_count = self.plan().rooms_count();
        // Spread evenly, so that every room and every process has its share of them.
        let share = load.slow_share;
        let is_slow =
            |number: usize| (number as f64 * share).floor() < ((number + 1) as f64 * share).floor();
        let numbers = (0..load.connections).filter(|number| self.is_mine(*number));
        numbers
            .map(|number| Client {
                number,
                room: has_rooms.then_some(number % rooms_count),
                is_slow: is_slow(number),
                is_rejected: false,
            })
            .collect()
    }

    /// Clients of this process that bring tokens which must be refused.
    #[must_use]
    pub fn rejected(&self) -> Vec<Client> {
        let load = &self.plan().load;
        let (connections, rejected) = (load.connections, load.rejected);
        let numbers = (connections..connections + rejected).filter(|it| self.is_mine(*it));
        numbers.map(|number| Client { number, is_rejected: true, ..Client::default() }).collect()
    }

    /// Opens a connection for each of `clients` behind those that are there; in a storm, over the
    /// old ones.
    ///
    /// # Errors
    ///
    /// A client was refused, or not all were ready in time.
    pub fn open(
        &mut self,
        clients: &[Client],
        storm: Option<(Instant, Option<Duration>)>,
    ) -> anyhow::Result<Opened> {
        let plan = &self.assignment.plan;
        let place = &plan.place;
        let first = if storm.is_some() { 0 } else { self.swarm.connections_count() };
        let usual =
            if plan.load.connect_in_flight == 0 { 256 } else { plan.load.connect_in_flight };
        let opening = Opening {
            url: &self.url,
            speech: &self.speech,
            tls: tls::config(place.ca.as_deref(), place.insecure || !self.url.is_tls)?,
            sources: &plan.generator.source,
            in_flight: if storm.is_some() { plan.load.connect_in_flight } else { usual },
            timeout: plan.timeout(),
            slow_buffer: plan.load.slow_buffer,
            storm,
        };
        self.swarm.open(&opening, first, clients, &mut |ready_count| {
            tell(&Note::Opening { ready: first + ready_count })
        })
    }

    /// Serves the connections until an order comes; `handle` takes what they bring.
    ///
    /// # Errors
    ///
    /// The reporting process is gone, or `handle` failed.
    pub fn await_order<F>(&mut self, handle: &mut F) -> anyhow::Result<Order>
    where
        F: FnMut(&Speech, &mut Outlet<'_>, usize, Incoming<'_>) -> anyhow::Result<()>,
    {
        loop {
            match self.orders.try_recv() {
                Ok(order) => return Ok(order),
                Err(mpsc::TryRecvError::Disconnected) => anyhow::bail!("nobody gives orders"),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            let Self { swarm, speech, .. } = self;
            // An order is not seen by the wait for sockets, so that wait is short.
            swarm.poll(Duration::from_millis(1), &mut |outlet, index, incoming| {
                handle(speech, outlet, index, incoming)
            })?;
        }
    }

    /// Waits until `instant`, serving nobody: it is near.
    pub fn sleep_until(&self, instant: Instant) {
        std::thread::sleep(instant.saturating_duration_since(clock::now()));
    }

    /// Adds to `part` how connections ended, from `since` on.
    pub fn add_closings(&self, part: &mut Part, since: Instant) {
        let mut closed_after = Latencies::default();
        for closing in self.swarm.closings() {
            *part.closings.entry(closing.why.clone()).or_default() += 1;
            closed_after.record(clock::elapsed_ns(since, closing.at));
        }
        part.closed_after = closed_after.buckets();
        part.pings_count = self.swarm.pings_count();
    }
}

/// What is told of an opening.
#[must_use]
pub fn told(opened: &Opened) -> wire::Opened {
    wire::Opened {
        ready: opened.ready.buckets(),
        ready_count: opened.ready_count as u64,
        failures: opened.failures.clone(),
        refused_count: opened.refused_count,
        replayed_count: opened.replayed_count,
    }
}

/// Reads orders beside the load: a wait for sockets does not see standard input.
#[expect(clippy::disallowed_methods, reason = "standard input can only be read by blocking")]
fn listen() -> anyhow::Result<mpsc::Receiver<Order>> {
    let (sender, receiver) = mpsc::channel();
    let listen = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let Ok(order) = serde_json::from_str(&line) else { return };
            if sender.send(order).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("orders".to_owned()).spawn(listen)?;
    Ok(receiver)
}

/// Tells how it goes, once for each slice of time.
pub struct Pulse {
    started_at: Instant,
    every: Duration,
    next_slice: u64,
}

impl Pulse {
    /// A pulse that begins at `started_at`.
    #[must_use]
    pub fn new(started_at: Instant, every: Duration) -> Self {
        Self { started_at, every, next_slice: 0 }
    }

    /// When the slice that runs will be over.
    #[must_use]
    pub fn due_at(&self) -> Instant {
        let slices = u32::try_from(self.next_slice + 1).unwrap_or(u32::MAX);
        self.started_at + self.every * slices
    }

    /// Tells what `tick` says when a slice is over.
    ///
    /// # Errors
    ///
    /// The reporting process is gone.
    pub fn beat(&mut self, now: Instant, tick: impl FnOnce() -> wire::Tick) -> anyhow::Result<()> {
        if now < self.due_at() {
            return Ok(());
        }
        let slice = self.next_slice;
        let since_ns = clock::elapsed_ns(self.started_at, now);
        let every_ns = clock::elapsed_ns(self.started_at, self.started_at + self.every).max(1);
        self.next_slice = since_ns / every_ns;
        tell(&Note::Tick(wire::Tick { slice, ..tick() }))
    }
}
