//! The store of the history: made of the settings, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use crate::cli::migrate;
use crate::config::HistoryUrl;
use crate::config::Loaded;
use crate::config::settings::HistorySettings;
use crate::config::settings::Settings;
use crate::history::Memory;
use crate::history::Mysql;
use crate::history::Reader;
use crate::history::Retention;
use crate::history::Sqlite;
use crate::history::Store;
use crate::history::Surroundings;
use crate::history::Worker;
use crate::io::clock::Clock;
use crate::metrics::HistoryCounters;
use crate::metrics::health::Health;
use crate::server::StartError;
use crate::server::host;
use crate::server::spawn;
use crate::shard::mailbox::Doorbell;
use crate::shard::mailbox::Mailboxes;

/// How long the end waits for what is to be stored.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The store's thread.
pub(super) struct Keeper {
    ended: mpsc::Receiver<()>,
}

impl Keeper {
    /// Waits until all that the shards handed over is stored; they have ended.
    pub(super) fn end(self) {
        if self.ended.recv_timeout(END_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("the store of the history has not taken all messages in time");
        }
    }
}

/// What others know of the store.
pub(super) struct Kept {
    /// Where it counts.
    pub(super) counters: Arc<HistoryCounters>,
    /// Reads from it, where it is.
    pub(super) reader: Option<Reader>,
}

/// Starts it, where messages are stored, and opens its ways to the shards.
pub(super) fn start(
    loaded: &Loaded,
    mailboxes: &mut [Mailboxes],
    doorbells: &Arc<[Doorbell]>,
    health: &Arc<Health>,
    clock: Clock,
) -> Result<(Option<Keeper>, Kept), StartError> {
    let counters = Arc::<HistoryCounters>::default();
    let Some(store) = store(loaded) else {
        // What is not there is not away.
        counters.up.set(1);
        return Ok((None, Kept { counters, reader: None }));
    };
    let (doorbells, health) = (Arc::clone(doorbells), Arc::clone(health));
    let surroundings = Surroundings {
        wake: Box::new(move |index| doorbells[index].ring()),
        unix_ms: Box::new(move || clock.now(clock.unix_start_ms()).unix_ms),
        on_state: Box::new(move |is_up| health.set_history(is_up)),
        instant: Box::new(move || clock.instant()),
        counters: Arc::clone(&counters),
        retention: retention(&loaded.settings.history),
        seed: host::random_seed(),
        is_shared: loaded.settings.relay.is_redis(),
    };
    let (worker, ports) = Worker::new(store, mailboxes.len(), surroundings);
    let reader = Some(worker.reader());
    Mailboxes::open_history(mailboxes, ports);
    let (sender, ended) = mpsc::channel();
    spawn("ringway-history", move || {
        worker.run();
        // Nobody listens once the end was not waited for any longer.
        let _nobody_listens = sender.send(());
    })?;
    Ok((Some(Keeper { ended }), Kept { counters, reader }))
}

/// Tells health of the store.
pub(super) fn with_store(health: Health, settings: &Settings) -> Health {
    if !settings.has_store() {
        return health;
    }
    health.with_history(settings.history.url.name())
}

/// What the store keeps.
fn retention(settings: &HistorySettings) -> Retention {
    let age_ms = u64::try_from(settings.retention_age.as_millis()).unwrap_or(u64::MAX);
    let count = u32::try_from(settings.retention_count).unwrap_or(u32::MAX);
    Retention { age_ms: Some(age_ms).filter(|it| 0 < *it), count: Some(count).filter(|it| 0 < *it) }
}

/// The store; none where streams are all there is.
fn store(loaded: &Loaded) -> Option<Box<dyn Store>> {
    let settings = &loaded.settings;
    if !settings.has_store() {
        return None;
    }
    Some(match &settings.history.url {
        HistoryUrl::Memory => Box::new(Memory::new(settings.history.memory_bytes)),
        HistoryUrl::Sqlite(path) => Box::new(Sqlite::new(path.clone())),
        HistoryUrl::Mysql { .. } => {
            let address = migrate::address_of(&settings.history)?;
            let loaded = loaded.clone();
            // What cannot be read now is not taken over.
            let refresh = move || migrate::address_of(&loaded.read_history_again()?);
            Box::new(Mysql::new(address).with_refresh(refresh))
        }
    })
}
