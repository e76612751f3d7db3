//! Rooms and private messages of clients on two servers that share a Redis.

use crate::support::Client;
use crate::support::Driver;
use crate::support::Frame;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::world::Redis;
use crate::world::Ringway;

on_each_driver!(
    a_room_spans_two_servers,
    custom_headers_and_binary_bodies_cross_unchanged,
    a_private_message_finds_each_session_of_its_user_and_nobody_else,
    everybody_hears_one_order,
    an_exact_and_a_pattern_subscription_get_a_message_once_each,
    what_redis_takes_for_globs_is_taken_literally,
    a_star_stays_within_its_segment,
);

/// Two servers on one Redis.
fn pair(driver: Driver) -> (Redis, [Ringway; 2]) {
    let redis = Redis::plain();
    let setting = redis.setting();
    let servers = [0, 1].map(|_| Ringway::start(driver, &[&setting]));
    (redis, servers)
}

fn a_room_spans_two_servers(driver: Driver) {
    let (_redis, [one, two]) = pair(driver);
    let mut clients = [
        Client::session(&one, "alice"),
        Client::session(&one, "bob"),
        Client::session(&two, "carol"),
    ];
    clients.iter_mut().for_each(|it| it.subscribe("s", "/topic/room.1"));
    for from in 0..clients.len() {
        let body = format!("from {from}");
        // Through the default route, and directly.
        clients[from].publish("/app/room.1", &body);
        clients[from].publish("/topic/room.1", "again");
        let heard: Vec<Frame> = clients
            .iter_mut()
            .map(|client| {
                let message = client.message();
                assert_eq!(message.header("destination"), "/topic/room.1", "{message:?}");
                assert_eq!((message.header("subscription"), message.text()), ("s", &*body));
                client.expect("s", "again");
                message
            })
            .collect();
        for header in ["message-id", "timestamp", "user-id"] {
            let values: Vec<&str> = heard.iter().map(|it| it.header(header)).collect();
            assert!(!values[0].is_empty(), "{header} in {heard:?}");
            assert!(values.iter().all(|it| *it == values[0]), "{header}: {values:?}");
        }
    }
}

fn custom_headers_and_binary_bodies_cross_unchanged(driver: Driver) {
    let (_redis, [one, two]) = pair(driver);
    let mut alice = Client::session(&one, "alice");
    let mut bob = Client::session(&two, "bob");
    alice.subscribe("s", "/topic/room.1");
    bob.subscribe("s", "/topic/room.1");
    let text = "content-type:text/plain|x-kind:greeting|x-odd:a\\cb\\\\c\\nd|x-ü:ß";
    alice.publish(&format!("/topic/room.1|{text}"), "grüß \"dich\" \\ \u{1} \u{2028}");
    let frame = bytes("SEND|destination:/topic/room.1|content-type:image/x-test|x-n:1");
    let body = [0, 1, 0xFF, 0xFE, b'"', b'\\', 0, 0x80];
    let tail = format!("\ncontent-length:{}\n\n", body.len());
    alice.send_binary(&[&frame[..], tail.as_bytes(), &body, b"\0"].concat());
    for client in [&mut alice, &mut bob] {
        let message = client.message();
        assert!(!message.binary, "{message:?}");
        assert_eq!(message.text(), "grüß \"dich\" \\ \u{1} \u{2028}");
        assert_eq!(message.header("content-type"), "text/plain");
        let own = message.headers.iter().filter(|(name, _)| name.starts_with("x-"));
        let own: Vec<(&str, &str)> = own.map(|(name, value)| (&**name, &**value)).collect();
        let sent = [("x-kind", "greeting"), ("x-odd", "a\\cb\\\\c\\nd"), ("x-ü", "ß")];
        assert_eq!(own, sent);

        let message = client.message();
        assert!(message.binary, "{message:?}");
        assert_eq!(message.body, body);
        assert_eq!(message.header("content-type"), "image/x-test");
        assert_eq!(message.header("x-n"), "1");
    }
}

fn a_private_message_finds_each_session_of_its_user_and_nobody_else(driver: Driver) {
    let (_redis, [one, two]) = pair(driver);
    // What must be escaped in a channel, and what a glob or a dot-part would take apart.
    let users = [("bob", "bob"), ("b/o%b", "b%2Fo%25b"), ("joe.doe", "joe%2Edoe"), ("*", "*")];
    for (login, in_destination) in users {
        let mut sessions = [
            Client::session(&one, login),
            Client::session(&two, login),
            Client::session(&two, "other"),
        ];
        sessions.iter_mut().for_each(|it| it.subscribe("s", "/user/queue/private"));
        let mut alice = Client::session(&one, "alice");
        alice.publish(&format!("/app/private.{in_destination}|x-n:1"), "for one");
        alice.publish("/app/private.other", "for another");
        let [here, there, other] = &mut sessions;
        for session in [here, there] {
            let message = session.message();
            assert_eq!(message.header("destination"), "/user/queue/private", "{message:?}");
            assert_eq!((message.text(), message.header("user-id")), ("for one", "alice"));
            assert_eq!(message.header("x-n"), "1");
        }
        other.expect("s", "for another");
    }
}

fn everybody_hears_one_order(driver: Driver) {
    const EACH_COUNT: usize = 300;
    let (_redis, servers) = pair(driver);
    let mut clients: Vec<Client> =
        (0..4).map(|it| Client::session(&servers[it % 2], "c")).collect();
    clients.iter_mut().for_each(|it| it.subscribe("s", "/topic/order"));
    for number in 0..EACH_COUNT {
        for (from, client) in clients.iter_mut().enumerate() {
            client.send(&format!("SEND|destination:/topic/order||{from} {number}^@"));
        }
    }
    let all_count = EACH_COUNT * clients.len();
    let orders: Vec<Vec<String>> = clients
        .iter_mut()
        .map(|it| (0..all_count).map(|_| it.message().text().to_owned()).collect())
        .collect();
    for from in 0..clients.len() {
        let prefix = format!("{from} ");
        let own: Vec<&str> = orders[0].iter().filter_map(|it| it.strip_prefix(&prefix)).collect();
        assert_eq!(own, (0..EACH_COUNT).map(|it| it.to_string()).collect::<Vec<_>>());
    }
    assert!(orders.iter().all(|it| *it == orders[0]));
}

/// Redis sends one PUBLISH once for the exact subscription and once for each pattern.
fn an_exact_and_a_pattern_subscription_get_a_message_once_each(driver: Driver) {
    let (redis, [one, two]) = pair(driver);
    let mut alice = Client::session(&one, "alice");
    let subscriptions = [
        ("exact", "/topic/room.1"),
        ("star", "/topic/room.*"),
        ("all", "/topic/**"),
        ("exact-again", "/topic/room.1"),
        ("other", "/topic/hall.*"),
    ];
    for (id, destination) in subscriptions {
        alice.subscribe(id, destination);
    }
    let mut bob = Client::session(&two, "bob");
    bob.publish("/topic/room.1", "first");
    redis.client().publish(
        "ws:/topic/room.1",
        r#"{"destination":"/topic/room.1","userId":null,"payload":"second"}"#,
    );
    bob.publish("/topic/room.1", "third");
    for body in ["first", "second", "third"] {
        let mut heard: Vec<String> = (0..4)
            .map(|_| {
                let message = alice.message();
                assert_eq!(message.text(), body, "{message:?}");
                message.header("subscription").to_owned()
            })
            .collect();
        heard.sort();
        assert_eq!(heard, ["all", "exact", "exact-again", "star"]);
    }
    // Each ends by itself.
    alice.unsubscribe("exact");
    alice.unsubscribe("all");
    bob.publish("/topic/room.1", "fourth");
    let mut heard = [0, 1].map(|_| alice.message().header("subscription").to_owned());
    heard.sort();
    assert_eq!(heard, ["exact-again", "star"]);
}

fn what_redis_takes_for_globs_is_taken_literally(driver: Driver) {
    let (_redis, [one, two]) = pair(driver);
    let mut alice = Client::session(&one, "alice");
    let mut bob = Client::session(&two, "bob");
    alice.subscribe("exact", "/topic/x[ab]");
    alice.subscribe("pattern", "/topic/y[ab]*");
    alice.subscribe("backslash", "/topic/z\\\\*");
    for other in ["/topic/xa", "/topic/ya1", "/topic/z1", "/topic/z*".trim_end_matches('*')] {
        bob.publish(other, "not for alice");
    }
    let own =
        [("exact", "/topic/x[ab]"), ("pattern", "/topic/y[ab]1"), ("backslash", "/topic/z\\\\1")];
    for (id, destination) in own {
        bob.publish(destination, destination);
        // In the notation of headers a backslash is two.
        let message = alice.message();
        assert_eq!(
            (message.header("subscription"), message.header("destination")),
            (id, destination)
        );
    }
}

/// Redis's `*` crosses slashes, the one of Ant does not.
fn a_star_stays_within_its_segment(driver: Driver) {
    let (_redis, [one, two]) = pair(driver);
    let mut alice = Client::session(&one, "alice");
    let mut bob = Client::session(&two, "bob");
    alice.subscribe("star", "/topic/a.*");
    alice.subscribe("question", "/topic/b?c");
    alice.subscribe("regex", "/topic/{n:[0-9]+}/x");
    for other in ["/topic/a.1/b", "/topic/b/c", "/topic/n/x", "/topic/1/y"] {
        bob.publish(other, "not for alice");
    }
    for (id, destination) in
        [("star", "/topic/a."), ("question", "/topic/b.c"), ("regex", "/topic/12/x")]
    {
        bob.publish(destination, "for alice");
        alice.expect(id, "for alice");
    }
}
