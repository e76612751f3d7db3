//! Receipts that the other shard owes, and a DISCONNECT that waits for them.

use ringway::metrics::CloseCode;
use ringway::metrics::Refusal;
use ringway::shard::ConnectionId;

use crate::wire::Said;
use crate::wire::text;
use crate::world::World;

/// A world of two with this limit, a session, and a destination whose home is the other shard.
fn owing(receipts_pending_max: usize) -> (World, ConnectionId, String) {
    let mut world = World::of_two(|it| it.session.receipts_pending_max = receipts_pending_max);
    let remote = world.remote_destination();
    let id = world.session();
    (world, id, remote)
}

fn send(world: &mut World, id: ConnectionId, destination: &str, receipt: &str) {
    let lines = format!("destination:{destination}\nreceipt:{receipt}\n");
    world.frame(id, "SEND", &lines, b"x");
}

fn subscribe(world: &mut World, id: ConnectionId, destination: &str, receipt: &str) {
    let lines = format!("id:{receipt}\ndestination:{destination}\nreceipt:{receipt}\n");
    world.frame(id, "SUBSCRIBE", &lines, b"");
}

/// Whether this is the receipt of that name.
fn is_receipt(said: &Said, name: &str) -> bool {
    let Said::Stomp(frame) = said else { return false };
    (&*frame.command, frame.header("receipt-id")) == ("RECEIPT", name)
}

#[test]
fn a_session_waits_for_so_many_receipts_of_sends_and_the_next_is_refused() {
    let (mut world, id, remote) = owing(3);
    for name in ["1", "2", "3"] {
        send(&mut world, id, &remote, name);
    }
    assert_eq!(world.said(id), [], "all are owed");
    send(&mut world, id, &remote, "4");
    world.assert_refused(id, "4", "limit");
    assert_eq!(world.counters().refusals.of(Refusal::Limit).get(), 1);
    assert_eq!(world.mail.len(), 3, "what is refused is not sent");
    world.publish(id, &remote, b"without a receipt");
    assert_eq!(world.mail.len(), 4);

    world.answer_mail(1);
    world.assert_receipts(id, &["1"]);
    send(&mut world, id, &remote, "5");
    send(&mut world, id, &remote, "6");
    world.assert_refused(id, "6", "limit");
    world.answer_mail(world.mail.len());
    world.assert_receipts(id, &["2", "3", "5"]);
}

#[test]
fn a_session_waits_for_so_many_receipts_of_subscribes_and_the_next_is_refused() {
    let (mut world, id, _) = owing(2);
    subscribe(&mut world, id, "/topic/a/**", "a");
    subscribe(&mut world, id, "/topic/b/**", "b");
    subscribe(&mut world, id, "/topic/c/**", "c");
    world.assert_refused(id, "c", "limit");
    assert_eq!(world.counters().subscriptions_active.get(), 2);
    world.answer_mail(1);
    world.assert_receipts(id, &["a"]);
    subscribe(&mut world, id, "/topic/c/**", "c");
    assert_eq!(world.said(id), []);
    world.answer_mail(world.mail.len());
    world.assert_receipts(id, &["b", "c"]);
}

#[test]
fn a_commit_that_finds_no_room_for_its_receipt_leaves_the_transaction_open() {
    let (mut world, id, remote) = owing(1);
    world.frame(id, "BEGIN", "transaction:t\n", b"");
    for _ in 0..2 {
        let lines = format!("destination:{remote}\ntransaction:t\n");
        world.frame(id, "SEND", &lines, b"x");
    }
    send(&mut world, id, &remote, "owed");
    world.frame(id, "COMMIT", "transaction:t\nreceipt:done\n", b"");
    world.assert_refused(id, "done", "limit");
    world.answer_mail(1);
    world.assert_receipts(id, &["owed"]);
    world.frame(id, "COMMIT", "transaction:t\nreceipt:done\n", b"");
    assert_eq!(world.mail.len(), 2, "both are on their way");
    send(&mut world, id, &remote, "next");
    world.assert_refused(id, "next", "limit");
    world.answer_mail(1);
    assert_eq!(world.said(id), [], "the receipt waits for all of them");
    world.answer_mail(1);
    world.assert_receipts(id, &["done"]);
}

#[test]
fn what_is_answered_at_once_needs_no_room() {
    let (mut world, id, remote) = owing(1);
    send(&mut world, id, &remote, "owed");
    for (command, lines) in [
        ("BEGIN", "transaction:t\n"),
        ("ABORT", "transaction:t\n"),
        ("UNSUBSCRIBE", "id:x\n"),
        ("ACK", "id:x\n"),
        ("NACK", "id:x\n"),
    ] {
        world.frame(id, command, &format!("{lines}receipt:{command}\n"), b"");
        world.assert_receipts(id, &[command]);
    }
}

#[test]
fn each_session_is_owed_its_own() {
    let (mut world, id, remote) = owing(1);
    let other = world.session();
    send(&mut world, id, &remote, "one");
    send(&mut world, other, &remote, "other");
    world.answer_mail(2);
    world.assert_receipts(id, &["one"]);
    world.assert_receipts(other, &["other"]);
}

#[test]
fn a_receipt_dies_with_its_connection_and_goes_to_no_later_one() {
    let (mut world, id, remote) = owing(10);
    send(&mut world, id, &remote, "owed");
    subscribe(&mut world, id, "/topic/a/**", "wanted");
    world.hang_up(id);
    let later = world.session();
    assert_eq!(later.index(), id.index(), "it has the place of the former");
    world.answer_mail(world.mail.len());
    world.assert_open(later);
}

#[test]
fn a_disconnect_waits_for_the_receipts_that_are_owed() {
    let (mut world, id, remote) = owing(10);
    send(&mut world, id, &remote, "1");
    subscribe(&mut world, id, "/topic/a/**", "2");
    world.frame(id, "DISCONNECT", "receipt:bye\n", b"");
    world.publish(id, &remote, b"too late");
    assert_eq!(world.mail.len(), 2, "nothing is taken after it");
    world.wait_ms(4_999);
    assert_eq!(world.said(id), []);
    world.answer_mail(1);
    world.assert_receipts(id, &["1"]);
    world.answer_mail(1);
    let (code, said) = world.closed(id);
    assert_eq!(code, 1000);
    assert!(
        said.len() == 2 && is_receipt(&said[0], "2") && is_receipt(&said[1], "bye"),
        "{said:?}"
    );
    assert_eq!(world.counters().closed.of(CloseCode::Normal).get(), 1);
    world.leave(id, 1000);
}

#[test]
fn a_disconnect_waits_for_5_s_at_most() {
    let (mut world, id, remote) = owing(10);
    send(&mut world, id, &remote, "1");
    world.frame(id, "DISCONNECT", "receipt:bye\n", b"");
    world.wait_ms(4_999);
    assert_eq!(world.said(id), []);
    world.wait_ms(1);
    let (code, said) = world.closed(id);
    assert_eq!(code, 1000);
    assert!(said.len() == 1 && is_receipt(&said[0], "bye"), "{said:?}");
    world.answer_mail(1);
    assert_eq!(world.said(id), [], "nothing follows a close");
    world.leave(id, 1000);
}

#[test]
fn a_disconnect_without_debts_closes_at_once() {
    let (mut world, id, _) = owing(10);
    world.frame(id, "DISCONNECT", "receipt:bye\n", b"");
    let (code, said) = world.closed(id);
    assert_eq!((code, said.len()), (1000, 1));
    assert!(is_receipt(&said[0], "bye"), "{said:?}");
}

#[test]
fn while_it_waits_a_disconnected_session_hears_messages_and_its_silence_is_still_judged() {
    let (mut world, id, remote) = owing(10);
    subscribe(&mut world, id, &remote, "s");
    world.answer_mail(1);
    world.assert_receipts(id, &["s"]);
    send(&mut world, id, &remote, "1");
    world.frame(id, "DISCONNECT", "", b"");
    world.send(id, &text(b"\n"));
    world.deliver_from_other(&remote, b"still");
    assert_eq!(world.bodies(id), ["still"]);
    world.wait_ms(5_000);
    assert_eq!(world.closed(id), (1000, vec![]));
}
