//! What operators ask of a shard, and what comes back; `inquiry` answers it.

use std::sync::Arc;
use std::sync::mpsc;

use serde_json::Value;

use crate::broker::identity;
use crate::broker::refusal::Refusal;

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
    /// Say these things, in this order; answered once the relay has answered for each.
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
#[derive(Debug, Default)]
pub struct Answer {
    /// How many there are, or how many it was done to.
    pub count: u64,
    /// Those that are shown; of what was to be said the ids, and null for what the relay has not.
    pub rows: Vec<Value>,
    /// Why the first that was not said was refused.
    pub failure: Option<Failure>,
}

/// Why something was not said.
#[derive(Debug)]
pub struct Failure {
    /// Its place in the list.
    pub at: usize,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub text: String,
    /// Nobody who asked is to blame: the same may be done later.
    pub is_ours: bool,
}

impl Failure {
    pub(super) fn new(at: usize, refusal: Refusal) -> Self {
        let Refusal { code, text } = refusal;
        Self { at, code: code.as_str(), text, is_ours: code.is_ours() }
    }
}

/// A question and who waits for its answer.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Where the answer goes.
    pub reply: mpsc::Sender<Answer>,
}

/// The destination of a user's queue, `queue` being what the user's sessions subscribe to.
#[must_use]
pub fn user_destination(user: &str, queue: &str) -> String {
    let mut destination = "/user/".to_owned();
    identity::push_encoded(&mut destination, user);
    destination + queue
}
