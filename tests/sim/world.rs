//! The world of one run: shards, clients and mail between them, and the clock that moves them.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway::broker::relay::Reply;
use ringway::broker::relay::Request;
use ringway::broker::relay::ShardId;
use ringway::metrics::ShardCounters;
use ringway::metrics::health::Health;
use ringway::shard::ConnectionId;
use ringway::shard::Identity;
use ringway::shard::Shard;
use ringway::stdx::bytes::Batch;
use ringway::stdx::time::Instant;
use ringway::stdx::time::Now;

use crate::client::Client;
use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::plan::Plan;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Of all that happened, in order.
    pub(crate) hash: u64,
    /// How often which thing happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// Mail on its way from one shard to another.
#[derive(Default)]
pub(crate) struct Ring {
    pub(crate) requests: VecDeque<Request>,
    pub(crate) replies: VecDeque<Reply>,
}

/// A send that was under way when its connection went.
pub(crate) struct Wreck {
    pub(crate) shard: usize,
    pub(crate) id: ConnectionId,
    pub(crate) batch: Batch,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    pub(crate) shards: Vec<Shard>,
    pub(crate) rings: Vec<Vec<Ring>>,
    pub(crate) clients: Vec<Client>,
    /// Clients whose connection the shard still has.
    pub(crate) live: Vec<usize>,
    pub(crate) owners: BTreeMap<(usize, ConnectionId), usize>,
    pub(crate) wrecks: Vec<Wreck>,
    pub(crate) ledger: Ledger,
    pub(crate) now: Now,
    ticked_at: Vec<Instant>,
    /// Counts everything that happens.
    pub(crate) step: u64,
    pub(crate) is_draining: bool,
    pub(crate) report: Report,
    is_told: bool,
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::roll(&mut dice);
        let options = Arc::new(plan.options());
        let count = plan.shards_count;
        let counters: Arc<[Arc<ShardCounters>]> = (0..count).map(|_| Arc::default()).collect();
        let health = Arc::new(Health::new(count, "none", String::new(), String::new()));
        let shard = |id: u8| {
            health.shard_started();
            let (counters, health) = (Arc::clone(&counters), Arc::clone(&health));
            let (home_seed, seed) = (seed, seed ^ (u64::from(id) << 60));
            let id = ShardId(id);
            Shard::new(Arc::clone(&options), Identity { id, counters, health, seed, home_seed })
        };
        let start = Instant::from_nanos(dice.next() >> 24);
        Self {
            shards: (0..u8::try_from(count).expect("few")).map(shard).collect(),
            rings: (0..count).map(|_| (0..count).map(|_| Ring::default()).collect()).collect(),
            clients: Vec::new(),
            live: Vec::new(),
            owners: BTreeMap::new(),
            wrecks: Vec::new(),
            ledger: Ledger::default(),
            now: Now { instant: start, unix_ms: 1_700_000_000_000 },
            ticked_at: vec![start; count],
            step: 0,
            is_draining: false,
            report: Report::default(),
            is_told,
            dice,
            plan,
        }
    }

    /// Runs to the end; panics where a promise is broken.
    pub(crate) fn run(mut self) -> Report {
        if self.is_told {
            eprintln!("{:?}", self.plan);
        }
        let rests = if self.dice.percent(30) { self.dice.below(self.plan.turns_count) } else { 0 };
        for turn in 0..self.plan.turns_count {
            self.turn();
            if 0 < rests && turn == rests {
                self.calm();
            }
        }
        self.calm();
        self.end();
        self.report
    }

    /// One turn of everything, each part by chance.
    pub(crate) fn turn(&mut self) {
        self.advance();
        if self.live.len() < self.plan.clients_max && self.dice.percent(25) {
            self.open();
        }
        for client in self.live.clone() {
            self.weather(client);
            if self.dice.percent(40) {
                self.act(client);
            }
            self.react(client, 70);
            if self.dice.percent(60) {
                self.hand(client);
            }
            if self.dice.percent(60) {
                self.complete(client);
            }
            self.depart(client, 40);
        }
        for shard in 0..self.shards.len() {
            if self.dice.percent(self.plan.flushes) {
                self.flush(shard);
            }
            if self.dice.percent(self.plan.carries) {
                self.carry(shard, false);
            }
            let late = Duration::from_millis(100 + self.dice.below(200) as u64);
            if late <= self.now.instant.since(self.ticked_at[shard]) {
                self.tick(shard);
            }
        }
        self.clear_wrecks(30);
        self.check();
    }

    /// Moves the clock, now and then far; the wall clock may even go back.
    fn advance(&mut self) {
        let pace = u64::try_from(self.plan.pace.as_nanos()).expect("short");
        let mut nanos = self.dice.next() % (2 * pace);
        if self.dice.permille(self.plan.jumps) {
            self.note("jump", 0);
            nanos += self.dice.next() % 100_000_000_000;
        }
        self.pass(Duration::from_nanos(nanos));
        if self.dice.permille(self.plan.jumps) {
            self.now.unix_ms = self.now.unix_ms - 100_000 + self.dice.below(200_000) as u64;
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.instant = self.now.instant.after(time);
        self.now.unix_ms += u64::try_from(time.as_millis()).expect("short");
    }

    /// A tick of one shard: what is due then must be on its way.
    pub(crate) fn tick(&mut self, shard: usize) {
        self.ticked_at[shard] = self.now.instant;
        self.note("tick", shard as u64);
        self.shards[shard].handle_timer(self.now);
        self.flush(shard);
        for number in &self.live {
            let client = &self.clients[*number];
            let is_quiet = client.in_flight.is_none() && !client.flags.is_close_heard;
            if client.shard == shard && client.is_well() && is_quiet {
                let silence = self.now.instant.since(client.polled_at);
                let is_kept = client.beat_promised().is_none_or(|promised| silence < promised);
                assert!(
                    is_kept,
                    "client {number} was promised heart-beats, silent for {silence:?}"
                );
            }
        }
    }

    /// What must hold after every turn.
    pub(crate) fn check(&mut self) {
        for shard in &self.shards {
            shard.check_invariants();
        }
        let held: usize = self.shards.iter().map(Shard::connections_count).sum();
        assert_eq!(held, self.live.len(), "connections");
    }

    /// A new connection to some shard; the shard may refuse it.
    fn open(&mut self) {
        let shard = self.dice.below(self.shards.len());
        let port = u16::try_from(1024 + self.clients.len()).expect("few clients");
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Some(id) = self.shards[shard].handle_opened(self.now, peer) else {
            assert!(self.plan.handshakes_max < self.plan.clients_max, "refused without reason");
            self.note("turned away", shard as u64);
            return;
        };
        self.note("opened", shard as u64);
        let number = self.clients.len();
        let client = self.greet(shard, id);
        self.clients.push(client);
        self.live.push(number);
        let twin = self.owners.insert((shard, id), number);
        assert_eq!(twin, None, "two connections of one id");
    }

    /// Notes that something happened: it is part of what a seed stands for.
    pub(crate) fn note(&mut self, what: &'static str, number: u64) {
        self.step += 1;
        *self.report.counts.entry(what).or_default() += 1;
        self.mix(number ^ (what.len() as u64) << 56);
        if self.is_told {
            eprintln!("{:>6} {:>12?} {what} {number}", self.step, self.now.instant);
        }
    }

    /// Tells what a number in a note does not, to whoever looks at one seed.
    pub(crate) fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("       {}", text());
        }
    }

    pub(crate) fn mix(&mut self, word: u64) {
        let hash = (self.report.hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.report.hash = hash ^ (hash >> 29);
    }

    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
}
