//! A client that listens to all rooms, and goes on where it was when it has been away.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::plan::Dice;
use super::plan::ROOMS;
use super::record::Event;
use super::record::Id;
use super::record::Listener;
use super::record::Place;
use super::record::Wish;
use super::wire::Got;
use super::wire::Link;
use super::wire::Shared;
use super::wire::place;
use crate::support::Frame;

/// More than a room ever has.
const ALL: usize = 10_000;
/// Before a SUBSCRIBE that did not bring everything is tried again.
const PAUSE_MS: std::ops::Range<u64> = 50..150;
/// MESSAGEs after which one that travels goes to another task.
const STAY: std::ops::Range<u64> = 150..600;

/// What one listener leaves behind.
pub(crate) struct Account {
    pub(crate) rooms: Vec<Listener>,
    /// What no server may say.
    pub(crate) odd: Vec<String>,
}

/// A listener at work.
pub(crate) struct Ears {
    name: String,
    dice: Dice,
    task: usize,
    link: Option<Link>,
    rooms: Vec<Room>,
    odd: Vec<String>,
    travels: bool,
    heard_until_travel: u64,
    subscriptions_count: u32,
    /// What comes last in each room.
    end: fn(u32) -> Id,
}

/// What it has of one room.
struct Room {
    number: u32,
    events: Vec<Event>,
    subscription: String,
    wish: Wish,
    /// What was heard last.
    last: Option<(Place, Id)>,
    /// The same when it had all until then: it goes on from here.
    mark: Option<(Place, Id)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has no subscription, and tries again then.
    Away(Instant),
    /// The RECEIPT of its SUBSCRIBE is owed.
    Asking,
    /// It has all until now.
    Whole,
    /// It was told that it has not, and asks for everything then.
    Broken(Instant),
}

impl Ears {
    /// One that begins with `wish` in all rooms, and stops behind the message that is `end` there.
    pub(crate) fn new(name: &str, task: usize, wish: Wish, end: fn(u32) -> Id, dice: Dice) -> Self {
        let room = |number| Room {
            number,
            events: Vec::new(),
            subscription: String::new(),
            wish,
            last: None,
            mark: None,
            state: State::Away(Instant::now()),
        };
        Self {
            name: name.to_owned(),
            dice,
            task,
            link: None,
            rooms: (0..ROOMS).map(room).collect(),
            odd: Vec::new(),
            travels: false,
            heard_until_travel: 0,
            subscriptions_count: 0,
            end,
        }
    }

    /// One that goes to another task now and then, although nothing is wrong with its own.
    pub(crate) fn travelling(mut self) -> Self {
        self.travels = true;
        self.heard_until_travel = self.dice.within(STAY);
        self
    }

    /// Listens until each room has come to its end.
    pub(crate) fn run(mut self, shared: &Shared) -> Account {
        while !self.is_done() && !shared.is_over() {
            if self.link.is_none() {
                self.link = Link::open(shared, self.task, &self.name);
            }
            if self.link.is_none() {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            if self.ask_due(shared).is_err() {
                self.leave(shared);
                continue;
            }
            let Some(link) = &mut self.link else { continue };
            match link.hear() {
                Got::Frame(frame) => self.take(shared, &frame),
                Got::Nothing => {}
                Got::Ended => self.leave(shared),
            }
        }
        let name = &self.name;
        let listener =
            |it: Room| Listener { name: name.clone(), room: it.number, events: it.events };
        Account { rooms: self.rooms.into_iter().map(listener).collect(), odd: self.odd }
    }

    fn is_done(&self) -> bool {
        let has_end =
            |it: &Room| it.state == State::Whole && it.last_id() == Some((self.end)(it.number));
        self.rooms.iter().all(has_end)
    }

    fn leave(&mut self, shared: &Shared) {
        self.link = None;
        self.task += 1;
        self.rooms.iter_mut().for_each(|it| it.leave(shared, Instant::now()));
    }

    /// Asks for what is to be asked for by now.
    fn ask_due(&mut self, shared: &Shared) -> Result<(), ()> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let now = Instant::now();
        for room in &mut self.rooms {
            match room.state {
                State::Away(at) if at <= now => {}
                State::Broken(at) if at <= now => {
                    link.say(format!("UNSUBSCRIBE\nid:{}\n\n\0", room.subscription))?;
                    room.wish = Wish::All;
                }
                State::Away(_) | State::Broken(_) | State::Asking | State::Whole => continue,
            }
            self.subscriptions_count += 1;
            let id = format!("{}.{}", room.number, self.subscriptions_count);
            let wish = match room.wish {
                Wish::Live => String::new(),
                Wish::All => format!("history:{ALL}\n"),
                Wish::Since(place) => format!("since:{place}\n"),
            };
            if room.wish == Wish::All {
                room.last = None;
            }
            room.state = State::Asking;
            room.events.push(Event::Asked(shared.now(), room.wish));
            let to = format!("destination:/topic/room.{}", room.number);
            link.say(format!("SUBSCRIBE\nid:{id}\n{to}\nreceipt:{id}\n{wish}\n\0"))?;
            room.subscription = id;
        }
        Ok(())
    }

    fn take(&mut self, shared: &Shared, frame: &Frame) {
        let header = if frame.command == "MESSAGE" { "subscription" } else { "receipt-id" };
        let name = frame.header(header);
        let Some(room) = self.rooms.iter_mut().find(|it| is_of(it, name)) else {
            // What was under way for a subscription that has ended.
            if frame.command == "ERROR" {
                self.odd.push(format!("{} was told {frame:?}", self.name));
            }
            return;
        };
        let again = Instant::now() + Duration::from_millis(self.dice.within(PAUSE_MS));
        match (
            frame.command.as_str(),
            place(frame),
            Id::parse(&String::from_utf8_lossy(&frame.body)),
        ) {
            ("MESSAGE", Some(place), Some(id)) => {
                room.events.push(Event::Heard(shared.now(), place, id));
                room.last = Some((place, id));
                // What is replayed does not count: nobody would ever get through.
                let is_live = room.state == State::Whole;
                self.heard_until_travel -= u64::from(self.travels && is_live);
                if self.travels && self.heard_until_travel == 0 {
                    self.heard_until_travel = self.dice.within(STAY);
                    self.leave(shared);
                }
            }
            ("RECEIPT", last, _) if frame.has("recovered") != (room.wish == Wish::Live) => {
                let is_whole = frame.header("recovered") == "true";
                room.events.push(Event::Answered(shared.now(), is_whole, last));
                let is_trusted = is_whole || room.wish == Wish::Live;
                room.state = if is_trusted { State::Whole } else { State::Broken(again) };
                shared.confirmed.fetch_add(1, Ordering::SeqCst);
            }
            ("ERROR", ..)
                if ["relay-unconfirmed", "relay-unavailable", "relay-unknown"]
                    .contains(&frame.header("message")) =>
            {
                room.leave(shared, again);
            }
            (..) => self.odd.push(format!("{} was told {frame:?}", self.name)),
        }
    }
}

impl Room {
    fn last_id(&self) -> Option<Id> {
        self.last.map(|(_, id)| id)
    }

    /// The subscription has ended: what is to be asked for at the next.
    fn leave(&mut self, shared: &Shared, again: Instant) {
        self.events.push(Event::Left(shared.now()));
        if self.state == State::Whole {
            self.mark = self.last;
        }
        self.wish = match (self.state, self.wish, self.mark) {
            (State::Whole, _, Some((place, _))) => Wish::Since(place),
            // What was given before a RECEIPT may have holes, so that is asked for again.
            (State::Asking | State::Away(_), Wish::Since(place), mark) => {
                self.last = mark;
                Wish::Since(place)
            }
            (..) => Wish::All,
        };
        self.subscription.clear();
        self.state = State::Away(again);
    }
}

fn is_of(room: &Room, subscription: &str) -> bool {
    !subscription.is_empty() && room.subscription == subscription
}
