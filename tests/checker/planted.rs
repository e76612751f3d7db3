//! Shows that the judge notices each kind of fault, in a small run with one fault planted.

use super::judge::Figures;
use super::judge::judge;
use super::record::Event;
use super::record::History;
use super::record::Id;
use super::record::Kept;
use super::record::Listener;
use super::record::Place;
use super::record::Receipt;
use super::record::Row;
use super::record::Said;
use super::record::Wish;

/// The places of the messages 0 to 7: five of one epoch, three of the next.
fn place(number: usize) -> Place {
    let (epoch, seq) = if number < 5 { (4, number + 1) } else { (9, number - 4) };
    Place { epoch, seq: seq as u64 }
}

fn id(number: usize) -> Id {
    Id { sender: 1, number: u32::try_from(number).expect("small") }
}

/// When a message was sent; 100 us later it had its RECEIPT, and 50 us later it was heard.
fn at(number: usize) -> u64 {
    1_000 * (number as u64 + 1)
}

fn hears(numbers: std::ops::Range<usize>) -> impl Iterator<Item = Event> {
    numbers.map(|it| Event::Heard(at(it) + 50, place(it), id(it)))
}

/// Eight messages of one sender, one after the other. The first listener is there all the time.
/// The second one is cut off after three and goes on after the fifth; later it is told
/// `recovered:false`, and asks for everything.
fn run() -> History {
    let said = |number| Said {
        id: id(number),
        room: 1,
        sent_at: Some(at(number)),
        sent_count: 1,
        receipts: vec![Receipt {
            place: place(number),
            kept: Kept::Committed,
            at: at(number) + 100,
        }],
    };
    let rows = (0..8).map(|it| Row { room: 1, place: place(it), id: id(it) }).collect();
    let mut stays = vec![Event::Asked(0, Wish::Live), Event::Answered(1, false, None)];
    stays.extend(hears(0..8));
    let mut returns = vec![Event::Asked(0, Wish::Live), Event::Answered(1, false, None)];
    returns.extend(hears(0..3));
    returns.extend([Event::Left(3_500), Event::Asked(5_500, Wish::Since(place(2)))]);
    returns.extend(hears(3..5));
    returns.push(Event::Answered(5_600, true, Some(place(4))));
    returns.extend(hears(5..6));
    returns.extend([Event::Left(6_500), Event::Asked(6_600, Wish::Since(place(5)))]);
    returns.push(Event::Answered(6_700, false, Some(place(5))));
    returns.extend(hears(6..7));
    returns.push(Event::Asked(7_500, Wish::All));
    returns.extend(hears(0..7));
    returns.push(Event::Answered(7_600, true, Some(place(6))));
    returns.extend(hears(7..8));
    let listener = |name: &str, events| Listener { name: name.to_owned(), room: 1, events };
    let listeners = vec![listener("stays", stays), listener("returns", returns)];
    History { said: (0..8).map(said).collect(), listeners, rows, has_lost_stream: false }
}

/// Where a listener hears a message for the last time.
fn heard(history: &History, listener: usize, number: usize) -> usize {
    let is_it = |event: &Event| matches!(event, Event::Heard(_, _, it) if *it == id(number));
    history.listeners[listener].events.iter().rposition(is_it).expect("it was heard")
}

#[track_caller]
fn check(plant: impl FnOnce(&mut History), complaint: &str) {
    let mut history = run();
    plant(&mut history);
    let told = judge(&history).expect_err("a broken promise is told").to_string();
    assert!(told.contains(complaint), "{told}");
}

#[test]
fn a_run_that_keeps_its_promises_is_good() {
    let figures = Figures {
        acknowledged: 8,
        repeats: 0,
        resumed: 1,
        unrecovered: 1,
        heard: 23,
        unkept: 0,
        deferred_lost: 0,
        forgotten: 0,
    };
    assert_eq!(judge(&run()), Ok(figures));
}

#[test]
fn a_violation_is_told_with_what_happened_around_it() {
    let mut history = run();
    let lost = heard(&history, 0, 3);
    history.listeners[0].events.remove(lost);
    let told = judge(&history).expect_err("it is lost").to_string();
    assert!(told.starts_with("stays in room 1: never heard 1-3 at 4:4\n"), "{told}");
    for line in ["> 3.050 ms: hears 1-2 at 4:3", "5.050 ms: hears 1-4 at 4:5"] {
        assert!(told.contains(line), "{told}");
    }
    for line in ["stored: 1-3 at 4:4", "said: 1-3 at 4000 us, 1 times: "] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn a_message_that_is_lost_is_noticed_wherever_it_is_lost() {
    // In the middle, at the end of an epoch, at the beginning of one, and at the end of all.
    for number in [3, 4, 5, 7] {
        let complaint = format!("stays in room 1: never heard 1-{number} at ");
        check(
            |history| {
                let lost = heard(history, 0, number);
                history.listeners[0].events.remove(lost);
            },
            &complaint,
        );
    }
    check(|history| history.said[2].receipts.clear(), "1-2 has no RECEIPT");
}

#[test]
fn a_message_that_is_heard_twice_is_noticed() {
    let again = |gap: usize| {
        move |history: &mut History| {
            let first = heard(history, 0, 2);
            let event = history.listeners[0].events[first];
            history.listeners[0].events.insert(first + gap, event);
        }
    };
    check(again(1), "1-2 at 4:3 was heard again");
    check(again(3), "1-2 at 4:3 was heard again");
    // The replay gives once more what the listener has.
    check(
        |history| {
            let events = &mut history.listeners[1].events;
            let asked = events.iter().position(|it| matches!(it, Event::Asked(_, Wish::Since(_))));
            events.insert(asked.expect("it asks") + 1, Event::Heard(1, place(2), id(2)));
        },
        "returns in room 1: 1-2 at 4:3 was heard again",
    );
    // At a place of its own: what a server without deduplication does.
    check(
        |history| {
            let again = Place { epoch: 9, seq: 4 };
            history.rows.push(Row { room: 1, place: again, id: id(2) });
            history.listeners[0].events.push(Event::Heard(9_000, again, id(2)));
        },
        "the store holds 1-2 twice, at 4:3 and 9:4",
    );
    check(
        |history| {
            let again = Place { epoch: 9, seq: 4 };
            history.listeners[0].events.push(Event::Heard(9_000, again, id(2)));
        },
        "heard 1-2 at 9:4, which the store never had",
    );
}

#[test]
fn a_message_out_of_order_is_noticed() {
    for number in [1, 4] {
        check(
            |history| {
                let first = heard(history, 0, number);
                history.listeners[0].events.swap(first, first + 1);
            },
            &format!("1-{number} at {} was heard too late", place(number)),
        );
    }
    // All agree on an order, but it is not that in which senders were answered.
    check(
        |history| {
            let (early, late) =
                (history.said[1].receipts[0].place, history.said[3].receipts[0].place);
            history.said[1].receipts[0].place = late;
            history.said[3].receipts[0].place = early;
        },
        "1-2 was sent when 1-1 had its place 4:4, and stands before it at 4:3",
    );
}

#[test]
fn recovered_true_that_is_a_lie_is_noticed() {
    // Something was left out.
    check(
        |history| {
            let left_out = heard(history, 1, 5);
            history.listeners[1].events.remove(left_out);
        },
        "recovered:true, and 1-5 at 9:1 was not given",
    );
    let since =
        |event: &Event| matches!(event, Event::Answered(_, true, Some(at)) if *at == place(4));
    let answered = |history: &History| {
        history.listeners[1].events.iter().position(since).expect("it is answered")
    };
    // The end is not given, although it was acknowledged before the listener asked.
    check(
        |history| {
            let at = answered(history);
            let events = &mut history.listeners[1].events;
            events[at] = Event::Answered(5_600, true, Some(place(3)));
            events.swap(at - 1, at);
        },
        "recovered:true up to 4:4, and 1-4 was acknowledged at 4:5 before it was asked",
    );
    // The RECEIPT names another place than the last that was given.
    check(
        |history| {
            let at = answered(history);
            history.listeners[1].events[at] = Event::Answered(5_600, true, Some(place(5)));
        },
        "the RECEIPT names Some(Place { epoch: 9, seq: 1 })",
    );
    // The listener goes on from what nobody has stored.
    check(
        |history| {
            let at = answered(history);
            let phantom = Place { epoch: 4, seq: 6 };
            let events = &mut history.listeners[1].events;
            events.insert(at + 1, Event::Heard(5_700, phantom, id(7)));
            events.insert(at + 2, Event::Asked(5_800, Wish::Since(phantom)));
            events.insert(at + 3, Event::Answered(5_900, true, Some(phantom)));
        },
        "recovered:true since 4:6, which the store does not hold",
    );
    // To be told false is no lie, but must not be the end.
    check(
        |history| {
            let events = &mut history.listeners[1].events;
            let last = events.iter().rposition(|it| matches!(it, Event::Answered(..)));
            events[last.expect("it is answered")] = Event::Answered(7_600, false, None);
        },
        "returns in room 1: was never told recovered:true in the end",
    );
}

#[test]
fn a_store_that_is_wrong_is_noticed() {
    check(
        |history| {
            history.rows.remove(6);
        },
        "1-6 was acknowledged at 9:2 as Committed, and the store holds it not at all",
    );
    check(
        |history| history.rows[7].place = Place { epoch: 9, seq: 4 },
        "1-7 was acknowledged at 9:3 as Committed, and the store holds it at 9:4",
    );
    check(|history| history.rows[7].id = id(0), "the store holds 1-0 twice, at 4:1 and 9:3");
    check(|history| history.rows[7].id = id(99), "the store holds 1-99 at 9:3, which nobody said");
    check(
        |history| history.rows.push(Row { room: 1, place: place(7), id: id(0) }),
        "the store holds 1-7 and 1-0 at 9:3",
    );
    // A number that nobody has, in the middle of an epoch and at its beginning.
    for from in [3, 5] {
        check(
            |history| {
                let shift = |it: &mut Place| {
                    if place(from) <= *it && it.epoch == place(from).epoch {
                        it.seq += 1;
                    }
                };
                history.rows.iter_mut().for_each(|it| shift(&mut it.place));
                history.said.iter_mut().for_each(|it| shift(&mut it.receipts[0].place));
            },
            "the store has a hole between ",
        );
    }
}

#[test]
fn receipts_that_contradict_each_other_are_noticed() {
    check(
        |history| {
            let again = Receipt { place: place(7), ..history.said[2].receipts[0] };
            history.said[2].receipts.push(again);
        },
        "1-2 was acknowledged at 4:3 and 9:3",
    );
    check(
        |history| history.said[2].receipts[0].place = place(1),
        "1-2 and 1-1 were acknowledged at 4:2",
    );
    check(
        |history| {
            let first = heard(history, 0, 2);
            history.listeners[0].events[first] = Event::Heard(1, place(2), id(7));
        },
        "heard 1-7 at 4:3, where 1-2 is stored",
    );
}

/// What was only in Redis is counted apart where Redis has lost it, and only there.
#[test]
fn what_was_deferred_may_be_lost_with_redis_only() {
    let deferred = |history: &mut History| {
        history.said[4].receipts[0].kept = Kept::Deferred;
        history.rows.remove(4);
        // Who asks for everything later is not given it.
        let events = &mut history.listeners[1].events;
        let again =
            events.iter().rposition(|it| matches!(it, Event::Heard(_, _, it) if *it == id(4)));
        events.remove(again.expect("it was heard"));
    };
    check(deferred, "1-4 was acknowledged at 4:5 as Deferred, and the store holds it not at all");
    let mut history = run();
    deferred(&mut history);
    history.has_lost_stream = true;
    let figures = judge(&history).expect("it is counted apart");
    assert_eq!((figures.deferred_lost, figures.unkept), (1, 1));
    // What the store has committed is not.
    history.said[4].receipts[0].kept = Kept::Committed;
    let told = judge(&history).expect_err("it is lost").to_string();
    assert!(told.contains("1-4 was acknowledged at 4:5 as Committed"), "{told}");
}

/// A repeat of what Redis has lost makes a second message: counted where Redis has lost it, and
/// with all that is promised of a message.
#[test]
fn a_second_message_is_forgiven_only_where_redis_has_lost_the_first() {
    let twice = |history: &mut History| {
        let again = Place { epoch: 9, seq: 4 };
        history.rows.push(Row { room: 1, place: again, id: id(2) });
        let receipt = Receipt { place: again, ..history.said[2].receipts[0] };
        history.said[2].receipts.push(receipt);
        for listener in &mut history.listeners {
            listener.events.push(Event::Heard(9_000, again, id(2)));
        }
    };
    check(twice, "1-2 was acknowledged at 4:3 and 9:4");
    let mut history = run();
    twice(&mut history);
    history.has_lost_stream = true;
    assert_eq!(judge(&history).expect("it is counted apart").forgotten, 1);
    history.listeners[0].events.pop();
    let told = judge(&history).expect_err("it is lost").to_string();
    assert!(told.contains("never heard 1-2 at 9:4"), "{told}");
}
