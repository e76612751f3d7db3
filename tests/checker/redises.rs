//! The Redis of a run, and the replica that may take its place.

use std::thread;
use std::time::Duration;

use super::plan::Dice;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::await_true;

/// Whatever it has answered it still has after it was killed.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Who has what the tasks share.
pub(crate) struct Redises {
    /// The one that takes writes, and the former one.
    current: Redis,
    former: Option<Redis>,
    replica: Option<(Redis, Proxy)>,
    urls: String,
}

impl Redises {
    /// One Redis, or one with a replica that can be made to lag.
    pub(crate) fn start(has_replica: bool) -> Self {
        let settings = [DURABLE, &["--repl-diskless-sync-delay", "0"]].concat();
        let current = Redis::with(&settings);
        let url = |redis: &Redis| format!("redis://{}:{}", redis.host, redis.port);
        let mut urls = url(&current);
        let replica = has_replica.then(|| {
            let replica = Redis::beside(&current);
            let proxy = Proxy::to(current.port);
            let mut client = replica.client();
            client.ask(&["REPLICAOF", "127.0.0.1", &proxy.port.to_string()]);
            await_true("the replica to follow", || {
                client.info("replication", "master_link_status") == "up"
            });
            urls = format!("{urls},{}", url(&replica));
            (replica, proxy)
        });
        Self { current, former: None, replica, urls }
    }

    /// The setting that points a task here.
    pub(crate) fn setting(&self) -> String {
        format!("relay.url={}", self.urls)
    }

    pub(crate) fn kill(&mut self) {
        self.current.kill();
    }

    pub(crate) fn restart(&mut self) {
        self.current.restart();
    }

    /// Loses everything that it has.
    pub(crate) fn empty(&self) {
        self.current.client().ask(&["FLUSHALL"]);
    }

    /// Ends the connections of those that are subscribed to anything.
    pub(crate) fn cut_subscribers(&self) {
        self.current.client().ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }

    /// Kills the Redis when its replica has not heard it for a while.
    pub(crate) fn kill_ahead_of_replica(&mut self, dice: &mut Dice) {
        let (_, proxy) = self.replica.as_ref().expect("this run has a replica");
        proxy.stall();
        thread::sleep(Duration::from_millis(dice.within(10..300)));
        self.current.kill();
        proxy.cut();
    }

    /// The replica takes its place.
    pub(crate) fn promote(&mut self) {
        let (replica, _) = self.replica.take().expect("this run has a replica");
        replica.client().ask(&["REPLICAOF", "NO", "ONE"]);
        self.former = Some(std::mem::replace(&mut self.current, replica));
    }
}
