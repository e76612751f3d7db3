//! What links to Redis need beyond the relay itself: names resolved off the shards, and TLS.

use std::thread;
use std::time::Duration;

use crate::config::settings::Settings;
use crate::io::resolver;
use crate::io::resolver::Resolver;
use crate::io::tls;
use crate::server::StartError;
use crate::shard::link;

/// How long each step of a connection may take. Shorter than the relay's patience with the whole,
/// so that it hears which step it was.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the other end's kernel may leave bytes unanswered. The relay's PING finds a Redis that
/// is stuck; this finds a path that is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts what links need, when there is a Redis to link to.
pub(super) fn start(settings: &Settings) -> Result<Option<link::Options>, StartError> {
    let relay = &settings.relay;
    if !relay.is_redis() {
        return Ok(None);
    }
    let tls = if relay.is_tls() {
        let files = tls::ClientFiles { ca: relay.tls_ca.clone(), certificate_and_key: None };
        let config = tls::Client::load(&files)
            .map_err(|error| StartError(format!("relay.tls_ca: {error}")))?;
        let server_name = relay.tls_server_name.as_deref().map(Box::from);
        Some(link::Tls { config, server_name })
    } else {
        None
    };
    Ok(Some(link::Options {
        resolver: spawn_resolver()?,
        tls,
        connect_timeout: CONNECT_TIMEOUT,
        user_timeout: USER_TIMEOUT,
    }))
}

#[expect(clippy::disallowed_methods, reason = "threads start here, named")]
fn spawn_resolver() -> Result<Resolver, StartError> {
    let (resolver, worker) = Resolver::new(resolver::system());
    let thread = thread::Builder::new().name("ringway-resolver".to_owned());
    let spawned = thread.spawn(move || worker.run());
    spawned.map_err(|error| StartError(format!("cannot start the resolver's thread: {error}")))?;
    Ok(resolver)
}
