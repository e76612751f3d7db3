//! What a SEND on a route with a history is answered, and what receivers see.

use crate::on_each_store;
use crate::support::Client;
use crate::world::Store;
use crate::world::messages;
use crate::world::place;
use crate::world::routes_that_keep_all;
use crate::world::subscribe;

on_each_store!(
    a_receipt_says_where_it_is_stored_and_a_message_which_it_is,
    a_repeat_of_a_key_makes_no_second_message,
    a_transaction_is_answered_when_all_of_it_is_stored,
    an_absent_user_finds_what_was_said_meanwhile,
);

fn a_receipt_says_where_it_is_stored_and_a_message_which_it_is(store: &Store) {
    let server = store.serve();
    let mut reader = Client::session(&server, "reader");
    subscribe(&mut reader, "");
    let mut writer = Client::session(&server, "writer");
    let mut places = Vec::new();
    for body in ["one", "two", "three"] {
        let receipt = writer.granted("SEND|destination:/app/room.1|x-own:1", body);
        assert_eq!(receipt.header("stored"), store.name(), "{receipt:?}");
        places.push(place(&receipt));
    }
    let epoch = places[0].0;
    assert_eq!(places, [(epoch, 1), (epoch, 2), (epoch, 3)]);
    let heard = messages(&mut reader, 3);
    let expected = ["one", "two", "three"].iter().zip(&places);
    assert_eq!(heard, expected.map(|(body, it)| ((*body).to_owned(), *it)).collect::<Vec<_>>());

    // What goes to the same destination by another way is not stored, and has no place.
    let receipt = writer.granted("SEND|destination:/topic/room.1", "past history");
    assert!(!receipt.has("stored") && !receipt.has("seq"), "{receipt:?}");
    let message = reader.message();
    assert_eq!(message.text(), "past history");
    assert!(!message.has("seq") && !message.has("epoch"), "{message:?}");
    let mut late = Client::session(&server, "late");
    subscribe(&mut late, "history:10");
    assert_eq!(messages(&mut late, 3), heard);
}

fn a_repeat_of_a_key_makes_no_second_message(store: &Store) {
    let server = store.serve();
    let mut reader = Client::session(&server, "reader");
    subscribe(&mut reader, "");
    let mut writer = Client::session(&server, "writer");
    let send = "SEND|destination:/app/room.1|idempotency-key:k1";
    let first = place(&writer.granted(send, "said once"));
    // It comes back, on another connection and perhaps another core, and says it again.
    for _ in 0..4 {
        let mut again = Client::session(&server, "writer");
        let receipt = again.granted(send, "said once");
        assert_eq!((place(&receipt), receipt.header("stored")), (first, store.name()));
    }
    // Another user's key of the same name is another one.
    let mut other = Client::session(&server, "other");
    other.granted(send, "of another");
    let heard = messages(&mut reader, 2);
    assert_eq!([&*heard[0].0, &*heard[1].0], ["said once", "of another"]);
    assert_eq!(heard[1].1, (first.0, first.1 + 1));
    let long = format!("SEND|destination:/app/room.1|idempotency-key:{}", "k".repeat(1100));
    assert_eq!(writer.refused(&long, "x").header("message"), "limit");
}

fn a_transaction_is_answered_when_all_of_it_is_stored(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    writer.granted("BEGIN|transaction:t", "");
    for body in ["one", "two", "three"] {
        writer.granted("SEND|destination:/app/room.1|transaction:t", body);
    }
    let receipt = writer.granted("COMMIT|transaction:t", "");
    assert_eq!(receipt.header("stored"), store.name(), "{receipt:?}");
    assert!(!receipt.has("seq"), "it has three places: {receipt:?}");
    let mut reader = Client::session(&server, "reader");
    let receipt = subscribe(&mut reader, "history:9");
    assert_eq!(place(&receipt).1, 3);
    assert_eq!(messages(&mut reader, 3).last().expect("three").0, "three");
}

fn an_absent_user_finds_what_was_said_meanwhile(store: &Store) {
    let routes = routes_that_keep_all();
    let server = store.serve_with(&["--config", &routes.path().display().to_string()]);
    let mut writer = Client::session(&server, "ann");
    writer.granted("SEND|destination:/app/private.bob", "are you there?");
    writer.granted("SEND|destination:/app/private.eve", "not for bob");
    let mut reader = Client::session(&server, "bob");
    let wish = "SUBSCRIBE|id:s|destination:/user/queue/private|history:10";
    assert_eq!(reader.granted(wish, "").header("recovered"), "true");
    let message = reader.message();
    assert_eq!(message.header("destination"), "/user/queue/private");
    assert_eq!((message.text(), message.header("user-id")), ("are you there?", "ann"));
    writer.granted("SEND|destination:/app/private.bob", "welcome back");
    reader.expect("s", "welcome back");
}
