//! Composes the process: settings to options, listeners, one thread per shard, the admin thread,
//! signals, and the end.
//!
//! It knows everything it starts and no detail of any protocol. Read `options`, `start`, `banner`.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;

use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::admin;
use crate::broker::relay::ShardId;
use crate::cli;
use crate::config::Loaded;
use crate::config::settings::RelayMode;
use crate::config::settings::Settings;
use crate::io::clock::Clock;
use crate::io::probe::Driver;
use crate::io::ring;
use crate::metrics;
use crate::metrics::ShardCounters;
use crate::metrics::health::Health;
use crate::server::operator::Late;
use crate::server::operator::Operator;
use crate::shard::Identity;
use crate::shard::link;
use crate::shard::mailbox::Asks;
use crate::shard::mailbox::Mailboxes;
use crate::shard::runtime;
use crate::shard::runtime::Setup;

mod archive;
mod auth;
mod banner;
mod certificates;
mod emf;
mod files;
mod history;
mod host;
mod keys;
pub mod logs;
pub mod operator;
mod options;
mod reload;
mod seats;

pub use files::Files;
pub use files::read;

/// Why the process does not serve: the operator's fault, one line that names the remedy.
#[derive(Debug)]
struct StartError(String);

/// What ends the wait of the main thread.
enum Event {
    Signal(i32),
    /// A shard serves.
    ShardStarted,
    ShardEnded(ShardId, Result<(), String>),
}

/// Runs the server with these settings, and what was read of their files, until it is told to end.
#[must_use]
pub fn serve(loaded: Loaded, files: Files) -> ExitCode {
    logs::init(&loaded.settings.log);
    host::log_panics();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match start(&loaded, files) {
        Ok(running) => running.wait(),
        Err(StartError(line)) => {
            tracing::error!("{line}");
            ExitCode::from(cli::EXIT_START)
        }
    }
}

/// A server that serves.
struct Running {
    health: Arc<Health>,
    counters: Arc<[Arc<ShardCounters>]>,
    shards: Vec<JoinHandle<()>>,
    events: mpsc::Receiver<Event>,
    live: reload::Live,
    emf: Option<emf::Writer>,
    /// Has the keys read again.
    keys: mpsc::Sender<()>,
    /// The certificate, where the public listener has one.
    reload: Option<certificates::Reload>,
    /// Stores messages, where they are stored.
    history: Option<history::Keeper>,
    /// Revocations that the rest of the fleet has not heard.
    late: Late,
}

fn start(loaded: &Loaded, files: Files) -> Result<Running, StartError> {
    let settings = &loaded.settings;
    let (host, resolved) = host::prepare(settings)?;
    let cores = resolved.cores;
    let (driver, driver_note) = host::choose_driver(settings, cores)?;
    let clock = Clock::start();
    let origin = format!("ringway-{:016x}", host::random_seed());
    let live = reload::Live::new(loaded, host, &resolved, origin, files.keys.key_set())?;
    let listeners = host::bind("server.listen", settings.server.listen, cores, &settings.server)?;
    let admin = host::bind("admin.listen", settings.admin.listen, 1, &settings.server)?;

    let counters: Arc<[Arc<ShardCounters>]> = (0..cores).map(|_| Arc::default()).collect();
    let health = Health::new(cores, driver.as_str(), driver_note, host::kernel());
    let health = Arc::new(with_needs(health, &counters, resolved.relay, settings));
    let (mut mailboxes, doorbells) = Mailboxes::connect(cores, settings.relay.mailbox_messages);
    let outside = Mailboxes::open(&mut mailboxes, &doorbells);
    let (history, kept) = history::start(loaded, &mut mailboxes, &doorbells, &health, clock)?;
    let asks = Mailboxes::open_asks(&mut mailboxes, &doorbells);
    let operator = Operator::start(settings, clock, &mut mailboxes, &doorbells)?;
    seats::start(settings, &live, clock, &mut mailboxes, &doorbells)?;
    let (sender, events) = mpsc::channel();
    // Before the first shard, so that no signal finds the default handler.
    listen_for_signals(sender.clone())?;

    let [public, admin_address] = [&listeners, &admin].map(|it| it.first()?.local_addr().ok());
    let home_seed = host::random_seed();
    let links = start_links(settings, files.relay_tls)?;
    let (certificates, reload) = certificates::share(files.certificate, cores);
    let mut shards = Vec::with_capacity(cores);
    let own = listeners.into_iter().zip(mailboxes).zip(certificates);
    for (index, ((listener, mailboxes), certificates)) in (0_u8..).zip(own) {
        let id = ShardId(index);
        let identity = Identity {
            id,
            counters: Arc::clone(&counters),
            health: Arc::clone(&health),
            seed: host::random_seed(),
            home_seed,
        };
        let thread = ShardThread {
            id,
            pin: resolved.pin.then(|| host::core_of(index)).flatten(),
            ring_entries: u32::try_from(settings.io.ring_entries).unwrap_or(u32::MAX),
            setup: Setup {
                options: Arc::clone(&live.options),
                identity,
                listener,
                mailboxes,
                clock,
                driver,
                links: links.clone(),
                certificates,
            },
        };
        shards.push(thread.spawn(sender.clone())?);
    }
    let info = metrics::Info { driver: options::metrics_driver(driver) };
    let emf = emf::Writer::start(&settings.metrics, info, &counters, clock)?;
    let late = operator.late();
    let ways = (asks, operator.for_admin(clock), kept);
    spawn_admin(admin, || view_of(&counters, &health, info, &live, &ways))?;
    let keys = files.keys.start(settings.auth.is_on(), clock, outside)?;
    wait_until_started(&events, cores)?;
    banner::print(&banner::Facts {
        public,
        admin: admin_address,
        cores,
        driver: &driver,
        resolved: &resolved,
        settings,
        host: &host,
    });
    Ok(Running { health, counters, shards, events, live, emf, keys, reload, history, late })
}

/// Tells health and counters which relay this is, and health of the store.
fn with_needs(
    health: Health,
    counters: &[Arc<ShardCounters>],
    mode: RelayMode,
    settings: &Settings,
) -> Health {
    let health = history::with_store(health, settings);
    match mode {
        RelayMode::PubSub | RelayMode::Sharded => health.with_redis(mode.as_str()),
        RelayMode::Auto | RelayMode::Embedded => {
            // No shard writes it then: that relay cannot be away.
            counters.iter().for_each(|it| it.relay.up.set(1));
            health
        }
    }
}

/// How links to Redis connect, where there are any; starts the thread that knows names.
fn start_links(
    settings: &Settings,
    tls: Option<link::Tls>,
) -> Result<Option<link::Options>, StartError> {
    let Some((links, worker)) = options::links(settings, tls) else {
        return Ok(None);
    };
    spawn("ringway-resolver", move || worker.run())?;
    Ok(Some(links))
}

/// Waits until all shards serve, so that whoever reads the first lines finds health up; a signal
/// that comes before is an end before the start.
fn wait_until_started(events: &mpsc::Receiver<Event>, cores: usize) -> Result<(), StartError> {
    let mut missing_count = cores;
    while 0 < missing_count {
        match events.recv() {
            Ok(Event::ShardStarted) => missing_count -= 1,
            Ok(Event::Signal(SIGHUP)) => {}
            Ok(Event::Signal(signal)) => {
                return Err(StartError(format!("signal {signal} came before the start was done")));
            }
            Ok(Event::ShardEnded(id, Err(error))) => {
                return Err(StartError(format!("shard {} did not start: {error}", id.0)));
            }
            Ok(Event::ShardEnded(..)) | Err(_) => break,
        }
    }
    Ok(())
}

struct ShardThread {
    id: ShardId,
    pin: Option<core_affinity::CoreId>,
    ring_entries: u32,
    setup: Setup,
}

impl ShardThread {
    #[expect(clippy::disallowed_methods, reason = "threads start here, named and pinned")]
    fn spawn(self, events: mpsc::Sender<Event>) -> Result<JoinHandle<()>, StartError> {
        let name = format!("ringway-shard-{}", self.id.0);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let id = self.id;
            let started = events.clone();
            let run = || self.run(|| drop(started.send(Event::ShardStarted)));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let result = result.unwrap_or_else(|_| Err("it panicked, see above".to_owned()));
            // Nobody listens once the main thread has decided to end; then nobody needs to know.
            drop(events.send(Event::ShardEnded(id, result)));
        });
        spawned.map_err(|error| StartError(format!("cannot start a shard's thread: {error}")))
    }

    fn run(self, on_started: impl FnOnce()) -> Result<(), String> {
        if let Some(core) = self.pin
            && !core_affinity::set_for_current(core)
        {
            tracing::warn!(
                core = core.id,
                "cannot pin to this core; server.pin = \"off\" is quiet"
            );
        }
        let told = |error: std::io::Error| format!("its runtime failed: {error}");
        match self.setup.driver {
            Driver::IoUring => ring::build(self.ring_entries)
                .map_err(told)?
                .block_on(runtime::run(self.setup, on_started))
                .map_err(told),
            Driver::Epoll => monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
                .enable_timer()
                .build()
                .map_err(told)?
                .block_on(runtime::run(self.setup, on_started))
                .map_err(told),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "threads start here, named")]
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| StartError(format!("cannot start a thread: {error}")))
}

/// What the admin listener may look at, and whom it may ask.
fn view_of(
    counters: &Arc<[Arc<ShardCounters>]>,
    health: &Arc<Health>,
    info: metrics::Info,
    live: &reload::Live,
    (asks, operator, kept): &(Asks, admin::Operator, history::Kept),
) -> admin::View {
    admin::View {
        counters: Arc::clone(counters),
        store: Arc::clone(&kept.counters),
        health: Arc::clone(health),
        info,
        tokens: Arc::clone(&live.tokens),
        asks: asks.clone(),
        archive: archive::open(live, kept),
        operator: operator.clone(),
    }
}

fn spawn_admin(
    listeners: Vec<TcpListener>,
    view: impl Fn() -> admin::View,
) -> Result<(), StartError> {
    listeners.into_iter().try_for_each(|listener| {
        let view = view();
        spawn("ringway-admin", move || {
            if let Err(error) = admin::serve(listener, view) {
                tracing::error!("the admin listener failed: {error}");
            }
        })
    })
}

#[expect(clippy::disallowed_methods, reason = "threads start here, named")]
fn listen_for_signals(events: mpsc::Sender<Event>) -> Result<(), StartError> {
    let wrong = |error: std::io::Error| StartError(format!("cannot listen for signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(wrong)?;
    let spawned = thread::Builder::new().name("ringway-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                break;
            }
        }
    });
    spawned.map(drop).map_err(wrong)
}

impl Running {
    /// Waits for a signal or for a shard that ends by itself; then ends all.
    fn wait(mut self) -> ExitCode {
        let mut left_count = self.shards.len();
        let mut is_draining = false;
        let mut code = 0;
        while 0 < left_count {
            match self.events.recv() {
                Ok(Event::ShardStarted) => {}
                Ok(Event::Signal(SIGHUP)) => {
                    self.live.reload();
                    if self.keys.send(()).is_err() {
                        tracing::debug!("nobody reads keys");
                    }
                    let tls = self.live.tls();
                    self.reload.iter().for_each(|it| it.run(tls));
                }
                Ok(Event::Signal(signal)) if self.health.is_hurried() => {
                    tracing::warn!(signal, "told again: ending at once");
                    return ExitCode::from(cli::EXIT_FAILURE);
                }
                Ok(Event::Signal(signal)) if is_draining => {
                    tracing::warn!(signal, "told again: closing all connections at once");
                    self.health.hurry();
                }
                Ok(Event::Signal(signal)) => {
                    tracing::info!(signal, "draining");
                    is_draining = true;
                    self.health.drain();
                }
                Ok(Event::ShardEnded(_, Ok(()))) => left_count -= 1,
                Ok(Event::ShardEnded(id, Err(error))) => {
                    tracing::error!(shard = id.0, "a shard ended: {error}; ending the process");
                    left_count -= 1;
                    code = cli::EXIT_FAILURE;
                    self.health.hurry();
                }
                Err(_) => break,
            }
        }
        if let Some(history) = self.history.take() {
            history.end();
        }
        if let Some(emf) = self.emf.take() {
            emf.end();
        }
        self.late.tell_end();
        if code == 0 {
            self.tell_end();
        }
        ExitCode::from(code)
    }

    /// The last line of the log: what became of the connections.
    fn tell_end(&self) {
        let sum = |read: fn(&ShardCounters) -> u64| self.counters.iter().map(|it| read(it)).sum();
        let [told, closed, flushed, cut, left]: [u64; 5] = [
            sum(|it| it.drain.told.get()),
            sum(|it| it.drain.closed.get()),
            sum(|it| it.drain.flushed.get()),
            sum(|it| it.drain.cut.get()),
            sum(|it| it.connections_active.get()),
        ];
        tracing::info!(told, closed, flushed, cut = cut + left, "ended");
    }
}
