//! A cluster: each channel at the master of its slot, also while slots move.

use crate::broker::refusal::Code;
use crate::broker::relay::redis::Address;
use crate::broker::relay::redis::Forward;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::address;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::rig::pattern;
use crate::proto::resp::slot_of;

const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Three masters with a third of the slots each; the machine is told of the first only.
pub(super) fn cluster() -> Rig {
    let mut options = Options::new(Mode::Sharded, HOSTS.map(address).to_vec());
    options.outbox_bytes_max = 1 << 20;
    let mut rig = Rig::with(options);
    let slots = [(0, 5000), (5001, 11000), (11001, 16383)];
    let slots: Vec<(u16, u16, Address)> = slots
        .into_iter()
        .zip(HOSTS)
        .map(|((first, last), host)| (first, last, address(host)))
        .collect();
    rig.servers.values_mut().for_each(|it| it.slots = Some(slots.clone()));
    rig
}

/// Gives one slot to `host`; all servers know it at once.
pub(super) fn move_slot(rig: &mut Rig, slot: u16, host: &str) {
    let Some(slots) = rig.servers.values().find_map(|it| it.slots.clone()) else { return };
    let mut moved = vec![(slot, slot, address(host))];
    let mut from = None;
    for (first, last, owner) in slots {
        if slot < first || last < slot {
            moved.push((first, last, owner));
            continue;
        }
        if first < slot {
            moved.push((first, slot - 1, owner.clone()));
        }
        if slot < last {
            moved.push((slot + 1, last, owner.clone()));
        }
        from = Some(owner);
    }
    rig.servers.values_mut().for_each(|it| it.slots = Some(moved.clone()));
    if let Some(server) =
        from.filter(|it| *it != address(host)).and_then(|it| rig.servers.get_mut(&it))
    {
        server.expel(slot);
    }
}

/// Who has the slot of a name.
fn owner(rig: &Rig, name: &str) -> String {
    let slot = slot_of(name.as_bytes());
    let slots = rig.servers.values().find_map(|it| it.slots.clone()).unwrap();
    slots.iter().find(|it| it.0 <= slot && slot <= it.1).unwrap().2.host.to_string()
}

#[test]
fn each_channel_is_served_by_the_master_of_its_slot() {
    let mut rig = cluster().up();
    for number in 0..60 {
        rig.subscribe(&channel(&format!("/topic/{{{number}}}%")), number);
    }
    rig.run(100);
    assert_eq!(rig.tasks[0].settled.len(), 60);
    for number in 0..60 {
        rig.publish(&format!("/topic/{{{number}}}%"), "x", 100 + number);
    }
    rig.run(100);
    assert_eq!(rig.tasks[0].settled.len(), 120);
    assert_eq!(rig.bodies(0).len(), 60);
    assert_eq!(&*rig.tasks[0].delivered[0].channel, &*rig.tasks[0].delivered[0].destination);
    for host in HOSTS {
        let published = rig.server(host).published.clone();
        assert!(5 < published.len(), "{host}");
        for (name, _) in published {
            let name = String::from_utf8(name).unwrap();
            assert_eq!(owner(&rig, &name), host);
            assert!(name.starts_with("ws:/topic/%7B") && name.ends_with("%7D%25"), "{name}");
        }
    }
    assert_eq!(rig.tasks[0].redis.counts().redirected, 0);
}

#[test]
fn patterns_are_refused() {
    let mut rig = cluster().up();
    assert!(!rig.tasks[0].redis.serves_patterns());
    rig.subscribe(&pattern("/topic/*"), 1);
    rig.run(10);
    assert_eq!(rig.tasks[0].refused, [(1, Code::BadPattern)]);
}

#[test]
fn a_slot_that_moves_is_followed_in_order() {
    let mut rig = cluster().up();
    let name = "/topic/x";
    let slot = slot_of(b"ws:/topic/x");
    rig.subscribe(&channel(name), 1);
    rig.run(100);
    let from = owner(&rig, "ws:/topic/x");
    let to = HOSTS.into_iter().find(|it| **it != *from).unwrap();
    rig.is_stalled = true;
    for number in 0..5 {
        rig.publish(name, &number.to_string(), 10 + number);
        rig.carry();
    }
    move_slot(&mut rig, slot, to);
    rig.is_stalled = false;
    for number in 5..10 {
        rig.publish(name, &number.to_string(), 10 + number);
        rig.carry();
    }
    rig.run(200);
    assert_eq!(rig.tasks[0].settled.len(), 11);
    assert_eq!(rig.tasks[0].refused, []);
    assert_eq!(rig.server(&from).published.len(), 0);
    assert_eq!(rig.server(to).published.len(), 10);
    assert_eq!(rig.bodies(0), (0..10).map(|it| it.to_string()).collect::<Vec<_>>());
    assert_eq!(rig.tasks[0].redis.counts().lost, 0);
    assert!(5 <= rig.tasks[0].redis.counts().redirected);
}

#[test]
fn a_subscription_goes_to_the_new_owner_when_the_old_one_ends_it() {
    let mut rig = cluster().up();
    rig.subscribe(&channel("/topic/x"), 1);
    rig.run(100);
    let from = owner(&rig, "ws:/topic/x");
    let to = HOSTS.into_iter().find(|it| **it != *from).unwrap();
    move_slot(&mut rig, slot_of(b"ws:/topic/x"), to);
    rig.run(200);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    rig.publish("/topic/x", "there", 2);
    rig.run(50);
    assert_eq!(rig.bodies(0), ["there"]);
    assert_eq!(rig.server(to).published.len(), 1);
    assert_eq!(rig.tasks[0].redis.counts().redirected, 0, "the slots were asked for already");
}

#[test]
fn a_node_without_slots_is_let_go_and_a_new_one_is_found() {
    let mut rig = cluster().up();
    rig.subscribe(&channel("/topic/x"), 1);
    rig.run(100);
    let slots = vec![(0, 16383, address("c"))];
    rig.servers.values_mut().for_each(|it| it.slots = Some(slots.clone()));
    rig.run(31_000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    assert_eq!(HOSTS.map(|it| rig.server(it).clients.len()), [0, 0, 2]);
    rig.publish("/topic/x", "there", 2);
    rig.run(50);
    assert_eq!(rig.bodies(0), ["there"]);
}

#[test]
fn a_master_that_dies_is_replaced_by_whom_the_cluster_names() {
    let mut rig = cluster().up();
    for number in 0..30 {
        rig.subscribe(&channel(&format!("/topic/{number}")), number);
    }
    rig.run(100);
    let dead = rig.servers.remove(&address("b")).unwrap();
    rig.cut("b");
    rig.run(1000);
    assert!(matches!(rig.tasks[0].redis.state(), State::Down { .. }));
    for number in 0..30 {
        rig.publish(&format!("/topic/{number}"), "x", 100 + number);
    }
    rig.run(50);
    assert!((10..50).contains(&rig.tasks[0].settled.len()));
    let mut heir = dead;
    heir.address = Some(address("d"));
    heir.clients.clear();
    rig.servers.insert(address("d"), heir);
    for server in rig.servers.values_mut() {
        for slots in server.slots.iter_mut().flatten() {
            if slots.2 == address("b") {
                slots.2 = address("d");
            }
        }
    }
    rig.run(8000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    assert_eq!(rig.tasks[0].settled.len(), 60, "{:?}", rig.tasks[0].refused);
    assert_eq!(rig.bodies(0).len(), 30);
}

#[test]
fn a_stream_in_a_slot_on_its_way_is_asked_for_where_it_goes() {
    let mut rig = cluster().up();
    let stream = "ringway:inbound:orders";
    let slot = slot_of(stream.as_bytes());
    let from = owner(&rig, stream);
    let to = HOSTS.into_iter().find(|it| **it != *from).unwrap();
    rig.server(&from).migrated.insert(slot, address(to));
    rig.server(to).importing.insert(slot);
    let forward = Forward {
        destination: "/app/orders",
        content_type: None,
        headers: &[],
        body: b"x",
        user: Some("bob"),
        session: "s",
        id: "n",
        timestamp_ms: 1,
    };
    let now = rig.now().instant;
    for token in 0..3 {
        rig.tasks[0].redis.forward(now, stream, &forward, Some(crate::broker::relay::Token(token)));
    }
    rig.run(100);
    assert_eq!(rig.tasks[0].settled, [0, 1, 2]);
    assert_eq!(rig.server(to).appended.len(), 3);
    assert_eq!(rig.commands_count(to, "ASKING"), 3);
}

#[test]
fn what_has_no_owner_waits_and_is_refused() {
    let mut rig = cluster();
    rig.servers.clear();
    rig.publish("/topic/x", "x", 1);
    rig.subscribe(&channel("/topic/x"), 2);
    rig.run(15_100);
    assert_eq!(rig.tasks[0].refused, [(1, Code::RelayUnavailable), (2, Code::RelayUnconfirmed)]);
    assert!(matches!(rig.tasks[0].redis.state(), State::Connecting { .. }));
}
