//! The STOMP that simulated clients talk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use ringway::proto::stomp::Version;

use crate::client::Ask;
use crate::client::Sub;
use crate::client::Transaction;
use crate::client::Turn;
use crate::ledger::ODD;
use crate::places::REFUSED_SENDS;
use crate::places::REFUSED_SUBSCRIBES;
use crate::places::TARGETS;
use crate::places::USERS;
use crate::places::WISHES;
use crate::plan::TRANSACTION_MESSAGES_MAX;
use crate::plan::TRANSACTIONS_MAX;
use crate::world::World;

/// Most subscription ids of one client.
const SUBS_MAX: usize = 6;

impl World {
    pub(crate) fn connect(&mut self, number: usize) {
        let client = &self.clients[number];
        let versions = match client.version {
            Version::V1_0 => self.dice.pick(&["", "1.0", "1.0,9.9"]),
            Version::V1_1 => self.dice.pick(&["1.1", "1.0,1.1"]),
            Version::V1_2 => self.dice.pick(&["1.2", "1.0,1.1,1.2", "1.2, 1.1"]),
        };
        let beats = format!("{},{}", client.beats.0, client.beats.1);
        let mut headers = vec![("host", "sim")];
        if !versions.is_empty() {
            headers.push(("accept-version", versions));
        }
        if client.beats != (0, 0) || self.dice.percent(50) {
            headers.push(("heart-beat", &beats));
        }
        if let Some(user) = client.user {
            headers.push(("login", USERS[user].0));
        }
        let command = if self.dice.percent(20) { "STOMP" } else { "CONNECT" };
        self.draft(number, (Ask::Connect, false), (command, &headers, b""));
        self.ship(number);
    }

    /// One to three frames, packed together.
    pub(crate) fn act_stomp(&mut self, number: usize) {
        if self.clients[number].disconnect.is_some() {
            if self.dice.percent(20) {
                self.send_void(number);
                self.ship(number);
            }
            return;
        }
        if self.dice.permille(self.plan.hostile) {
            return self.be_hostile(number);
        }
        if self.dice.permille(4) {
            return self.write_close(number);
        }
        for _ in 0..=self.dice.below(3) {
            let is_deaf = self.clients[number].subs_in_use().len() < 2 && self.dice.percent(60);
            match self.dice.below(100) {
                _ if is_deaf => self.subscribe(number),
                0..=24 => self.subscribe(number),
                25..=69 => self.send(number),
                70..=77 => self.unsubscribe(number),
                78..=87 => self.transact(number),
                88..=90 => self.acknowledge(number),
                91..=92 => self.ask_refused(number),
                93 if self.dice.percent(30) => {
                    self.disconnect(number);
                    break;
                }
                _ => {}
            }
        }
        self.ship(number);
    }

    fn subscribe(&mut self, number: usize) {
        let client = &self.clients[number];
        let in_use = client.subs_in_use();
        let wish = loop {
            let wish = self.dice.below(WISHES.len());
            if client.has_ids || !WISHES[wish].is_pattern {
                break wish;
            }
        };
        let destination = WISHES[wish].destination;
        let name = if client.has_ids {
            format!("s{}", self.dice.below(SUBS_MAX))
        } else {
            destination.to_owned()
        };
        let found = client.subs.iter().position(|it| it.name == name);
        let is_replaced = found.is_some_and(|it| in_use.contains(&it));
        let is_full = self.plan.subscriptions_max <= in_use.len();
        if is_replaced && self.dice.percent(60) {
            return;
        }
        // Where it may be refused or tells an id's two lives apart, the client asks.
        let has_receipt = is_replaced || is_full || self.dice.percent(70);
        let client = &mut self.clients[number];
        let sub = found.unwrap_or_else(|| {
            client.subs.push(Sub {
                name: name.clone(),
                turns: Vec::new(),
                current: 0,
                received: BTreeSet::new(),
                last: BTreeMap::new(),
                positions: BTreeMap::new(),
                latest: BTreeMap::new(),
            });
            client.subs.len() - 1
        });
        let (turn, frame) = (client.subs[sub].turns.len(), client.frames.len());
        client.end_sub(sub, frame, true);
        let turns = &mut client.subs[sub].turns;
        turns.push(Turn { wish, frame, confirmed_at: None, ended_by: None, is_over: false });
        let mut headers = vec![("destination", destination)];
        if client.has_ids {
            headers.push(("id", &name));
        }
        let ask = Ask::Subscribe { sub, turn, wish };
        self.draft(number, (ask, has_receipt), ("SUBSCRIBE", &headers, b""));
    }

    fn unsubscribe(&mut self, number: usize) {
        let in_use = self.clients[number].subs_in_use();
        let has_receipt = self.dice.percent(75);
        let frame = self.clients[number].frames.len();
        let key = if self.clients[number].has_ids { "id" } else { "destination" };
        let name = if in_use.is_empty() || self.dice.percent(5) {
            "unheard-of".to_owned()
        } else {
            let sub = *self.dice.pick(&in_use);
            self.clients[number].end_sub(sub, frame, false);
            self.clients[number].subs[sub].name.clone()
        };
        let headers = [(key, &*name)];
        self.draft(number, (Ask::Unsubscribe, has_receipt), ("UNSUBSCRIBE", &headers, b""));
    }

    fn send(&mut self, number: usize) {
        let target = self.dice.below(TARGETS.len());
        let has_receipt = self.dice.percent(60);
        let frame = self.write_send(number, target, Ask::Send { target }, has_receipt, None);
        let message = self.ledger.messages.len() - 1;
        self.ledger.say(message, frame, self.step);
    }

    /// Frames behind DISCONNECT are not looked at.
    fn send_void(&mut self, number: usize) {
        let target = self.dice.below(TARGETS.len());
        self.write_send(number, target, Ask::Void, false, None);
    }

    fn write_send(
        &mut self,
        number: usize,
        target: usize,
        ask: Ask,
        has_receipt: bool,
        transaction: Option<&str>,
    ) -> usize {
        let client = &self.clients[number];
        let has_odd = client.version != Version::V1_0 && self.dice.percent(20);
        let frame = client.frames.len();
        let body_bytes_max = self.plan.body_bytes_max;
        let message =
            self.ledger.write((number, frame, target), (body_bytes_max, has_odd), &mut self.dice);
        let name = message.to_string();
        let written = &self.ledger.messages[message];
        let mut headers = vec![("destination", TARGETS[target].send), ("x-n", &name)];
        if has_odd {
            headers.push(("x-odd", ODD));
        }
        if written.is_typed {
            headers.push(("content-type", "text/plain;charset=utf-8"));
        }
        headers.extend(transaction.map(|it| ("transaction", it)));
        let body = written.body.clone();
        self.draft(number, (ask, has_receipt), ("SEND", &headers, &body))
    }

    /// Goes on with a transaction, or begins one.
    fn transact(&mut self, number: usize) {
        let open_count = self.clients[number].transactions.len();
        let has_receipt = self.dice.percent(50);
        let is_new = open_count == 0 || self.dice.percent(20);
        if is_new && open_count < TRANSACTIONS_MAX {
            let name = format!("t{}", self.clients[number].frames.len());
            let headers = [("transaction", &*name)];
            self.draft(number, (Ask::Begin, has_receipt), ("BEGIN", &headers, b""));
            let transaction = Transaction { name, messages: Vec::new() };
            return self.clients[number].transactions.push(transaction);
        }
        let index = self.dice.below(open_count);
        let transaction = &self.clients[number].transactions[index];
        let name = transaction.name.clone();
        if transaction.messages.len() < TRANSACTION_MESSAGES_MAX && self.dice.percent(70) {
            let target = self.dice.below(TARGETS.len());
            self.write_send(number, target, Ask::Collect, has_receipt, Some(&name));
            let message = self.ledger.messages.len() - 1;
            return self.clients[number].transactions[index].messages.push(message);
        }
        let messages = self.clients[number].transactions.remove(index).messages;
        let headers = [("transaction", &*name)];
        if self.dice.percent(25) {
            self.draft(number, (Ask::Abort, has_receipt), ("ABORT", &headers, b""));
            return;
        }
        let ask = Ask::Commit(messages.len());
        // Refused for too many receipts it would leave the transaction open.
        let has_receipt = has_receipt && 1000 <= self.plan.receipts_pending_max;
        let frame = self.draft(number, (ask, has_receipt), ("COMMIT", &headers, b""));
        for message in messages {
            self.ledger.say(message, frame, self.step);
        }
    }

    fn acknowledge(&mut self, number: usize) {
        let command = self.dice.pick(&["ACK", "NACK"]);
        let has_receipt = self.dice.percent(50);
        let headers = [("id", "any")];
        self.draft(number, (Ask::Acknowledge, has_receipt), (command, &headers, b""));
    }

    fn ask_refused(&mut self, number: usize) {
        let has_receipt = self.dice.percent(60);
        if self.dice.percent(50) {
            let headers = [("destination", *self.dice.pick(REFUSED_SENDS))];
            self.draft(number, (Ask::Refused, has_receipt), ("SEND", &headers, b"no"));
        } else if self.dice.percent(50) {
            let destination = *self.dice.pick(REFUSED_SUBSCRIBES);
            let headers = [("destination", destination), ("id", "refused")];
            self.draft(number, (Ask::Refused, has_receipt), ("SUBSCRIBE", &headers, b""));
        } else {
            let headers = [("transaction", "unheard-of")];
            self.draft(number, (Ask::Refused, has_receipt), ("COMMIT", &headers, b""));
        }
    }

    /// The good-bye; what is still in a transaction is never said.
    pub(crate) fn disconnect(&mut self, number: usize) {
        let has_receipt = self.dice.percent(80);
        let frame = self.draft(number, (Ask::Disconnect, has_receipt), ("DISCONNECT", &[], b""));
        self.clients[number].disconnect = Some(frame);
    }
}
