//! Where messages go: routes, users, headers, receipts, transactions, order, and what is refused.

use crate::support::Client;
use crate::support::Driver;
use crate::support::Frame;
use crate::support::Server;
use crate::support::on_each_driver;

on_each_driver!(
    a_room_message_reaches_both_cores,
    a_private_message_reaches_every_session_of_its_user_only,
    a_user_may_have_a_slash_in_the_name,
    a_private_message_to_nobody_is_accepted,
    a_nameless_session_is_reached_by_its_session_id,
    unsubscribing_from_a_user_destination_works_by_id,
    another_sessions_queue_cannot_be_read,
    headers_pass_but_ours_are_ours,
    a_message_id_is_ours_and_the_same_for_all,
    a_refused_send_is_reported_and_costs_nothing,
    a_refused_subscription_is_reported_and_costs_nothing,
    a_refusal_may_cost_the_connection_if_asked_for,
    endless_refusals_end_in_1008,
    a_send_needs_a_destination,
    every_frame_that_asks_gets_its_receipt,
    ack_and_nack_change_nothing,
    a_transaction_holds_its_sends_until_commit,
    a_transaction_that_is_not_there_is_not_silent,
    order_is_kept_between_two_senders_and_many_receivers,
);

/// Asserts that the next notice on `/user/queue/errors` is about `destination`.
#[track_caller]
fn check_notice(client: &mut Client, destination: &str) -> Frame {
    let notice = client.message();
    assert_eq!(notice.header("subscription"), "errors", "{notice:?}");
    assert_eq!(notice.header("destination"), "/user/queue/errors", "{notice:?}");
    assert!(notice.has("code"), "{notice:?}");
    assert!(!notice.body.is_empty(), "a notice says why: {notice:?}");
    // The notice names the destination that was refused in its body or in a header of its own.
    let named = notice.text().contains(destination)
        || notice.headers.iter().any(|(_, value)| value == destination);
    assert!(named, "{notice:?}");
    notice
}

fn a_room_message_reaches_both_cores(driver: Driver) {
    let server = Server::start(driver);
    let mut clients: Vec<Client> =
        (0..24).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    for client in &mut clients {
        client.subscribe("room", "/topic/room.1");
        client.subscribe("other", "/topic/room.2");
    }
    clients[5].publish("/app/room.1", "hello");
    clients[6].publish("/app/room.2", "fence");
    for client in &mut clients {
        let mut seen = [client.message(), client.message()];
        seen.sort_by_key(|message| message.header("subscription") != "room");
        assert_eq!(seen[0].header("destination"), "/topic/room.1");
        assert_eq!((seen[0].text(), seen[1].text()), ("hello", "fence"));
    }
}

fn a_private_message_reaches_every_session_of_its_user_only(driver: Driver) {
    let server = Server::start(driver);
    let mut bobs: Vec<Client> = (0..6).map(|_| Client::session(&server, "bob")).collect();
    let mut alice = Client::session(&server, "alice");
    for client in bobs.iter_mut().chain([&mut alice]) {
        client.subscribe("p", "/user/queue/private");
    }
    alice.publish("/app/private.bob", "psst");
    alice.publish("/app/private.alice", "to myself");
    for bob in &mut bobs {
        let message = bob.message();
        assert_eq!((message.header("subscription"), message.text()), ("p", "psst"));
        assert_eq!(message.header("destination"), "/user/queue/private");
    }
    alice.expect("p", "to myself");
}

fn a_user_may_have_a_slash_in_the_name(driver: Driver) {
    let server = Server::start(driver);
    let mut joe = Client::session(&server, "https://joe.openid.example.org/");
    joe.subscribe("p", "/user/queue/private");
    let mut sender = Client::session(&server, "sender");
    // The colon is escaped because it stands in a header of 1.2, the slashes because it is one
    // segment.
    sender.publish(r"/app/private.https\c%2F%2Fjoe%2Eopenid%2Eexample%2Eorg%2F", "found you");
    joe.expect("p", "found you");
}

fn a_private_message_to_nobody_is_accepted(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "alice");
    client.publish("/app/private.nobody", "is anybody there");
}

fn a_nameless_session_is_reached_by_its_session_id(driver: Driver) {
    let server = Server::start(driver);
    let mut nameless = Client::open(&server);
    let session = nameless.connect("accept-version:1.2").header("session").to_owned();
    nameless.subscribe("p", "/user/queue/private");
    let mut other = Client::open(&server);
    other.connect("accept-version:1.2");
    other.subscribe("p", "/user/queue/private");
    other.publish(&format!("/app/private.{session}"), "to you alone");
    nameless.expect("p", "to you alone");
}

fn unsubscribing_from_a_user_destination_works_by_id(driver: Driver) {
    let server = Server::start(driver);
    let mut bob = Client::session(&server, "bob");
    let mut other_bob = Client::session(&server, "bob");
    bob.subscribe("p", "/user/queue/private");
    bob.subscribe("fence", "/user/queue/private");
    other_bob.subscribe("p", "/user/queue/private");
    bob.unsubscribe("p");
    other_bob.publish("/app/private.bob", "body");
    bob.expect("fence", "body");
    other_bob.expect("p", "body");
}

fn another_sessions_queue_cannot_be_read(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "curious");
    for destination in [
        "/queue/foo-user123",
        "/user/bob/queue/private",
        "/user/bob/queue/**",
        "/user/**",
        "/user/*/queue/private",
    ] {
        client.refused(&format!("SUBSCRIBE|id:s|destination:{destination}"), "");
    }
    // A pattern over everything sees what is for all, not what is for one.
    client.subscribe("all", "/queue/**");
    let mut bob = Client::session(&server, "bob");
    bob.subscribe("p", "/user/queue/private");
    bob.publish("/app/private.bob", "secret");
    bob.expect("p", "secret");
    bob.publish("/queue/fence", "fence");
    client.expect("all", "fence");
}

fn headers_pass_but_ours_are_ours(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("a", "/topic/t");
    let forged = "subscription:forged|user-id:boss|simpOrigDestination:/topic/forged";
    let type_ = "content-type:application/json;charset=UTF-8|content-length:7";
    client.send(&format!(
        r#"SEND|destination:/topic/t|foo:a\cb|receipt:9|{forged}|{type_}||{{"a":1}}^@"#
    ));
    let message = client.message();
    assert_eq!(message.header("foo"), r"a\cb");
    assert_eq!(message.header("content-type"), "application/json;charset=UTF-8");
    assert_eq!((message.header("destination"), message.header("subscription")), ("/topic/t", "a"));
    assert_eq!(message.text(), r#"{"a":1}"#);
    assert!(!message.has("receipt") && !message.has("transaction"), "{message:?}");
    assert_ne!(message.header("user-id"), "boss", "{message:?}");
    assert_eq!(client.answer().header("receipt-id"), "9");

    // A destination is never shown as another, whatever the sender adds.
    client.subscribe("p", "/user/queue/private");
    client.granted("SEND|destination:/app/private.joe|simpOrigDestination:/topic/forged", "x");
    assert_eq!(client.message().header("destination"), "/user/queue/private");
}

fn a_message_id_is_ours_and_the_same_for_all(driver: Driver) {
    let server = Server::start(driver);
    let mut clients: Vec<Client> =
        (0..16).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    for client in &mut clients {
        client.subscribe("s", "/topic/t");
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        clients[0].granted("SEND|destination:/topic/t|message-id:forged", "x");
        let seen: Vec<String> = clients
            .iter_mut()
            .map(|client| client.message().header("message-id").to_owned())
            .collect();
        assert!(seen.iter().all(|id| *id == seen[0] && id != "forged"), "{seen:?}");
        ids.push(seen[0].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "each publication has an id of its own");
}

fn a_refused_send_is_reported_and_costs_nothing(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("errors", "/user/queue/errors");
    for destination in [
        "/nowhere",
        "/app/unknown",
        "/topicfoo",
        "/user/bob/queue/private",
        "/queue/private-user123",
        "/topic/server.events",
        "/topic/a*",
        "relative",
    ] {
        // Without a receipt: the notice only, and the connection goes on.
        client.send(&format!("SEND|destination:{destination}||x^@"));
        let notice = check_notice(&mut client, destination);
        assert!(!notice.has("receipt-id"), "{notice:?}");
        client.assert_open();

        // With one: an ERROR that names it, besides the notice.
        let error = client.refused(&format!("SEND|destination:{destination}"), "x");
        let notice = check_notice(&mut client, destination);
        assert_eq!(notice.header("receipt-id"), error.header("receipt-id"));
    }
    // A session that did not ask for notices gets none.
    let mut deaf = Client::session(&server, "joe");
    deaf.send("SEND|destination:/nowhere||x^@");
    deaf.assert_open();
}

fn a_refused_subscription_is_reported_and_costs_nothing(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("errors", "/user/queue/errors");
    for destination in ["/nowhere", "/topicfoo", "/queue/foo-user123", "/app/unknown"] {
        client.send(&format!("SUBSCRIBE|id:s|destination:{destination}||^@"));
        check_notice(&mut client, destination);
        client.refused(&format!("SUBSCRIBE|id:s|destination:{destination}"), "");
        check_notice(&mut client, destination);
    }
    // The refused one is not there afterwards.
    server.await_metric("websocket_subscriptions_active", "", 1.0);
}

fn a_refusal_may_cost_the_connection_if_asked_for(driver: Driver) {
    let server = Server::start_with(driver, &["stomp.refusal=error-close"]);
    let mut client = Client::session(&server, "joe");
    client.send("SEND|destination:/nowhere|receipt:1||x^@");
    let error = client.answer();
    assert_eq!((error.command.as_str(), error.header("receipt-id")), ("ERROR", "1"));
    assert_eq!(client.closed(), 1008);
}

fn endless_refusals_end_in_1008(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "stubborn");
    // In one message, so that the close cannot overtake a half-written one.
    client.send(&"SEND|destination:/nowhere||^@".repeat(2_000));
    assert_eq!(client.closed(), 1008);
    server.await_metric("websocket_closed_total", "1008", 1.0);
}

fn a_send_needs_a_destination(driver: Driver) {
    let server = Server::start(driver);
    for frame in ["SEND||x^@", "SEND|destination:||x^@", "SEND|Destination:/topic/a||x^@"] {
        let mut client = Client::session(&server, "forgetful");
        client.send(frame);
        client.error_then_close(1002);
    }
}

fn every_frame_that_asks_gets_its_receipt(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.granted("SUBSCRIBE|id:s|destination:/topic/a|ack:client-individual", "");
    client.granted("SEND|destination:/topic/a", "x");
    client.granted("BEGIN|transaction:t", "");
    client.granted("SEND|destination:/topic/a|transaction:t", "x");
    client.granted("COMMIT|transaction:t", "");
    client.granted("BEGIN|transaction:t", "");
    client.granted("ABORT|transaction:t", "");
    client.granted("ACK|id:1", "");
    client.granted("NACK|id:1", "");
    // A receipt without a name is none.
    client.send("SEND|destination:/topic/b|receipt:||x^@");
    client.granted("UNSUBSCRIBE|id:s", "");
    client.granted("DISCONNECT", "");
}

fn ack_and_nack_change_nothing(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.granted("SUBSCRIBE|id:s|destination:/topic/a|ack:client", "");
    client.publish("/topic/a", "1");
    client.expect("s", "1");
    client.send("ACK|id:undefined||^@NACK|id:undefined||^@");
    client.publish("/topic/a", "2");
    client.expect("s", "2");
}

fn a_transaction_holds_its_sends_until_commit(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "joe");
    client.subscribe("s", "/topic/a");
    client.send("BEGIN|transaction:t||^@BEGIN|transaction:gone||^@");
    for body in ["1", "2"] {
        client.send(&format!("SEND|destination:/topic/a|transaction:t||{body}^@"));
        client.send(&format!("SEND|destination:/topic/a|transaction:gone||{body}^@"));
    }
    client.publish("/topic/a", "outside");
    client.expect("s", "outside");
    client.granted("COMMIT|transaction:t", "");
    client.granted("ABORT|transaction:gone", "");
    client.publish("/topic/a", "after");
    for body in ["1", "2", "after"] {
        let message = client.message();
        assert_eq!(message.text(), body);
        assert!(!message.has("transaction"), "{message:?}");
    }
}

fn a_transaction_that_is_not_there_is_not_silent(driver: Driver) {
    let server = Server::start(driver);
    for command in ["COMMIT", "ABORT"] {
        let mut client = Client::session(&server, "joe");
        let answer = client.ask(&format!("{command}|transaction:never"), "");
        assert_eq!(answer.command, "ERROR", "{answer:?}");
    }
    let mut client = Client::session(&server, "joe");
    let answer = client.ask("SEND|destination:/topic/a|transaction:never", "x");
    assert_eq!(answer.command, "ERROR", "{answer:?}");
}

fn order_is_kept_between_two_senders_and_many_receivers(driver: Driver) {
    const EACH_COUNT: usize = 500;
    let server = Server::start(driver);
    let mut receivers: Vec<Client> =
        (0..16).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    for receiver in &mut receivers {
        receiver.subscribe("s", "/topic/room.order");
    }
    let mut senders = ["a", "b"].map(|name| (name, Client::session(&server, name)));
    for index in 0..EACH_COUNT {
        for (name, sender) in &mut senders {
            sender.send(&format!("SEND|destination:/app/room.order||{name} {index}^@"));
        }
    }
    let mut orders = receivers.iter_mut().map(|receiver| -> Vec<String> {
        (0..2 * EACH_COUNT).map(|_| receiver.message().text().to_owned()).collect()
    });
    let order = orders.next().expect("there are receivers");
    for name in ["a", "b"] {
        let own: Vec<&String> = order.iter().filter(|body| body.starts_with(name)).collect();
        let sent: Vec<String> = (0..EACH_COUNT).map(|index| format!("{name} {index}")).collect();
        assert!(own.into_iter().eq(&sent), "what {name} sent came in another order");
    }
    for other in orders {
        assert!(order == other, "two receivers saw different orders");
    }
}
