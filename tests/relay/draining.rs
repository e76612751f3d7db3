//! The drain of a server with a relay: who waits for Redis goes last, with an answer.

use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::Ringway;

on_each_driver!(who_waits_for_redis_is_let_go_last_and_is_told_what_became_of_it);

fn who_waits_for_redis_is_let_go_last_and_is_told_what_became_of_it(driver: Driver) {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let settings =
        [&*proxy.setting(), "server.cores=1", "limits.connections=100", "drain.window=100s"];
    let mut server = Ringway::start(driver, &settings);
    let mut waiting = Client::session(&server, "waiting");
    let mut others: Vec<Client> = (0..4).map(|_| Client::session(&server, "other")).collect();
    proxy.stall();
    waiting.send("SEND|destination:/topic/room.1|receipt:owed||x^@");
    // Received by now, and written to Redis; all others say something after it.
    waiting.granted("UNSUBSCRIBE|id:never-used", "");
    for other in &mut others {
        other.granted("UNSUBSCRIBE|id:never-used", "");
    }
    server.signal(Signal::TERM);
    let closes: Vec<_> = others
        .into_iter()
        .map(|mut other| {
            thread::spawn(move || {
                assert_eq!(other.closed(), 1012);
                Instant::now()
            })
        })
        .collect();
    let last = closes.into_iter().map(|it| it.join().expect("a close")).max();
    let answer = waiting.answer();
    let answered_at = Instant::now();
    let got = (&*answer.command, answer.header("receipt-id"), answer.header("message"));
    assert_eq!(got, ("ERROR", "owed", "relay-unknown"), "{answer:?}");
    assert_eq!(waiting.closed(), 1012);
    assert!(last < Some(answered_at));
    drop(waiting);
    assert!(server.await_exit().success());
}
