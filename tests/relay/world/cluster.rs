//! A Redis Cluster of three nodes without replicas, each with a third of the slots.

use super::Redis;
use super::Reply;
use super::await_true;
use super::redis::free_port;

/// How many slots a cluster has (Redis cluster specification, "Key distribution model").
const SLOTS_COUNT: u16 = 16_384;

/// A process that may become a node; nodes tell each other at the port `bus`.
fn node(bus: u16) -> Redis {
    let bus = bus.to_string();
    let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let rest = ["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];
    Redis::with(&[settings, rest].concat())
}

/// Three nodes that know each other and serve all slots.
pub(crate) struct Cluster {
    /// In the order of their slots.
    pub(crate) nodes: Vec<Redis>,
    /// The bus port of the first one.
    bus: u16,
}

impl Cluster {
    /// Starts three nodes and waits until each says that the cluster is whole.
    pub(crate) fn start() -> Self {
        let buses: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let nodes: Vec<Redis> = buses.iter().map(|bus| node(*bus)).collect();
        for (index, node) in (0..).zip(&nodes) {
            let third = |index: u16| (u32::from(SLOTS_COUNT) * u32::from(index) / 3).to_string();
            let last = (u32::from(SLOTS_COUNT) * u32::from(index + 1) / 3 - 1).to_string();
            let mut client = node.client();
            client.ask(&["CLUSTER", "ADDSLOTSRANGE", &third(index), &last]);
            client.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            let (port, bus) = (nodes[0].port.to_string(), buses[0].to_string());
            client.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self { nodes, bus: buses[0] };
        cluster.await_whole();
        cluster
    }

    /// A fourth node, which follows the one at `place` and can take over from it.
    pub(crate) fn add_replica(&self, place: usize) -> Redis {
        let replica = node(free_port());
        let mut client = replica.client();
        let id = self.nodes[place].client().ask(&["CLUSTER", "MYID"]);
        let (port, bus) = (self.nodes[0].port.to_string(), self.bus.to_string());
        client.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        await_true("the replica to know its master", || {
            matches!(client.try_ask(&["CLUSTER", "REPLICATE", id.text()]), Some(Reply::Status(_)))
        });
        await_true("the replica to follow", || {
            client.info("replication", "master_link_status") == "up"
        });
        for node in &self.nodes {
            let mut client = node.client();
            await_true("all to know the replica", || {
                client.ask(&["CLUSTER", "NODES"]).text().matches(" slave ").count() == 1
            });
        }
        replica
    }

    /// Waits until each running node sees all slots served by nodes that answer.
    pub(crate) fn await_whole(&self) {
        for node in &self.nodes {
            let mut client = node.client();
            await_true("the cluster to be whole", || {
                let info = client.ask(&["CLUSTER", "INFO"]);
                ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"]
                    .iter()
                    .all(|it| info.text().contains(it))
            });
        }
    }

    /// The setting that points a server to `nodes`, by their places.
    pub(crate) fn setting(&self, nodes: &[usize]) -> String {
        let urls = nodes.iter().map(|it| format!("redis://127.0.0.1:{}", self.nodes[*it].port));
        format!("relay.url={}", urls.collect::<Vec<_>>().join(","))
    }

    /// The slot of a channel, as Redis computes it.
    pub(crate) fn slot_of(&self, channel: &str) -> u16 {
        let slot = self.nodes[0].client().ask(&["CLUSTER", "KEYSLOT", channel]).number();
        u16::try_from(slot).expect("a slot is below 16,384")
    }

    /// The place of the node that serves `channel` at first.
    pub(crate) fn home_of(&self, channel: &str) -> usize {
        let slot = u32::from(self.slot_of(channel));
        let ends = (1..=3).map(|end| u32::from(SLOTS_COUNT) * end / 3);
        ends.into_iter().position(|end| slot < end).expect("all slots have a home")
    }

    /// Moves a slot without keys from one node to another, as the specification's live
    /// reconfiguration does.
    pub(crate) fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let id = |place: usize| self.nodes[place].client().ask(&["CLUSTER", "MYID"]);
        let (from_id, to_id) = (id(from), id(to));
        let (mut from, mut to) = (self.nodes[from].client(), self.nodes[to].client());
        to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id.text()]);
        from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id.text()]);
        to.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", to_id.text()]);
        from.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", to_id.text()]);
    }
}
