//! Answering operators a step at a time, between what clients want: however much there is, no step
//! walks or makes more than a fixed count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;
use std::sync::mpsc;

use serde_json::Value;
use serde_json::json;

use crate::broker::close::CloseReason;
use crate::broker::identity;
use crate::broker::session::Session;
use crate::broker::table::Target;
use crate::shard::ask::Answer;
use crate::shard::ask::Ask;
use crate::shard::ask::Question;
use crate::shard::connection::Connection;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::saying::Said;
use crate::shard::saying::Sayings;
use crate::shard::state::Shard;
use crate::stdx::slab::Key;
use crate::stdx::time::Now;

/// Questions that wait for their turn; what waits for the relay is bounded there.
const INQUIRIES_MAX: usize = 64;
/// Places of connections or destinations that one step looks at.
const LOOKS_MAX: usize = 128;
/// Rows that one step makes.
const ROWS_MAX: usize = 16;

/// What operators have asked and have no answer to yet.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    /// The front one is worked on.
    queue: VecDeque<Inquiry>,
    /// What is said, until the relay has answered for all of it.
    pub(super) sayings: Sayings,
}

#[derive(Debug)]
struct Inquiry {
    work: Work,
    reply: mpsc::Sender<Answer>,
}

/// One question, and how far its answer is.
#[derive(Debug)]
enum Work {
    Rebalance {
        share_ppm: u32,
        next: usize,
        found: Vec<Key>,
    },
    Connections {
        user: Option<Box<str>>,
        rows_max: usize,
        next: usize,
        answer: Answer,
    },
    /// The counts of the most subscribed places so far, the least of them on top.
    Count {
        rows_max: usize,
        next: usize,
        count: u64,
        top: BinaryHeap<Reverse<(usize, usize)>>,
    },
    /// These places are to be shown, the last one first.
    Show {
        places: Vec<usize>,
        answer: Answer,
    },
    Disconnect(u64),
    /// By its number.
    Publish(u64),
}

/// What a step has come to.
#[derive(Debug)]
enum Step {
    Done(Answer),
    Goes(Work),
    /// Nothing can be done before the relay has room, or those who read have caught up.
    Waits(Work),
    /// Somebody else answers.
    Over,
}

/// What is left to do for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing, before they ask or the relay answers.
    Nothing,
    /// Another step.
    Step,
    /// Another step, once the relay has room or those who read have caught up.
    Room,
}

impl Shard {
    /// Whether another question may be put.
    #[must_use]
    pub fn has_ask_room(&self) -> bool {
        self.inquiries.queue.len() < INQUIRIES_MAX
    }

    /// Whether there are questions to work on.
    #[must_use]
    pub fn has_asks(&self) -> bool {
        !self.inquiries.queue.is_empty()
    }

    /// Takes a question; [`Shard::answer_some`] works on it.
    pub fn handle_ask(&mut self, ask: Ask) {
        let Ask { question, reply } = ask;
        let work = match question {
            Question::Rebalance { share_ppm } => {
                Work::Rebalance { share_ppm, next: 0, found: Vec::new() }
            }
            Question::Connections { user, rows_max } => {
                let user = user.map(|user| {
                    let mut name = String::with_capacity(user.len());
                    identity::push_encoded(&mut name, &user);
                    name.into_boxed_str()
                });
                Work::Connections { user, rows_max, next: 0, answer: Answer::default() }
            }
            Question::Destinations { rows_max } => {
                Work::Count { rows_max, next: 0, count: 0, top: BinaryHeap::new() }
            }
            Question::Disconnect(bits) => Work::Disconnect(bits),
            Question::Publish(messages) => {
                Work::Publish(self.inquiries.sayings.begin(messages, reply.clone()))
            }
        };
        self.inquiries.queue.push_back(Inquiry { work, reply });
    }

    /// Does one step for operators.
    pub fn answer_some(&mut self, now: Now) -> Left {
        let Some(Inquiry { work, reply }) = self.inquiries.queue.pop_front() else {
            return Left::Nothing;
        };
        let step = match work {
            Work::Rebalance { share_ppm, next, found } => {
                self.gather_share(now, share_ppm, next, found)
            }
            Work::Connections { user, rows_max, next, answer } => {
                self.list_connections(now, user, rows_max, next, answer)
            }
            Work::Count { rows_max, next, count, top } => {
                self.count_destinations(rows_max, next, count, top)
            }
            Work::Show { places, answer } => self.show_destinations(places, answer),
            Work::Disconnect(bits) => Step::Done(self.expel(now, bits)),
            Work::Publish(number) => match self.say_some(now, number) {
                Said::All => Step::Over,
                Said::Some => Step::Goes(work),
                Said::NoRoom => Step::Waits(work),
            },
        };
        let mut waits = false;
        match step {
            // Whoever asked may have given up.
            Step::Done(answer) => drop(reply.send(answer)),
            Step::Goes(work) => self.inquiries.queue.push_front(Inquiry { work, reply }),
            Step::Waits(work) => {
                waits = true;
                // What is asked meanwhile need not wait for it.
                self.inquiries.queue.push_back(Inquiry { work, reply });
            }
            Step::Over => {}
        }
        self.settle(now);
        match self.has_asks() {
            false => Left::Nothing,
            true if waits => Left::Room,
            true => Left::Step,
        }
    }

    /// The end has come: what was said and not answered stays unknown, the rest is not done.
    pub(super) fn give_inquiries_up(&mut self) {
        self.inquiries.sayings.give_up();
        // Dropped, which tells those who wait.
        self.inquiries.queue.clear();
    }

    /// Up to [`LOOKS_MAX`] places from `next`, and where the step after this one begins.
    fn places_from(next: usize, end: usize) -> (std::ops::Range<usize>, bool) {
        let until = end.min(next.saturating_add(LOOKS_MAX));
        (next..until, end <= until)
    }

    fn open_at(&self, place: usize) -> Option<(Key, &Connection)> {
        let key = self.connections.key_at(u32::try_from(place).ok()?)?;
        let connection = self.connections.get(key)?;
        connection.is_open().then_some((key, connection))
    }

    fn gather_share(&mut self, now: Now, share_ppm: u32, next: usize, mut found: Vec<Key>) -> Step {
        let (places, is_end) = Self::places_from(next, self.connections.places());
        let next = places.end;
        found.extend(places.filter_map(|it| self.open_at(it)).map(|(key, _)| key));
        if !is_end {
            return Step::Goes(Work::Rebalance { share_ppm, next, found });
        }
        Step::Done(Answer {
            count: self.begin_rebalance(now, found, share_ppm),
            ..Answer::default()
        })
    }

    fn list_connections(
        &self,
        now: Now,
        user: Option<Box<str>>,
        rows_max: usize,
        mut next: usize,
        mut answer: Answer,
    ) -> Step {
        let (places, mut is_end) = Self::places_from(next, self.connections.places());
        let rows_end = rows_max.min(answer.rows.len() + ROWS_MAX);
        for place in places {
            if rows_end == answer.rows.len() && rows_end < rows_max {
                is_end = false;
                break;
            }
            next = place + 1;
            let Some((key, connection)) = self.open_at(place) else { continue };
            if !user.as_deref().is_none_or(|user| is_of(connection, user)) {
                continue;
            }
            answer.count += 1;
            if answer.rows.len() < rows_end {
                answer.rows.push(self.row_of(now, ConnectionId(key), connection));
            }
        }
        if is_end {
            return Step::Done(answer);
        }
        Step::Goes(Work::Connections { user, rows_max, next, answer })
    }

    fn row_of(&self, now: Now, id: ConnectionId, connection: &Connection) -> Value {
        let millis = |since| u64::try_from(now.instant.since(since).as_millis()).unwrap_or(0);
        let mut row = json!({
            "id": format!("{}-{:x}", self.identity.id.0, id.to_bits()),
            "core": self.identity.id.0,
            "address": connection.peer.to_string(),
            "ageMs": millis(connection.opened_at),
            "idleMs": millis(connection.active_at),
            "outboxBytes": connection.outbox.queued_bytes(),
        });
        if let Phase::Stomp(stomp) = &connection.phase {
            row["session"] = stomp.session.id().into();
            row["user"] = stomp.session.user().into();
            row["subscriptions"] = stomp.session.subscriptions_count().into();
        }
        row
    }

    fn count_destinations(
        &self,
        rows_max: usize,
        next: usize,
        mut count: u64,
        mut top: BinaryHeap<Reverse<(usize, usize)>>,
    ) -> Step {
        let (places, is_end) = Self::places_from(next, self.table.places());
        let next = places.end;
        for place in places {
            let Some((_, subscriptions)) = self.table.target_at(place) else { continue };
            count += 1;
            if top.len() < rows_max {
                top.push(Reverse((subscriptions, place)));
            } else if let Some(mut least) = top.peek_mut()
                && least.0.0 < subscriptions
            {
                *least = Reverse((subscriptions, place));
            }
        }
        if !is_end {
            return Step::Goes(Work::Count { rows_max, next, count, top });
        }
        let places = top.into_sorted_vec().into_iter().rev().map(|it| it.0.1).collect();
        Step::Goes(Work::Show { places, answer: Answer { count, ..Answer::default() } })
    }

    fn show_destinations(&self, mut places: Vec<usize>, mut answer: Answer) -> Step {
        for _ in 0..ROWS_MAX {
            let Some(place) = places.pop() else { return Step::Done(answer) };
            // It may have gone since it was counted.
            let Some((target, subscriptions)) = self.table.target_at(place) else { continue };
            let (name, is_pattern) = match target {
                Target::Exact(channel) => (channel, false),
                Target::Pattern(pattern) => (pattern, true),
            };
            let row = json!({
                "destination": name, "pattern": is_pattern, "subscriptions": subscriptions,
            });
            answer.rows.push(row);
        }
        Step::Goes(Work::Show { places, answer })
    }

    fn expel(&mut self, now: Now, bits: u64) -> Answer {
        let id = ConnectionId::from_bits(bits);
        let is_open = self.connections.get(id.0).is_some_and(Connection::is_open);
        self.with_session(now, id, Session::handle_expelled);
        self.close(now, id, CloseReason::Expelled);
        Answer { count: u64::from(is_open), ..Answer::default() }
    }
}

fn is_of(connection: &Connection, user: &str) -> bool {
    match &connection.phase {
        Phase::Stomp(stomp) => stomp.session.is_of(user),
        Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => false,
    }
}
