//! A server that has gone mad: whatever it says, links are lost, and nothing else.

use crate::broker::relay::redis::State;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::rig::pattern;
use crate::broker::relay::redis::tests::sharded;
use crate::stdx::random::Random;

const FRAGMENTS: [&str; 28] = [
    ":1\r\n",
    "+OK\r\n",
    "_\r\n",
    "$3\r\n1-1\r\n",
    "-ERR no\r\n",
    "-NOPERM no\r\n",
    "-MOVED 7 x:1\r\n",
    "-MOVED 99999 x:1\r\n",
    "-MOVED\r\n",
    "-ASK 7 a:6379\r\n",
    "-CLUSTERDOWN no\r\n",
    "*3\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n",
    "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n",
    "*0\r\n",
    "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\na\r\n:6379\r\n",
    "%1\r\n+a\r\n:1\r\n",
    ">3\r\n$9\r\nsubscribe\r\n$11\r\nws:/topic/1\r\n:1\r\n",
    ">3\r\n$11\r\nunsubscribe\r\n$11\r\nws:/topic/1\r\n:1\r\n",
    ">3\r\n$12\r\nsunsubscribe\r\n$11\r\nws:/topic/1\r\n:1\r\n",
    ">3\r\n$12\r\nsunsubscribe\r\n$15\r\nringway:control\r\n:1\r\n",
    ">3\r\n$10\r\npsubscribe\r\n_\r\n:1\r\n",
    ">3\r\n$7\r\nmessage\r\n$11\r\nws:/topic/1\r\n$2\r\n{}\r\n",
    ">4\r\n$8\r\npmessage\r\n$11\r\nws:/topic/1\r\n$1\r\nx\r\n$2\r\n{}\r\n",
    ">4\r\n$8\r\npmessage\r\n$12\r\nws:/topic/?*\r\n$11\r\nws:/topic/1\r\n$2\r\n{}\r\n",
    ">2\r\n+invalidate\r\n_\r\n",
    ">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$9999999\r\nxx",
    "$99",
    "\0\r\n",
];

#[test]
fn a_mad_server_costs_links_and_nothing_else() {
    for seed in 0..16 {
        let mut chance = Random::new(seed);
        let is_sharded = seed % 2 == 1;
        let mut rig = if is_sharded { sharded::cluster() } else { Rig::new() };
        for step in 0..60 {
            let name = format!("/topic/{}", chance.below(3));
            match chance.below(6) {
                0 => rig.subscribe(&channel(&name), step),
                1 => rig.subscribe(&pattern("/topic/?"), step),
                2 => rig.unsubscribe(&channel(&name)),
                3 => rig.publish(&name, "x", step),
                _ => {
                    let at = usize::try_from(chance.below(FRAGMENTS.len() as u64)).unwrap();
                    let clients = rig.servers.values_mut().flat_map(|it| it.clients.values_mut());
                    let client = clients.filter(|_| chance.below(2) == 0).last();
                    if let Some(client) = client {
                        client.sent.extend_from_slice(FRAGMENTS[at].as_bytes());
                    }
                }
            }
            rig.run(10 * chance.below(5));
        }
        // What it made up about its cluster has gone with the next honest answer.
        for host in ["a", "b", "c"] {
            rig.cut(host);
        }
        rig.run(20_000);
        let task = &rig.tasks[0];
        assert_eq!(task.redis.state(), State::Up, "seed {seed}: {:#?}", task.notes);
        let answers_count = task.settled.len() + task.refused.len();
        assert_eq!((task.redis.waiting_bytes(), task.redis.unanswered_count()), (0, 0));
        assert!(0 < answers_count);
    }
}
