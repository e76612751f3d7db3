//! What the tasks of one shard's thread share: a bell, a step aside, and something for later.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use crate::io::clock::Clock;
use crate::stdx::time::Instant;

/// A bell for one task of the same thread.
#[derive(Default)]
pub(super) struct Notify {
    is_set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Notify {
    /// Wakes the task, now or when it next waits.
    pub(super) fn notify(&self) {
        if !self.is_set.replace(true)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Waits for the bell.
    pub(super) async fn notified(&self) {
        poll_fn(|context| {
            if self.is_set.take() {
                return Poll::Ready(());
            }
            self.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Lets the tasks behind this one run first.
///
/// A task that wakes itself comes to the front of monoio's queue, and would be the next again; so
/// another one, which comes to the end, wakes it.
pub(super) async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        drop(monoio::spawn(async move { waker.wake() }));
        Poll::Pending
    })
    .await;
}

/// How long a task that always finds something to do lets timers wait.
const REST_INTERVAL: Duration = Duration::from_millis(20);
/// How long it rests then; the runtime's timers know nothing shorter.
const REST: Duration = Duration::from_millis(1);

/// How a task gives way that may find something to do all the time.
///
/// The runtime looks at its timers only when no task is left to run: one that lets the others go
/// first and is ready again keeps them away for ever. So it sleeps now and then; where several are
/// busy, each sleeps until the last of them does.
///
/// A bell, as the reader of the epoll driver has, would be quicker and would not do: the runtime
/// takes what the driver has while tasks are left to run, so with two that are busy each would be
/// rung back while the other runs, and timers never be looked at. That reader may have it because
/// all others that are busy beside it sleep.
pub(super) struct Turns {
    clock: Clock,
    rested_at: Instant,
}

impl Turns {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, rested_at: clock.instant() }
    }

    /// Waits for what makes the task go on: a rest, when it takes a while.
    pub(super) async fn wait<T>(&mut self, event: impl Future<Output = T>) -> T {
        let began_at = self.clock.instant();
        let output = event.await;
        let ended_at = self.clock.instant();
        if REST <= ended_at.since(began_at) {
            self.rested_at = ended_at;
        }
        output
    }

    /// Lets the others go first: all tasks, and when it is time to the timers, too.
    pub(super) async fn give_way(&mut self) {
        if self.clock.instant().since(self.rested_at) < REST_INTERVAL {
            return yield_once().await;
        }
        monoio::time::sleep(REST).await;
        self.rested_at = self.clock.instant();
    }
}

/// Waits so long.
pub(super) async fn pause(duration: Duration) {
    monoio::time::sleep(duration).await;
}

/// Does something after a pause, in a task of its own.
pub(super) fn after(pause: Duration, then: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(async move {
        monoio::time::sleep(pause).await;
        then.await;
    }));
}
