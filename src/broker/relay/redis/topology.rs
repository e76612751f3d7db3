//! Which node has what: one node for everything, or the masters of a cluster by slot.

use std::collections::BTreeMap;

use crate::broker::relay::redis::options::Address;
use crate::broker::relay::redis::options::Mode;
use crate::proto::resp::SLOTS_COUNT;
use crate::proto::resp::Value;

/// One Redis server that takes writes, under whatever address it can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u32);

/// The node of every slot.
#[derive(Debug)]
pub(super) enum Routes {
    /// All slots are this node's.
    Single(NodeId),
    /// A cluster's slots.
    Slots(Vec<Option<NodeId>>),
}

impl Routes {
    pub(super) fn new(mode: Mode) -> Self {
        match mode {
            Mode::PubSub => Self::Single(NodeId(0)),
            Mode::Sharded => Self::Slots(vec![None; usize::from(SLOTS_COUNT)]),
        }
    }

    pub(super) fn node_of(&self, slot: u16) -> Option<NodeId> {
        match self {
            Self::Single(node) => Some(*node),
            Self::Slots(nodes) => nodes.get(usize::from(slot)).copied().flatten(),
        }
    }

    /// Gives one slot to `node`; returns whether it was another's.
    pub(super) fn move_slot(&mut self, slot: u16, node: NodeId) -> bool {
        let Self::Slots(nodes) = self else { return false };
        let Some(owner) = nodes.get_mut(usize::from(slot)) else { return false };
        owner.replace(node) != Some(node)
    }

    /// Takes a whole new map.
    pub(super) fn replace(&mut self, ranges: &[Range], ids: &BTreeMap<Address, NodeId>) {
        let Self::Slots(nodes) = self else { return };
        nodes.fill(None);
        for range in ranges {
            let slots = usize::from(range.first)..=usize::from(range.last);
            if let Some(slots) = nodes.get_mut(slots) {
                slots.fill(ids.get(&range.master).copied());
            }
        }
    }

    pub(super) fn owns_any(&self, node: NodeId) -> bool {
        match self {
            Self::Single(single) => *single == node,
            Self::Slots(nodes) => nodes.contains(&Some(node)),
        }
    }

    /// Whether every slot has an owner.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Single(_) => true,
            Self::Slots(nodes) => nodes.iter().all(Option::is_some),
        }
    }
}

/// Slots in a row that one master has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Address,
}

/// Reads the answer to CLUSTER SLOTS. A master that names no host is the one that was asked, at
/// `asked` ("CLUSTER SLOTS" of the Redis manual).
pub(super) fn parse_slots(value: &Value<'_>, asked: &Address) -> Option<Vec<Range>> {
    let ranges = value.items()?.iter().map(|it| parse_range(it.items()?, asked));
    ranges.collect::<Option<Vec<Range>>>().filter(|it| !it.is_empty())
}

fn parse_range(items: &[Value<'_>], asked: &Address) -> Option<Range> {
    let [first, last, master, ..] = items else { return None };
    let slot = |value: &Value<'_>| u16::try_from(value.as_integer()?).ok();
    let (first, last) = (slot(first)?, slot(last)?);
    if last < first || SLOTS_COUNT <= last {
        return None;
    }
    let [host, port, ..] = master.items()? else { return None };
    let host = host.as_str().filter(|it| !it.is_empty() && *it != "?");
    let host = host.map_or_else(|| asked.host.clone(), Into::into);
    let port = u16::try_from(port.as_integer()?).ok()?;
    Some(Range { first, last, master: Address { host, port } })
}

/// Where an error sends us: `MOVED 3999 127.0.0.1:6381`, or `ASK` in the same form.
pub(super) fn parse_redirect(text: &[u8], asked: &Address) -> Option<(u16, Address)> {
    let text = str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace().skip(1);
    let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS_COUNT)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host.into() };
    Some((slot, Address { host, port: port.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::resp;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    #[track_caller]
    fn check_redirect(text: &str, expected: Option<(u16, Address)>) {
        assert_eq!(parse_redirect(text.as_bytes(), &address("asked", 1)), expected, "{text}");
    }

    #[test]
    fn a_redirect_names_a_slot_and_an_address() {
        check_redirect("MOVED 3999 127.0.0.1:6381", Some((3999, address("127.0.0.1", 6381))));
        check_redirect("ASK 0 ::1:6381", Some((0, address("::1", 6381))));
        check_redirect("MOVED 16383 :6381", Some((16383, address("asked", 6381))));
        check_redirect("MOVED 16384 a:6381", None);
        check_redirect("MOVED 1 a:65536", None);
        check_redirect("MOVED 1", None);
        check_redirect("MOVED", None);
    }

    #[test]
    fn the_answer_to_cluster_slots_gives_each_slot_its_master() {
        let text = b"*2\r\n*3\r\n:0\r\n:99\r\n*3\r\n$1\r\na\r\n:7000\r\n$2\r\nid\r\n\
            *4\r\n:100\r\n:16383\r\n*4\r\n$-1\r\n:7001\r\n$2\r\nid\r\n*0\r\n\
            *2\r\n$1\r\nr\r\n:1\r\n";
        let limits = resp::Limits { bulk_bytes_max: 99, items_max: 99, depth_max: 9 };
        let (value, _) = resp::parse(text, &limits).unwrap().unwrap();
        let ranges = parse_slots(&value, &address("asked", 1)).unwrap();
        let (one, two) = (address("a", 7000), address("asked", 7001));
        let ids = BTreeMap::from([(one, NodeId(1)), (two, NodeId(2))]);
        let mut routes = Routes::new(Mode::Sharded);
        assert!(!routes.is_complete() && routes.node_of(0).is_none());
        routes.replace(&ranges, &ids);
        assert!(routes.is_complete());
        assert_eq!(routes.node_of(99), Some(NodeId(1)));
        assert_eq!(routes.node_of(100), Some(NodeId(2)));
        assert!(routes.move_slot(100, NodeId(1)) && !routes.move_slot(100, NodeId(1)));
        assert!(routes.owns_any(NodeId(2)) && !routes.owns_any(NodeId(3)));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_none() {
        let address = address("asked", 1);
        let (number, list) = (Value::Integer, Value::Array);
        let host = list(vec![Value::Bulk(b"a"), number(1)]);
        for range in [
            vec![number(5), number(4), host.clone()],
            vec![number(0), number(16384), host.clone()],
            vec![number(-1), number(4), host],
            vec![number(0), number(4), list(vec![Value::Null, number(65536)])],
            vec![number(0), number(4)],
        ] {
            assert_eq!(parse_slots(&list(vec![list(range)]), &address), None);
        }
        assert_eq!(parse_slots(&list(Vec::new()), &address), None);
        assert_eq!(parse_slots(&Value::Null, &address), None);
    }
}
