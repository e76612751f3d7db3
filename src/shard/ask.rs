//! What operators ask of a shard, and what it answers: between two turns, and bounded.

use std::sync::Arc;
use std::sync::mpsc;

use serde_json::Value;
use serde_json::json;

use crate::broker::close::CloseReason;
use crate::broker::identity;
use crate::broker::publication::Carried;
use crate::broker::publication::Historic;
use crate::broker::publication::Publication;
use crate::broker::publication::message_id;
use crate::broker::router::CHANNEL_BYTES_MAX;
use crate::broker::session::Session;
use crate::broker::table::Target;
use crate::shard::connection::Connection;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::state::Shard;
use crate::stdx::slab::Key;
use crate::stdx::time::Now;

/// The header by which a repeat is known, and the most bytes that it may have.
const KEY: &str = "idempotency-key";
const KEY_BYTES_MAX: usize = 1000;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Let so many millionths of the sessions go, so that they connect elsewhere.
    Rebalance {
        /// 1,000,000 is all.
        share_ppm: u32,
    },
    /// Which connections there are.
    Connections {
        /// Those of this user only.
        user: Option<String>,
        /// Most rows of the answer.
        rows_max: usize,
    },
    /// What is subscribed to, by most first.
    Destinations {
        /// Most rows of the answer.
        rows_max: usize,
    },
    /// Close the connection that a row calls so.
    Disconnect(u64),
    /// Say these things, in this order, as far as there is room.
    Publish(Arc<[Message]>),
}

/// Something to say.
#[derive(Clone, Debug)]
pub struct Message {
    /// A destination below `/topic/`, `/queue/` or `/user/`.
    pub destination: String,
    /// What it is.
    pub content_type: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// What is said.
    pub body: String,
}

/// What comes back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// How many there are, or how many it was done to.
    pub count: u64,
    /// Those that are shown.
    pub rows: Vec<Value>,
    /// Why the one behind those that were done was refused.
    pub refusal: Option<String>,
}

/// A question and who waits for its answer.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Where the answer goes.
    pub reply: mpsc::Sender<Answer>,
}

impl Shard {
    /// Answers an operator.
    pub fn handle_ask(&mut self, now: Now, question: &Question) -> Answer {
        let answer = match question {
            Question::Rebalance { share_ppm } => {
                Answer { count: self.begin_rebalance(now, *share_ppm), ..Answer::default() }
            }
            Question::Connections { user, rows_max } => {
                self.list_connections(now, user.as_deref(), *rows_max)
            }
            Question::Destinations { rows_max } => self.list_destinations(*rows_max),
            Question::Disconnect(bits) => {
                let id = ConnectionId::from_bits(*bits);
                let is_open = self.connections.get(id.0).is_some_and(Connection::is_open);
                self.with_session(now, id, Session::handle_expelled);
                self.close(now, id, CloseReason::Expelled);
                Answer { count: u64::from(is_open), ..Answer::default() }
            }
            Question::Publish(messages) => self.publish_all(now, messages),
        };
        self.settle(now);
        answer
    }

    fn keys_of(&self, user: Option<&str>) -> Vec<Key> {
        let open = self.connections.iter().filter(|(_, it)| it.is_open());
        let of_user = open.filter(|(_, it)| match (&it.phase, user) {
            (_, None) => true,
            (Phase::Stomp(stomp), Some(user)) => stomp.session.user() == user,
            (Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken, Some(_)) => false,
        });
        of_user.map(|(key, _)| key).collect()
    }

    fn list_connections(&self, now: Now, user: Option<&str>, rows_max: usize) -> Answer {
        let keys = self.keys_of(user);
        let shown = keys.iter().take(rows_max);
        let rows = shown.filter_map(|key| {
            let connection = self.connections.get(*key)?;
            Some(self.row_of(now, ConnectionId(*key), connection))
        });
        Answer { count: keys.len() as u64, rows: rows.collect(), refusal: None }
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

    fn list_destinations(&self, rows_max: usize) -> Answer {
        let mut all: Vec<(usize, Target<'_>)> =
            self.table.targets().map(|(target, count)| (count, target)).collect();
        let count = all.len() as u64;
        if rows_max < all.len() && 0 < rows_max {
            all.select_nth_unstable_by_key(rows_max - 1, |(count, _)| std::cmp::Reverse(*count));
        }
        all.truncate(rows_max);
        let rows = all.into_iter().map(|(count, target)| {
            let (name, is_pattern) = match target {
                Target::Exact(channel) => (channel, false),
                Target::Pattern(pattern) => (pattern, true),
            };
            json!({ "destination": name, "pattern": is_pattern, "subscriptions": count })
        });
        Answer { count, rows: rows.collect(), refusal: None }
    }

    fn publish_all(&mut self, now: Now, messages: &[Message]) -> Answer {
        let mut answer = Answer::default();
        for message in messages {
            if !self.relay.has_credit() {
                break;
            }
            match self.publication_of(now, message) {
                Ok(publication) => {
                    answer.rows.push(json!(publication.message_id));
                    self.relay.publish(now.instant, Arc::new(publication), None);
                    answer.count += 1;
                }
                Err(text) => {
                    answer.refusal = Some(text);
                    break;
                }
            }
        }
        answer
    }

    fn publication_of(&mut self, now: Now, message: &Message) -> Result<Publication, String> {
        let options = &self.options;
        if message.destination.starts_with("/app/") {
            return Err("routes are for clients; say where they lead".to_owned());
        }
        let body_bytes_max = options.stomp.frame_bytes_max;
        if body_bytes_max < message.body.len() {
            return Err(format!("the body is over limits.message_bytes = {body_bytes_max}"));
        }
        let delivery = options.router.resolve_send(&message.destination);
        let delivery = delivery.map_err(|refusal| refusal.text.to_string())?;
        self.messages_count += 1;
        let carried = Carried {
            channel: &delivery.channel,
            destination: delivery.destination,
            message_id: message_id(&self.node, self.messages_count),
            content_type: message.content_type.as_deref(),
            sender: None,
            timestamp_ms: now.unix_ms,
            received_at: now.instant,
            body: message.body.as_bytes(),
        };
        let is_stored = options.history.is_some() && options.router.is_stored(&delivery.channel);
        let headers = message.headers.iter().map(|(name, value)| (&**name, &**value));
        let mut publication = Publication::from_relay(carried, headers);
        if is_stored && publication.channel.len() <= CHANNEL_BYTES_MAX {
            let mut headers = message.headers.iter();
            let key = headers.find(|(name, value)| name == KEY && value.len() <= KEY_BYTES_MAX);
            // The API is one sender; no user is called so.
            let key = key.map(|(_, key)| format!("\0{key}").into_boxed_str());
            publication.history = Some(Box::new(Historic::new(key)));
        }
        Ok(publication)
    }
}

/// The destination of a user's queue, `queue` being what the user's sessions subscribe to.
#[must_use]
pub fn user_destination(user: &str, queue: &str) -> String {
    let mut destination = "/user/".to_owned();
    identity::push_encoded(&mut destination, user);
    destination + queue
}
