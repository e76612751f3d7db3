//! How many connections a user has over several tasks.

use std::net::TcpListener;

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Cluster;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::Reply;
use crate::world::Ringway;
use crate::world::await_true;

on_each_driver!(a_user_has_so_many_connections_over_all_tasks);

const LIMIT: &str = "limits.connections_per_user=2";
const TASKS: &str = "ringway:{seats}";

fn start(driver: Driver, setting: &str) -> Ringway {
    Ringway::start(driver, &[setting, LIMIT])
}

/// Waits until this one has been closed for its user's number.
#[track_caller]
fn assert_crowded(client: &mut Client) {
    let error = client.error_then_close(1008);
    assert_eq!(error.header("message"), "too many connections");
}

/// How many connections of `user` the tasks have told.
fn told(redis: &Redis, user: &str) -> i64 {
    let mut client = redis.client();
    let tasks = client.ask(&["ZRANGE", TASKS, "0", "-1"]);
    let counts = tasks.list().iter().map(|task| client.ask(&["HGET", task.text(), user]));
    counts.map(|it| if it == Reply::Null { 0 } else { it.text().parse().expect("a number") }).sum()
}

fn await_told(redis: &Redis, user: &str, count: i64) {
    await_true("the tasks to tell it", || told(redis, user) == count);
}

fn a_user_has_so_many_connections_over_all_tasks(driver: Driver) {
    let redis = Redis::plain();
    let servers = [start(driver, &redis.setting()), start(driver, &redis.setting())];
    let [mut here, mut there] = [0, 1].map(|it| Client::session(&servers[it], "amy"));
    await_told(&redis, "amy", 2);
    for server in &servers {
        assert_crowded(&mut Client::session(server, "amy"));
        await_told(&redis, "amy", 2);
    }
    // Others have their own, and who was in stays.
    Client::session(&servers[0], "bob").assert_open();
    here.assert_open();
    there.assert_open();
    assert_eq!(servers[0].metric("websocket_rejected_total", "reason=\"user\""), 1.0);
    // A seat that is free at one task may be taken at the other.
    drop(here);
    await_told(&redis, "amy", 1);
    let mut second = Client::session(&servers[1], "amy");
    await_told(&redis, "amy", 2);
    second.assert_open();
    there.assert_open();
}

#[test]
fn a_task_that_is_gone_has_no_seats_and_one_that_was_away_tells_again() {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let mut server = start(Driver::IoUring, &proxy.setting());
    let mut client = redis.client();
    // Another task has two; Redis forgets it when it says nothing more.
    client.ask(&["HSET", "ringway:{seats}:other", "amy", "2"]);
    client.ask(&["ZADD", TASKS, "9e15", "ringway:{seats}:other"]);
    assert_crowded(&mut Client::session(&server, "amy"));
    client.ask(&["DEL", "ringway:{seats}:other"]);
    let mut amy = Client::session(&server, "amy");
    await_told(&redis, "amy", 1);
    amy.assert_open();
    let tasks = client.ask(&["ZRANGE", TASKS, "0", "0"]);
    let own = tasks.list()[0].text().to_owned();
    let left_ms = client.ask(&["PTTL", &own]).number();
    assert!((1..=20_000).contains(&left_ms), "it ends by itself: {left_ms}");

    // Without Redis each task counts for itself, and who came in then stays.
    proxy.lead_to(closed_port());
    proxy.cut();
    server.await_degraded();
    server.await_line("limits.connections_per_user counts this task alone");
    client.ask(&["DEL", &own]);
    client.ask(&["HSET", "ringway:{seats}:other", "amy", "2"]);
    let mut second = Client::session(&server, "amy");
    assert_crowded(&mut Client::session(&server, "amy"));
    await_ticks(&server, 10.0);
    proxy.lead_to(redis.port);
    await_true("it to be told again", || told(&redis, "amy") == 4);
    second.assert_open();
    amy.assert_open();
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until each core has looked at its clocks so often: it tells its news then.
fn await_ticks(server: &Ringway, count: f64) {
    for core in ["core=\"0\"", "core=\"1\""] {
        let ticks = || server.metric("websocket_shard_lag_seconds_count", core);
        let end = ticks() + count;
        await_true("time to pass", || end <= ticks());
    }
}

#[test]
fn a_cluster_counts_too() {
    let cluster = Cluster::start();
    let redis = &cluster.nodes[cluster.home_of(TASKS)];
    // The one that is asked first does not have the keys.
    let setting = cluster.setting(&[(cluster.home_of(TASKS) + 1) % 3]);
    let settings = [&*setting, "relay.mode=sharded", LIMIT];
    let servers = [(); 2].map(|()| {
        let server = Ringway::start_early(Driver::IoUring, &settings);
        server.await_up();
        server
    });
    let mut amys = [0, 1].map(|it| Client::session(&servers[it], "amy"));
    await_told(redis, "amy", 2);
    assert_crowded(&mut Client::session(&servers[1], "amy"));
    amys.iter_mut().for_each(Client::assert_open);
}
