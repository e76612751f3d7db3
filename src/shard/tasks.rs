//! What the tasks of one shard's thread share: a bell, a step aside, and something for later.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

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
