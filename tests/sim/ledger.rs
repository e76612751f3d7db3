//! All messages of a run: who said what when, and in which order it was heard.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::dice::Dice;
use crate::tap::Reply;

/// A header value that must be escaped.
pub(crate) const ODD: &str = "a:b\\c\nd";

pub(crate) struct Message {
    pub(crate) sender: usize,
    pub(crate) target: usize,
    /// The SEND.
    pub(crate) frame: usize,
    /// The SEND again or the COMMIT that says it; none for what must never be heard.
    pub(crate) said_by: Option<usize>,
    /// The step at which that was written, and its position among all that was said.
    pub(crate) said_at: u64,
    pub(crate) position: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) has_odd: bool,
    pub(crate) is_typed: bool,
    /// Message-id and timestamp of the first who heard it.
    seen: Option<(String, String)>,
    /// Its neighbours in the order of its target, where nobody could have missed one.
    next: Option<usize>,
    previous: Option<usize>,
    /// All that were heard right behind it.
    followers: Vec<usize>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) messages: Vec<Message>,
    ids: BTreeMap<String, usize>,
    positions_count: u64,
}

impl Ledger {
    /// A new message, not said yet.
    pub(crate) fn write(
        &mut self,
        (sender, frame, target): (usize, usize, usize),
        (body_bytes_max, has_odd): (usize, bool),
        dice: &mut Dice,
    ) -> usize {
        let number = self.messages.len();
        let mut body = format!("{number};").into_bytes();
        let most = *dice.pick(&[10, 10, 10, 200, 200, 1_000, 3_000, 20_000]);
        let filler_bytes = dice.below(most.min(body_bytes_max) + 1);
        match dice.below(8) {
            0 => body.extend((0..filler_bytes).map(|it| (it % 256).to_le_bytes()[0])),
            1 => body.extend("zoë☂".bytes().cycle().take(filler_bytes)),
            _ => body.extend(b"all work and no play ".iter().cycle().take(filler_bytes)),
        }
        self.messages.push(Message {
            sender,
            target,
            frame,
            said_by: None,
            said_at: 0,
            position: 0,
            body,
            has_odd,
            is_typed: dice.percent(30),
            seen: None,
            next: None,
            previous: None,
            followers: Vec::new(),
        });
        number
    }

    /// Frame `by` says it at `step`.
    pub(crate) fn say(&mut self, message: usize, by: usize, step: u64) {
        self.positions_count += 1;
        let message = &mut self.messages[message];
        message.said_by = Some(by);
        message.said_at = step;
        message.position = self.positions_count;
    }

    /// Somebody was given the message: it must look the same to all.
    pub(crate) fn check_look(&mut self, number: usize, reply: &Reply, is_text: bool) {
        let message = &mut self.messages[number];
        assert!(message.body == reply.body, "the body of message {number} changed");
        assert_eq!(is_text, str::from_utf8(&message.body).is_ok(), "text or binary");
        assert_eq!(reply.header("x-n"), Some(&*number.to_string()));
        let content_type = message.is_typed.then_some("text/plain;charset=utf-8");
        assert_eq!(reply.header("content-type"), content_type);
        let id = reply.header("message-id").expect("a MESSAGE has its id");
        let timestamp = reply.header("timestamp").expect("a MESSAGE has its time");
        match &message.seen {
            Some(seen) => assert_eq!(
                (&*seen.0, &*seen.1),
                (id, timestamp),
                "message {number} has several ids or times"
            ),
            None => {
                message.seen = Some((id.to_owned(), timestamp.to_owned()));
                let twin = self.ids.insert(id.to_owned(), number);
                assert_eq!(twin, None, "message {number} shares its id {id}");
            }
        }
    }

    /// One subscription heard `second` right behind `first`, `strictly` when it can have missed
    /// nothing in between.
    pub(crate) fn follows(&mut self, first: usize, second: usize, strictly: bool) {
        self.messages[first].followers.push(second);
        if !strictly {
            return;
        }
        let next = *self.messages[first].next.get_or_insert(second);
        assert_eq!(next, second, "behind message {first} came {next} and, elsewhere, {second}");
        let previous = *self.messages[second].previous.get_or_insert(first);
        assert_eq!(previous, first, "before {second} came {previous} and, elsewhere, {first}");
    }

    /// All that was heard fits into one order per target: following never leads back.
    pub(crate) fn check_order(&self) {
        let mut missing = vec![0_usize; self.messages.len()];
        for follower in self.messages.iter().flat_map(|it| &it.followers) {
            missing[*follower] += 1;
        }
        let mut ready: Vec<usize> = (0..missing.len()).filter(|it| missing[*it] == 0).collect();
        let mut placed_count = 0;
        while let Some(message) = ready.pop() {
            placed_count += 1;
            for follower in &self.messages[message].followers {
                missing[*follower] -= 1;
                if missing[*follower] == 0 {
                    ready.push(*follower);
                }
            }
        }
        if placed_count < self.messages.len() {
            let mut text = String::from("two subscribers heard different orders of");
            for (message, count) in missing.iter().enumerate().filter(|it| 0 < *it.1) {
                let followers = &self.messages[message].followers;
                write!(text, " {message} ({count} before, then {followers:?})").expect("a String");
            }
            panic!("{text}");
        }
    }
}
