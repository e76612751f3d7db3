//! What the process says of itself: alive, ready, and how it runs, in Spring's shape.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

/// The life of the process, as far as a load balancer cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all shards serve yet.
    Starting,
    /// All shards serve.
    Serving,
    /// No new connections; the old ones are being closed.
    Draining,
}

/// Which document is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Everything together.
    Combined,
    /// Whether the process should be restarted.
    Liveness,
    /// Whether new connections should be sent here.
    Readiness,
}

impl Probe {
    /// The probe that is answered at a path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/actuator/health" => Some(Self::Combined),
            "/actuator/health/liveness" => Some(Self::Liveness),
            "/actuator/health/readiness" => Some(Self::Readiness),
            _ => None,
        }
    }
}

/// The state that all threads share; each field has one writer at a time.
#[derive(Debug)]
pub struct Health {
    phase: AtomicU8,
    shards_up: AtomicUsize,
    shards_quiet: AtomicUsize,
    shards_count: usize,
    /// One bit for each shard whose relay carries messages.
    relays_up: AtomicU64,
    redis: Option<&'static str>,
    history: Option<&'static str>,
    is_history_up: AtomicBool,
    driver: &'static str,
    driver_note: String,
    kernel: String,
}

impl Health {
    /// A process that starts, with `shards_count` shards on this driver and kernel.
    #[must_use]
    pub fn new(
        shards_count: usize,
        driver: &'static str,
        driver_note: String,
        kernel: String,
    ) -> Self {
        Self {
            phase: AtomicU8::new(0),
            shards_up: AtomicUsize::new(0),
            shards_quiet: AtomicUsize::new(0),
            shards_count,
            relays_up: AtomicU64::new(0),
            redis: None,
            history: None,
            is_history_up: AtomicBool::new(false),
            driver,
            driver_note,
            kernel,
        }
    }

    /// The same process with a relay through Redis, of this mode: it is down until each shard calls
    /// [`Health::relay_up`]. Without it the relay is the embedded one, which is never away.
    ///
    /// # Panics
    ///
    /// With more than 64 shards.
    #[must_use]
    pub fn with_redis(mut self, mode: &'static str) -> Self {
        assert!(self.shards_count <= 64);
        self.redis = Some(mode);
        self
    }

    /// The same process with a store of the history, of this name: it is down until
    /// [`Health::set_history`].
    #[must_use]
    pub fn with_history(mut self, name: &'static str) -> Self {
        self.history = Some(name);
        self
    }

    /// The store of the history is there, or away.
    pub fn set_history(&self, is_up: bool) {
        self.is_history_up.store(is_up, Relaxed);
    }

    /// The relay of the shard with this number carries messages.
    pub fn relay_up(&self, shard: usize) {
        self.relays_up.fetch_or(1 << shard, Relaxed);
    }

    /// The relay of the shard with this number is away.
    pub fn relay_down(&self, shard: usize) {
        self.relays_up.fetch_and(!(1 << shard), Relaxed);
    }

    fn relays_up_count(&self) -> usize {
        self.relays_up.load(Relaxed).count_ones() as usize
    }

    /// Whether something is away that the process can be without for a while.
    fn is_degraded(&self) -> bool {
        self.is_redis_away() || self.is_history_away()
    }

    fn is_redis_away(&self) -> bool {
        self.redis.is_some() && self.relays_up_count() < self.shards_count
    }

    fn is_history_away(&self) -> bool {
        self.history.is_some() && !self.is_history_up.load(Relaxed)
    }

    /// A shard serves; with the last one the process does.
    pub fn shard_started(&self) {
        let up = self.shards_up.fetch_add(1, Relaxed) + 1;
        if up == self.shards_count {
            // Draining may have begun before; it stays.
            let _unchanged = self.phase.compare_exchange(0, 1, Relaxed, Relaxed);
        }
    }

    /// A shard has ended.
    pub fn shard_stopped(&self) {
        self.shards_up.fetch_sub(1, Relaxed);
    }

    /// The drain begins; it does not end.
    pub fn drain(&self) {
        self.phase.fetch_max(2, Relaxed);
    }

    /// The drain is to be short: all are closed at once. Begins it where it has not begun.
    pub fn hurry(&self) {
        self.phase.fetch_max(3, Relaxed);
    }

    /// Whether the drain is to be short.
    #[must_use]
    pub fn is_hurried(&self) -> bool {
        self.phase.load(Relaxed) == 3
    }

    /// A shard that drains has answered all that it owed.
    pub fn shard_quiet(&self) {
        self.shards_quiet.fetch_add(1, Relaxed);
    }

    /// Whether no shard owes anything any more.
    #[must_use]
    pub fn are_shards_quiet(&self) -> bool {
        self.shards_count <= self.shards_quiet.load(Relaxed)
    }

    /// Where the process is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// The HTTP status and JSON body for a probe; `is_detailed` for those who may see how we run.
    #[must_use]
    pub fn answer(&self, probe: Probe, is_detailed: bool) -> (u16, String) {
        let shards_up = self.shards_up.load(Relaxed);
        let phase = self.phase();
        let are_shards_up = shards_up == self.shards_count;
        let is_up = match probe {
            Probe::Liveness => phase != Phase::Serving || are_shards_up,
            Probe::Readiness | Probe::Combined => phase == Phase::Serving && are_shards_up,
        };
        let status = match (is_up, phase) {
            // What is away must not take the process down with it: the text says so, the code not.
            (true, Phase::Serving) if probe != Probe::Liveness && self.is_degraded() => "DEGRADED",
            (true, _) => "UP",
            (false, Phase::Starting | Phase::Draining) => "OUT_OF_SERVICE",
            (false, Phase::Serving) => "DOWN",
        };
        let mut document = json!({ "status": status });
        if is_detailed && probe == Probe::Combined {
            let shards = if are_shards_up { "UP" } else { "DOWN" };
            document["components"] = json!({
                "redis": self.redis_component(),
                "shards": {
                    "status": shards,
                    "details": { "up": shards_up, "configured": self.shards_count },
                },
            });
            if let Some(store) = self.history {
                let status = if self.is_history_away() { "DOWN" } else { "UP" };
                document["components"]["history"] =
                    json!({ "status": status, "details": { "store": store } });
            }
            document["details"] = json!({
                "driver": self.driver,
                "driverNote": self.driver_note,
                "kernel": self.kernel,
                "version": env!("CARGO_PKG_VERSION"),
            });
        }
        (if is_up { 200 } else { 503 }, document.to_string())
    }

    fn redis_component(&self) -> serde_json::Value {
        let Some(mode) = self.redis else {
            return json!({ "status": "UP", "details": { "mode": "embedded" } });
        };
        json!({
            "status": if self.is_redis_away() { "DOWN" } else { "UP" },
            "details": {
                "mode": mode,
                "up": self.relays_up_count(),
                "configured": self.shards_count,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(health: &Health, probe: Probe, status: u16, text: &str) {
        let (actual, body) = health.answer(probe, false);
        assert_eq!(actual, status, "{body}");
        assert_eq!(body, format!("{{\"status\":\"{text}\"}}"));
    }

    #[test]
    fn ready_means_all_shards_serve_and_no_drain() {
        let health = Health::new(2, "epoll", String::new(), "6.1".to_owned());
        check(&health, Probe::Liveness, 200, "UP");
        check(&health, Probe::Readiness, 503, "OUT_OF_SERVICE");
        health.shard_started();
        check(&health, Probe::Readiness, 503, "OUT_OF_SERVICE");
        health.shard_started();
        check(&health, Probe::Combined, 200, "UP");
        health.shard_stopped();
        check(&health, Probe::Liveness, 503, "DOWN");
        check(&health, Probe::Readiness, 503, "DOWN");
        health.drain();
        check(&health, Probe::Liveness, 200, "UP");
        check(&health, Probe::Readiness, 503, "OUT_OF_SERVICE");
    }

    #[test]
    fn without_redis_the_process_is_degraded_and_stays_in_service() {
        let health = Health::new(2, "epoll", String::new(), "6.1".to_owned()).with_redis("pubsub");
        health.relay_up(1);
        check(&health, Probe::Readiness, 503, "OUT_OF_SERVICE");
        health.shard_started();
        health.shard_started();
        for (up, text) in [(false, "DEGRADED"), (true, "UP"), (false, "DEGRADED")] {
            // Said twice, because a state and not a change is told.
            for _ in 0..2 {
                if up { health.relay_up(0) } else { health.relay_down(0) }
            }
            check(&health, Probe::Readiness, 200, text);
            check(&health, Probe::Combined, 200, text);
            check(&health, Probe::Liveness, 200, "UP");
            let document: serde_json::Value =
                serde_json::from_str(&health.answer(Probe::Combined, true).1).unwrap();
            let redis = &document["components"]["redis"];
            assert_eq!(redis["status"], if up { "UP" } else { "DOWN" });
            assert_eq!(redis["details"]["up"], if up { 2 } else { 1 });
            assert_eq!(redis["details"]["mode"], "pubsub");
        }
        health.drain();
        check(&health, Probe::Readiness, 503, "OUT_OF_SERVICE");
    }

    #[test]
    fn the_embedded_relay_is_never_away() {
        let health = Health::new(1, "epoll", String::new(), "6.1".to_owned());
        health.shard_started();
        let (status, body) = health.answer(Probe::Combined, true);
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &document["status"]), (200, &json!("UP")));
        assert_eq!(document["components"]["redis"]["details"]["mode"], "embedded");
    }

    #[test]
    fn details_are_for_those_who_may_see_them() {
        let health = Health::new(1, "io_uring", "works".to_owned(), "6.1".to_owned());
        health.shard_started();
        let (_, body) = health.answer(Probe::Combined, true);
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(document["details"]["driver"], "io_uring");
        assert_eq!(document["components"]["shards"]["status"], "UP");
        assert!(!health.answer(Probe::Liveness, true).1.contains("driver"));
    }
}
