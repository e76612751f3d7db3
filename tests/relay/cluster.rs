//! Sharded mode on a cluster of three nodes: whichever node a server is pointed to, whatever moves.

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Cluster;
use crate::world::Reply;
use crate::world::Ringway;
use crate::world::await_some;
use crate::world::await_true;

on_each_driver!(rooms_and_users_meet_whichever_node_serves_them);

fn start(driver: Driver, cluster: &Cluster, nodes: &[usize]) -> Ringway {
    Ringway::start(driver, &["relay.mode=sharded", &cluster.setting(nodes)])
}

/// How many connections are subscribed to `channel` on the node at `place`.
fn subscribers_count(cluster: &Cluster, place: usize, channel: &str) -> i64 {
    let mut node = cluster.nodes[place].client();
    node.ask(&["PUBSUB", "SHARDNUMSUB", channel]).list()[1].number()
}

/// A room whose channel lives on the node at `place`.
fn room_on(cluster: &Cluster, place: usize) -> String {
    let room = (0..).map(|it| format!("/topic/room.{it}"));
    let mut own = room.filter(|it| cluster.home_of(&format!("ws:{it}")) == place);
    own.next().expect("each node has a third of all rooms")
}

fn rooms_and_users_meet_whichever_node_serves_them(driver: Driver) {
    let cluster = Cluster::start();
    let one = start(driver, &cluster, &[0]);
    let two = start(driver, &cluster, &[2, 1]);
    let mut alice = Client::session(&one, "alice");
    let mut bob = Client::session(&two, "bob");
    let rooms: Vec<String> = (0..3).map(|it| room_on(&cluster, it)).collect();
    for (room, place) in rooms.iter().zip(0..) {
        alice.subscribe(room, room);
        bob.subscribe(room, room);
        let counts = [0, 1, 2].map(|it| subscribers_count(&cluster, it, &format!("ws:{room}")));
        assert_eq!(counts.iter().sum::<i64>(), 2, "{room}: {counts:?}");
        assert_eq!(counts[place], 2, "{room}: {counts:?}");
    }
    for room in &rooms {
        alice.publish(&format!("{room}|x-n:1"), "of alice");
        bob.publish(room, "of bob");
        for client in [&mut alice, &mut bob] {
            client.expect(room, "of alice");
            client.expect(room, "of bob");
        }
    }
    bob.subscribe("private", "/user/queue/private");
    alice.publish("/app/private.bob", "for bob");
    bob.expect("private", "for bob");

    // What would be a hash tag, or an escape, is escaped; a back end publishes to the escaped name.
    bob.subscribe("odd", "/topic/50%");
    alice.publish("/topic/50%", "half");
    bob.expect("odd", "half");
    let channel = "ws:/topic/50%25";
    assert_eq!(subscribers_count(&cluster, cluster.home_of(channel), channel), 1);

    let error = alice.refused("SUBSCRIBE|id:p|destination:/topic/room.*", "");
    assert_eq!(error.header("message"), "bad-pattern", "{error:?}");
}

/// As `docs/relay.md` says.
#[test]
fn few_rights_are_enough_in_a_cluster() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        let rules = "on >of-ringway resetchannels &ws:* &ringway:* ~ringway:* -@all +hello +auth \
            +ping +role +ssubscribe +sunsubscribe +spublish +cluster|slots +asking +xadd";
        let mut parts = vec!["ACL", "SETUSER", "ringway"];
        parts.extend(rules.split_ascii_whitespace());
        node.client().ask(&parts);
    }
    let password = [("RINGWAY_RELAY_PASSWORD", "of-ringway")];
    let settings = ["relay.mode=sharded", &cluster.setting(&[1]), "relay.user=ringway"];
    let server = Ringway::start_with_environment(Driver::IoUring, &settings, &password);
    server.await_up();
    let mut alice = Client::session(&server, "alice");
    for room in (0..3).map(|it| room_on(&cluster, it)) {
        alice.subscribe(&room, &room);
        alice.publish(&room, "heard");
        alice.expect(&room, "heard");
    }
}

/// Publishes as a back end that knows the cluster; how many subscribers it went to.
fn spublish(cluster: &Cluster, place: usize, room: &str, payload: &str) -> Reply {
    let envelope = format!(r#"{{"destination":"{room}","userId":null,"payload":"{payload}"}}"#);
    let mut node = cluster.nodes[place].client();
    node.try_ask(&["SPUBLISH", &format!("ws:{room}"), &envelope]).expect("the node answers")
}

#[test]
fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start();
    let servers = [0, 1].map(|it| start(Driver::IoUring, &cluster, &[it]));
    let mut clients = [0, 1].map(|it: usize| Client::session(&servers[it], "alice"));
    let room = room_on(&cluster, 0);
    let channel = format!("ws:{room}");
    clients.iter_mut().for_each(|it| it.subscribe("s", &room));
    clients[0].publish(&room, "before");
    clients.iter_mut().for_each(|it| it.expect("s", "before"));

    cluster.move_slot(cluster.slot_of(&channel), 0, 2);
    await_true("both servers to ask the new node", || {
        subscribers_count(&cluster, 2, &channel) == 2
    });
    assert_eq!(spublish(&cluster, 2, &room, "of a back end"), Reply::Number(2));
    clients.iter_mut().for_each(|it| it.expect("s", "of a back end"));
    for from in 0..2 {
        clients[from].publish(&room, "after");
        clients.iter_mut().for_each(|it| it.expect("s", "after"));
    }
    // A room that nobody asked for before, in a slot that moved before anybody published to it.
    let other = room_on(&cluster, 1);
    cluster.move_slot(cluster.slot_of(&format!("ws:{other}")), 1, 2);
    clients[1].subscribe("other", &other);
    clients[0].publish(&other, "first");
    clients[1].expect("other", "first");
}

#[test]
fn a_node_that_dies_takes_only_its_rooms_along_until_it_returns() {
    let mut cluster = Cluster::start();
    let settings = ["relay.mode=sharded", &*cluster.setting(&[0, 1, 2]), "relay.outbox_seconds=1s"];
    let servers = [0, 1].map(|_| Ringway::start(Driver::IoUring, &settings));
    let mut clients = [0, 1].map(|it: usize| Client::session(&servers[it], "alice"));
    let rooms: Vec<String> = (0..3).map(|it| room_on(&cluster, it)).collect();
    for client in &mut clients {
        rooms.iter().for_each(|it| client.subscribe(it, it));
    }
    cluster.nodes[1].kill();
    // What the others serve goes on at once.
    for room in [&rooms[0], &rooms[2]] {
        clients[0].publish(room, "meanwhile");
        clients.iter_mut().for_each(|it| it.expect(room, "meanwhile"));
    }
    let error = clients[0].refused(&format!("SEND|destination:{}", rooms[1]), "lost");
    let code = error.header("message");
    assert!(["relay-unavailable", "relay-unknown"].contains(&code), "{error:?}");

    cluster.nodes[1].restart();
    cluster.await_whole();
    let channel = format!("ws:{}", rooms[1]);
    await_true("both servers to be back", || subscribers_count(&cluster, 1, &channel) == 2);
    servers.iter().for_each(Ringway::await_up);
    let room = &rooms[1];
    clients[1].publish(room, "back");
    clients.iter_mut().for_each(|it| it.expect(room, "back"));
    await_some("the cluster's own word", || {
        let info = cluster.nodes[0].client().ask(&["CLUSTER", "INFO"]);
        info.text().contains("cluster_state:ok").then_some(())
    });
}
