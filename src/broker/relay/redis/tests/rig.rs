//! Machines of several tasks, the servers they talk to, and the wires between, in a time of their
//! own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::broker::publication::Carried;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::relay::Audience;
use crate::broker::relay::Event;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Control;
use crate::broker::relay::redis::LinkAction;
use crate::broker::relay::redis::LinkId;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::options::Address;
use crate::broker::relay::redis::tests::server::Client;
use crate::broker::relay::redis::tests::server::Server;
use crate::stdx::random::Random;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

pub(super) const START_MS: u64 = 1_700_000_000_000;

/// One machine and what came of it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) redis: Redis,
    links: BTreeMap<LinkId, Wire>,
    pub(super) settled: Vec<u64>,
    pub(super) refused: Vec<(u64, Code)>,
    pub(super) delivered: Vec<Arc<Publication>>,
    pub(super) audiences: Vec<Audience>,
    pub(super) controls: Vec<Control>,
    pub(super) notes: Vec<String>,
}

/// One connection.
#[derive(Debug)]
struct Wire {
    address: Address,
    client: u64,
    is_connected: bool,
    /// Written and not arrived.
    out: Vec<u8>,
    /// Arrived and not taken.
    tail: Vec<u8>,
    /// Before there is so much, the machine is not asked again.
    bytes_min: usize,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) tasks: Vec<Task>,
    pub(super) servers: BTreeMap<Address, Server>,
    /// Where names lead that are no server's own; each question turns the list by one.
    pub(super) names: BTreeMap<Address, Vec<Address>>,
    /// Servers that take connections and bytes, and say nothing.
    pub(super) is_stalled: bool,
    /// With chance: bytes come in pieces, and not at once.
    pub(super) chance: Option<Random>,
    pub(super) now_ms: u64,
    clients_count: u64,
}

pub(super) fn address(host: &str) -> Address {
    Address { host: host.into(), port: 6379 }
}

fn peer_of(address: &Address) -> SocketAddr {
    let last = address.host.as_bytes()[0];
    SocketAddr::from(([10, 0, 0, last], address.port))
}

fn resolve(
    names: &mut BTreeMap<Address, Vec<Address>>,
    address: Address,
    beside: Option<SocketAddr>,
) -> Address {
    let Some(found) = names.get_mut(&address) else { return address };
    found.rotate_left(1);
    let first = found.iter().find(|it| Some(peer_of(it)) == beside);
    first.unwrap_or(&found[0]).clone()
}

pub(super) fn channel(name: &str) -> Target {
    Target::Channel(name.into())
}

pub(super) fn pattern(text: &str) -> Target {
    Target::Pattern(text.into())
}

pub(super) fn publication(channel: &str, body: &[u8]) -> Publication {
    let destination = match channel.strip_prefix("user.") {
        None => channel.to_owned(),
        Some(rest) => format!("/user{}", &rest[rest.find('/').unwrap()..]),
    };
    let carried = Carried {
        channel,
        destination,
        message_id: body.iter().take(9).fold("m".to_owned(), |id, byte| format!("{id}-{byte:x}")),
        content_type: None,
        sender: Some("bob"),
        timestamp_ms: START_MS,
        received_at: Instant::default(),
        body,
    };
    Publication::from_relay(carried, [("foo", "bar")].into_iter())
}

impl Rig {
    /// One task and one server named `a`.
    pub(super) fn new() -> Self {
        Self::with(Options::new(Mode::PubSub, vec![address("a")]))
    }

    pub(super) fn with(options: Options) -> Self {
        let clock = Rc::default();
        let servers = options.addresses.iter().map(|it| {
            let (address, clock) = (Some(it.clone()), Rc::clone(&clock));
            (it.clone(), Server { address, clock, ..Server::default() })
        });
        let servers = servers.collect();
        let mut rig = Self {
            tasks: Vec::new(),
            servers,
            names: BTreeMap::new(),
            is_stalled: false,
            chance: None,
            now_ms: 0,
            clients_count: 0,
        };
        rig.add_task(options, 7);
        rig
    }

    pub(super) fn add_task(&mut self, options: Options, seed: u64) {
        self.tasks.push(Task {
            redis: Redis::new(Arc::new(options), self.now().instant, seed),
            links: BTreeMap::new(),
            settled: Vec::new(),
            refused: Vec::new(),
            delivered: Vec::new(),
            audiences: Vec::new(),
            controls: Vec::new(),
            notes: Vec::new(),
        });
    }

    pub(super) fn now(&self) -> Now {
        let instant = Instant::from_nanos(self.now_ms * 1_000_000);
        Now { instant, unix_ms: START_MS + self.now_ms }
    }

    pub(super) fn server(&mut self, host: &str) -> &mut Server {
        self.servers.get_mut(&address(host)).unwrap()
    }

    /// Lets `ms` milliseconds pass in steps of ten.
    pub(super) fn run(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms += 10;
            if self.now_ms.is_multiple_of(100) {
                let now = self.now();
                self.tasks.iter_mut().for_each(|it| it.redis.handle_timer(now));
            }
            self.carry();
        }
    }

    /// A rig whose relay is up.
    pub(super) fn up(mut self) -> Self {
        self.run(500);
        assert!(self.tasks.iter().all(|it| it.redis.state() == State::Up), "{:?}", self.tasks);
        self
    }

    pub(super) fn subscribe(&mut self, target: &Target, token: u64) {
        let now = self.now().instant;
        self.tasks[0].redis.subscribe(now, target, Some(Token(token)));
    }

    pub(super) fn unsubscribe(&mut self, target: &Target) {
        let now = self.now().instant;
        self.tasks[0].redis.unsubscribe(now, target);
    }

    pub(super) fn publish(&mut self, channel: &str, body: &str, token: u64) {
        let now = self.now().instant;
        let publication = publication(channel, body.as_bytes());
        self.tasks[0].redis.publish(now, &publication, Some(Token(token)));
    }

    /// The bodies that task `task` was given, in order.
    pub(super) fn bodies(&self, task: usize) -> Vec<String> {
        let delivered = self.tasks[task].delivered.iter();
        delivered.map(|it| String::from_utf8_lossy(it.body()).into_owned()).collect()
    }

    /// Whether a note says `text`.
    #[track_caller]
    pub(super) fn check_noted(&self, text: &str) {
        let notes = &self.tasks[0].notes;
        assert!(notes.iter().any(|it| it.contains(text)), "{notes:#?}");
    }

    /// Does all that can be done at this moment.
    pub(super) fn carry(&mut self) {
        for index in 0..self.tasks.len() {
            loop {
                self.collect(index);
                if !self.carry_task(index) {
                    break;
                }
            }
            self.tasks[index].redis.check_invariants();
        }
    }

    fn collect(&mut self, index: usize) {
        let now = self.now().instant;
        let task = &mut self.tasks[index];
        while let Some(note) = task.redis.poll_note() {
            task.notes.push(note.text);
        }
        while let Some(event) = task.redis.poll_event() {
            match event {
                Event::Settled(token) => task.settled.push(token.0),
                Event::Stored(token, _) | Event::Deferred(token, _) | Event::Page(token, _) => {
                    panic!("nothing is stored here: {token:?}")
                }
                Event::Refused(token, refusal) => task.refused.push((token.0, refusal.code)),
                Event::Deliver { publication, audience } => {
                    task.delivered.push(publication);
                    task.audiences.push(audience);
                }
                Event::Control(control) => task.controls.push(control),
            }
        }
        while let Some(action) = task.redis.poll_action() {
            match action {
                LinkAction::Open { link, address, beside } => {
                    let address = resolve(&mut self.names, address, beside);
                    self.clients_count += 1;
                    let client = self.clients_count;
                    let (out, tail) = (Vec::new(), Vec::new());
                    let wire =
                        Wire { address, client, is_connected: false, out, tail, bytes_min: 0 };
                    assert!(task.links.insert(link, wire).is_none(), "{link:?} is used twice");
                }
                LinkAction::Look { link, address } => {
                    let found = self.names.get(&address).map_or(vec![address], Clone::clone);
                    let found: Vec<SocketAddr> = found.iter().map(peer_of).collect();
                    task.redis.handle_looked(now, link, &found);
                }
                LinkAction::Close { link } => {
                    assert!(link.0 < self.clients_count, "what is closed was opened");
                    // It may have been lost before it was told.
                    let Some(wire) = task.links.remove(&link) else { continue };
                    if let Some(server) = self.servers.get_mut(&wire.address) {
                        server.clients.remove(&wire.client);
                    }
                }
            }
        }
    }

    /// Carries bytes of one task once; returns whether there were any.
    fn carry_task(&mut self, index: usize) -> bool {
        let now = self.now();
        let task = &mut self.tasks[index];
        let mut is_busy = false;
        let links: Vec<LinkId> = task.links.keys().copied().collect();
        for link in links {
            let Some(wire) = task.links.get_mut(&link) else { continue };
            if self.is_stalled && wire.is_connected {
                continue;
            }
            if !self.servers.contains_key(&wire.address) {
                task.links.remove(&link);
                task.redis.handle_lost(now.instant, link, "refused");
                return true;
            }
            if !wire.is_connected && !self.is_stalled {
                wire.is_connected = true;
                let server = self.servers.get_mut(&wire.address).unwrap();
                server.connect(wire.client);
                let peer = peer_of(&wire.address);
                task.redis.handle_connected(now.instant, link, peer);
                is_busy = true;
            }
        }
        while let Some(link) = task.redis.poll_dirty() {
            let Some(wire) = task.links.get_mut(&link).filter(|it| it.is_connected) else {
                continue;
            };
            while task.redis.wants_transmit(link) {
                let before = wire.out.len();
                task.redis.poll_transmit(now.instant, link, &mut wire.out);
                if wire.out.len() == before {
                    break;
                }
            }
        }
        if self.is_stalled {
            return is_busy;
        }
        let links: Vec<LinkId> = task.links.keys().copied().collect();
        for link in links {
            is_busy |= self.carry_link(index, link);
        }
        is_busy
    }

    fn carry_link(&mut self, index: usize, link: LinkId) -> bool {
        let now = self.now();
        let task = &mut self.tasks[index];
        let Some(wire) = task.links.get_mut(&link) else { return false };
        let Some(server) = self.servers.get_mut(&wire.address) else { return false };
        let mut piece = |bytes: usize| match &mut self.chance {
            None => bytes,
            Some(chance) => {
                let some = usize::try_from(chance.below(bytes as u64 + 1)).unwrap();
                if chance.below(3) == 0 { 0 } else { some }
            }
        };
        let there = piece(wire.out.len());
        let bytes: Vec<u8> = wire.out.drain(..there).collect();
        server.receive(wire.client, &bytes);
        let Some(client) = server.clients.get_mut(&wire.client) else { return false };
        let back = piece(client.sent.len());
        wire.tail.extend(client.sent.drain(..back));
        let mut tail = std::mem::take(&mut wire.tail);
        if 0 < back && wire.bytes_min <= tail.len() {
            let taken = task.redis.handle_bytes(now, link, &mut tail);
            tail.drain(..taken.consumed);
            if let Some(wire) = task.links.get_mut(&link) {
                wire.tail = tail;
                wire.bytes_min = taken.bytes_min;
            }
        } else {
            wire.tail = tail;
        }
        0 < there || 0 < back
    }

    /// Cuts all connections of `host`, or of one task's link at chance; what was under way is lost.
    pub(super) fn cut(&mut self, host: &str) {
        let now = self.now().instant;
        for task in &mut self.tasks {
            let of_host = task.links.iter().filter(|(_, it)| *it.address.host == *host);
            let links: Vec<LinkId> = of_host.map(|(link, _)| *link).collect();
            for link in links {
                task.links.remove(&link);
                task.redis.handle_lost(now, link, "reset");
            }
        }
        if let Some(server) = self.servers.get_mut(&address(host)) {
            server.clients.clear();
        }
    }

    /// Cuts the `at`-th connection of task `index`, if there is one.
    pub(super) fn cut_one(&mut self, index: usize, at: usize) {
        let now = self.now().instant;
        let task = &mut self.tasks[index];
        let Some(&link) = task.links.keys().nth(at) else { return };
        let wire = task.links.remove(&link).expect("it is a key");
        if let Some(server) = self.servers.get_mut(&wire.address) {
            server.clients.remove(&wire.client);
        }
        task.redis.handle_lost(now, link, "reset");
    }

    /// Commands of this name that the server `host` was given.
    pub(super) fn commands_count(&mut self, host: &str, name: &str) -> usize {
        self.server(host).commands.iter().filter(|it| **it == name).count()
    }

    /// The links of task `index`, the subscriber's first where both were opened together.
    pub(super) fn link_ids(&self, index: usize) -> Vec<LinkId> {
        self.tasks[index].links.keys().copied().collect()
    }

    /// The connections of task `index`, as the servers have them.
    pub(super) fn clients_of(&self, index: usize) -> Vec<&Client> {
        let wires = self.tasks[index].links.values();
        wires.filter_map(|it| self.servers.get(&it.address)?.clients.get(&it.client)).collect()
    }
}
