//! What an operator says to a running server, for whichever of its doors it comes through: to the
//! whole fleet where there is one, else to this process.
//!
//! One thread does it: Redis may keep it waiting, and then nobody else waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::TrySendError;
use std::thread;
use std::time::Duration;

use crate::admin;
use crate::admin::Order;
use crate::admin::Reach;
use crate::admin::Said;
use crate::config::settings::Settings;
use crate::fleet::Fleet;
use crate::fleet::Word;
use crate::io::clock::Clock;
use crate::policy::auth::Revocation;
use crate::policy::auth::Whom;
use crate::server::StartError;
use crate::server::spawn;
use crate::shard::Notice;
use crate::shard::mailbox::Doorbell;
use crate::shard::mailbox::Mailboxes;
use crate::shard::mailbox::Outside;
use crate::stdx::time::Instant;

/// Words that wait for the thread; more are refused.
const WORDS_MAX: usize = 256;
/// Revocations that wait for Redis; more are for this process alone.
const LATE_MAX: usize = 1024;
/// How often they are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a shard that has no room is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// What became of a word; called once, on another thread.
pub type Answer = Box<dyn FnOnce(Said) + Send>;

/// Takes words; a clone is the same.
#[derive(Clone, Debug)]
pub struct Operator {
    words: mpsc::SyncSender<(Word, Answer)>,
    late: Late,
}

/// How many revocations wait for Redis: the rest of the fleet has not heard them.
#[derive(Clone, Debug, Default)]
pub(super) struct Late(Arc<AtomicUsize>);

impl Late {
    /// The process ends: tells what is lost.
    pub(super) fn tell_end(&self) {
        let count = self.0.load(Ordering::Relaxed);
        if 0 < count {
            let text = "Redis is away: revocations are lost to the rest of the fleet; the log has \
                        each of them, say them again";
            tracing::error!(count, "{text}");
        }
    }

    fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }
}

impl Operator {
    /// Starts the thread.
    pub(super) fn start(
        settings: &Settings,
        clock: Clock,
        mailboxes: &mut [Mailboxes],
        doorbells: &Arc<[Doorbell]>,
    ) -> Result<Self, StartError> {
        let fleet = Fleet::new(&settings.relay).map_err(StartError)?;
        let outside = Mailboxes::open(mailboxes, doorbells);
        let (words, orders) = mpsc::sync_channel(WORDS_MAX);
        let late_count = Late::default();
        let speaker = Speaker {
            fleet,
            clock,
            outside,
            late: VecDeque::new(),
            late_count: late_count.clone(),
            tried_at: Instant::default(),
        };
        spawn("ringway-operator", move || speaker.run(&orders))?;
        Ok(Self { words, late: late_count })
    }

    /// What has not reached the fleet.
    pub(super) fn late(&self) -> Late {
        self.late.clone()
    }

    /// Says a word. The answer says how far it has gone, or in one line why it has not; it may take
    /// some seconds while Redis is away.
    pub fn say(&self, word: Word, answer: Answer) {
        let refused = match self.words.try_send((word, answer)) {
            Ok(()) => return,
            Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) => refused,
        };
        (refused.1)(Err("too much waits to be said; try again later".to_owned()));
    }
}

impl Operator {
    /// The same, as the admin listener knows it.
    pub(super) fn for_admin(self, clock: Clock) -> admin::Operator {
        admin::Operator::new(move |order, answer| {
            let until = |until_ms: Option<u64>| until_ms.unwrap_or(u64::MAX);
            let revoke = |whom, until_ms| Word::Revoke(Revocation { whom, until_ms });
            let word = match order {
                Order::Disconnect(user) => Word::Disconnect(user.into()),
                Order::RevokeToken { id, until_ms } => {
                    revoke(Whom::Token(id.into()), until(until_ms))
                }
                Order::RevokeUser { id, until_ms } => {
                    let issued_until_ms = clock.now(clock.unix_start_ms()).unix_ms;
                    revoke(Whom::User { id: id.into(), issued_until_ms }, until(until_ms))
                }
            };
            self.say(word, answer);
        })
    }
}

/// Who says the words.
struct Speaker {
    fleet: Option<Fleet>,
    clock: Clock,
    outside: Outside,
    /// Revocations that hold here and that Redis has not taken, oldest first.
    late: VecDeque<Revocation>,
    late_count: Late,
    tried_at: Instant,
}

impl Speaker {
    fn run(mut self, orders: &mpsc::Receiver<(Word, Answer)>) {
        loop {
            let order = match self.late.is_empty() {
                true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => orders.recv_timeout(RETRY_INTERVAL),
            };
            match order {
                Ok((word, answer)) => answer(self.say(word)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.late.is_empty() && self.tried_at.after(RETRY_INTERVAL) <= self.clock.instant()
            {
                self.say_late();
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now(self.clock.unix_start_ms()).unix_ms
    }

    fn say(&mut self, word: Word) -> Said {
        let revocation = match &word {
            Word::Revoke(revocation) => Some(revocation.clone()),
            Word::Disconnect(_) => None,
        };
        // Behind those that wait it would wait as well.
        let is_behind = revocation.is_some() && !self.late.is_empty();
        let now_ms = self.now_ms();
        let said = self.fleet.as_ref().filter(|_| !is_behind).map(|it| it.say(now_ms, &word));
        let notice = match word {
            Word::Revoke(revocation) => Some(Notice::Revoked([revocation].into())),
            // Through Redis it is heard here as well, and who has come again meanwhile may stay.
            Word::Disconnect(_) if self.fleet.is_some() => None,
            Word::Disconnect(user) => Some(Notice::Disconnected(user.into())),
        };
        // Here at once, whatever Redis says; hearing of it twice does no harm.
        while notice.as_ref().is_some_and(|it| !self.outside.post(it)) {
            thread::sleep(PAUSE);
        }
        match (said, revocation) {
            (Some(Ok(_)), _) => Ok(Reach::Fleet),
            (Some(Err(why)), None) => Err(format!("nobody was told: {why}")),
            (None, _) if !is_behind => Ok(Reach::Process),
            (None, None) => Ok(Reach::Process),
            (said, Some(revocation)) => {
                let why = said.and_then(Result::err).unwrap_or("others wait already".to_owned());
                self.put_off(revocation, &why)
            }
        }
    }

    /// Keeps a revocation until Redis takes it.
    fn put_off(&mut self, revocation: Revocation, why: &str) -> Said {
        if LATE_MAX <= self.late.len() {
            let count = self.late.len();
            return Err(format!(
                "it holds in this process, and nowhere else: {count} wait for Redis already; say \
                 it again when Redis is back"
            ));
        }
        tracing::warn!(whom = ?revocation.whom, "a revocation waits for Redis: {why}");
        self.late.push_back(revocation);
        self.late_count.set(self.late.len());
        Ok(Reach::Later(format!(
            "it holds in this process; the others are told as soon as Redis answers. Say it again \
             if this process ends before that. Redis: {why}"
        )))
    }

    /// Says what waits, until Redis is away again.
    fn say_late(&mut self) {
        while let (Some(fleet), Some(revocation)) = (&self.fleet, self.late.front()) {
            let now_ms = self.now_ms();
            let mut revocation = revocation.clone();
            if let Whom::User { issued_until_ms, .. } = &mut revocation.whom {
                // What is heard is believed while it is fresh: so it is of all issued until now.
                *issued_until_ms = now_ms;
            }
            let said = fleet.say(now_ms, &Word::Revoke(revocation));
            self.tried_at = self.clock.instant();
            match said {
                Ok(_) => {
                    let said = self.late.pop_front();
                    let count = self.late.len();
                    self.late_count.set(count);
                    let whom = said.map(|it| it.whom);
                    tracing::info!(?whom, count, "a revocation that waited for Redis is told");
                }
                Err(why) => {
                    tracing::debug!(count = self.late.len(), "revocations wait for Redis: {why}");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_fleet_the_cores_of_this_process_are_told() {
        let (mut mailboxes, doorbells) = Mailboxes::connect(2, 1);
        let settings = Settings::default();
        let clock = Clock::start();
        let operator = Operator::start(&settings, clock, &mut mailboxes, &doorbells).unwrap();
        let whom = Whom::Token("a".into());
        let words =
            [Word::Revoke(Revocation { whom, until_ms: u64::MAX }), Word::Disconnect("b".into())];
        for word in words {
            let (answer, answers) = mpsc::channel();
            operator.say(word, Box::new(move |said| answer.send(said).unwrap()));
            assert_eq!(answers.recv().unwrap(), Ok(Reach::Process));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for doorbell in doorbells.iter() {
                assert!(doorbell.poll_rung(&mut context).is_ready());
            }
        }
    }
}
