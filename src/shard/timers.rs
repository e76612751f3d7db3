//! Deadlines of connections: heads, first frames, heart-beats, pings, outboxes and closes.

use std::mem;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::session::Session;
use crate::metrics::ConnectionError;
use crate::metrics::health::Phase as LifePhase;
use crate::shard::connection::Connection;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::flush::Action;
use crate::shard::state::Shard;
use crate::shard::state::TICK;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;
use crate::stdx::wheel::Tick;

/// Browsers let hidden tabs run their timers once a minute: no silence below this is held against
/// one whose interval is [`SLEEPY_INTERVAL_MIN`] or more.
const BROWSER_SILENCE_MIN: Duration = Duration::from_secs(75);
/// From this interval on a browser may be asleep rather than gone.
const SLEEPY_INTERVAL_MIN: Duration = Duration::from_secs(10);

impl Shard {
    /// Does what is due. Called about every tick.
    pub fn handle_timer(&mut self, now: Now) {
        let mut due = mem::take(&mut self.due);
        self.wheel.advance(now.instant, &mut due);
        for (key, tick) in due.drain(..) {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            if connection.armed != tick {
                continue;
            }
            connection.armed = Tick::NEVER;
            let id = ConnectionId(key);
            self.expire(now, id);
            self.rearm(id);
        }
        self.due = due;
        if !self.is_draining && self.identity.health.phase() == LifePhase::Serving {
            self.drain_some(now);
        }
        self.count_verifier();
        self.expire_keyless(now.instant);
        self.look_behind(now.instant);
        self.tick_relay(now);
        self.settle(now);
    }

    /// Arms the connection's entry in the wheel for its next deadline, if that is nearer.
    pub(super) fn rearm(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        let deadline = next_deadline(connection, &self.options, self.paused.ended_at);
        if self.wheel.tick_of(deadline) < connection.armed {
            connection.armed = self.wheel.arm(id.0, deadline);
        }
    }

    fn expire(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        let instant = now.instant;
        let ended_at = self.paused.ended_at;
        let silent_since = connection.opened_at.max(ended_at);
        // While we do not read, nobody's silence counts.
        let is_late = |timeout| !self.paused.is_on && silent_since.after(timeout) <= instant;
        match &mut connection.phase {
            Phase::Head(_) => {
                if is_late(self.options.handshake_timeout) {
                    let phase = self.time_out_head(now, id);
                    if let Some(connection) = self.connections.get_mut(id.0) {
                        connection.phase = phase;
                    }
                }
            }
            Phase::Closing(closing) => {
                if closing.deadline <= instant && !closing.is_aborted {
                    closing.is_aborted = true;
                    self.actions.push_back((id, Action::Abort));
                    if closing.ws.is_some() {
                        self.counters.connection_errors.of(ConnectionError::Close).add(1);
                    }
                }
            }
            Phase::Stomp(stomp) => {
                if stomp.session.is_fresh() && is_late(self.options.first_frame_timeout) {
                    self.close(now, id, CloseReason::NoFirstFrame);
                    return;
                }
                if stomp.session.next_deadline().is_some_and(|it| it <= instant) {
                    self.with_session(now, id, |session, outputs| {
                        session.handle_timer(now, outputs);
                    });
                }
                self.expire_open(now, id, ended_at);
            }
            Phase::Echo(_) => self.expire_open(now, id, ended_at),
            Phase::Taken => unreachable!("timers do not run inside an ingest"),
        }
    }

    fn expire_open(&mut self, now: Now, id: ConnectionId, ended_at: Instant) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        if !connection.is_open() {
            return;
        }
        if connection.outbox.is_overdue(now.instant, self.options.outbox_timeout) {
            return self.close(now, id, CloseReason::SlowConsumer);
        }
        if connection.leaves_at.is_some_and(|it| it <= now.instant) {
            return self.leave_aged(now, id);
        }
        let times = Times::of(connection, &self.options, ended_at);
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|it| it <= now.instant);
        if !self.paused.is_on {
            if is_due(times.heart_beat_lost) {
                return self.with_session(now, id, Session::handle_heart_beat_lost);
            }
            if is_due(times.pong_lost) {
                return self.close(now, id, CloseReason::PongLost);
            }
            if is_due(times.ping) {
                connection.pinged_at = Some(now.instant);
                let ping = self.ping.clone();
                self.push_raw(now, id, ping);
            }
        }
        if is_due(times.heart_beat) {
            let heart_beat = self.heart_beat.clone();
            self.push_raw(now, id, heart_beat);
        }
    }
}

/// When an open connection is next owed something, or found dead.
struct Times {
    heart_beat: Option<Instant>,
    heart_beat_lost: Option<Instant>,
    ping: Option<Instant>,
    pong_lost: Option<Instant>,
}

impl Times {
    fn of(
        connection: &Connection,
        options: &crate::shard::state::Options,
        pause_ended_at: Instant,
    ) -> Self {
        let heart_beats = match &connection.phase {
            Phase::Stomp(stomp) => stomp.session.heart_beats(),
            Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => {
                crate::broker::session::HeartBeats::default()
            }
        };
        let heard_at = connection.received_at.max(pause_ended_at);
        // Clients count from their last read; a fifth of the interval is left for the way there,
        // and of a short one what the wheel and a late timer may take.
        let send = heart_beats.send;
        let heart_beat = (!send.is_zero()).then(|| {
            connection.written_at.after((send * 4 / 5).min(send.saturating_sub(TICK * 3)))
        });
        if !heart_beats.receive.is_zero() {
            let mut silence = heart_beats.receive * 5 / 2;
            if connection.is_browser && SLEEPY_INTERVAL_MIN <= heart_beats.receive {
                silence = silence.max(BROWSER_SILENCE_MIN);
            }
            let heart_beat_lost = Some(heard_at.after(silence));
            return Self { heart_beat, heart_beat_lost, ping: None, pong_lost: None };
        }
        let (ping, pong_lost) = match connection.pinged_at {
            None => (Some(heard_at.after(options.ping_interval)), None),
            Some(pinged_at) => {
                (None, Some(pinged_at.max(pause_ended_at).after(options.pong_timeout)))
            }
        };
        Self { heart_beat, heart_beat_lost: None, ping, pong_lost }
    }
}

fn next_deadline(
    connection: &Connection,
    options: &crate::shard::state::Options,
    pause_ended_at: Instant,
) -> Instant {
    let mut deadlines = [None; 8];
    let silent_since = connection.opened_at.max(pause_ended_at);
    match &connection.phase {
        Phase::Head(_) => return silent_since.after(options.handshake_timeout),
        Phase::Closing(closing) => return closing.deadline,
        Phase::Stomp(stomp) => {
            if stomp.session.is_fresh() {
                deadlines[0] = Some(silent_since.after(options.first_frame_timeout));
            }
            deadlines[1] = stomp.session.next_deadline();
        }
        Phase::Echo(_) | Phase::Taken => {}
    }
    let times = Times::of(connection, options, pause_ended_at);
    let overdue_at = connection.outbox.waiting_since().map(|it| it.after(options.outbox_timeout));
    deadlines[2] = overdue_at;
    deadlines[3] = times.heart_beat;
    deadlines[4] = times.heart_beat_lost;
    deadlines[5] = times.ping;
    deadlines[6] = times.pong_lost;
    deadlines[7] = connection.leaves_at;
    deadlines.into_iter().flatten().min().unwrap_or(Instant::from_nanos(u64::MAX))
}
