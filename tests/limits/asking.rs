//! What operators ask of a shard: answered a bounded step at a time, and truly.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use ringway::metrics::CloseCode;
use ringway::shard::Answer;
use ringway::shard::ConnectionId;
use ringway::shard::Left;
use ringway::shard::Message;
use ringway::shard::Question;
use serde_json::Value;
use serde_json::json;

use crate::world::World;

/// Places that one step looks at, and rows that it makes.
const LOOKS_MAX: usize = 128;
const ROWS_MAX: usize = 16;

/// Steps until nothing is left to do.
fn answer_all(world: &mut World) -> usize {
    let mut steps_count = 1;
    while world.answer_some() == Left::Step {
        steps_count += 1;
    }
    steps_count
}

#[track_caller]
fn answered(answer: &Receiver<Answer>) -> Answer {
    answer.try_recv().expect("it is answered")
}

fn row(name: &str, is_pattern: bool, count: u64) -> Value {
    json!({ "destination": name, "pattern": is_pattern, "subscriptions": count })
}

fn message(destination: &str, body: &str) -> Message {
    let (destination, body) = (destination.to_owned(), body.to_owned());
    Message { destination, content_type: None, headers: Vec::new(), body }
}

#[test]
fn connections_are_listed_in_steps_and_counted_whole() {
    const COUNT: usize = 300;
    let mut world = World::new(|_| {});
    let ids: Vec<ConnectionId> = (0..COUNT).map(|_| world.session()).collect();
    // Gone ones leave gaps.
    for id in ids.iter().step_by(3) {
        world.hang_up(*id);
    }
    for (rows_max, steps_min) in [(1, COUNT / LOOKS_MAX), (COUNT, 200 / ROWS_MAX)] {
        let answer = world.ask(Question::Connections { user: None, rows_max });
        let steps_count = answer_all(&mut world);
        assert!(steps_min <= steps_count, "only {steps_count} steps for {rows_max} rows");
        let answer = answered(&answer);
        assert_eq!((answer.count, answer.rows.len()), (200, rows_max.min(200)));
        let mut names: Vec<&Value> = answer.rows.iter().map(|row| &row["id"]).collect();
        names.dedup();
        assert_eq!(names.len(), answer.rows.len(), "nobody twice");
    }
}

#[test]
fn a_user_is_found_among_all_others() {
    let mut world = World::new(|_| {});
    let ids: Vec<ConnectionId> = (0..200)
        .map(|number| {
            let id = world.upgraded(crate::wire::UPGRADE);
            let login = ["amy/é", "bob"][usize::from(number % 20 != 7)];
            let lines = format!("accept-version:1.2\nlogin:{login}\n");
            world.frame(id, "CONNECT", &lines, b"");
            assert_eq!(world.only_frame(id).command, "CONNECTED");
            id
        })
        .collect();
    let answer = world.ask(Question::Connections { user: Some("amy/é".into()), rows_max: 4 });
    answer_all(&mut world);
    let answer = answered(&answer);
    assert_eq!((answer.count, answer.rows.len()), (10, 4));
    assert!(answer.rows.iter().all(|row| row["user"] == "amy/é"), "{answer:?}");

    let answer = world.ask(Question::Disconnect(ids[7].to_bits()));
    answer_all(&mut world);
    assert_eq!(answered(&answer).count, 1);
    assert_eq!(world.closed(ids[7]).0, 1008);
    assert_eq!(world.counters().closed.of(CloseCode::Policy).get(), 1);
}

#[test]
fn the_most_subscribed_destinations_are_shown_first_in_steps() {
    const COUNT: usize = 400;
    let mut world = World::new(|_| {});
    let ids = [world.session(), world.session(), world.session()];
    for number in 0..COUNT {
        let subscribers = match number {
            123 => 3,
            321 => 2,
            _ => 1,
        };
        for id in &ids[..subscribers] {
            let lines = format!("id:{number}\ndestination:/topic/room.{number}\n");
            world.frame(*id, "SUBSCRIBE", &lines, b"");
        }
    }
    world.frame(ids[0], "SUBSCRIBE", "id:p\ndestination:/topic/**\n", b"");
    world.frame(ids[1], "SUBSCRIBE", "id:p\ndestination:/topic/**\n", b"");
    world.frame(ids[2], "SUBSCRIBE", "id:p\ndestination:/topic/**\n", b"");
    world.frame(ids[2], "SUBSCRIBE", "id:q\ndestination:/topic/**\n", b"");
    let answer = world.ask(Question::Destinations { rows_max: 100 });
    let steps_count = answer_all(&mut world);
    assert!(COUNT / LOOKS_MAX + 100 / ROWS_MAX <= steps_count, "only {steps_count} steps");
    let answer = answered(&answer);
    assert_eq!((answer.count, answer.rows.len()), (COUNT as u64 + 1, 100));
    let expected = [
        row("/topic/**", true, 4),
        row("/topic/room.123", false, 3),
        row("/topic/room.321", false, 2),
    ];
    assert_eq!(answer.rows[..3], expected);
    assert!(answer.rows[3..].iter().all(|row| row["subscriptions"] == 1));
}

#[test]
fn what_is_said_is_answered_once_the_relay_has_answered_for_all_of_it() {
    let mut world = World::of_two(|_| {});
    let remote = world.remote_destination();
    let messages: Vec<Message> =
        (0..10).map(|number| message(&remote, &number.to_string())).collect();
    let answer = world.ask(Question::Publish(messages.into()));
    answer_all(&mut world);
    assert_eq!(world.mail.len(), 10);
    assert!(world.shard.owes_answers());
    world.answer_mail(9);
    assert!(answer.try_recv().is_err(), "one is not answered");
    world.answer_mail(1);
    let answer = answered(&answer);
    assert!(answer.count == 10 && answer.failure.is_none(), "{answer:?}");
    assert!(answer.rows.iter().all(Value::is_string));
    assert!(!world.shard.owes_answers());
}

#[test]
fn what_comes_before_one_that_is_refused_is_said_and_nothing_behind_it() {
    let mut world = World::new(|_| {});
    let hearing = world.subscriber("/topic/t");
    let messages = ["/topic/t", "/topic/t", "/app/no", "/topic/t"].map(|to| message(to, "x"));
    let answer = world.ask(Question::Publish(messages.into()));
    answer_all(&mut world);
    let answer = answered(&answer);
    let failure = answer.failure.expect("one is wrong");
    assert_eq!((failure.at, failure.code, failure.is_ours), (2, "no-route", false));
    assert_eq!(answer.count, 2);
    let is_said: Vec<bool> = answer.rows.iter().map(Value::is_string).collect();
    assert_eq!(is_said, [true, true, false, false]);
    assert_eq!(world.bodies(hearing), ["x", "x"]);
}

#[test]
fn who_publishes_waits_for_room_as_clients_do() {
    let mut world = World::of_two(|it| it.mailbox_max = 2);
    let remote = world.remote_destination();
    world.fill_mailbox(true);
    let messages: Vec<Message> = (0..20).map(|_| message(&remote, "x")).collect();
    let answer = world.ask(Question::Publish(messages.into()));
    while world.answer_some() == Left::Step {}
    assert_eq!(world.answer_some(), Left::Room);
    assert!(!world.has_credit() && answer.try_recv().is_err());
    world.fill_mailbox(false);
    for _ in 0..100 {
        world.answer_some();
        world.answer_mail(world.mail.len());
    }
    assert_eq!(answered(&answer).count, 20);
}

#[test]
fn what_the_relay_has_not_answered_by_the_end_is_told_to_be_unknown() {
    let mut world = World::of_two(|_| {});
    let remote = world.remote_destination();
    let answer = world.ask(Question::Publish([message(&remote, "x")].into()));
    answer_all(&mut world);
    world.drain();
    let answer = answered(&answer);
    let failure = answer.failure.expect("it is not known");
    assert_eq!((answer.count, failure.code, failure.is_ours), (0, "relay-unknown", true));
    assert_eq!(answer.rows, [Value::Null]);
    world.answer_mail(1);
}

const OUTBOX_BYTES_MAX: usize = 512 << 10;

/// Four times what an outbox holds, to one destination.
fn batch() -> (usize, Question) {
    let count = 4 * OUTBOX_BYTES_MAX / 1024;
    let said = |number: usize| message("/topic/t", &format!("{number} {}", "x".repeat(1024)));
    (count, Question::Publish((0..count).map(said).collect()))
}

/// The numbers of what a batch has brought.
fn numbers(world: &mut World, id: ConnectionId) -> Vec<usize> {
    let bodies = world.bodies(id);
    let number = |body: &String| body.split(' ').next().and_then(|it| it.parse().ok());
    bodies.iter().map(|it| number(it).expect("a number")).collect()
}

#[test]
fn a_batch_waits_for_who_reads_and_what_is_asked_meanwhile_does_not_wait_for_it() {
    let mut world = World::new(|it| it.outbox_bytes_max = OUTBOX_BYTES_MAX);
    let (slow, quick) = (world.subscriber("/topic/t"), world.subscriber("/topic/t"));
    world.stall(slow);
    let (count, question) = batch();
    let answer = world.ask(question);
    let mut asked_count = 0;
    for ms in 0.. {
        assert!(ms < 8_000, "it goes on as it is read");
        answer_all(&mut world);
        world.skip(Duration::from_millis(1));
        world.take(slow, 2048);
        if ms % 100 == 99 {
            let listed = world.ask(Question::Connections { user: None, rows_max: 10 });
            // The batch has its share first.
            for _ in 0..10 {
                world.answer_some();
            }
            assert_eq!(answered(&listed).count, 2);
            asked_count += 1;
        }
        if let Ok(answer) = answer.try_recv() {
            assert!(answer.count == count as u64 && answer.failure.is_none(), "{answer:?}");
            assert!(count / 4 < ms, "{ms} ms: who reads 2 KiB in each was not waited for");
            break;
        }
    }
    assert!(1 < asked_count);
    world.resume(slow);
    for id in [slow, quick] {
        assert!(numbers(&mut world, id).into_iter().eq(0..count));
    }
}

#[test]
fn a_batch_waits_two_seconds_for_who_does_not_read_and_then_without_end_for_nobody() {
    let mut world = World::new(|it| it.outbox_bytes_max = OUTBOX_BYTES_MAX);
    let (deaf, quick) = (world.subscriber("/topic/t"), world.subscriber("/topic/t"));
    world.stall(deaf);
    // It is behind because of others, and that is no matter of a short batch.
    let (count, question) = batch();
    let answer = world.ask(question);
    let mut waited_ms = 0;
    while answer.try_recv().is_err() {
        assert!(waited_ms < 4_000);
        answer_all(&mut world);
        world.wait_ms(5);
        waited_ms += 5;
    }
    assert!(2_000 <= waited_ms, "{waited_ms} ms");
    assert!(numbers(&mut world, quick).into_iter().eq(0..count));
    world.resume(deaf);
    assert_eq!(world.closed(deaf).0, 4500);
}
