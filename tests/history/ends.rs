//! What is left when the server ends, well or not.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::on_each_database;
use crate::support::Client;
use crate::world::Store;
use crate::world::bodies;
use crate::world::kill;
use crate::world::messages;
use crate::world::place;
use crate::world::subscribe;

on_each_database!(
    what_was_acknowledged_is_there_after_a_kill_once_and_in_order,
    who_was_there_before_the_end_goes_on_where_it_was,
    a_key_is_known_after_a_kill,
);

fn what_was_acknowledged_is_there_after_a_kill_once_and_in_order(store: &Store) {
    for round in 0..3_u64 {
        let server = store.serve();
        let mut writer = Client::session(&server, "writer");
        let mut acknowledged = Vec::new();
        // Receipts are always under way when the end comes.
        let mut sent = 0_u64;
        while acknowledged.len() < 150 + 37 * usize::try_from(round).expect("small") {
            while sent < acknowledged.len() as u64 + 40 {
                sent += 1;
                let send = "SEND|destination:/app/room.1";
                writer.send(&format!("{send}|receipt:{sent}||{round}-{sent}^@"));
            }
            let receipt = writer.answer();
            assert_eq!(receipt.header("stored"), store.name(), "{receipt:?}");
            acknowledged.push((place(&receipt), receipt.header("receipt-id").to_owned()));
        }
        thread::sleep(Duration::from_millis(round * 3));
        kill(server);

        let server = store.serve();
        let mut reader = Client::session(&server, "reader");
        let receipt = subscribe(&mut reader, "history:10000");
        assert_eq!(receipt.header("recovered"), "true", "{receipt:?}");
        let (_, last) = place(&receipt);
        let epoch = acknowledged[0].0.0;
        let mut kept = Vec::new();
        while kept.last() != Some(&(epoch, last)) {
            let (body, at) = messages(&mut reader, 1).remove(0);
            if at.0 == epoch {
                assert_eq!(body, format!("{round}-{}", at.1));
            }
            kept.push(at);
        }
        let unique: BTreeSet<_> = kept.iter().copied().collect();
        assert_eq!(unique.into_iter().collect::<Vec<_>>(), kept, "once and in order");
        for (at, receipt) in &acknowledged {
            assert!(kept.contains(at), "{at:?}, acknowledged as {receipt}, is lost");
            assert_eq!(at.1.to_string(), *receipt);
        }
    }
}

fn who_was_there_before_the_end_goes_on_where_it_was(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    let mut reader = Client::session(&server, "reader");
    subscribe(&mut reader, "");
    for body in ["one", "two"] {
        writer.granted("SEND|destination:/app/room.1", body);
    }
    let seen = messages(&mut reader, 2).remove(1).1;
    drop(reader);
    let (epoch, _) = place(&writer.granted("SEND|destination:/app/room.1", "three"));
    drop(server);

    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    let next = place(&writer.granted("SEND|destination:/app/room.1", "four"));
    assert!(epoch < next.0 && next.1 == 1, "{next:?}");
    let mut reader = Client::session(&server, "reader");
    let receipt = subscribe(&mut reader, &format!("since:{}:{}", seen.0, seen.1));
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", next));
    assert_eq!(bodies(&mut reader, 2), ["three", "four"]);
    writer.granted("SEND|destination:/app/room.1", "five");
    assert_eq!(bodies(&mut reader, 1), ["five"]);
}

fn a_key_is_known_after_a_kill(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    let send = "SEND|destination:/app/room.1|idempotency-key:k";
    let first = place(&writer.granted(send, "said once"));
    kill(server);
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    assert_eq!(place(&writer.granted(send, "said once")), first);
    let mut reader = Client::session(&server, "reader");
    assert_eq!(place(&subscribe(&mut reader, "history:9")), first);
    assert_eq!(bodies(&mut reader, 1), ["said once"]);
}
