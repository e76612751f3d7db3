//! What a session may keep open: transactions, and the messages in them.

use ringway::metrics::Refusal;
use ringway::shard::ConnectionId;

use crate::world::World;

const TOPIC: &str = "/topic/t";

fn begin(world: &mut World, id: ConnectionId, name: &str) {
    world.frame(id, "BEGIN", &format!("transaction:{name}\nreceipt:{name}\n"), b"");
}

/// A SEND into the transaction `t`, which asks for the receipt `sent`.
fn send(world: &mut World, id: ConnectionId, body: &[u8]) {
    let lines = format!("destination:{TOPIC}\ntransaction:t\nreceipt:sent\n");
    world.frame(id, "SEND", &lines, body);
}

#[test]
fn a_session_has_so_many_transactions_open_and_the_next_is_refused() {
    let mut world = World::new(|it| it.session.transactions_max = 2);
    let (id, other) = (world.session(), world.session());
    begin(&mut world, id, "a");
    begin(&mut world, id, "b");
    world.assert_receipts(id, &["a", "b"]);
    begin(&mut world, id, "c");
    world.assert_refused(id, "c", "limit");
    assert_eq!(world.counters().refusals.of(Refusal::Limit).get(), 1);
    begin(&mut world, other, "c");
    world.assert_receipts(other, &["c"]);
    for end in ["ABORT", "COMMIT"] {
        world.frame(id, end, "transaction:b\n", b"");
        begin(&mut world, id, "b");
        world.assert_receipts(id, &["b"]);
        begin(&mut world, id, "c");
        world.assert_refused(id, "c", "limit");
    }
}

#[test]
fn with_a_limit_of_none_no_transaction_begins() {
    let mut world = World::new(|it| it.session.transactions_max = 0);
    let id = world.session();
    begin(&mut world, id, "a");
    world.assert_refused(id, "a", "limit");
    world.assert_open(id);
}

#[test]
fn a_transaction_holds_so_many_messages_and_commits_just_those() {
    let mut world = World::new(|it| it.session.transaction_messages_max = 3);
    let (id, subscriber) = (world.session(), world.subscriber(TOPIC));
    begin(&mut world, id, "t");
    for body in ["1", "2", "3"] {
        send(&mut world, id, body.as_bytes());
    }
    world.assert_receipts(id, &["t", "sent", "sent", "sent"]);
    send(&mut world, id, b"4");
    world.assert_refused(id, "sent", "limit");
    assert_eq!(world.counters().refusals.of(Refusal::Limit).get(), 1);
    world.publish(id, TOPIC, b"aside");
    assert_eq!(world.bodies(subscriber), ["aside"], "nothing goes out before COMMIT");
    world.frame(id, "COMMIT", "transaction:t\nreceipt:done\n", b"");
    world.assert_receipts(id, &["done"]);
    assert_eq!(world.bodies(subscriber), ["1", "2", "3"]);
}

#[test]
fn a_transaction_holds_so_many_bytes_and_no_byte_more() {
    let mut world = World::new(|it| it.session.transaction_bytes_max = 1024);
    let (id, subscriber) = (world.session(), world.subscriber(TOPIC));
    begin(&mut world, id, "t");
    send(&mut world, id, &[b'a'; 1000]);
    world.assert_receipts(id, &["t", "sent"]);
    send(&mut world, id, &[b'b'; 25]);
    world.assert_refused(id, "sent", "limit");
    send(&mut world, id, &[b'c'; 24]);
    send(&mut world, id, b"");
    world.assert_receipts(id, &["sent", "sent"]);
    send(&mut world, id, b"d");
    world.assert_refused(id, "sent", "limit");
    world.frame(id, "COMMIT", "transaction:t\n", b"");
    assert_eq!(world.bodies(subscriber), ["a".repeat(1000), "c".repeat(24), String::new()]);
}

#[test]
fn each_transaction_is_measured_by_itself_and_an_end_forgets_it() {
    let mut world = World::new(|it| it.session.transaction_messages_max = 1);
    let id = world.session();
    for _ in 0..3 {
        begin(&mut world, id, "t");
        send(&mut world, id, b"x");
        world.assert_receipts(id, &["t", "sent"]);
        send(&mut world, id, b"y");
        world.assert_refused(id, "sent", "limit");
        world.frame(id, "ABORT", "transaction:t\n", b"");
    }
}

#[test]
fn an_open_transaction_dies_with_its_session() {
    let mut world = World::new(|_| {});
    let subscriber = world.subscriber(TOPIC);
    for ends_politely in [true, false] {
        let id = world.session();
        begin(&mut world, id, "t");
        send(&mut world, id, b"never");
        world.assert_receipts(id, &["t", "sent"]);
        if ends_politely {
            world.frame(id, "DISCONNECT", "", b"");
            assert_eq!(world.closed(id).0, 1000);
        } else {
            world.hang_up(id);
        }
    }
    assert_eq!(world.said(subscriber), []);
}
