//! Where the keys of tokens come from: the configuration, a file that is read again when it
//! changes, and a JWK set that is fetched. One thread does it all, off the shards, and gives each
//! shard the set that is in force.
//!
//! What fails changes nothing: the last good keys of each source stay, and a line says why.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use ureq::tls::Certificate;
use ureq::tls::PemItem;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;

use crate::config::settings::AuthSettings;
use crate::io::clock::Clock;
use crate::io::tls;
use crate::policy::auth::DOCUMENT_BYTES_MAX;
use crate::policy::auth::Key;
use crate::policy::auth::KeyId;
use crate::policy::auth::KeySet;
use crate::policy::auth::Parsed;
use crate::policy::auth::Source;
use crate::policy::auth::parse_keys;
use crate::server::StartError;
use crate::server::spawn;
use crate::shard::Notice;
use crate::shard::mailbox::Outside;
use crate::stdx::time::Instant;

/// How often the thread looks at the file, and at what the shards lack.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long somebody is let wait for a fetch that is not allowed yet.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one fetch may take as a whole.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How many redirections one fetch follows.
const REDIRECTS_MAX: u32 = 3;
/// After a fetch that failed the next is tried at least this soon.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// All keys, by where they came from.
#[derive(Debug)]
pub(super) struct Keeper {
    secret: Option<Key>,
    file: Option<FileSource>,
    remote: Option<RemoteSource>,
    generation: u64,
}

#[derive(Debug)]
struct FileSource {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct RemoteSource {
    url: String,
    agent: ureq::Agent,
    keys: Vec<Key>,
    refresh: Duration,
    cooldown: Duration,
    /// When it was tried last.
    tried_at: Option<Instant>,
    due_at: Instant,
    is_wanted: bool,
}

impl Keeper {
    /// The keys at the start. The file must be good; what is fetched comes later, because a start
    /// waits for nobody.
    ///
    /// # Errors
    ///
    /// Which setting is wrong, and why.
    pub(super) fn new(auth: &AuthSettings) -> Result<Self, (&'static str, String)> {
        let jwt = &auth.jwt;
        let secret = (jwt.secret.as_ref())
            .map(|secret| Key::secret(secret.reveal().as_bytes()))
            .transpose()
            .map_err(|error| ("auth.jwt.secret", error.to_string()))?;
        let file = match &jwt.keys {
            None => None,
            Some(path) => {
                let mut file = FileSource { path: path.clone(), stamp: None, keys: Vec::new() };
                file.read()
                    .map_err(|why| ("auth.jwt.keys", format!("{}: {why}", path.display())))?;
                Some(file)
            }
        };
        let remote = match &jwt.jwks_url {
            None => None,
            Some(url) => Some(RemoteSource {
                url: url.clone(),
                agent: agent(jwt.jwks_ca.as_deref()).map_err(|why| ("auth.jwt.jwks_ca", why))?,
                keys: Vec::new(),
                refresh: jwt.jwks_refresh,
                cooldown: jwt.jwks_cooldown,
                tried_at: None,
                due_at: Instant::default(),
                is_wanted: false,
            }),
        };
        Ok(Self { secret, file, remote, generation: 1 })
    }

    /// The set in force.
    pub(super) fn key_set(&self) -> Arc<KeySet> {
        Arc::new(KeySet::new(self.keys().cloned().collect(), self.generation))
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        let of_file = self.file.iter().flat_map(|it| &it.keys);
        let of_remote = self.remote.iter().flat_map(|it| &it.keys);
        self.secret.iter().chain(of_file).chain(of_remote)
    }

    fn ids(&self) -> Vec<KeyId> {
        self.keys().map(Key::id).collect()
    }

    /// Starts the thread, where tokens are needed. Whoever sends to what it returns has the file
    /// read and the set fetched at once.
    pub(super) fn start(
        mut self,
        is_needed: bool,
        clock: Clock,
        mut outside: Outside,
    ) -> Result<mpsc::Sender<()>, StartError> {
        let (keys, told) = mpsc::channel();
        if !is_needed {
            return Ok(keys);
        }
        let run = move || {
            let (mut is_told, mut is_awaited) = (true, false);
            loop {
                let before = self.ids();
                let is_wanted = outside.take_lack_of_key();
                is_awaited |= is_wanted;
                self.look(is_told, is_wanted, clock);
                let is_changed = self.ids() != before;
                if is_changed {
                    self.generation += 1;
                    let names: Vec<String> = self.keys().map(Key::describe).collect();
                    tracing::info!(generation = self.generation, ?names, "the keys have changed");
                }
                // Whoever waits for a key is told, too, that it has not come.
                if is_changed || (is_awaited && !self.will_fetch(clock.instant())) {
                    is_awaited = false;
                    let notice = Notice::Keys(self.key_set());
                    while !outside.post(&notice) {
                        thread::sleep(LOOK_INTERVAL);
                    }
                }
                is_told = match told.recv_timeout(LOOK_INTERVAL) {
                    Ok(()) => true,
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
            }
        };
        spawn("ringway-keys", run)?;
        Ok(keys)
    }

    /// Whether keys that are wanted are fetched so soon that it is worth to wait for them.
    fn will_fetch(&self, now: Instant) -> bool {
        self.remote.as_ref().is_some_and(|it| {
            let may_at = it.tried_at.map(|tried_at| tried_at.after(it.cooldown));
            it.is_wanted && may_at.is_none_or(|at| at <= now.after(PATIENCE))
        })
    }

    /// Does what is due.
    fn look(&mut self, is_told: bool, is_key_wanted: bool, clock: Clock) {
        if let Some(file) = &mut self.file
            && (is_told || file.has_changed())
            && let Err(why) = file.read()
        {
            let path = file.path.display();
            tracing::warn!("auth.jwt.keys: {path}: {why}; the keys that it held stay in force");
        }
        if let Some(remote) = &mut self.remote {
            remote.is_wanted |= is_key_wanted;
            remote.look(is_told, clock);
        }
    }
}

impl FileSource {
    fn has_changed(&self) -> bool {
        stamp_of(&self.path).is_ok_and(|stamp| self.stamp != Some(stamp))
    }

    /// Reads the file; what is wrong with it changes nothing.
    fn read(&mut self) -> Result<(), String> {
        let told = |error: io::Error| format!("cannot read it: {error}");
        // Before the reading: what is written meanwhile is read again.
        let stamp = stamp_of(&self.path).map_err(told)?;
        self.stamp = Some(stamp);
        if DOCUMENT_BYTES_MAX as u64 <= stamp.1 {
            return Err(format!("more than {DOCUMENT_BYTES_MAX} bytes"));
        }
        let document = fs::read(&self.path).map_err(told)?;
        let parsed = parse_keys(&document, Source::File).map_err(|error| error.to_string())?;
        tell_passed_over("auth.jwt.keys", &parsed);
        self.keys = parsed.keys;
        Ok(())
    }
}

fn stamp_of(path: &Path) -> io::Result<(SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn tell_passed_over(key: &str, parsed: &Parsed) {
    for why in &parsed.passed_over {
        tracing::debug!("{key}: {why}; passed over");
    }
}

impl RemoteSource {
    /// Fetches the set when it is due, or wanted and not tried just before.
    fn look(&mut self, is_told: bool, clock: Clock) {
        let now = clock.instant();
        let is_cool = self.tried_at.is_none_or(|it| it.after(self.cooldown) <= now);
        let is_due = self.due_at <= now || is_told || self.is_wanted;
        if !is_due || (!is_cool && !is_told) {
            return;
        }
        self.tried_at = Some(now);
        self.is_wanted = false;
        match self.fetch() {
            Ok(keys) => {
                self.keys = keys;
                self.due_at = now.after(self.refresh);
            }
            Err(why) => {
                let count = self.keys.len();
                tracing::warn!(count, "auth.jwt.jwks_url: {why}; the keys from before stay");
                self.due_at = now.after(self.refresh.min(RETRY_INTERVAL));
            }
        }
    }

    fn fetch(&self) -> Result<Vec<Key>, String> {
        let mut response = self.agent.get(&self.url).call().map_err(|it| it.to_string())?;
        let body = response.body_mut().with_config().limit(DOCUMENT_BYTES_MAX as u64);
        let document = body.read_to_vec().map_err(|it| it.to_string())?;
        let parsed = parse_keys(&document, Source::Remote).map_err(|error| error.to_string())?;
        tell_passed_over("auth.jwt.jwks_url", &parsed);
        Ok(parsed.keys)
    }
}

/// A client that trusts the authorities in the file, or those that browsers trust.
fn agent(ca: Option<&Path>) -> Result<ureq::Agent, String> {
    let roots = match ca {
        None => RootCerts::WebPki,
        Some(path) => {
            let pem = fs::read(path).map_err(|it| format!("{}: {it}", path.display()))?;
            let files = tls::ClientFiles { ca: Some(path.to_owned()), ..Default::default() };
            tls::Client::load(&files).map_err(|error| error.to_string())?;
            let mut certificates = Vec::new();
            for item in ureq::tls::parse_pem(&pem) {
                match item {
                    Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                    Ok(_) => {}
                    Err(error) => return Err(format!("{}: {error}", path.display())),
                }
            }
            if certificates.is_empty() {
                return Err(format!("{} holds no certificate", path.display()));
            }
            RootCerts::Specific(Arc::<Vec<Certificate<'static>>>::new(certificates))
        }
    };
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(REDIRECTS_MAX)
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(config.into())
}
