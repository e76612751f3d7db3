//! What Redis sends: to those that are interested, and to nobody else.

use crate::support::Client;
use crate::support::Driver;
use crate::world::Redis;
use crate::world::Ringway;

const MESSAGES_COUNT: usize = 2_000;

/// What Redis sends for [`MESSAGES_COUNT`] messages of 1 KiB to `servers_count` servers, of which
/// one has a subscriber.
fn output_bytes(servers_count: usize) -> u64 {
    let redis = Redis::plain();
    let setting = redis.setting();
    let servers: Vec<Ringway> =
        (0..servers_count).map(|_| Ringway::start(Driver::IoUring, &[&setting])).collect();
    // The others have sessions, too, of other rooms and other users.
    let mut others: Vec<Client> =
        servers[1..].iter().map(|it| Client::session(it, "other")).collect();
    others.iter_mut().for_each(|it| it.subscribe("s", "/topic/room.2"));
    let mut client = Client::session(&servers[0], "alice");
    client.subscribe("s", "/topic/room.1");

    let mut control = redis.client();
    let mut bytes = || -> u64 {
        control.info("stats", "total_net_output_bytes").parse().expect("a figure is a number")
    };
    let before = bytes();
    let mut sender = Client::session(&servers[servers_count - 1], "sender");
    let body = "x".repeat(1_024);
    // In portions: a client that does not read is closed as a slow consumer.
    for _ in 0..MESSAGES_COUNT / 100 {
        for _ in 0..100 {
            sender.send(&format!("SEND|destination:/topic/room.1||{body}^@"));
        }
        for _ in 0..100 {
            client.expect("s", &body);
        }
    }
    bytes() - before
}

#[test]
fn four_servers_of_which_one_is_interested_cost_redis_what_one_costs() {
    let of_one = output_bytes(1);
    assert!(1_024 * MESSAGES_COUNT as u64 <= of_one, "{of_one} bytes are too few to be true");
    let of_four = output_bytes(4);
    assert!(of_four * 10 <= of_one * 12, "{of_four} bytes for four, {of_one} for one");
    eprintln!("Redis sent {of_one} bytes for one server, {of_four} for four");
}
