//! The harness itself: a fault that was not made would make every test of it pass.

use std::process::Command;

use crate::world::Certificates;
use crate::world::Cluster;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::ReplicaPair;
use crate::world::Reply;
use crate::world::Resp;

#[test]
fn a_killed_redis_is_gone_and_returns_empty_on_its_port() {
    let mut redis = Redis::plain();
    redis.client().ask(&["SET", "a", "1"]);
    let port = redis.port;
    redis.kill();
    assert!(Resp::try_connect("127.0.0.1", port).is_none());
    redis.restart();
    assert_eq!(redis.port, port);
    assert_eq!(redis.client().ask(&["GET", "a"]), Reply::Null);
}

#[test]
fn strangers_are_kept_out_and_tls_is_real() {
    let certificates = Certificates::of(&["127.0.0.1"]);
    let redis = Redis::with_acl_and_tls("user a on >b ~* &* +ping", &certificates);
    let reply = Resp::connect("127.0.0.1", redis.port).try_ask(&["PING"]);
    assert!(matches!(&reply, Some(Reply::Error(text)) if text.starts_with("NOAUTH")), "{reply:?}");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let files = certificates.write(folder.path());
    let tls_port = redis.tls_port.expect("it has one").to_string();
    let mut command = Command::new("redis-cli");
    command.args(["-p", &tls_port, "--user", "a", "--pass", "b", "--tls", "--cacert"]);
    let output = command.arg(files.ca).arg("PING").output().expect("redis-cli is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "PONG\n", "{output:?}");
}

#[test]
fn a_replica_can_take_over() {
    let pair = ReplicaPair::start();
    let role = |redis: &Redis| redis.client().ask(&["ROLE"]).list()[0].text().to_owned();
    assert_eq!((role(&pair.primary), role(&pair.replica)), ("master".into(), "slave".into()));
    pair.promote();
    pair.demote();
    assert_eq!((role(&pair.primary), role(&pair.replica)), ("slave".into(), "master".into()));
}

#[test]
fn a_cluster_moves_its_slots() {
    let cluster = Cluster::start();
    let slot = cluster.slot_of("ws:/topic/room.1");
    let from = cluster.home_of("ws:/topic/room.1");
    let publish = |place: usize| {
        let mut client = cluster.nodes[place].client();
        client.try_ask(&["SPUBLISH", "ws:/topic/room.1", "x"]).expect("a node answers")
    };
    let to = (from + 1) % 3;
    assert_eq!(publish(from), Reply::Number(0));
    assert!(matches!(publish(to), Reply::Error(text) if text.starts_with("MOVED ")));
    cluster.move_slot(slot, from, to);
    assert_eq!(publish(to), Reply::Number(0));
    assert!(matches!(publish(from), Reply::Error(text) if text.starts_with("MOVED ")));
}

#[test]
fn the_proxy_passes_stalls_cuts_and_leads_elsewhere() {
    let (one, two) = (Redis::plain(), Redis::plain());
    let proxy = Proxy::to(one.port);
    let mut client = Resp::connect("127.0.0.1", proxy.port);
    client.ask(&["SET", "passed", "1"]);
    assert_eq!(one.client().ask(&["GET", "passed"]).text(), "1");

    // What is written in a stall does not arrive, and is lost with the cut.
    proxy.stall();
    client.send(&["SET", "stalled", "1"]).expect("the kernel takes it");
    assert_eq!(one.client().ask(&["GET", "stalled"]), Reply::Null);
    proxy.cut();
    proxy.lead_to(two.port);
    proxy.resume();
    assert_eq!(client.read(), None);
    assert_eq!(one.client().ask(&["GET", "stalled"]), Reply::Null);

    // What is written in a stall arrives when it ends, at the new place.
    let mut client = Resp::connect("127.0.0.1", proxy.port);
    client.ask(&["PING"]);
    proxy.stall();
    client.send(&["SET", "late", "1"]).expect("the kernel takes it");
    proxy.resume();
    assert_eq!(client.read(), Some(Reply::Status("OK".to_owned())));
    assert_eq!(two.client().ask(&["GET", "late"]).text(), "1");
    assert_eq!(one.client().ask(&["GET", "late"]), Reply::Null);
}
