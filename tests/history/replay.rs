//! What a SUBSCRIBE is given before it is live.

use std::thread;

use crate::on_each_store;
use crate::support::Client;
use crate::support::Server;
use crate::world::Store;
use crate::world::bodies;
use crate::world::messages;
use crate::world::place;
use crate::world::subscribe;

on_each_store!(
    the_last_so_many_come_before_the_receipt_and_the_live_ones_behind_it,
    who_says_where_it_was_gets_what_came_since,
    a_replay_goes_live_on_a_busy_destination_without_a_gap_or_a_double,
    a_replay_is_larger_than_the_outbox,
);

fn fill(server: &Server, count: usize) -> Vec<(u64, u64)> {
    let mut writer = Client::session(server, "writer");
    let send =
        |number| place(&writer.granted("SEND|destination:/app/room.1", &format!("{number}")));
    (1..=count).map(send).collect()
}

fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|it| it.to_string()).collect()
}

fn the_last_so_many_come_before_the_receipt_and_the_live_ones_behind_it(store: &Store) {
    let server = store.serve();
    // Nothing was ever said here.
    let mut early = Client::session(&server, "early");
    let receipt = subscribe(&mut early, "history:5");
    assert_eq!(receipt.header("recovered"), "true", "{receipt:?}");
    assert!(!receipt.has("seq"));

    let places = fill(&server, 70);
    assert_eq!(bodies(&mut early, 70), numbers(1..=70));
    let mut reader = Client::session(&server, "reader");
    let receipt = subscribe(&mut reader, "history:66");
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", places[69]));
    assert_eq!(bodies(&mut reader, 66), numbers(5..=70));
    early.granted("SEND|destination:/app/room.1", "live");
    assert_eq!(bodies(&mut reader, 1), ["live"]);

    // Without a receipt it is the same; and what is ended is ended.
    let mut silent = Client::session(&server, "silent");
    silent.send("SUBSCRIBE|id:s|destination:/topic/room.1|history:2||^@");
    assert_eq!(bodies(&mut silent, 2), ["70", "live"]);
    silent.unsubscribe("s");
    silent.granted("SEND|destination:/app/room.1", "unheard");
    assert_eq!(bodies(&mut reader, 1), ["unheard"]);
    let receipt = subscribe(&mut silent, "history:0");
    assert_eq!(receipt.header("recovered"), "true");
    silent.granted("SEND|destination:/app/room.1", "heard");
    assert_eq!(bodies(&mut silent, 1), ["heard"]);
}

fn who_says_where_it_was_gets_what_came_since(store: &Store) {
    let server = store.serve();
    let places = fill(&server, 8);
    let mut reader = Client::session(&server, "reader");
    let since = |(epoch, seq): (u64, u64)| format!("since:{epoch}:{seq}");
    let receipt = subscribe(&mut reader, &since(places[4]));
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", places[7]));
    assert_eq!(bodies(&mut reader, 3), numbers(6..=8));
    reader.unsubscribe("s");
    // It was up to date.
    assert_eq!(subscribe(&mut reader, &since(places[7])).header("recovered"), "true");
    // The same id again takes the place of the first, and begins anew.
    let receipt = subscribe(&mut reader, "since:0:0");
    assert_eq!(receipt.header("recovered"), "false", "nobody was ever there: {receipt:?}");
    assert_eq!(bodies(&mut reader, 8), numbers(1..=8));
    reader.unsubscribe("s");
    // It knows of something that the store does not.
    let (epoch, _) = places[7];
    let receipt = subscribe(&mut reader, &since((epoch - 1, 5)));
    assert_eq!(receipt.header("recovered"), "false", "{receipt:?}");
    assert_eq!(bodies(&mut reader, 8), numbers(1..=8));

    for wrong in ["since:5", "since:a:b", "since:-1:2", "history:x", "history:10001", "history:"] {
        let asked = format!("SUBSCRIBE|id:w|destination:/topic/room.1|{wrong}");
        assert_eq!(reader.refused(&asked, "").header("message"), "bad-history", "{wrong}");
    }
    let pattern = "SUBSCRIBE|id:w|destination:/topic/*|history:1";
    assert_eq!(reader.refused(pattern, "").header("message"), "bad-history");
}

fn a_replay_goes_live_on_a_busy_destination_without_a_gap_or_a_double(store: &Store) {
    const COUNT: usize = 3_000;
    let server = store.serve();
    thread::scope(|scope| {
        let mut writer = Client::session(&server, "writer");
        let writing = scope.spawn(move || {
            // Many are under way at once, so that none of the readers finds it at rest.
            for number in 1..=COUNT {
                let ask = if number % 100 == 0 { "|receipt:r" } else { "" };
                writer.send(&format!("SEND|destination:/app/room.1{ask}||{number}^@"));
                if number % 100 == 0 {
                    assert_eq!(writer.answer().command, "RECEIPT");
                }
            }
        });
        for round in 0..12 {
            let mut reader = Client::session(&server, &format!("reader-{round}"));
            let receipt = subscribe(&mut reader, "history:500");
            assert_eq!(receipt.header("recovered"), "true", "{receipt:?}");
            let heard = messages(&mut reader, 20);
            let first = heard.first().expect("some").1.1;
            for ((_, (_, seq)), expected) in heard.iter().zip(first..) {
                assert_eq!(*seq, expected, "round {round}: {heard:?}");
            }
            // To the end, for the last of them.
            if round == 11 {
                let mut last = heard.last().expect("some").1.1;
                while last < COUNT as u64 {
                    let (_, (_, seq)) = messages(&mut reader, 1).remove(0);
                    assert_eq!(seq, last + 1);
                    last = seq;
                }
            }
            if writing.is_finished() {
                break;
            }
        }
        writing.join().expect("the writer has sent all");
    });
    let mut late = Client::session(&server, "late");
    subscribe(&mut late, "history:10000");
    assert_eq!(bodies(&mut late, COUNT), numbers(1..=COUNT));
}

fn a_replay_is_larger_than_the_outbox(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    let body = "x".repeat(60_000);
    for _ in 0..40 {
        writer.granted("SEND|destination:/app/room.1", &body);
    }
    // 2.4 MB, where an outbox holds half of one.
    let mut reader = Client::session(&server, "reader");
    reader.send("SUBSCRIBE|id:s|destination:/topic/room.1|history:40|receipt:r||^@");
    let heard = messages(&mut reader, 40);
    assert!(heard.iter().zip(1..).all(|((text, (_, seq)), at)| *seq == at && *text == body));
    assert_eq!(reader.answer().header("recovered"), "true");
}
