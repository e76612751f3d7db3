//! What an operator says to a running server, for whichever of its doors it comes through: to the
//! whole fleet where there is one, else to this process.
//!
//! One thread does it: Redis may keep it waiting, and then nobody else waits.

use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::TrySendError;
use std::thread;
use std::time::Duration;

use crate::admin;
use crate::admin::Order;
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

/// Words that wait for the thread; more are refused.
const WORDS_MAX: usize = 256;
/// How long a shard that has no room is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// How far a word has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All shards of this process.
    Process,
    /// Every task, through Redis.
    Fleet,
}

/// What became of a word; called once, on another thread.
pub type Answer = Box<dyn FnOnce(Result<Reach, String>) + Send>;

/// Takes words; a clone is the same.
#[derive(Clone, Debug)]
pub struct Operator {
    words: mpsc::SyncSender<(Word, Answer)>,
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
        spawn("ringway-operator", move || run(fleet.as_ref(), clock, outside, &orders))?;
        Ok(Self { words })
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
            self.say(word, Box::new(|said| answer(said.map(|reach| reach == Reach::Fleet))));
        })
    }
}

fn run(
    fleet: Option<&Fleet>,
    clock: Clock,
    mut outside: Outside,
    orders: &mpsc::Receiver<(Word, Answer)>,
) {
    while let Ok((word, answer)) = orders.recv() {
        let now_ms = clock.now(clock.unix_start_ms()).unix_ms;
        let said = fleet.map(|fleet| fleet.say(now_ms, &word));
        let notice = match word {
            Word::Revoke(revocation) => Some(Notice::Revoked([revocation].into())),
            // Through Redis it is heard here as well, and who has come again meanwhile may stay.
            Word::Disconnect(_) if fleet.is_some() => None,
            Word::Disconnect(user) => Some(Notice::Disconnected(user.into())),
        };
        // Here at once, whatever Redis says; hearing of it twice does no harm.
        while notice.as_ref().is_some_and(|it| !outside.post(it)) {
            thread::sleep(PAUSE);
        }
        answer(match said {
            None => Ok(Reach::Process),
            Some(Ok(_)) => Ok(Reach::Fleet),
            Some(Err(why)) => Err(why),
        });
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
