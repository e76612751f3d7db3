//! SIGHUP: what may change while the server runs, from the same sources as at its start.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admin;
use crate::config;
use crate::config::Host;
use crate::config::Loaded;
use crate::config::Reloaded;
use crate::config::Resolved;
use crate::config::settings::Secret;
use crate::config::settings::Settings;
use crate::policy::auth::KeySet;
use crate::server::StartError;
use crate::server::options;
use crate::shard;

/// What the running threads look at now and then, and what of it is in force.
pub(super) struct Live {
    /// The shards look at each tick.
    pub(super) options: Arc<ArcSwap<shard::Options>>,
    /// The admin listener looks at each request.
    pub(super) tokens: Arc<ArcSwap<admin::Tokens>>,
    host: Host,
    /// What others call this process.
    pub(super) origin: String,
    loaded: Loaded,
    /// Those of the start; the ones in force come to the shards by another way.
    keys: Arc<KeySet>,
}

impl Live {
    /// What is in force at the start.
    pub(super) fn new(
        loaded: &Loaded,
        host: Host,
        resolved: &Resolved,
        origin: String,
        keys: Arc<KeySet>,
    ) -> Result<Self, StartError> {
        let options = options::shard_options(loaded, resolved, &origin, Arc::clone(&keys))?;
        Ok(Self {
            options: Arc::new(ArcSwap::from_pointee(options)),
            tokens: Arc::new(ArcSwap::from_pointee(tokens(&loaded.settings))),
            host,
            origin,
            loaded: loaded.clone(),
            keys,
        })
    }

    /// Reads the configuration again and tells what came of it; a bad one changes nothing.
    pub(super) fn reload(&mut self) {
        match config::reload(&self.loaded) {
            Ok(Reloaded { changes, .. }) if changes.is_empty() => {
                tracing::info!("SIGHUP: the configuration is as it was");
            }
            Ok(reloaded) => self.apply(reloaded),
            Err(error) => tracing::error!("SIGHUP: nothing is changed: {error}"),
        }
    }

    fn apply(&mut self, Reloaded { loaded, changes }: Reloaded) {
        let resolved = config::resolve(&loaded.settings, &self.host);
        let keys = Arc::clone(&self.keys);
        match options::shard_options(&loaded, &resolved, &self.origin, keys) {
            Ok(options) => self.options.store(Arc::new(options)),
            Err(StartError(error)) => {
                tracing::error!("SIGHUP: nothing is changed: {error}");
                return;
            }
        }
        self.tokens.store(Arc::new(tokens(&loaded.settings)));
        for change in changes {
            if change.is_applied {
                tracing::info!("SIGHUP: {change}");
            } else {
                tracing::warn!("SIGHUP: {change}");
            }
        }
        self.loaded = loaded;
    }
}

fn tokens(settings: &Settings) -> admin::Tokens {
    let hidden =
        |token: &Option<Secret>| token.as_ref().map(|it| admin::Token::new(it.reveal().to_owned()));
    admin::Tokens { metrics: hidden(&settings.metrics.token), admin: hidden(&settings.admin.token) }
}
