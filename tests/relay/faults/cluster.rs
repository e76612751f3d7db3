//! A cluster that loses the node of a room, and that gives its slots to another, under load.

use std::thread;

use super::clients_count;
use super::run_on;
use super::run_through;
use super::start;
use super::with_seeds;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::support::program;
use crate::world::Cluster;
use crate::world::Redis;
use crate::world::await_true;

on_each_driver!(
    a_node_that_dies_and_returns_costs_nothing_that_was_promised,
    a_node_whose_replica_is_voted_in_costs_nothing_that_was_promised,
    a_node_that_hands_over_costs_nothing_that_was_promised,
    slots_that_move_cost_nothing_that_was_promised,
);

/// The setting that makes a relay of the cluster.
const SHARDED: &str = "relay.mode=sharded";

/// The channel of the load with this seed.
fn channel_of(seed: u64) -> String {
    format!("ws:/topic/load-{seed}")
}

/// Counts the subscribers of a channel at one node.
fn counter(node: &Redis) -> impl FnMut(&str) -> i64 + use<> {
    let mut client = node.client();
    move |channel| client.ask(&["PUBSUB", "SHARDNUMSUB", channel]).list()[1].number()
}

fn a_node_that_dies_and_returns_costs_nothing_that_was_promised(driver: Driver) {
    with_seeds(move |seed| {
        let mut cluster = Cluster::start();
        let relay = [SHARDED, &*cluster.setting(&[0, 1, 2])];
        let servers = [0, 1].map(|_| start(program(), driver, &relay));
        let home = cluster.home_of(&channel_of(seed));
        let count = counter(&cluster.nodes[home]);
        run_on(&servers, seed, count, |dice| {
            cluster.nodes[home].kill();
            thread::sleep(dice.millis(0..2_000));
            cluster.nodes[home].restart();
            cluster.await_whole();
            counter(&cluster.nodes[home])
        });
    });
}

fn a_node_whose_replica_is_voted_in_costs_nothing_that_was_promised(driver: Driver) {
    with_seeds(move |seed| {
        let mut cluster = Cluster::start();
        let relay = [SHARDED, &*cluster.setting(&[0, 1, 2])];
        let servers = [0, 1].map(|_| start(program(), driver, &relay));
        let home = cluster.home_of(&channel_of(seed));
        let replica = cluster.add_replica(home);
        let count = counter(&cluster.nodes[home]);
        // The one that returns takes itself for the master until it is told.
        run_through(&servers, seed, true, count, |dice| {
            cluster.nodes[home].kill();
            let mut client = replica.client();
            await_true("the replica to take over", || {
                client.ask(&["ROLE"]).list()[0].text() == "master"
            });
            thread::sleep(dice.millis(0..1_000));
            cluster.nodes[home].restart();
            counter(&replica)
        });
    });
}

/// The former master lives on: it is told to hand over, or only learns of it.
fn a_node_that_hands_over_costs_nothing_that_was_promised(driver: Driver) {
    with_seeds(move |seed| {
        let cluster = Cluster::start();
        let relay = [SHARDED, &*cluster.setting(&[0, 1, 2])];
        let servers = [0, 1].map(|_| start(program(), driver, &relay));
        let home = cluster.home_of(&channel_of(seed));
        let replica = cluster.add_replica(home);
        let count = counter(&cluster.nodes[home]);
        // A replica takes messages for its slots as well: the former master does until it is left.
        run_through(&servers, seed, true, count, |dice| {
            let mut client = replica.client();
            let way: &[&str] = if dice.below(2) == 0 { &[] } else { &["TAKEOVER"] };
            client.ask(&[&["CLUSTER", "FAILOVER"], way].concat());
            await_true("the replica to take over", || {
                client.ask(&["ROLE"]).list()[0].text() == "master"
            });
            // Until then a server may be on its way, and miss what is said meanwhile.
            let mut former = cluster.nodes[home].client();
            await_true("the servers to leave the former master", || {
                clients_count(&mut former) == 0
            });
            counter(&replica)
        });
    });
}

fn slots_that_move_cost_nothing_that_was_promised(driver: Driver) {
    with_seeds(move |seed| {
        let cluster = Cluster::start();
        let relay = [SHARDED, &*cluster.setting(&[0, 1, 2])];
        let servers = [0, 1].map(|_| start(program(), driver, &relay));
        let channel = channel_of(seed);
        let (slot, home) = (cluster.slot_of(&channel), cluster.home_of(&channel));
        let count = counter(&cluster.nodes[home]);
        run_on(&servers, seed, count, |dice| {
            let mut at = home;
            for _ in 0..3 {
                let to = (at + 1 + usize::from(dice.below(2) == 0)) % 3;
                cluster.move_slot(slot, at, to);
                at = to;
                thread::sleep(dice.millis(0..200));
            }
            counter(&cluster.nodes[at])
        });
    });
}
