//! What gets a share of each turn, so that what is open gets the rest: a storm of CONNECTs, where
//! tokens are needed, and what operators ask.

use std::rc::Rc;
use std::time::Duration;

use crate::shard::inquiry::Left;
use crate::shard::runtime::Core;
use crate::shard::tasks::pause;
use crate::shard::tasks::yield_once;

/// Time of one turn after which the CONNECTs that wait go on in the next. One is always taken:
/// with a large RSA key it may take as long by itself.
const SHARE: Duration = Duration::from_millis(1);
/// Turns in a row after which timers are looked at, which the runtime does when no task is left to
/// run.
const TURNS_IN_A_ROW_MAX: u32 = 4;
/// Time after which what operators ask goes on later; one step takes less by far.
const ASKS_SHARE: Duration = Duration::from_micros(250);
/// How much later: clients come first.
const ASKS_PAUSE: Duration = Duration::from_millis(1);

impl Core {
    /// Takes those that wait, whenever there are some.
    pub(super) async fn admit_all(self: Rc<Self>) {
        let mut turns_count = 0_u32;
        loop {
            self.waiting.notified().await;
            while self.admit_share() {
                turns_count = turns_count.wrapping_add(1);
                if turns_count.is_multiple_of(TURNS_IN_A_ROW_MAX) {
                    pause(SHARE).await;
                } else {
                    yield_once().await;
                }
            }
        }
    }

    /// Takes CONNECTs as long as the share lasts; `true` when some still wait.
    fn admit_share(&self) -> bool {
        let start = self.clock.instant();
        let mut shard = self.shard.borrow_mut();
        while shard.admit_next(self.now()) {
            if SHARE <= self.clock.instant().since(start) {
                break;
            }
        }
        self.flush.notify();
        shard.has_waiting(self.clock.instant())
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
