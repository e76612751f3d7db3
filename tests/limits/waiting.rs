//! CONNECTs that wait for their turn, behind those of better addresses, and who waits for a key
//! that is being fetched.

use std::sync::Arc;
use std::time::Duration;

use ringway::metrics::Rejected;
use ringway::policy::auth::KeySet;
use ringway::policy::auth::SigningKey;
use ringway::policy::auth::Source;
use ringway::policy::auth::parse_keys;
use ringway::shard::ConnectionId;
use ringway::shard::Notice;
use serde_json::json;

use crate::tokens::OTHER_SECRET;
use crate::tokens::SECRET;
use crate::tokens::assert_ended;
use crate::tokens::connect;
use crate::tokens::world;
use crate::tokens::world_of;
use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::upgrade_with;
use crate::world::HANDSHAKES_MAX;
use crate::world::World;

/// `OTHER_SECRET` as a JWK has it.
const OTHER_JWK: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA";

/// A token that names a key.
fn token_of_key(world: &World, secret: &[u8], kid: &str) -> String {
    let claims = json!({"sub": "amy", "exp": world.now().unix_ms / 1000 + 600});
    SigningKey::secret(secret).with_kid(kid).sign(&claims).expect("it signs")
}

/// The keys of this name only; those without one would be tried with any.
fn named_key(kid: &str, generation: u64) -> Notice {
    let document = format!(r#"{{"keys":[{{"kty":"oct","kid":"{kid}","k":"{OTHER_JWK}"}}]}}"#);
    let parsed = parse_keys(document.as_bytes(), Source::File).expect("keys");
    Notice::Keys(Arc::new(KeySet::new(parsed.keys, generation)))
}

#[test]
fn a_connect_waits_for_a_key_that_is_fetched_and_no_longer_than_that() {
    let mut world = world(&[]);
    world.notice(&named_key("old", 2));
    let lines = |token: &str| format!("token:{token}\n");
    let new = token_of_key(&world, OTHER_SECRET, "new");
    let ids: Vec<_> = (0..3)
        .map(|_| {
            let id = connect(&mut world, UPGRADE, &lines(&new));
            // What comes meanwhile is kept.
            world.frame(id, "SUBSCRIBE", "id:s\ndestination:/topic/x\nreceipt:r\n", b"");
            assert!(world.frames(id).is_empty());
            id
        })
        .collect();
    // It was asked for, and is not there yet.
    world.wait_ms(1_000);
    assert!(world.frames(ids[0]).is_empty());
    world.notice(&named_key("new", 3));
    for id in ids {
        let commands: Vec<_> = world.frames(id).into_iter().map(|it| it.command).collect();
        assert_eq!(commands, ["CONNECTED", "RECEIPT"]);
    }

    // One that does not come: who fetches has looked, or says nothing.
    let unknown = "the token's key is not known";
    let other = token_of_key(&world, OTHER_SECRET, "other");
    let id = connect(&mut world, UPGRADE, &lines(&other));
    assert!(world.frames(id).is_empty());
    world.notice(&named_key("new", 3));
    assert_ended(&mut world, id, 1008, unknown);
    let signatures = world.counters().auth.signatures.get();
    let id = connect(&mut world, UPGRADE, &lines(&other));
    assert_ended(&mut world, id, 1008, unknown);
    let third = token_of_key(&world, OTHER_SECRET, "third");
    let id = connect(&mut world, UPGRADE, &lines(&third));
    world.wait_ms(4_900);
    assert!(world.frames(id).is_empty());
    world.wait_ms(200);
    assert_ended(&mut world, id, 1008, unknown);
    assert!(world.counters().auth.signatures.get() <= signatures + 1);
}

#[test]
fn who_waits_may_not_send_more_than_a_message() {
    let mut world = world(&[]);
    world.notice(&named_key("old", 2));
    let new = token_of_key(&world, OTHER_SECRET, "new");
    let id = connect(&mut world, UPGRADE, &format!("token:{new}\n"));
    for _ in 0..9 {
        world.frame(id, "SEND", "destination:/topic/x\n", &[b'x'; 8_000]);
    }
    assert_eq!(world.closed(id).0, 1002);
}

/// Addresses of those whose answers come, in their order: ten clients of each address connect by
/// turns, those of the first with bad tokens.
fn answered(world: &mut World, heads: &[String; 2], good: &str) -> Vec<usize> {
    let lines = |is_bad: bool| format!("token:{}\n", if is_bad { "a.b.c" } else { good });
    world.hold_connects(true);
    let ids: Vec<_> = (0..20)
        .map(|number| (number % 2, connect(world, &heads[number % 2], &lines(number % 2 == 0))))
        .collect();
    let mut order = Vec::new();
    // It is calm when nobody has been let in for a while.
    while world.admit_one() || order.len() < ids.len() {
        world.skip(Duration::from_millis(10));
        for (place, id) in &ids {
            if !world.said(*id).is_empty() {
                order.push(*place);
            }
        }
    }
    world.hold_connects(false);
    order
}

#[test]
fn those_behind_the_others_are_turned_away_where_there_is_hardly_room() {
    let mut world = world_of(16);
    let head = upgrade_with("X-Forwarded-For: 198.51.100.7\r\n");
    for _ in 0..3 {
        let bad = connect(&mut world, &head, "token:a.b.c\n");
        assert_eq!(world.closed(bad).0, 1008);
        world.leave(bad, 1008);
    }
    world.hold_connects(true);
    // As many as leave the server open to all, then one more.
    let suspects: Vec<_> = (0..15).map(|_| connect(&mut world, &head, "token:a.b.c\n")).collect();
    let signatures = world.counters().auth.signatures.get();
    // Each is put behind the others first.
    assert!(world.admit_one() && world.admit_one());
    assert_eq!(world.closed(suspects[0]).0, 1013);
    world.leave(suspects[0], 1013);
    for _ in &suspects {
        assert!(world.admit_one());
    }
    assert_eq!(world.closed(suspects[1]).0, 1008, "there is room again");
    world.run_timer();
    assert_eq!(world.counters().auth.signatures.get(), signatures, "known by its hash");
}

#[test]
fn an_address_whose_tokens_were_refused_comes_behind_the_others() {
    let mut world = world(&[]);
    let head = |address: &str| upgrade_with(&format!("X-Forwarded-For: {address}\r\n"));
    let heads = [head("198.51.100.7"), head("203.0.113.9")];
    let good = token_of_key(&world, SECRET, "any");
    let order = answered(&mut world, &heads, &good);
    // Three are refused; from then on those of their address wait for the others.
    assert_eq!(order, [vec![0, 1, 0, 1, 0], vec![1; 8], vec![0; 7]].concat());
}

/// Somebody of this address who says this at once.
fn newcomer(world: &mut World, address: [u8; 4], token: &str) -> ConnectionId {
    let id = world.accept_from(address).expect("room");
    let connect = wire::stomp("CONNECT", &format!("accept-version:1.2\ntoken:{token}\n"), b"");
    world.send(id, &[UPGRADE.as_bytes(), &wire::text(&connect)].concat());
    id
}

const BAD: [u8; 4] = [198, 51, 100, 7];
const GOOD: [u8; 4] = [203, 0, 113, 9];

/// A world that has refused tokens of `BAD` and has just let in one of `GOOD`.
fn stormed(places: usize) -> (World, String) {
    let mut world = world_of(places);
    let good = token_of_key(&world, SECRET, "any");
    for _ in 0..3 {
        let id = newcomer(&mut world, BAD, "a.b.c");
        assert_eq!(world.closed(id).0, 1008);
        world.leave(id, 1008);
    }
    newcomer(&mut world, GOOD, &good);
    (world, good)
}

#[test]
fn newcomers_of_such_an_address_are_not_read_while_others_are_let_in() {
    let (mut world, good) = stormed(64);
    let bad = newcomer(&mut world, BAD, "a.b.c");
    // It has a socket and nothing else; who comes later is served.
    for _ in 0..10 {
        world.skip(Duration::from_millis(40));
        let id = newcomer(&mut world, GOOD, &good);
        assert!(!world.said(id).is_empty() && world.said(bad).is_empty());
    }
    world.wait_ms(60);
    assert_eq!(world.closed(bad).0, 1008, "it is calm");
}

#[test]
fn newcomers_that_are_held_take_no_place_of_a_handshake_and_time_out_like_others() {
    let (mut world, good) = stormed(16_000);
    let held: Vec<_> =
        (0..HANDSHAKES_MAX + 40).map(|_| newcomer(&mut world, BAD, "a.b.c")).collect();
    let last = held[held.len() - 1];
    let mut said = Vec::new();
    let mut waited_ms = 0;
    while said.is_empty() && waited_ms < 11_000 {
        waited_ms += 40;
        world.wait_ms(40);
        newcomer(&mut world, GOOD, &good);
        said = world.said(last);
    }
    assert!(10_000 <= waited_ms, "{waited_ms}");
    assert!(matches!(said[..], [Said::Http(408, _)]), "{said:?}");
}

#[test]
fn newcomers_that_are_held_are_turned_away_where_there_is_hardly_room() {
    let (mut world, good) = stormed(32);
    // One is in; two of 32 places are for others.
    let held: Vec<_> = (0..30).map(|_| newcomer(&mut world, BAD, "a.b.c")).collect();
    let (turned_away, kept) = held.split_at(2);
    for id in turned_away {
        let said = world.said(*id);
        let retries = |text: &str| text.contains("Retry-After: 5\r\n");
        assert!(matches!(&said[..], [Said::Http(503, text)] if retries(text)));
    }
    assert!(kept.iter().all(|id| world.said(*id).is_empty()));
    let rejected = world.counters().rejected.of(Rejected::Connections).get();
    assert_eq!(rejected, 2);
    let id = newcomer(&mut world, GOOD, &good);
    assert!(matches!(world.said(id)[..], [Said::Http(101, _), Said::Stomp(_)]));
    // Once it is calm the others hear of their tokens.
    world.wait_ms(60);
    assert_eq!(world.closed(kept[1]).0, 1008);
}

#[test]
fn every_so_often_a_newcomer_that_is_held_has_its_turn() {
    let (mut world, good) = stormed(2_000);
    let mut held: Vec<_> = (0..4).map(|_| newcomer(&mut world, BAD, "a.b.c")).collect();
    let mut answered_after = Vec::new();
    for count in 1..=256 {
        newcomer(&mut world, GOOD, &good);
        let is_first_answered = held.first().is_some_and(|id| !world.said(*id).is_empty());
        if is_first_answered {
            answered_after.push(count);
            held.remove(0);
        }
    }
    // Each 32nd turn, and of two of these one is that of a CONNECT that was read before.
    assert_eq!(answered_after, [29, 93, 157, 221]);
}

/// A session whose token is by the key called "old", the only one there is.
fn session_by_old(world: &mut World) -> ConnectionId {
    world.notice(&named_key("old", 2));
    let token = token_of_key(world, OTHER_SECRET, "old");
    let id = connect(world, UPGRADE, &format!("token:{token}\n"));
    assert_eq!(world.only_frame(id).command, "CONNECTED");
    id
}

/// What renews a session by a key that is not there.
fn renewal_by(world: &World, kid: &str) -> String {
    let token = token_of_key(world, OTHER_SECRET, kid);
    format!("destination:/app/_session/token\nAuthorization:Bearer {token}\nreceipt:renewed\n")
}

#[test]
fn a_frame_of_an_open_session_waits_for_the_key_of_its_token_too() {
    let mut world = world(&[]);
    let id = session_by_old(&mut world);
    let other = session_by_old(&mut world);
    // Behind it, in the same message and in the next: all in its order.
    let renewal = renewal_by(&world, "new");
    let subscribe = |id: &str| {
        let lines = format!("id:{id}\ndestination:/topic/{id}\nreceipt:{id}\n");
        wire::stomp("SUBSCRIBE", &lines, b"")
    };
    let both = [wire::stomp("SEND", &renewal, b""), subscribe("a")].concat();
    world.send(id, &[wire::text(&both), wire::text(&subscribe("b"))].concat());
    world.send(id, &wire::text(&subscribe("c")));
    assert!(world.frames(id).is_empty());
    world.assert_open(other);
    world.wait_ms(1_000);
    assert!(world.frames(id).is_empty());
    // The new key comes, and the old one goes with it.
    world.notice(&named_key("new", 3));
    world.assert_receipts(id, &["renewed", "a", "b", "c"]);
    world.assert_open(id);
    assert_ended(&mut world, other, 4401, "the token's key is not known");
    world.wait_ms(590_000);
    world.assert_open(id);
}

#[test]
fn a_frame_waits_no_longer_than_for_a_fetch() {
    let unknown = "the token's key is not known";
    let mut world = world(&[]);
    for is_told in [true, false] {
        let id = session_by_old(&mut world);
        let renewal = renewal_by(&world, if is_told { "other" } else { "third" });
        world.frame(id, "SEND", &renewal, b"");
        world.wait_ms(4_900);
        assert!(world.frames(id).is_empty());
        if is_told {
            // Who fetches has looked.
            world.notice(&named_key("old", 2));
        } else {
            world.wait_ms(200);
        }
        assert_ended(&mut world, id, 4401, unknown);
    }
    // One that is no renewal, and one that was asked for already.
    for kid in ["fourth", "fourth"] {
        let id = session_by_old(&mut world);
        let renewal = renewal_by(&world, kid).replace("/app/_session/token", "/app/x");
        world.frame(id, "SEND", &renewal, b"");
        world.notice(&named_key("old", 2));
        assert_ended(&mut world, id, 1008, unknown);
    }
}

#[test]
fn an_open_session_that_waits_is_not_read_beyond_a_message_and_loses_nothing() {
    let mut world = world(&[]);
    let id = session_by_old(&mut world);
    let renewal = renewal_by(&world, "new");
    world.frame(id, "SEND", &renewal, b"");
    let receipts: Vec<String> = (0..20).map(|it| it.to_string()).collect();
    for receipt in &receipts {
        let lines = format!("id:x\nreceipt:{receipt}\nx:{}\n", "p".repeat(8_000));
        world.frame(id, "UNSUBSCRIBE", &lines, b"");
    }
    assert!(world.shard.read_pause(world.now(), id).is_some(), "what is kept has an end");
    world.wait_ms(2_000);
    assert!(world.frames(id).is_empty());
    world.notice(&named_key("new", 3));
    let expected: Vec<&str> =
        ["renewed"].into_iter().chain(receipts.iter().map(String::as_str)).collect();
    world.assert_receipts(id, &expected);
    assert_eq!(world.shard.read_pause(world.now(), id), None);
}

#[test]
fn connects_wait_for_their_turn_and_what_is_open_does_not() {
    let mut world = world(&[]);
    let open = connected(&mut world, "open");
    world.frame(open, "SUBSCRIBE", "id:s\ndestination:/topic/x\nreceipt:r\n", b"");
    world.assert_receipts(open, &["r"]);
    let signatures = |world: &mut World| {
        world.run_timer();
        world.counters().auth.signatures.get()
    };
    let before = signatures(&mut world);
    world.hold_connects(true);
    let storm: Vec<_> = (0..200)
        .map(|it| {
            let token = token_for(&world, &format!("user-{it}"));
            connect(&mut world, UPGRADE, &format!("token:{token}\n"))
        })
        .collect();
    // All have come, and none has cost anything yet.
    assert_eq!(signatures(&mut world), before);
    world.frame(open, "UNSUBSCRIBE", "id:y\nreceipt:at once\n", b"");
    world.assert_receipts(open, &["at once"]);
    // One turn is one of them, and others come between.
    assert!(world.admit_one());
    assert_eq!(signatures(&mut world), before + 1);
    assert_eq!(world.only_frame(storm[0]).command, "CONNECTED");
    assert!(world.frames(storm[1]).is_empty());
    world.frame(open, "UNSUBSCRIBE", "id:y\nreceipt:between\n", b"");
    world.assert_receipts(open, &["between"]);
    world.hold_connects(false);
    for id in &storm[1..] {
        assert_eq!(world.only_frame(*id).command, "CONNECTED", "in their order");
    }
    assert_eq!(signatures(&mut world), before + 200);
}

/// A token of the secret that the world knows.
fn token_for(world: &World, user: &str) -> String {
    let claims = json!({"sub": user, "exp": world.now().unix_ms / 1000 + 600});
    SigningKey::secret(SECRET).sign(&claims).expect("it signs")
}

#[track_caller]
fn connected(world: &mut World, user: &str) -> ConnectionId {
    let token = token_for(world, user);
    let id = connect(world, UPGRADE, &format!("token:{token}\n"));
    assert_eq!(world.only_frame(id).command, "CONNECTED");
    id
}
