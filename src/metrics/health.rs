//! What the process says of itself: alive, ready, and how it runs, in Spring's shape.

use std::sync::atomic::AtomicU8;
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
    shards_count: usize,
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
            shards_count,
            driver,
            driver_note,
            kernel,
        }
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
        self.phase.store(2, Relaxed);
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
            (true, _) => "UP",
            (false, Phase::Starting | Phase::Draining) => "OUT_OF_SERVICE",
            (false, Phase::Serving) => "DOWN",
        };
        let mut document = json!({ "status": status });
        if is_detailed && probe == Probe::Combined {
            let shards = if are_shards_up { "UP" } else { "DOWN" };
            document["components"] = json!({
                "shards": {
                    "status": shards,
                    "details": { "up": shards_up, "configured": self.shards_count },
                },
            });
            document["details"] = json!({
                "driver": self.driver,
                "driverNote": self.driver_note,
                "kernel": self.kernel,
                "version": env!("CARGO_PKG_VERSION"),
            });
        }
        (if is_up { 200 } else { 503 }, document.to_string())
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
