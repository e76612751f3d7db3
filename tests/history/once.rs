//! SUBSCRIBEs below `/app/`: answered from the history of their route, once.

use crate::on_each_store;
use crate::support::Client;
use crate::world::Store;
use crate::world::bodies;
use crate::world::place;
use crate::world::routes_that_keep_all;

on_each_store!(
    a_route_with_a_history_answers_a_subscribe_once_and_nothing_follows,
    a_user_is_answered_with_what_is_its_own_only,
);

fn a_route_with_a_history_answers_a_subscribe_once_and_nothing_follows(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    let said: Vec<String> = (1..=60).map(|it| it.to_string()).collect();
    let mut places = Vec::new();
    for body in &said {
        places.push(place(&writer.granted("SEND|destination:/app/room.1", body)));
    }
    let mut reader = Client::session(&server, "reader");
    reader.subscribe("live", "/topic/room.1");
    // The messages come before the RECEIPT, under their own destination.
    let ask = "SUBSCRIBE|id:once|destination:/app/room.1";
    let receipt = reader.granted(&format!("{ask}|history:3"), "");
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", places[59]));
    for at in 57..60 {
        let message = reader.message();
        assert_eq!(message.header("subscription"), "once");
        assert_eq!(message.header("destination"), "/topic/room.1");
        assert_eq!((message.text(), place(&message)), (&*said[at], places[at]));
    }
    // What follows is for the live subscription only.
    writer.granted("SEND|destination:/app/room.1", "61");
    reader.expect("live", "61");

    // The same id asks again; without a number it is given the last 50.
    assert_eq!(reader.granted(ask, "").header("recovered"), "true");
    assert_eq!(bodies(&mut reader, 50), [&said[11..], &["61".to_owned()]].concat());
    let (epoch, seq) = places[56];
    reader.granted(&format!("{ask}|since:{epoch}:{seq}"), "");
    assert_eq!(bodies(&mut reader, 4), ["58", "59", "60", "61"]);
    // It has ended by itself; whoever does not know that ends it once more.
    reader.granted("UNSUBSCRIBE|id:once", "");
    reader.granted("SUBSCRIBE|id:empty|destination:/app/room.never", "");
    writer.granted("SEND|destination:/app/room.1", "62");
    reader.expect("live", "62");
    // None of them stays.
    let connections = crate::support::ask(
        server.admin,
        "GET /api/users/reader HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert!(connections.body.contains("\"subscriptions\":1,"), "{}", connections.body);

    let refused = reader.refused("SUBSCRIBE|id:x|destination:/app/private.reader", "");
    assert_eq!(refused.header("message"), "no-route");
    let refused = reader.refused("SUBSCRIBE|id:x|destination:/app/room.*", "");
    assert_eq!(refused.header("message"), "bad-destination");
    let refused = reader.refused(&format!("{ask}|history:many"), "");
    assert_eq!(refused.header("message"), "bad-history");
}

fn a_user_is_answered_with_what_is_its_own_only(store: &Store) {
    let routes = routes_that_keep_all();
    let server = store.serve_with(&["--config", &routes.path().display().to_string()]);
    let mut ann = Client::session(&server, "ann");
    ann.granted("SEND|destination:/app/private.bob", "are you there?");
    let refused = ann.refused("SUBSCRIBE|id:s|destination:/app/private.bob", "");
    assert_eq!(refused.header("message"), "forbidden");
    let mut bob = Client::session(&server, "bob");
    bob.granted("SUBSCRIBE|id:s|destination:/app/private.bob", "");
    assert_eq!(bodies(&mut bob, 1), ["are you there?"]);
}
