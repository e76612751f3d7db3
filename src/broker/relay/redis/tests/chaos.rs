//! Everything at once, by the numbers of a seed: pieces of bytes, cuts, stalls, failovers and
//! moving slots, and what must hold however they fall together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::broker::refusal::Code;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::names;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::address;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::rig::pattern;
use crate::broker::relay::redis::tests::rig::publication;
use crate::broker::relay::redis::tests::sharded;
use crate::policy::pattern::Pattern;
use crate::proto::resp;
use crate::stdx::random::Random;

const CHANNELS: u64 = 12;

/// What was asked for, by token.
#[derive(Debug)]
enum Asked {
    Interest,
    Publish(String),
}

struct Run {
    rig: Rig,
    mode: Mode,
    chance: Random,
    wanted: Vec<Vec<Target>>,
    asked: Vec<BTreeMap<u64, Asked>>,
    tokens_count: u64,
    /// A primary and a replica that may change places, or masters of a cluster.
    hosts: Vec<&'static str>,
}

impl Run {
    fn new(mode: Mode, seed: u64) -> Self {
        let mut rig = match mode {
            Mode::PubSub => {
                let mut rig = Rig::with(options(mode));
                rig.server("b").is_replica = true;
                rig
            }
            Mode::Sharded => sharded::cluster(),
        };
        rig.add_task(options(mode), seed + 1);
        rig.chance = Some(Random::new(seed ^ 0xABCD));
        let hosts = match mode {
            Mode::PubSub => vec!["a", "b"],
            Mode::Sharded => vec!["a", "b", "c"],
        };
        let (wanted, asked) = (vec![Vec::new(); 2], vec![BTreeMap::new(), BTreeMap::new()]);
        Self { rig, mode, chance: Random::new(seed), wanted, asked, tokens_count: 0, hosts }
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.chance.below(bound)).unwrap()
    }

    fn act(&mut self) {
        let task = self.below(2);
        match self.chance.below(100) {
            0..30 => self.subscribe(task),
            30..50 => self.unsubscribe(task),
            50..94 => self.publish(task),
            94 => {
                let at = self.below(6);
                self.rig.cut_one(task, at);
            }
            95 => {
                let at = self.below(self.hosts.len() as u64);
                let host = self.hosts[at];
                self.rig.cut(host);
            }
            96 => self.rig.is_stalled = self.chance.below(3) == 0,
            97 => self.disturb(),
            // Long enough for watchdogs, lingers and all that waits.
            98 if self.chance.below(4) == 0 => {
                let ms = 10 * self.chance.below(1200);
                self.rig.run(ms);
            }
            _ => {
                let ms = 10 * self.chance.below(30);
                self.rig.run(ms);
            }
        }
        if self.chance.below(3) == 0 {
            self.rig.run(10);
        }
    }

    /// A failover, or a slot that moves.
    fn disturb(&mut self) {
        match self.mode {
            Mode::PubSub => {
                for host in ["a", "b"] {
                    let server = self.rig.server(host);
                    server.is_replica = !server.is_replica;
                }
            }
            // Under load: what is under way to the old owner must not be overtaken.
            Mode::Sharded => {
                let channel = format!("/topic/{}", self.below(CHANNELS));
                let name = names::name_of(self.mode, &channel);
                let at = self.below(3);
                for number in 0..8 {
                    self.publish_on(number % 2, &channel);
                    if number == 3 {
                        let slot = resp::slot_of(name.as_bytes());
                        sharded::move_slot(&mut self.rig, slot, self.hosts[at]);
                    }
                    if self.chance.below(2) == 0 {
                        self.rig.run(10);
                    }
                }
            }
        }
    }

    fn token(&mut self, task: usize, asked: Asked) -> Option<Token> {
        self.tokens_count += 1;
        self.asked[task].insert(self.tokens_count, asked);
        Some(Token(self.tokens_count))
    }

    fn subscribe(&mut self, task: usize) {
        let number = self.below(CHANNELS);
        let target = match (self.mode, self.chance.below(4)) {
            (Mode::PubSub, 0) => pattern(&format!("/topic/{}*", number % 3)),
            (Mode::PubSub, 1) => pattern("/topic/?"),
            (Mode::PubSub | Mode::Sharded, _) => channel(&format!("/topic/{number}")),
        };
        let token = self.token(task, Asked::Interest);
        let now = self.rig.now().instant;
        self.rig.tasks[task].redis.subscribe(now, &target, token);
        if !self.wanted[task].contains(&target) {
            self.wanted[task].push(target);
        }
    }

    fn unsubscribe(&mut self, task: usize) {
        let count = self.wanted[task].len() as u64;
        if 0 < count {
            let at = self.below(count);
            let target = self.wanted[task].swap_remove(at);
            let now = self.rig.now().instant;
            self.rig.tasks[task].redis.unsubscribe(now, &target);
        }
    }

    fn publish(&mut self, task: usize) {
        let channel = format!("/topic/{}", self.below(CHANNELS));
        self.publish_on(task, &channel);
    }

    fn publish_on(&mut self, task: usize, channel: &str) {
        // Numbers of one width, so that order can be compared as text.
        let body = format!("{task}-{:08}", self.tokens_count);
        let token = self.token(task, Asked::Publish(body.clone()));
        let now = self.rig.now().instant;
        let it = publication(channel, body.as_bytes());
        self.rig.tasks[task].redis.publish(now, &it, token);
    }

    /// Lets everything heal, and then looks at what became of it.
    fn check(mut self) {
        self.rig.is_stalled = false;
        self.rig.run(40_000);
        self.check_answers();
        self.check_deliveries();
        self.check_interests();
        for task in &self.rig.tasks {
            assert_eq!(task.redis.state(), State::Up, "{:?}", task.notes);
            assert_eq!((task.redis.waiting_bytes(), task.redis.unanswered_count()), (0, 0));
        }
    }

    /// Every body that a server was given, in the order of all servers, by its channel.
    fn log(&self) -> Vec<(String, String)> {
        let servers = self.rig.servers.values();
        let mut log: Vec<(u64, String, String)> = servers
            .flat_map(|it| it.numbers.iter().zip(&it.published))
            .map(|(number, (name, json))| {
                let json: serde_json::Value = serde_json::from_slice(json).unwrap();
                let body = json["payload"].as_str().unwrap().to_owned();
                (*number, String::from_utf8(name.clone()).unwrap(), body)
            })
            .collect();
        log.sort();
        log.into_iter().map(|(_, name, body)| (name, body)).collect()
    }

    fn check_answers(&self) {
        let log = self.log();
        let bodies: BTreeSet<&str> = log.iter().map(|it| &*it.1).collect();
        assert_eq!(bodies.len(), log.len(), "something was sent twice");
        for (task, asked) in self.rig.tasks.iter().zip(&self.asked) {
            let mut answers: BTreeMap<u64, Option<Code>> = BTreeMap::new();
            let settled = task.settled.iter().map(|token| (*token, None));
            let refused = task.refused.iter().map(|(token, code)| (*token, Some(*code)));
            for (token, code) in settled.chain(refused) {
                assert!(answers.insert(token, code).is_none(), "{token} was answered twice");
            }
            for (token, asked) in asked {
                let answer = answers.remove(token);
                let Some(answer) = answer else { panic!("{token} {asked:?} was not answered") };
                let Asked::Publish(body) = asked else { continue };
                match answer {
                    None => assert!(bodies.contains(&**body), "{body} was settled"),
                    Some(Code::RelayUnknown) => {}
                    Some(_) => assert!(!bodies.contains(&**body), "{body} was refused"),
                }
            }
            assert!(answers.is_empty());
        }
        // What one task publishes on one channel stays in its order.
        let mut last: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (name, body) in &log {
            let before = last.insert((name, &body[..1]), body);
            assert!(before.is_none_or(|it| it < &**body), "{before:?} before {body} on {name}");
        }
    }

    fn check_deliveries(&self) {
        let log = self.log();
        let places: BTreeMap<&str, usize> =
            log.iter().enumerate().map(|(at, (_, body))| (&**body, at)).collect();
        for task in &self.rig.tasks {
            let mut last: BTreeMap<String, usize> = BTreeMap::new();
            for (publication, audience) in task.delivered.iter().zip(&task.audiences) {
                let body = str::from_utf8(publication.body()).unwrap();
                let place = places[body];
                let key = format!("{} {audience:?}", publication.channel);
                let before = last.insert(key, place);
                assert!(before.is_none_or(|it| it < place), "{body} comes twice, or too late");
            }
            assert_eq!(task.redis.counts().dropped_total(), 0);
        }
    }

    /// Redis knows just what is wanted, and the machine knows that it does.
    fn check_interests(&mut self) {
        for (task, wanted) in self.wanted.iter().enumerate() {
            let mut expected = BTreeSet::from([(false, names::CONTROL.to_owned())]);
            for target in wanted {
                let name = match target {
                    Target::Channel(channel) => (false, names::name_of(self.mode, channel)),
                    Target::Pattern(text) => {
                        expected.insert((true, names::EMPTY_SEGMENTS.to_owned()));
                        (true, names::glob_of(&Pattern::parse(text).unwrap()))
                    }
                };
                expected.insert(name);
            }
            let mut found = BTreeSet::new();
            for client in self.rig.clients_of(task) {
                let text = |it: &Vec<u8>| String::from_utf8(it.clone()).unwrap();
                found.extend(client.exact.iter().map(|it| (false, text(it))));
                found.extend(client.globs.iter().map(|it| (true, text(it))));
            }
            assert_eq!(found, expected);
            let redis = &self.rig.tasks[task].redis;
            assert_eq!(redis.interests_count(), expected.len());
            for (is_glob, name) in &expected {
                assert!(redis.interests.is_inside(*is_glob, name.as_bytes()), "{name}");
            }
        }
    }
}

fn options(mode: Mode) -> Options {
    let mut options = Options::new(mode, vec![address("a"), address("b")]);
    options.outbox_bytes_max = 32 << 10;
    options
}

#[track_caller]
fn check(mode: Mode, seed: u64) {
    eprintln!("seed {seed}");
    let mut run = Run::new(mode, seed);
    for _ in 0..1200 {
        run.act();
    }
    run.check();
}

#[test]
fn whatever_happens_to_one_server_each_promise_holds() {
    for seed in 0..5 {
        check(Mode::PubSub, seed);
    }
}

#[test]
fn whatever_happens_to_a_cluster_each_promise_holds() {
    for seed in 0..5 {
        check(Mode::Sharded, seed);
    }
}

#[test]
fn a_run_is_repeated_by_its_seed() {
    let run = || {
        let mut run = Run::new(Mode::Sharded, 99);
        for _ in 0..600 {
            run.act();
        }
        let task = &run.rig.tasks[0];
        (task.settled.clone(), task.notes.clone(), *task.redis.counts())
    };
    assert_eq!(run(), run());
}
