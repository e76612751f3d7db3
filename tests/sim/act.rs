//! What simulated clients do, by chance: connect, talk, stall, come to an end.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use ringway::proto::stomp::Version;
use ringway::shard::ConnectionId;

use crate::client::Answer;
use crate::client::Ask;
use crate::client::Client;
use crate::client::Flags;
use crate::client::Frame;
use crate::client::Nature;
use crate::hostile;
use crate::places::USERS;
use crate::plan::MESSAGE_BYTES_MAX;
use crate::wire;
use crate::world::World;

impl World {
    /// A client for a connection that was just opened; its request is written already.
    pub(crate) fn greet(&mut self, shard: usize, id: ConnectionId) -> Client {
        let dice = &mut self.dice;
        let nature = match dice.below(100) {
            0..=85 => Nature::Stomp,
            86..=90 => Nature::Echo,
            91..=95 => Nature::Plain,
            _ => Nature::Mute,
        };
        let path = if nature == Nature::Echo { "/echo" } else { "/ws" };
        let mut head = wire::upgrade(path, dice.percent(10));
        match nature {
            Nature::Stomp | Nature::Echo => {}
            Nature::Plain => head = hostile::request(dice),
            Nature::Mute => head.truncate(dice.below(head.len())),
        }
        let version = *dice.pick(&[Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_2]);
        let wishes = [0, 0, 500, 1_000, 5_000, 20_000, 30_000];
        let beats = (*dice.pick(&wishes), *dice.pick(&wishes));
        let now = self.now.instant;
        let mut client = Client {
            shard,
            id,
            nature,
            version,
            user: dice.percent(60).then(|| dice.below(USERS.len())),
            has_ids: version != Version::V1_0 || dice.percent(50),
            is_eager: dice.percent(30),
            beats: if dice.percent(50) { (0, 0) } else { beats },
            flags: Flags::default(),
            outgoing: VecDeque::new(),
            written_bytes: 0,
            handed_bytes: 0,
            head_bytes: head.len() as u64,
            frames: Vec::new(),
            drafts: Vec::new(),
            done_count: 0,
            subs: Vec::new(),
            transactions: Vec::new(),
            disconnect: None,
            closed_with: None,
            tap: crate::tap::Tap::default(),
            in_flight: None,
            room_bytes: self.plan.pipe_bytes_max,
            pongs: VecDeque::new(),
            echoes: VecDeque::new(),
            opened_at: now,
            said_at: now,
            handed_at: now,
            silence: Duration::ZERO,
            disconnected_at: None,
            polled_at: now,
        };
        write(&mut client, &head);
        client
    }

    /// What happens to a client from outside: it stalls, reads, beats, ends, is cut off.
    pub(crate) fn weather(&mut self, number: usize) {
        let pipe_bytes_max = self.plan.pipe_bytes_max;
        if self.clients[number].flags.is_stalled {
            self.clients[number].flags.is_stalled = !self.dice.permille(60);
        } else if self.dice.permille(self.plan.stalls) {
            self.note("stalled", number as u64);
            self.clients[number].flags.is_stalled = true;
        } else if self.dice.percent(70) {
            let client = &mut self.clients[number];
            let read_bytes = 1 + self.dice.below(pipe_bytes_max);
            client.room_bytes = pipe_bytes_max.min(client.room_bytes + read_bytes);
        }
        let client = &self.clients[number];
        let is_due = client.beat_owed().is_some_and(|owed| {
            !client.frames.is_empty() && owed / 2 < self.now.instant.since(client.said_at)
        });
        if is_due && client.may_speak() && !client.flags.is_close_heard {
            self.write_message(number, b"\n");
        }
        if self.dice.permille(self.plan.resets / 2) && !self.clients[number].flags.has_ended {
            self.note("ended", number as u64);
            self.clients[number].flags.has_ended = true;
        }
        if self.dice.permille(self.plan.resets) {
            self.note("reset", number as u64);
            self.close(number);
        }
    }

    /// What a client does of its own accord.
    pub(crate) fn act(&mut self, number: usize) {
        let client = &self.clients[number];
        if !client.may_speak() || client.flags.is_close_heard {
            return;
        }
        match client.nature {
            Nature::Plain | Nature::Mute => {}
            Nature::Echo => self.act_echo(number),
            Nature::Stomp => {
                let is_ready = client.flags.is_connected || client.is_eager;
                if is_ready && !client.frames.is_empty() {
                    self.act_stomp(number);
                }
            }
        }
    }

    fn act_echo(&mut self, number: usize) {
        if !self.clients[number].flags.is_upgraded {
            return;
        }
        if self.dice.permille(self.plan.hostile) {
            return self.be_hostile(number);
        }
        if self.dice.percent(3) {
            return self.write_close(number);
        }
        let payload_bytes = self.dice.below(self.plan.body_bytes_max.min(2_000));
        let payload: Vec<u8> =
            b"echo, \xC3\xBCber ".iter().copied().cycle().take(payload_bytes).collect();
        self.write_message(number, &payload);
    }

    /// What a client does because of what it heard; `percent` says how promptly.
    pub(crate) fn react(&mut self, number: usize, percent: usize) {
        let client = &self.clients[number];
        let is_first = client.frames.is_empty() && (client.flags.is_upgraded || client.is_eager);
        if client.nature == Nature::Stomp && is_first && client.may_speak() {
            if self.dice.percent(percent) {
                self.connect(number);
            }
            return;
        }
        let has_left = client.disconnect.is_some_and(|it| client.frames[it].answer != Answer::Owed);
        let is_time = client.flags.is_close_heard || has_left;
        if is_time && client.may_speak() && self.dice.percent(percent) {
            self.write_close(number);
        }
    }

    /// Closes the socket of a client that has no more use for it.
    pub(crate) fn depart(&mut self, number: usize, percent: usize) {
        let flags = &self.clients[number].flags;
        if flags.is_gone {
            return;
        }
        let has_no_more = flags.has_ended && self.clients[number].outgoing.is_empty();
        let is_lost = flags.is_aborted || flags.is_write_ended;
        if (is_lost || has_no_more) && self.dice.percent(percent) {
            self.close(number);
        }
    }

    /// Writes a frame, to be packed by [`World::ship`]; returns its number.
    pub(crate) fn draft(
        &mut self,
        number: usize,
        (ask, has_receipt): (Ask, bool),
        (command, headers, body): (&str, &[(&str, &str)], &[u8]),
    ) -> usize {
        let client = &mut self.clients[number];
        let frame = client.frames.len();
        let receipt = format!("r{frame}");
        let mut headers = headers.to_vec();
        if has_receipt {
            headers.push(("receipt", &receipt));
        }
        let bytes = wire::stomp(command, &headers, body, client.version, &mut self.dice);
        let answer = if has_receipt { Answer::Owed } else { Answer::None };
        let never = u64::MAX;
        let frame_written =
            Frame { ask, answer, settled_at: never, begun_at: never, done_at: never };
        client.frames.push(frame_written);
        client.drafts.push((frame, bytes));
        self.note("frame", frame as u64);
        self.tell(|| {
            let ask = &self.clients[number].frames[frame].ask;
            format!("client {number} writes r{frame}: {ask:?} {headers:?}")
        });
        frame
    }

    /// Packs the frames that were drafted into messages, as clients in the field do: one each, all
    /// in one, or cut anywhere.
    pub(crate) fn ship(&mut self, number: usize) {
        let drafts = mem::take(&mut self.clients[number].drafts);
        let way = self.dice.below(100);
        let bytes_count: usize = drafts.iter().map(|it| it.1.len()).sum();
        if way < 70 || MESSAGE_BYTES_MAX < bytes_count {
            for (frame, bytes) in drafts {
                self.write_message(number, &bytes);
                let client = &mut self.clients[number];
                client.frames[frame].begun_at = client.written_bytes;
                client.frames[frame].done_at = client.written_bytes;
            }
            return;
        }
        let all: Vec<u8> = drafts.iter().flat_map(|it| it.1.iter().copied()).collect();
        let begun_at = self.clients[number].written_bytes + 1;
        let mut rest = &all[..];
        while 85 < way && self.dice.percent(60) {
            let (part, after) = rest.split_at(self.dice.below(rest.len() + 1));
            rest = after;
            // Cut inside of characters too: no text.
            let mut bytes = Vec::new();
            wire::frame(&mut bytes, true, wire::BINARY, part, &mut self.dice);
            write(&mut self.clients[number], &bytes);
        }
        self.write_message(number, rest);
        let client = &mut self.clients[number];
        for (frame, _) in drafts {
            client.frames[frame].begun_at = begun_at;
            client.frames[frame].done_at = client.written_bytes;
        }
    }

    pub(crate) fn write_message(&mut self, number: usize, payload: &[u8]) {
        let mut bytes = Vec::new();
        let pings = wire::message(&mut bytes, payload, &mut self.dice);
        self.note("said", bytes.len() as u64);
        let client = &mut self.clients[number];
        client.pongs.extend(pings);
        client.said_at = self.now.instant;
        if client.nature == Nature::Echo {
            let opcode = bytes[0] & 0x0F;
            client.echoes.push_back((opcode == wire::TEXT, payload.to_vec()));
        }
        write(client, &bytes);
    }

    pub(crate) fn write_close(&mut self, number: usize) {
        self.note("close said", number as u64);
        let code = *self.dice.pick(&[Some(1000), Some(1000), Some(1001), Some(4321), None]);
        let mut bytes = Vec::new();
        wire::close(&mut bytes, code, &mut self.dice);
        let client = &mut self.clients[number];
        client.closed_with = Some(code);
        write(client, &bytes);
    }

    pub(crate) fn be_hostile(&mut self, number: usize) {
        self.note("hostile", number as u64);
        let version = self.clients[number].version;
        let bytes = hostile::bytes(version, &mut self.dice);
        self.clients[number].flags.is_hostile = true;
        write(&mut self.clients[number], &bytes);
    }
}

fn write(client: &mut Client, bytes: &[u8]) {
    client.outgoing.extend(bytes);
    client.written_bytes += bytes.len() as u64;
}
