//! How fast a user is on this core, over all of its connections here.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::shard::connection::ConnectionId;
use crate::shard::state::Shard;
use crate::stdx::rate::Pace;
use crate::stdx::time::Instant;

/// One user's, shared by its connections.
#[derive(Debug)]
pub(super) struct UserPace {
    name: Arc<str>,
    frames: Cell<Pace>,
    bytes: Cell<Pace>,
}

/// All users that have connections here; hashed with a secret: clients choose the names.
#[derive(Debug, Default)]
pub(super) struct UserPaces(HashMap<Arc<str>, Rc<UserPace>>);

impl UserPace {
    /// Takes one frame; how long the user is over by.
    pub(super) fn take_frame(&self, now: Instant, per_second: u64) -> Duration {
        take(&self.frames, now, 1, per_second)
    }

    /// Takes bytes; how long the user is over by.
    pub(super) fn take_bytes(&self, now: Instant, count: u64, per_second: u64) -> Duration {
        take(&self.bytes, now, count, per_second)
    }
}

fn take(pace: &Cell<Pace>, now: Instant, count: u64, per_second: u64) -> Duration {
    if per_second == 0 {
        return Duration::ZERO;
    }
    let mut taken = pace.get();
    let over = taken.take(now, count, per_second);
    pace.set(taken);
    over
}

impl UserPaces {
    /// A connection of the user has gone; with the last one its pace is forgotten.
    pub(super) fn leave(&mut self, pace: Rc<UserPace>) {
        let name = Arc::clone(&pace.name);
        drop(pace);
        if self.0.get(&name).is_some_and(|it| Rc::strong_count(it) == 1) {
            self.0.remove(&name);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Shard {
    /// Notes whose a connection is, where users have rates.
    pub(super) fn note_user(&mut self, id: ConnectionId, name: &Arc<str>) {
        let admission = &self.options.admission;
        let has_rate =
            admission.user_frames_per_second != 0 || admission.user_bytes_per_second != 0;
        let Some(connection) = self.connections.get_mut(id.0).filter(|_| has_rate) else {
            return;
        };
        let pace = self.user_paces.0.entry(Arc::clone(name)).or_insert_with(|| {
            let name = Arc::clone(name);
            Rc::new(UserPace { name, frames: Cell::default(), bytes: Cell::default() })
        });
        connection.user_pace = Some(Rc::clone(pace));
    }
}
