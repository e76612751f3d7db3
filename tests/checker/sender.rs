//! A client that says messages until each has its RECEIPT, wherever it has to go for that.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::plan::Dice;
use super::record::Id;
use super::record::Kept;
use super::record::Receipt;
use super::record::Said;
use super::wire::Got;
use super::wire::Link;
use super::wire::Shared;
use super::wire::place;
use crate::support::Frame;

/// Messages of one sender that wait for their RECEIPTs.
const UNDER_WAY_MAX: usize = 8;
/// Between two new messages of one sender.
const PAUSE: Duration = Duration::from_millis(8);
/// Before a message that was refused is said again.
const PATIENCE_MS: std::ops::Range<u64> = 20..120;
/// One in so many messages is said again although it has its RECEIPT.
const REPEATED: u64 = 40;
/// After one in so many RECEIPTs a sender goes to another task, and waits for no further answer.
const LEAVING: u64 = 60;

/// Codes of refusals after which a SEND may be tried again.
const CODES: &[&str] =
    &["store-unavailable", "store-unknown", "store-full", "relay-unavailable", "relay-unknown"];

/// What one sender leaves behind.
pub(crate) struct Account {
    pub(crate) said: Vec<Said>,
    /// What no server may say.
    pub(crate) odd: Vec<String>,
}

/// A sender at work.
pub(crate) struct Sender {
    number: u32,
    dice: Dice,
    task: usize,
    link: Option<Link>,
    said: Vec<Said>,
    odd: Vec<String>,
    /// How many were said at least once.
    begun: usize,
    next_at: Instant,
    under_way: BTreeSet<usize>,
    due: BTreeMap<usize, Instant>,
}

impl Sender {
    /// One that says a message to each of `rooms`, in this order.
    pub(crate) fn new(number: u32, rooms: &[u32], dice: Dice) -> Self {
        let said = (0..).zip(rooms).map(|(message, room)| Said {
            id: Id { sender: number, number: message },
            room: *room,
            sent_at: None,
            sent_count: 0,
            receipts: Vec::new(),
        });
        Self {
            number,
            dice,
            task: number as usize,
            link: None,
            said: said.collect(),
            odd: Vec::new(),
            begun: 0,
            next_at: Instant::now(),
            under_way: BTreeSet::new(),
            due: BTreeMap::new(),
        }
    }

    /// Works until each message has its RECEIPT.
    pub(crate) fn run(mut self, shared: &Shared) -> Account {
        while !self.is_done() && !shared.is_over() {
            if self.link.is_none() && !self.connect(shared) {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            if self.say_due(shared).is_err() {
                self.leave();
                continue;
            }
            let Some(link) = &mut self.link else { continue };
            match link.hear() {
                Got::Frame(frame) => self.take(shared, &frame),
                Got::Nothing => {}
                Got::Ended => self.leave(),
            }
        }
        Account { said: self.said, odd: self.odd }
    }

    fn is_done(&self) -> bool {
        self.begun == self.said.len() && self.under_way.is_empty() && self.due.is_empty()
    }

    fn connect(&mut self, shared: &Shared) -> bool {
        self.link = Link::open(shared, self.task, &format!("sender-{}", self.number));
        // What has no RECEIPT is said again, the oldest first.
        for number in std::mem::take(&mut self.under_way) {
            self.due.insert(number, Instant::now());
        }
        self.link.is_some()
    }

    /// Goes to the next task, whatever became of what is under way.
    fn leave(&mut self) {
        self.link = None;
        self.task += 1;
    }

    fn say_due(&mut self, shared: &Shared) -> Result<(), ()> {
        let now = Instant::now();
        let due: Vec<usize> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(number, _)| *number).collect();
        for number in due {
            self.due.remove(&number);
            self.say(shared, number)?;
        }
        let allowed = self.said.len().min(shared.allowed.load(Ordering::SeqCst));
        let is_free = self.under_way.len() + self.due.len() < UNDER_WAY_MAX;
        if self.begun < allowed && is_free && self.next_at <= now {
            self.next_at = now + PAUSE;
            self.begun += 1;
            self.say(shared, self.begun - 1)?;
        }
        Ok(())
    }

    fn say(&mut self, shared: &Shared, number: usize) -> Result<(), ()> {
        self.under_way.insert(number);
        let said = &mut self.said[number];
        said.sent_count += 1;
        said.sent_at.get_or_insert_with(|| shared.now());
        let (id, room) = (said.id, said.room);
        let frame = format!(
            "SEND\ndestination:/app/room.{room}\nreceipt:{number}\nidempotency-key:{id}\n\n{id}\0"
        );
        self.link.as_mut().ok_or(())?.say(frame)
    }

    fn take(&mut self, shared: &Shared, frame: &Frame) {
        let number = frame.header("receipt-id").parse().ok();
        let Some(number) = number.filter(|it| self.under_way.remove(it)) else {
            self.odd.push(format!("sender {} was told {frame:?}", self.number));
            return self.leave();
        };
        let kept = match frame.header("stored") {
            "mysql" | "sqlite" => Some(Kept::Committed),
            "deferred" => Some(Kept::Deferred),
            _ => None,
        };
        match (frame.command.as_str(), kept, place(frame)) {
            ("RECEIPT", Some(kept), Some(place)) => {
                self.acknowledge(shared, number, Receipt { place, kept, at: shared.now() });
            }
            ("ERROR", ..) if CODES.contains(&frame.header("message")) => {
                let pause = Duration::from_millis(self.dice.within(PATIENCE_MS));
                self.due.insert(number, Instant::now() + pause);
            }
            (..) => self.odd.push(format!("sender {} was told {frame:?}", self.number)),
        }
    }

    fn acknowledge(&mut self, shared: &Shared, number: usize, receipt: Receipt) {
        let said = &mut self.said[number];
        said.receipts.push(receipt);
        if said.receipts.len() == 1 {
            shared.acknowledged.fetch_add(1, Ordering::SeqCst);
            if self.dice.below(REPEATED) == 0 {
                self.due.insert(number, Instant::now());
            }
        }
        if self.dice.below(LEAVING) == 0 {
            self.leave();
        }
    }
}
