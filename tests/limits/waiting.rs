//! CONNECTs that wait: for a key that is being fetched, and behind those of better addresses.

use std::sync::Arc;

use ringway::policy::auth::KeySet;
use ringway::policy::auth::SigningKey;
use ringway::policy::auth::Source;
use ringway::policy::auth::parse_keys;
use ringway::shard::Notice;
use serde_json::json;

use crate::tokens::OTHER_SECRET;
use crate::tokens::SECRET;
use crate::tokens::assert_ended;
use crate::tokens::connect;
use crate::tokens::world;
use crate::wire::UPGRADE;
use crate::wire::upgrade_with;
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
    world.holds_connects = true;
    let ids: Vec<_> = (0..20)
        .map(|number| (number % 2, connect(world, &heads[number % 2], &lines(number % 2 == 0))))
        .collect();
    let mut order = Vec::new();
    while world.admit_one() {
        for (place, id) in &ids {
            if !world.said(*id).is_empty() {
                order.push(*place);
            }
        }
    }
    world.holds_connects = false;
    order
}

#[test]
fn an_address_whose_tokens_were_refused_comes_behind_the_others() {
    let mut world = world(&[]);
    let head = |address: &str| upgrade_with(&format!("X-Forwarded-For: {address}\r\n"));
    let heads = [head("198.51.100.7"), head("203.0.113.9")];
    let good = token_of_key(&world, SECRET, "any");
    let order = answered(&mut world, &heads, &good);
    // The first is refused; from then on those of its address wait for the others.
    assert_eq!(order, [vec![0], vec![1; 10], vec![0; 9]].concat());
}
