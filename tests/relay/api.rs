//! The admin API of tasks that share a Redis: what a back end says over HTTP reaches the clients of
//! all of them, and is answered once Redis has it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::ask;
use crate::support::on_each_driver;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::Ringway;

on_each_driver!(
    what_is_published_over_http_reaches_the_clients_of_all_tasks,
    users_are_disconnected_and_revoked_on_all_tasks,
);

const KEY: &str = "relay.hmac_key=0123456789abcdef0123456789abcdef";

#[track_caller]
fn post(admin: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    let answer = ask(admin, &request);
    (answer.status, serde_json::from_str(&answer.body).expect("the body is JSON"))
}

fn two(driver: Driver, settings: &[&str]) -> [Ringway; 2] {
    [0, 1].map(|_| Ringway::start(driver, settings))
}

fn what_is_published_over_http_reaches_the_clients_of_all_tasks(driver: Driver) {
    const BATCH: usize = 1_000;
    let redis = Redis::plain();
    let servers = two(driver, &[&redis.setting()]);
    let mut clients = servers.each_ref().map(|it| Client::session(it, "amy/é"));
    for client in &mut clients {
        client.subscribe("room", "/topic/room.1");
        client.subscribe("own", "/user/queue/private");
    }
    let message = json!({ "destination": "/topic/room.1", "body": "to all" });
    let (status, answer) = post(servers[0].admin, "/api/publish", &message);
    assert_eq!((status, &answer["published"]), (200, &json!(1)), "{answer}");
    for client in &mut clients {
        let frame = client.message();
        assert_eq!((frame.header("subscription"), frame.text()), ("room", "to all"));
        assert_eq!(answer["ids"][0], frame.header("message-id"));
    }
    let private = json!({ "destination": "/queue/private", "body": "for you" });
    let (status, answer) = post(servers[1].admin, "/api/users/amy%2F%C3%A9/publish", &private);
    assert_eq!(status, 200, "{answer}");
    clients.iter_mut().for_each(|it| it.expect("own", "for you"));

    let list: Vec<Value> = (0..BATCH)
        .map(|number| json!({ "destination": "/topic/room.1", "body": number.to_string() }))
        .collect();
    let (status, answer) =
        post(servers[0].admin, "/api/publish/batch", &json!({ "messages": list }));
    assert_eq!((status, &answer["published"]), (200, &json!(BATCH)), "{answer}");
    for client in &mut clients {
        (0..BATCH).for_each(|number| client.expect("room", &number.to_string()));
        client.assert_open();
    }
}

fn users_are_disconnected_and_revoked_on_all_tasks(driver: Driver) {
    let redis = Redis::plain();
    let servers = two(driver, &[&redis.setting(), KEY]);
    let mut amys = servers.each_ref().map(|it| Client::session(it, "amy"));
    let mut bob = Client::session(&servers[1], "bob");
    let fleet = (202, json!({ "reach": "fleet" }));
    assert_eq!(post(servers[0].admin, "/api/users/amy/disconnect", &json!({})), fleet);
    for amy in &mut amys {
        assert_eq!(amy.error_then_close(1008).header("message"), "disconnected by an operator");
    }
    bob.assert_open();
    assert_eq!(post(servers[0].admin, "/api/tokens/revoke", &json!({ "jti": "stolen" })), fleet);
    assert_eq!(redis.client().ask(&["ZCARD", "ringway:revoked"]).number(), 1);
    let reach = json!({ "reach": "process" });
    let alone = Ringway::start(driver, &[&redis.setting()]);
    assert_eq!(post(alone.admin, "/api/users/amy/disconnect", &json!({})), (202, reach));
}

#[test]
fn nothing_is_called_published_before_redis_has_it() {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let server = Ringway::start(Driver::IoUring, &[&proxy.setting()]);
    let admin = server.admin;
    let message = json!({ "destination": "/topic/news", "body": "x" });
    proxy.stall();
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let answer = post(admin, "/api/publish", &message);
            (answer, Instant::now())
        });
        thread::sleep(Duration::from_millis(500));
        let resumed_at = Instant::now();
        proxy.resume();
        let (answer, answered_at) = asked.join().expect("an answer");
        assert_eq!(answer.0, 200, "{answer:?}");
        assert!(resumed_at <= answered_at, "answered before Redis was");
    });
    // What was written and is cut off is not known to be done, and that is what is said.
    proxy.stall();
    thread::scope(|scope| {
        let asked = scope.spawn(|| post(admin, "/api/publish", &message));
        server.await_metric("websocket_relay_published_total", "", 2.0);
        proxy.cut();
        proxy.resume();
        let (status, answer) = asked.join().expect("an answer");
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("relay-unknown")), "{answer}");
        assert_eq!((&answer["published"], &answer["ids"]), (&json!(0), &json!([null])));
    });
}

#[test]
fn what_is_published_while_redis_is_away_waits_for_it_or_is_refused() {
    let mut redis = Redis::plain();
    let settings = [&*redis.setting(), "relay.outbox_seconds=5s"];
    let server = Ringway::start(Driver::Epoll, &settings);
    let mut client = Client::session(&server, "amy");
    client.subscribe("s", "/topic/room.1");
    redis.kill();
    server.await_degraded();
    let admin = server.admin;
    let publish = |body: &str| {
        let message = json!({ "destination": "/topic/room.1", "body": body });
        post(admin, "/api/publish", &message)
    };
    thread::scope(|scope| {
        let asked = scope.spawn(|| publish("in time"));
        redis.restart();
        let (status, answer) = asked.join().expect("an answer");
        assert_eq!(status, 200, "{answer}");
    });
    client.expect("s", "in time");
    redis.kill();
    let (status, answer) = publish("too late");
    let code = &answer["error"]["code"];
    assert_eq!((status, code), (503, &json!("relay-unavailable")), "{answer}");
    client.assert_open();
}
