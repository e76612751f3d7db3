//! Subscriptions: ids, several at once, patterns, adding and removing, and many of them.

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::on_each_driver;

on_each_driver!(
    a_subscription_needs_an_id_and_a_destination,
    a_client_of_1_0_needs_no_id,
    each_matching_subscription_gets_one_message,
    the_same_id_again_replaces_its_subscription,
    every_session_and_id_gets_its_own,
    patterns_match_as_ant_does,
    an_exact_and_a_pattern_subscription_live_apart,
    the_order_of_subscribing_and_publishing_does_not_matter,
    unsubscribe_ends_one_sessions_only,
    an_unknown_id_is_ignored_and_receipted,
    unsubscribe_needs_an_id,
    a_selector_changes_nothing,
    a_session_that_ended_gets_nothing,
    more_destinations_than_any_cache_holds,
    subscribing_while_others_publish_loses_and_doubles_nothing,
    an_id_may_be_its_destination,
);

fn a_subscription_needs_an_id_and_a_destination(driver: Driver) {
    let server = Server::start(driver);
    for frame in [
        "SUBSCRIBE|destination:/topic/a",
        "SUBSCRIBE|id:|destination:/topic/a",
        "SUBSCRIBE|id:s",
        "SUBSCRIBE|id:s|destination:",
    ] {
        let mut client = Client::session(&server, "forgetful");
        client.send(&format!("{frame}||^@"));
        client.error_then_close(1002);
    }
}

fn a_client_of_1_0_needs_no_id(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.connect("login:old");
    client.granted("SUBSCRIBE|id:|destination:/topic/a", "");
    client.publish("/topic/a", "to the old");
    let message = client.message();
    assert_eq!(message.text(), "to the old");
    assert!(!message.has("subscription"), "{message:?}");
    assert_eq!(message.header("destination"), "/topic/a");

    client.granted("UNSUBSCRIBE|destination:/topic/a", "");
    client.granted("SUBSCRIBE|destination:/topic/b", "");
    client.publish("/topic/a", "to nobody");
    client.publish("/topic/b", "fence");
    assert_eq!(client.message().text(), "fence");
}

fn each_matching_subscription_gets_one_message(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    for id in ["s1", "s2", "s3"] {
        client.subscribe(id, "/topic/a");
    }
    client.publish("/topic/a", "body");
    let messages = [client.message(), client.message(), client.message()];
    let mut ids = messages.each_ref().map(|message| message.header("subscription"));
    ids.sort_unstable();
    assert_eq!(ids, ["s1", "s2", "s3"]);
    // The publication is one: so is its id.
    let id = messages[0].header("message-id");
    assert!(messages.iter().all(|message| message.header("message-id") == id), "{messages:?}");
}

fn the_same_id_again_replaces_its_subscription(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("s", "/topic/a");
    client.subscribe("s", "/topic/a");
    client.publish("/topic/a", "once");
    client.publish("/topic/a", "fence");
    client.expect("s", "once");
    client.expect("s", "fence");

    client.subscribe("s", "/topic/b");
    client.publish("/topic/a", "to nobody");
    client.publish("/topic/b", "moved");
    client.expect("s", "moved");

    // No ghost of the first remains.
    client.unsubscribe("s");
    client.subscribe("fence", "/topic/fence");
    client.publish("/topic/a", "to nobody");
    client.publish("/topic/b", "to nobody");
    client.publish("/topic/fence", "fence");
    client.expect("fence", "fence");
    server.await_metric("websocket_subscriptions_active", "", 1.0);
}

fn every_session_and_id_gets_its_own(driver: Driver) {
    let server = Server::start(driver);
    let mut clients: Vec<Client> =
        (0..16).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    for client in &mut clients {
        for id in ["1", "2", "3"] {
            client.subscribe(id, "/topic/all");
        }
    }
    clients[0].publish("/topic/all", "everybody");
    clients[0].publish("/topic/all", "fence");
    for client in &mut clients {
        let mut seen: Vec<String> = (0..6)
            .map(|_| client.message())
            .map(|message| format!("{} {}", message.header("subscription"), message.text()))
            .collect();
        seen[..3].sort_unstable();
        seen[3..].sort_unstable();
        assert_eq!(seen[..3], ["1 everybody", "2 everybody", "3 everybody"]);
        assert_eq!(seen[3..], ["1 fence", "2 fence", "3 fence"]);
    }
}

fn patterns_match_as_ant_does(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    let mut check = |pattern: &str, matching: &[&str], others: &[&str]| {
        client.subscribe("p", pattern);
        client.subscribe("fence", "/queue/fence");
        for destination in matching {
            client.publish(destination, destination);
            client.expect("p", destination);
        }
        for destination in others {
            client.publish(destination, destination);
        }
        client.publish("/queue/fence", "fence");
        client.expect("fence", "fence");
        client.unsubscribe("p");
    };
    let stock = ["/topic/PRICE.STOCK.NASDAQ.IBM"];
    check("/topic/PRICE.STOCK.*.IBM", &stock, &["/topic/PRICE.STOCK.NASDAQ.MSFT"]);
    check("/topic/**", &["/topic/a/b", "/topic/p.1.x", "/topic/a"], &["/queue/a"]);
    check("/topic/*", &["/topic/p.1.x", "/topic/a"], &["/topic/a/b"]);
    check("/topic/room.?", &["/topic/room.1"], &["/topic/room.12", "/topic/room."]);
    check("/topic/*/b", &["/topic/a/b"], &["/topic/b", "/topic/a/c/b"]);
    check("/topic/**/b", &["/topic/b", "/topic/a/b", "/topic/a/c/b"], &["/topic/a/c"]);
    check("/topic/a*c/**", &["/topic/abc/x/y", "/topic/ac/x"], &["/topic/abd/x"]);
}

fn an_exact_and_a_pattern_subscription_live_apart(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("exact", "/topic/a");
    client.subscribe("pattern", "/topic/**");
    client.publish("/topic/a", "both");
    let messages = [client.message(), client.message()];
    let mut ids = messages.each_ref().map(|message| message.header("subscription"));
    ids.sort_unstable();
    assert_eq!(ids, ["exact", "pattern"]);
    // What is shown is the publication's own destination, also to a pattern.
    assert!(messages.iter().all(|it| it.header("destination") == "/topic/a"), "{messages:?}");

    client.unsubscribe("exact");
    client.publish("/topic/a", "pattern only");
    client.publish("/topic/b", "fence");
    client.expect("pattern", "pattern only");
    client.expect("pattern", "fence");

    client.subscribe("exact", "/topic/a");
    client.unsubscribe("pattern");
    client.publish("/topic/a", "exact only");
    client.publish("/topic/a", "fence");
    client.expect("exact", "exact only");
    client.expect("exact", "fence");
}

fn the_order_of_subscribing_and_publishing_does_not_matter(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    // Published before anybody listened, so that whatever remembers destinations remembers this
    // one.
    client.publish("/topic/cached", "to nobody");
    client.subscribe("p", "/topic/c*");
    client.publish("/topic/cached", "1");
    client.expect("p", "1");
    client.unsubscribe("p");
    client.publish("/topic/cached", "to nobody");
    client.subscribe("e", "/topic/cached");
    client.publish("/topic/cached", "2");
    client.expect("e", "2");
    client.subscribe("p", "/topic/**");
    client.unsubscribe("e");
    client.publish("/topic/cached", "3");
    client.expect("p", "3");
}

fn unsubscribe_ends_one_sessions_only(driver: Driver) {
    let server = Server::start(driver);
    let mut leaving = Client::session(&server, "leaving");
    let mut staying = Client::session(&server, "staying");
    for client in [&mut leaving, &mut staying] {
        client.subscribe("same-id", "/topic/a");
    }
    leaving.unsubscribe("same-id");
    leaving.subscribe("fence", "/topic/a");
    staying.publish("/topic/a", "body");
    staying.expect("same-id", "body");
    leaving.expect("fence", "body");
}

fn an_unknown_id_is_ignored_and_receipted(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.send("UNSUBSCRIBE|id:never||^@");
    client.unsubscribe("never");
    client.subscribe("s", "/topic/a");
    client.unsubscribe("s");
    client.unsubscribe("s");
}

fn unsubscribe_needs_an_id(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "forgetful");
    client.send("UNSUBSCRIBE|destination:/topic/a||^@");
    client.error_then_close(1002);
}

fn a_selector_changes_nothing(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.granted("SUBSCRIBE|id:s|destination:/topic/a|selector:headers.foo == 'bar'", "");
    client.publish("/topic/a", "all the same");
    client.expect("s", "all the same");
}

fn a_session_that_ended_gets_nothing(driver: Driver) {
    let server = Server::start(driver);
    let mut first = Client::session(&server, "joe");
    let mut second = Client::session(&server, "joe");
    for client in [&mut first, &mut second] {
        client.subscribe("s", "/topic/a");
    }
    first.send("DISCONNECT||^@");
    assert_eq!(first.closed(), 1000);
    second.publish("/topic/a", "to the second");
    second.expect("s", "to the second");
}

fn more_destinations_than_any_cache_holds(driver: Driver) {
    const COUNT: usize = 1_500;
    let settings = ["limits.subscriptions_per_session=2000"];
    let server = Server::start_with(driver, &settings);
    let mut client = Client::session(&server, "joe");
    for index in 0..COUNT {
        client.send(&format!("SUBSCRIBE|id:{index}|destination:/topic/{index}||^@"));
    }
    client.assert_open();
    server.await_metric("websocket_subscriptions_active", "", 1_500.0);
    let mut sender = Client::session(&server, "sender");
    for round in 0..2 {
        for index in 0..COUNT {
            sender.send(&format!("SEND|destination:/topic/{index}||{round}^@"));
        }
        let mut seen = vec![0; COUNT];
        for _ in 0..COUNT {
            let message = client.message();
            let id: usize = message.header("subscription").parse().expect("ids are numbers here");
            assert_eq!(message.header("destination"), format!("/topic/{id}"));
            seen[id] += 1;
        }
        assert!(seen.iter().all(|count| *count == 1));
    }
}

fn subscribing_while_others_publish_loses_and_doubles_nothing(driver: Driver) {
    let server = Server::start(driver);
    let mut steady = Client::session(&server, "steady");
    steady.subscribe("s", "/topic/busy");
    let mut sender = Client::session(&server, "sender");
    let mut coming_and_going = Client::session(&server, "fickle");
    for round in 0..100 {
        sender.send(&format!("SEND|destination:/topic/busy||{round}^@"));
        coming_and_going.send("SUBSCRIBE|id:f|destination:/topic/busy||^@");
        coming_and_going.send("SUBSCRIBE|id:g|destination:/topic/b*||^@");
        coming_and_going.send("UNSUBSCRIBE|id:f||^@UNSUBSCRIBE|id:g||^@");
    }
    for round in 0..100 {
        steady.expect("s", &round.to_string());
    }
    coming_and_going.assert_open();
}

fn an_id_may_be_its_destination(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("/topic/a", "/topic/a");
    client.publish("/topic/a", "body");
    client.expect("/topic/a", "body");
    client.unsubscribe("/topic/a");
}
