//! What gets a share of each turn, so that what is open gets the rest: a storm of CONNECTs, where
//! tokens are needed, and what operators ask.

use std::rc::Rc;
use std::time::Duration;

use crate::shard::inquiry::Left;
use crate::shard::runtime::Core;
use crate::shard::tasks::Turns;
use crate::shard::tasks::pause;

/// Time of one turn after which the CONNECTs that wait go on in the next. One is always taken:
/// with a large RSA key it may take as long by itself.
const SHARE: Duration = Duration::from_millis(1);
/// The same while newcomers wait in the kernel's queue: one that finds no room there comes again
/// after a second, and loses more than those whose CONNECTs wait.
const CROWDED_SHARE: Duration = Duration::from_micros(250);
/// Time after which what operators ask goes on later; one step takes less by far.
const ASKS_SHARE: Duration = Duration::from_micros(250);
/// How much later: clients come first.
const ASKS_PAUSE: Duration = Duration::from_millis(1);

impl Core {
    /// Takes those that wait, whenever there are some.
    pub(super) async fn admit_all(self: Rc<Self>) {
        let mut turns = Turns::new(self.clock);
        loop {
            turns.wait(self.waiting.notified()).await;
            while self.admit_share() {
                turns.give_way().await;
            }
        }
    }

    /// Takes CONNECTs as long as the share lasts, then reads newcomers that were held; `true` when
    /// some still wait.
    fn admit_share(self: &Rc<Self>) -> bool {
        let start = self.clock.instant();
        let share = if self.is_crowded.get() { CROWDED_SHARE } else { SHARE };
        let mut shard = self.shard.borrow_mut();
        while shard.admit_next(self.now()) {
            if share <= self.clock.instant().since(start) {
                break;
            }
        }
        drop(shard);
        self.read_held();
        self.flush.notify();
        self.shard.borrow().has_waiting(self.clock.instant())
    }

    /// Answers operators, whenever they ask.
    pub(super) async fn answer_all(self: Rc<Self>) {
        loop {
            self.asked.notified().await;
            while self.answer_share() {
                pause(ASKS_PAUSE).await;
            }
        }
    }

    /// Works on answers as long as the share lasts; `true` when there is more to do.
    fn answer_share(&self) -> bool {
        let began = self.now();
        let mut shard = self.shard.borrow_mut();
        let is_more = loop {
            self.mailboxes.borrow().receive_asks(&mut shard);
            if !shard.has_asks() {
                break false;
            }
            let left = shard.answer_some(self.now());
            let is_late = ASKS_SHARE <= self.clock.instant().since(began.instant);
            if left == Left::Room || is_late {
                break true;
            }
        };
        self.time_fan_out(began, &mut shard);
        self.flush.notify();
        is_more
    }
}
