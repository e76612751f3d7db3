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
    let mut clients = [client];
    say(&mut sender, &mut clients, &body);
    bytes() - before
}

/// In portions: a client that does not read is closed as a slow consumer.
fn say(sender: &mut Client, clients: &mut [Client], body: &str) {
    for _ in 0..MESSAGES_COUNT / 100 {
        for _ in 0..100 {
            sender.send(&format!("SEND|destination:/topic/room.1||{body}^@"));
        }
        for client in &mut *clients {
            (0..100).for_each(|_| client.expect("s", body));
        }
    }
}

#[test]
fn four_servers_of_which_one_is_interested_cost_redis_what_one_costs() {
    let of_one = output_bytes(1);
    assert!(1_024 * MESSAGES_COUNT as u64 <= of_one, "{of_one} bytes are too few to be true");
    let of_four = output_bytes(4);
    assert!(of_four * 10 <= of_one * 12, "{of_four} bytes for four, {of_one} for one");
    eprintln!("Redis sent {of_one} bytes for one server, {of_four} for four");
}

/// What Redis sends for [`MESSAGES_COUNT`] messages of 1 KiB to one server of so many cores, each
/// with subscribers.
fn output_bytes_of_cores(cores_count: i64) -> u64 {
    let redis = Redis::plain();
    let cores = format!("server.cores={cores_count}");
    let server = Ringway::start(Driver::IoUring, &[&redis.setting(), &cores]);
    let mut control = redis.client();
    let mut clients = Vec::new();
    // The kernel chooses who gets a connection.
    while clients.len() < 4 || control.subscribers_count("ws:/topic/room.1") < cores_count {
        assert!(clients.len() < 100, "a shard that gets nobody");
        let mut client = Client::session(&server, "alice");
        client.subscribe("s", "/topic/room.1");
        clients.push(client);
    }
    let mut bytes = || -> u64 {
        control.info("stats", "total_net_output_bytes").parse().expect("a figure is a number")
    };
    let before = bytes();
    let mut sender = Client::session(&server, "sender");
    say(&mut sender, &mut clients, &"x".repeat(1_024));
    bytes() - before
}

#[test]
fn a_room_costs_redis_one_copy_per_core_that_has_a_subscriber() {
    let (of_one, of_two) = (output_bytes_of_cores(1), output_bytes_of_cores(2));
    let ratio = of_two as f64 / of_one as f64;
    assert!((1.8..2.2).contains(&ratio), "{of_two} bytes for two cores, {of_one} for one");
    eprintln!("Redis sent {of_one} bytes for one core, {of_two} for two");
}
