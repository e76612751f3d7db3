//! What the process asks of its host at start: descriptors, the driver, addresses, cores.

use std::backtrace::Backtrace;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::panic;

use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::config;
use crate::config::Host;
use crate::config::Resolved;
use crate::config::settings::ServerSettings;
use crate::config::settings::Settings;
use crate::io::listener;
use crate::io::probe;
use crate::io::probe::Driver;
use crate::server::StartError;

/// Raises what may be raised, measures the host, and settles what depends on it.
pub(super) fn prepare(settings: &Settings) -> Result<(Host, Resolved), StartError> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let mut host = Host::measure();
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the soft limit of open files to the hard one: {error}");
        host.nofile = limit.current.unwrap_or(host.nofile);
    }
    let resolved = config::resolve(settings, &host);
    let wanted = resolved.connections as u64;
    if host.nofile <= wanted {
        return Err(StartError(format!(
            "limits.connections = {wanted} needs more open files than the limit of {}; raise it \
             (ulimit -n, LimitNOFILE=, or the task's ulimits) or lower limits.connections",
            host.nofile
        )));
    }
    Ok((host, resolved))
}

/// Which driver runs, and a note on why, for people.
pub(super) fn choose_driver(
    settings: &Settings,
    cores: usize,
) -> Result<(Driver, String), StartError> {
    use crate::config::settings::Driver as Wanted;
    let entries = u32::try_from(settings.io.ring_entries).unwrap_or(u32::MAX);
    match settings.io.driver {
        Wanted::Epoll => Ok((Driver::Epoll, "asked for".to_owned())),
        Wanted::Auto | Wanted::IoUring => match probe::try_io_uring(entries, cores) {
            Ok(()) => Ok((Driver::IoUring, "poll and send work".to_owned())),
            Err(why) if settings.io.driver == Wanted::Auto => {
                tracing::warn!("io_uring is not available ({why}); using epoll");
                Ok((Driver::Epoll, format!("io_uring is not available: {why}")))
            }
            Err(why) => Err(StartError(format!(
                "io.driver = io_uring, but it is not available here ({why}); \
                 allow it, or set io.driver = \"auto\" or \"epoll\""
            ))),
        },
    }
}

/// Opens the listeners of one address.
pub(super) fn bind(
    key: &str,
    address: SocketAddr,
    count: usize,
    settings: &ServerSettings,
) -> Result<Vec<TcpListener>, StartError> {
    let backlog = i32::try_from(settings.backlog).unwrap_or(i32::MAX);
    listener::bind_all(address, count, backlog).map_err(|error| {
        StartError(format!(
            "cannot listen on {key} = {address}: {error}; stop what uses it or choose another"
        ))
    })
}

/// The kernel's release.
pub(super) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The host's name, which in a container is the container's.
pub(super) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The core that the shard of this number is pinned to.
pub(super) fn core_of(index: u8) -> Option<core_affinity::CoreId> {
    let cores = core_affinity::get_core_ids()?;
    cores.get(usize::from(index)).copied()
}

/// A seed that no two processes share.
pub(super) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Writes panics to the log, with their backtrace, before anything is unwound.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?").to_owned();
        let backtrace = Backtrace::force_capture();
        tracing::error!(thread = name, %backtrace, "{info}");
    }));
}
