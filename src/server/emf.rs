//! The thread that writes the lines for CloudWatch: standard output may be slow, and nothing else
//! may wait for it.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use crate::config::settings::MetricsSettings;
use crate::io::clock::Clock;
use crate::metrics::Info;
use crate::metrics::ShardCounters;
use crate::metrics::emf;
use crate::metrics::emf::Emf;
use crate::metrics::emf::Sender;
use crate::server::StartError;
use crate::server::host;
use crate::stdx::time::Instant;

/// How long the end waits for the last line.
const LAST_LINE_TIMEOUT: Duration = Duration::from_secs(1);

/// The running thread.
pub(super) struct Writer {
    /// Dropped to end it.
    stop: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Writer {
    /// Starts the thread, where lines are asked for.
    pub(super) fn start(
        settings: &MetricsSettings,
        info: Info,
        counters: &Arc<[Arc<ShardCounters>]>,
        clock: Clock,
    ) -> Result<Option<Self>, StartError> {
        if !settings.emf {
            return Ok(None);
        }
        let sender = Sender {
            service: settings.service.clone(),
            task: settings.task.clone().unwrap_or_else(host::name),
            driver: info.driver,
        };
        Self::spawn(sender, Arc::clone(counters), clock).map(Some)
    }

    #[expect(clippy::disallowed_methods, reason = "threads start here, named")]
    fn spawn(
        sender: Sender,
        counters: Arc<[Arc<ShardCounters>]>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let spawned = thread::Builder::new().name("ringway-emf".to_owned()).spawn(move || {
            run(Emf::new(sender), &counters, clock, &stopped);
            // Nobody listens when the end did not wait so long.
            let _unheard = end.send(());
        });
        spawned.map_err(|error| StartError(format!("cannot start a thread: {error}")))?;
        Ok(Self { stop, ended })
    }

    /// Lets it write what rose since the last line.
    pub(super) fn end(self) {
        drop(self.stop);
        if self.ended.recv_timeout(LAST_LINE_TIMEOUT).is_err() {
            tracing::warn!("the last line of metrics could not be written in time");
        }
    }
}

fn run(mut emf: Emf, counters: &[Arc<ShardCounters>], clock: Clock, stopped: &mpsc::Receiver<()>) {
    let unix_ms = || clock.now(clock.unix_start_ms()).unix_ms;
    let mut due_at = clock.instant().after(emf::PERIOD);
    loop {
        match stopped.recv_timeout(due_at.since(clock.instant())) {
            Err(RecvTimeoutError::Timeout) => {
                write(&emf.line(counters, unix_ms()));
                due_at = next_due(due_at, clock.instant());
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                write(&emf.last_line(counters, unix_ms()));
                return;
            }
        }
    }
}

/// When the line behind that of `due_at` is due: counted from there and not from now, so that no
/// minute has two or none; what a stopped process has missed is left out.
fn next_due(due_at: Instant, now: Instant) -> Instant {
    let missed = now.since(due_at).as_secs() / emf::PERIOD.as_secs();
    due_at.after(emf::PERIOD * u32::try_from(missed + 1).unwrap_or(u32::MAX))
}

/// Writes one line, whole.
fn write(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!("cannot write metrics to standard output: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_to_their_second_of_the_minute() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        for (due_at, now, expected) in
            [(70, 70, 130), (70, 71, 130), (70, 129, 130), (70, 130, 190), (70, 700, 730)]
        {
            assert_eq!(next_due(at(due_at), at(now)), at(expected), "{due_at} {now}");
        }
    }
}
