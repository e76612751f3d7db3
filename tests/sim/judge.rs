//! Judges all that the server says against what was asked of it.

use std::time::Duration;

use ringway::proto::stomp::Version;

use crate::client::Answer;
use crate::client::Ask;
use crate::client::Client;
use crate::client::Last;
use crate::client::Nature;
use crate::client::Turn;
use crate::ledger::ODD;
use crate::places::ERRORS;
use crate::places::TARGETS;
use crate::places::USERS;
use crate::places::WISHES;
use crate::places::hears;
use crate::plan::FIRST_FRAME_TIMEOUT;
use crate::plan::HANDSHAKE_TIMEOUT;
use crate::plan::HEART_BEAT_MAX;
use crate::plan::HEART_BEAT_MIN;
use crate::plan::PONG_TIMEOUT;
use crate::tap::Heard;
use crate::tap::Reply;
use crate::world::World;

/// How long DISCONNECT waits for what is owed.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl World {
    /// Something whole went to the client.
    pub(crate) fn judge(&mut self, number: usize, heard: Heard) {
        match heard {
            Heard::Upgraded => {
                self.note("upgraded", number as u64);
                let client = &mut self.clients[number];
                assert!(matches!(client.nature, Nature::Stomp | Nature::Echo));
                assert!(client.head_bytes <= client.handed_bytes, "an upgrade of half a head");
                client.flags.is_upgraded = true;
            }
            Heard::Answer(status) => self.judge_answer(number, status),
            Heard::Ping => self.note("ping", number as u64),
            Heard::Pong(payload) => {
                self.note("pong", number as u64);
                // Pongs to a peer that does not read may be left out, never invented.
                let client = &mut self.clients[number];
                let found = client.pongs.iter().position(|it| *it == payload);
                assert!(found.is_some() || client.flags.is_hostile, "a pong answers a ping");
                client.pongs.drain(..found.map_or(0, |it| it + 1));
            }
            Heard::Close(code, reason) => self.judge_close(number, code, &reason),
            Heard::Message { is_text, payload } if self.clients[number].nature == Nature::Echo => {
                self.note("echo", payload.len() as u64);
                let client = &mut self.clients[number];
                let is_it = client.echoes.pop_front() == Some((is_text, payload));
                assert!(is_it || client.flags.is_hostile, "an echo is not what was said");
            }
            Heard::Message { is_text, payload } => {
                if payload == b"\n" {
                    assert!(
                        self.clients[number].beat_promised().is_some(),
                        "an unasked heart-beat"
                    );
                    return self.note("heart-beat", number as u64);
                }
                let reply = Reply::decode(&payload, self.clients[number].version);
                match &*reply.command {
                    "CONNECTED" => self.judge_connected(number, &reply),
                    "MESSAGE" => self.judge_message(number, &reply, is_text),
                    "RECEIPT" => self.judge_receipt(number, &reply),
                    "ERROR" => self.judge_error(number, &reply),
                    other => panic!("the command {other}"),
                }
            }
        }
    }

    fn judge_answer(&mut self, number: usize, status: u16) {
        self.note("answer", u64::from(status));
        let client = &mut self.clients[number];
        client.flags.is_answered = true;
        let is_late = HANDSHAKE_TIMEOUT <= self.now.instant.since(client.opened_at);
        let is_full = self.plan.connections_max <= self.plan.clients_max;
        let is_fair = match status {
            503 => self.is_draining || is_full,
            408 => is_late,
            200 | 400..=431 => client.nature == Nature::Plain,
            _ => false,
        };
        assert!(is_fair, "a {:?} client was answered {status}", client.nature);
    }

    fn judge_connected(&mut self, number: usize, reply: &Reply) {
        self.note("connected", number as u64);
        let client = &mut self.clients[number];
        assert!(client.has_begun(0), "an answer to no CONNECT");
        assert!(!client.flags.is_connected, "CONNECTED twice");
        client.flags.is_connected = true;
        assert_eq!(reply.header("version"), Some(client.version.as_str()));
        let (low, high) = (HEART_BEAT_MIN.as_millis(), HEART_BEAT_MAX.as_millis());
        let grant = |wish: u64| if wish == 0 { 0 } else { u128::from(wish).clamp(low, high) };
        let beats = format!("{},{}", grant(client.beats.1), grant(client.beats.0));
        assert_eq!(reply.header("heart-beat"), Some(&*beats));
        let name = client.user.map(|it| USERS[it].0);
        assert_eq!(reply.header("user-name"), name);
    }

    fn judge_message(&mut self, number: usize, reply: &Reply, is_text: bool) {
        let shown = reply.header("destination").expect("a MESSAGE has its destination");
        if shown == ERRORS {
            return self.judge_notice(number, reply);
        }
        let body = reply.body.split(|it| *it == b';').next().unwrap_or_default();
        let name = str::from_utf8(body).expect("a body begins with its number");
        let message: usize = name.parse().expect("a body begins with its number");
        self.note("message", message as u64);
        self.ledger.check_look(message, reply, is_text);
        let said = &self.ledger.messages[message];
        let (sender, target, said_at) = (said.sender, said.target, said.said_at);
        let said_by = said.said_by.unwrap_or_else(|| panic!("message {message} was never said"));
        let author = &self.clients[sender];
        let settled_at = author.frames[said_by].settled_at;
        assert!(author.has_begun(said_by), "message {message} was heard before it was handed in");
        assert!(!author.is_refused(said.frame) && !author.is_refused(said_by), "it was refused");
        assert_eq!(reply.header("user-id"), author.user.map(|it| USERS[it].1));
        assert_eq!(shown, TARGETS[target].shown);
        let client = &self.clients[number];
        if said.has_odd && client.version != Version::V1_0 {
            assert_eq!(reply.header("x-odd"), Some(ODD));
        }
        let position = said.position;
        let sub = find_sub(client, reply, shown);
        let turn = current_turn(client, sub, |wish| hears(wish, client.user, target));
        let turn = turn.unwrap_or_else(|| panic!("message {message} for nobody's subscription"));
        let found = &client.subs[sub].turns[turn];
        let is_kept = found.ended_by.is_none_or(|(_, is_replaced)| is_replaced);
        let is_sure = found.confirmed_at.is_some() && is_kept;
        self.tell(|| {
            let sure = if is_sure { ", sure" } else { "" };
            let name = &client.subs[sub].name;
            format!(
                "message {message} of {sender} to client {number}, {name}, target {target}{sure}"
            )
        });
        let last = Last { message, turn, is_sure };
        let last = self.clients[number].subs[sub].last.insert(target, last);
        let client = &self.clients[number];
        // An id may be used for something else in between.
        let goes_on = |it: &Turn| {
            let is_replaced = it.ended_by.is_some_and(|(_, is_replaced)| is_replaced);
            client.is_refused(it.frame) || (is_replaced && hears(it.wish, client.user, target))
        };
        if let Some(last) = last {
            let is_one = client.subs[sub].turns[last.turn..turn].iter().all(goes_on);
            self.ledger.follows(last.message, message, is_one && last.is_sure && is_sure);
        }
        let sub = &mut self.clients[number].subs[sub];
        sub.current = turn;
        assert!(sub.received.insert(message), "message {message} came twice");
        let earlier = sub.positions.insert((sender, target), position);
        assert!(earlier.is_none_or(|it| it < position), "{message} was overtaken by its successor");
        // A receipt says that the message has its place: nothing written later stands before it.
        let latest = sub.latest.entry(target).or_default();
        assert!(*latest < settled_at, "message {message} lost the place that its receipt gave it");
        *latest = said_at.max(*latest);
    }

    /// A refusal, told where the session listens for them.
    fn judge_notice(&mut self, number: usize, reply: &Reply) {
        self.note("notice", number as u64);
        assert!(reply.header("code").is_some() && reply.header("message-id").is_some());
        let client = &self.clients[number];
        let sub = find_sub(client, reply, ERRORS);
        let turn = current_turn(client, sub, |wish| WISHES[wish].destination == ERRORS);
        self.clients[number].subs[sub].current = turn.expect("a notice for a subscription");
    }

    fn judge_receipt(&mut self, number: usize, reply: &Reply) {
        let name = reply.header("receipt-id").expect("a RECEIPT has its id");
        let frame = frame_of(name);
        self.note("receipt", frame as u64);
        let client = &mut self.clients[number];
        assert!(client.has_begun(frame), "a receipt for what was not handed in");
        assert_eq!(client.frames[frame].answer, Answer::Owed, "a receipt that is not owed");
        client.frames[frame].answer = Answer::Receipt;
        client.frames[frame].settled_at = self.step;
        let ask = client.frames[frame].ask.clone();
        assert_ne!(ask, Ask::Refused, "{name} is no thing to be done");
        let timed_out = client
            .disconnected_at
            .is_some_and(|it| DISCONNECT_TIMEOUT <= self.now.instant.since(it));
        for (earlier, it) in client.frames[..frame].iter().enumerate() {
            let is_passed = it.answer == Answer::Owed
                && (it.ask.comes_before(&ask) || (ask == Ask::Disconnect && !timed_out));
            assert!(!is_passed, "the receipt of r{earlier} was passed by that of {name}");
        }
        if let Ask::Subscribe { sub, turn, .. } = ask {
            // One that has ended meanwhile gets its receipt too; that promises nothing any more.
            let ended_by = client.subs[sub].turns[turn].ended_by;
            let is_kept = ended_by.is_none_or(|(by, _)| !client.has_begun(by));
            client.subs[sub].turns[turn].confirmed_at = is_kept.then_some(self.step);
        }
        client.is_done_up_to(frame);
    }

    fn judge_error(&mut self, number: usize, reply: &Reply) {
        self.note("error", number as u64);
        let plan = &self.plan;
        let client = &mut self.clients[number];
        let Some(name) = reply.header("receipt-id") else {
            // Silence past its heart-beats ends a session with an ERROR that answers no frame.
            if reply.header("message") == Some("Session closed.") {
                return;
            }
            let is_refusal = plan.refusal_closes && client.frames.iter().any(may_refuse);
            assert!(client.flags.is_hostile || is_refusal, "an ERROR for nothing: {reply:?}");
            return;
        };
        let frame = frame_of(name);
        assert_eq!(client.frames[frame].answer, Answer::Owed, "an ERROR that is not owed");
        client.frames[frame].answer = Answer::Refusal;
        let (subs_max, receipts_max) = (plan.subscriptions_max, plan.receipts_pending_max);
        let is_fair = match client.frames[frame].ask.clone() {
            Ask::Refused => true,
            Ask::Send { .. } | Ask::Collect => receipts_max < 1000,
            Ask::Subscribe { sub, .. } => {
                client.revive_sub(sub, frame);
                receipts_max < 1000 || subs_max < 100
            }
            Ask::Connect
            | Ask::Unsubscribe
            | Ask::Begin
            | Ask::Commit(_)
            | Ask::Abort
            | Ask::Acknowledge
            | Ask::Disconnect
            | Ask::Void => false,
        };
        assert!(is_fair, "{name} was refused: {reply:?}");
        client.is_done_up_to(frame);
    }

    fn judge_close(&mut self, number: usize, code: Option<u16>, reason: &str) {
        self.note("close heard", u64::from(code.unwrap_or(0)));
        let is_draining = self.is_draining;
        let client = &mut self.clients[number];
        client.flags.is_close_heard = true;
        let now = self.now.instant;
        let silence = client.silence.max(now.since(client.handed_at));
        let has_left = client.disconnect.is_some_and(|it| client.has_begun(it));
        let refused = client.frames.iter().any(may_refuse);
        let is_fair = match (code, reason) {
            (None, "") => client.closed_with == Some(None),
            (Some(code), "closed by the peer") => client.closed_with == Some(Some(code)),
            (Some(1000), "disconnected") => has_left,
            (Some(1012), _) => is_draining,
            (Some(1008), "refused" | "too many refused frames") => refused,
            (Some(1002), "heart-beats stopped") => {
                client.beat_owed().is_some_and(|it| it * 5 / 2 <= silence)
            }
            (Some(1002), "no pong") => PONG_TIMEOUT <= silence,
            (Some(1002 | 1007 | 1009), _) => client.flags.is_hostile,
            (Some(4500), "no CONNECT in time") => {
                FIRST_FRAME_TIMEOUT <= now.since(client.opened_at)
            }
            (Some(4500), _) => true,
            _ => false,
        };
        // A random head of hostile bytes may even be a close frame.
        let is_fair = is_fair || (client.flags.is_hostile && reason == "closed by the peer");
        assert!(is_fair, "closed with {code:?} for {reason:?}");
        let what = match reason {
            "slow consumer" => "closed as slow",
            "slow consumer: the server's outbox memory is full" => "closed for the total",
            "heart-beats stopped" | "no pong" => "closed as silent",
            "disconnected" => "disconnected",
            _ => "closed otherwise",
        };
        self.note(what, number as u64);
    }
}

fn may_refuse(frame: &crate::client::Frame) -> bool {
    matches!(frame.ask, Ask::Refused) || frame.answer == Answer::Refusal
}

fn frame_of(name: &str) -> usize {
    let digits = name.strip_prefix('r').expect("a receipt's name is the client's");
    digits.parse().expect("a receipt's name is the client's")
}

/// The subscription that a MESSAGE names, or that a client without ids knows by its destination.
fn find_sub(client: &Client, reply: &Reply, shown: &str) -> usize {
    let name = reply.header("subscription");
    assert_eq!(name.is_some(), client.has_ids, "subscription {name:?}");
    let name = name.unwrap_or(shown);
    let found = client.subs.iter().position(|it| it.name == name);
    found.unwrap_or_else(|| panic!("the subscription {name} was never made"))
}

/// The first turn of the subscription, from the current one on, that may get what `fits`.
fn current_turn(client: &Client, sub: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let sub = &client.subs[sub];
    (sub.current..sub.turns.len()).find(|it| {
        let turn = &sub.turns[*it];
        fits(turn.wish) && !turn.is_over && client.has_begun(turn.frame)
    })
}
