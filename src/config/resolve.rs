//! `auto`: the values that depend on the host, from measured inputs.

use crate::config::host::Host;
use crate::config::settings::Pin;
use crate::config::settings::RelayMode;
use crate::config::settings::Settings;

/// What `auto` became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `server.cores`
    pub cores: usize,
    /// `server.pin`
    pub pin: bool,
    /// `relay.mode`, never [`RelayMode::Auto`]
    pub relay: RelayMode,
    /// `limits.connections`
    pub connections: usize,
    /// `limits.outbox_bytes`
    pub outbox_bytes: usize,
    /// `limits.outbox_total_bytes`
    pub outbox_total_bytes: usize,
}

/// Works out each `auto` of `settings` on `host`; values that were given stay as they are.
#[must_use]
pub fn resolve(settings: &Settings, host: &Host) -> Resolved {
    let limits = &settings.limits;
    let outbox_bytes = limits.outbox_bytes.unwrap_or_else(|| outbox_bytes(limits.message_bytes));
    let total = || outbox_total_bytes(host.memory_bytes, outbox_bytes);
    Resolved {
        cores: settings.server.cores.unwrap_or_else(|| cores(host.cpus, host.cpu_quota_milli)),
        pin: match settings.server.pin {
            // A quota is taken from all cores alike: pinned, a shard would be stopped where it
            // stands while another core is free.
            Pin::Auto => host.cpu_quota_milli.is_none(),
            Pin::On => true,
            Pin::Off => false,
        },
        relay: settings.relay.effective_mode(),
        connections: limits.connections.unwrap_or_else(|| connections(host.nofile)),
        outbox_bytes,
        outbox_total_bytes: limits.outbox_total_bytes.unwrap_or_else(total),
    }
}

const CORES_COUNT_MAX: usize = 64;

/// Shards for `cpus` processors under a quota in thousandths of one, which is rounded up.
fn cores(cpus: usize, quota_milli: Option<u64>) -> usize {
    let quota = quota_milli.map_or(u64::MAX, |it| it.div_ceil(1000));
    cpus.min(usize::try_from(quota).unwrap_or(usize::MAX)).clamp(1, CORES_COUNT_MAX)
}

const CONNECTIONS_COUNT_MAX: u64 = 20_000;
/// Descriptors for all that is not a client's connection.
const NOFILE_RESERVED: u64 = 1_000;

/// Connections for `nofile` descriptors. Where these are few, half of them is kept for the rest
/// instead of the full reserve, so that a small host serves at all.
fn connections(nofile: u64) -> usize {
    let free = nofile.saturating_sub(NOFILE_RESERVED).max(nofile / 2);
    usize::try_from(free.clamp(1, CONNECTIONS_COUNT_MAX)).unwrap_or(usize::MAX)
}

const OUTBOX_BYTES_MIN: usize = 512 << 10;

/// Bytes of one outbox for messages of up to `message_bytes`.
fn outbox_bytes(message_bytes: usize) -> usize {
    message_bytes.saturating_mul(2).max(OUTBOX_BYTES_MIN)
}

/// Where nothing is known about memory.
const MEMORY_BYTES_ASSUMED: u64 = 1 << 30;

/// A quarter of the memory, but room for one whole outbox.
fn outbox_total_bytes(memory_bytes: Option<u64>, outbox_bytes: usize) -> usize {
    let quarter = memory_bytes.unwrap_or(MEMORY_BYTES_ASSUMED) / 4;
    usize::try_from(quarter).unwrap_or(usize::MAX).max(outbox_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host =
        Host { cpus: 4, cpu_quota_milli: None, memory_bytes: Some(4 << 30), nofile: 524_288 };

    #[test]
    fn the_defaults_depend_on_the_host() {
        let expected = Resolved {
            cores: 4,
            pin: true,
            relay: RelayMode::Embedded,
            connections: 20_000,
            outbox_bytes: 512 << 10,
            outbox_total_bytes: 1 << 30,
        };
        assert_eq!(resolve(&Settings::default(), &HOST), expected);
    }

    #[test]
    fn what_is_given_stays() {
        let mut settings = Settings::default();
        settings.server.cores = Some(9);
        settings.server.pin = Pin::Off;
        settings.relay.mode = RelayMode::PubSub;
        settings.limits.connections = Some(7);
        settings.limits.outbox_bytes = Some(5 << 20);
        settings.limits.outbox_total_bytes = Some(6 << 20);
        let expected = Resolved {
            cores: 9,
            pin: false,
            relay: RelayMode::PubSub,
            connections: 7,
            outbox_bytes: 5 << 20,
            outbox_total_bytes: 6 << 20,
        };
        assert_eq!(resolve(&settings, &HOST), expected);
    }

    #[test]
    fn a_quota_is_rounded_up_and_unpins() {
        for (cpus, quota, expected) in [
            (4, None, 4),
            (4, Some(1), 1),
            (4, Some(1000), 1),
            (4, Some(1001), 2),
            (4, Some(9000), 4),
            (1, Some(2000), 1),
            (256, None, 64),
        ] {
            assert_eq!(cores(cpus, quota), expected, "{cpus} {quota:?}");
        }
        let host = Host { cpu_quota_milli: Some(4000), ..HOST };
        assert!(!resolve(&Settings::default(), &host).pin);
        let mut settings = Settings::default();
        settings.server.pin = Pin::On;
        assert!(resolve(&settings, &host).pin);
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        for (nofile, expected) in [
            (0, 1),
            (1, 1),
            (256, 128),
            (1_024, 512),
            (2_000, 1_000),
            (4_096, 3_096),
            (20_999, 19_999),
            (21_000, 20_000),
            (u64::MAX, 20_000),
        ] {
            assert_eq!(connections(nofile), expected, "{nofile}");
        }
    }

    #[test]
    fn an_outbox_holds_two_messages_and_all_of_them_at_least_one_outbox() {
        assert_eq!(outbox_bytes(256 << 10), 512 << 10);
        assert_eq!(outbox_bytes((256 << 10) + 1), (512 << 10) + 2);
        assert_eq!(outbox_total_bytes(Some(8 << 20), 512 << 10), 2 << 20);
        assert_eq!(outbox_total_bytes(Some(8 << 20), 4 << 20), 4 << 20);
        assert_eq!(outbox_total_bytes(None, 512 << 10), 256 << 20);
    }
}
