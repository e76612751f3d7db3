//! The pattern index: which of many patterns match a destination, without asking each of them.

use slab::Slab;

use crate::policy::pattern::Pattern;
use crate::policy::pattern::Segment;
use crate::policy::pattern::parts;
use crate::stdx::hash_index::HashIndex;

/// A pattern of a [`PatternIndex`]; may be given to another pattern after a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatternKey(u32);

/// Distinct patterns, each with a value, found by the destinations that they match.
///
/// The segments of the patterns form a tree. A node finds its children by hash: a literal segment
/// by its text, one with wildcards by the texts before the first and after the last of them, `**`
/// directly.
/// Thus 10,000 patterns `/topic/room.N.*` cost one look-up for each *shape* (how long those two
/// texts are), not one comparison for each pattern. The tree may promise too much;
/// [`Pattern::matches`]
/// decides.
///
/// Invariants: a node other than the root has a pattern or a child; every pattern stands in exactly
/// one node, at the place it knows.
#[derive(Debug)]
pub struct PatternIndex<T> {
    entries: Slab<Entry<T>>,
    nodes: Slab<Node>,
    /// Pattern text to entry.
    texts: HashIndex,
    /// Parent and edge to node.
    edges: HashIndex,
}

#[derive(Debug)]
struct Entry<T> {
    pattern: Pattern,
    value: T,
    node: u32,
    /// Where in the node's patterns.
    at: u32,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    edge: OwnedEdge,
    children_count: u32,
    deep: Option<u32>,
    shapes: Vec<Shape>,
    patterns: Vec<PatternKey>,
}

/// How much of a segment is known, and how many children of a node know just that much.
#[derive(Debug)]
struct Shape {
    prefix_bytes: usize,
    suffix_bytes: usize,
    children_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Edge<'a> {
    Root,
    Literal(&'a [u8]),
    Wild { prefix: &'a [u8], suffix: &'a [u8] },
    Deep,
}

#[derive(Debug)]
enum OwnedEdge {
    Root,
    Literal(Box<[u8]>),
    Wild { prefix: Box<[u8]>, suffix: Box<[u8]> },
    Deep,
}

const ANYTHING: Edge<'_> = Edge::Wild { prefix: b"", suffix: b"" };

impl<'a> Edge<'a> {
    fn of(segment: &'a Segment) -> Self {
        match segment {
            Segment::Literal(text) => Self::Literal(text.as_bytes()),
            Segment::Wild(wild) => {
                let (prefix, suffix) = (wild.prefix().as_bytes(), wild.suffix().as_bytes());
                Self::Wild { prefix, suffix }
            }
            Segment::Deep => Self::Deep,
        }
    }

    fn to_owned(self) -> OwnedEdge {
        match self {
            Self::Root => OwnedEdge::Root,
            Self::Literal(text) => OwnedEdge::Literal(text.into()),
            Self::Wild { prefix, suffix } => {
                OwnedEdge::Wild { prefix: prefix.into(), suffix: suffix.into() }
            }
            Self::Deep => OwnedEdge::Deep,
        }
    }
}

impl OwnedEdge {
    fn borrow(&self) -> Edge<'_> {
        match self {
            Self::Root => Edge::Root,
            Self::Literal(text) => Edge::Literal(text),
            Self::Wild { prefix, suffix } => Edge::Wild { prefix, suffix },
            Self::Deep => Edge::Deep,
        }
    }
}

/// The memory that [`PatternIndex::matches`] works in, kept from call to call.
#[derive(Debug, Default)]
pub struct Walk {
    reached: Vec<u32>,
    next: Vec<u32>,
    found: Vec<PatternKey>,
}

const ROOT: u32 = 0;

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(ROOT, Edge::Root));
        assert!(root == ROOT as usize);
        let (texts, edges) = (HashIndex::default(), HashIndex::default());
        Self { entries: Slab::new(), nodes, texts, edges }
    }
}

impl<T> PatternIndex<T> {
    /// The key of `pattern`, which is added with the value of `make` if it was not there.
    pub fn insert(&mut self, pattern: &Pattern, make: impl FnOnce() -> T) -> PatternKey {
        if let Some(key) = self.find(pattern.as_str()) {
            return key;
        }
        let node = pattern
            .segments()
            .iter()
            .fold(ROOT, |node, segment| self.child_or_insert(node, Edge::of(segment)));
        let at = small(self.node(node).patterns.len());
        let entry = Entry { pattern: pattern.clone(), value: make(), node, at };
        let key = small(self.entries.insert(entry));
        self.node_mut(node).patterns.push(PatternKey(key));
        self.texts.insert(self.texts.hash(pattern.as_str()), key);
        PatternKey(key)
    }

    /// The key of the pattern with this text.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<PatternKey> {
        let hash = self.texts.hash(text);
        let is_it = |key| self.entries[key as usize].pattern.as_str() == text;
        self.texts.find(hash, is_it).map(PatternKey)
    }

    /// The value of a pattern.
    #[must_use]
    pub fn get(&self, key: PatternKey) -> Option<&T> {
        self.entries.get(key.0 as usize).map(|entry| &entry.value)
    }

    /// The value of a pattern, to be changed.
    pub fn get_mut(&mut self, key: PatternKey) -> Option<&mut T> {
        self.entries.get_mut(key.0 as usize).map(|entry| &mut entry.value)
    }

    /// The pattern of a key.
    #[must_use]
    pub fn pattern(&self, key: PatternKey) -> Option<&Pattern> {
        self.entries.get(key.0 as usize).map(|entry| &entry.pattern)
    }

    /// How many patterns there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Removes a pattern and gives its value back; `None` when it is gone already.
    pub fn remove(&mut self, key: PatternKey) -> Option<T> {
        let entry = self.entries.try_remove(key.0 as usize)?;
        self.texts.remove(self.texts.hash(entry.pattern.as_str()), key.0);
        let patterns = &mut self.node_mut(entry.node).patterns;
        assert!(patterns.swap_remove(entry.at as usize) == key);
        if let Some(&moved) = patterns.get(entry.at as usize) {
            self.entries[moved.0 as usize].at = entry.at;
        }
        self.prune(entry.node);
        Some(entry.value)
    }

    /// The patterns that match `destination`, in the order of their keys.
    pub fn matches<'w>(&self, destination: &str, walk: &'w mut Walk) -> &'w [PatternKey] {
        let Walk { reached, next, found } = walk;
        found.clear();
        if self.entries.is_empty() {
            return found;
        }
        reached.clear();
        self.enter(ROOT, reached);
        for part in parts(destination) {
            next.clear();
            for &node in &*reached {
                self.step(node, part.as_bytes(), next);
            }
            next.sort_unstable();
            next.dedup(); // two ways to a node are one, or `**` after `**` would multiply them
            std::mem::swap(reached, next);
            if reached.is_empty() {
                return found;
            }
        }
        if destination.ends_with('/') {
            // `/topic/*` matches `/topic/`.
            next.clear();
            next.extend(reached.iter().filter_map(|&node| self.child(node, ANYTHING)));
            reached.append(next);
            reached.sort_unstable();
            reached.dedup();
        }
        for &node in &*reached {
            let patterns = self.node(node).patterns.iter().copied();
            found.extend(
                patterns.filter(|it| self.entries[it.0 as usize].pattern.matches(destination)),
            );
        }
        found.sort_unstable();
        found
    }

    /// Adds the nodes that `part` leads to from `node`.
    fn step(&self, node: u32, part: &[u8], next: &mut Vec<u32>) {
        let here = self.node(node);
        if let OwnedEdge::Deep = here.edge {
            self.enter(node, next);
        }
        if here.children_count == 0 {
            return;
        }
        if let Some(child) = self.child(node, Edge::Literal(part)) {
            self.enter(child, next);
        }
        for shape in &here.shapes {
            if part.len() < shape.prefix_bytes + shape.suffix_bytes {
                continue;
            }
            let prefix = &part[..shape.prefix_bytes];
            let suffix = &part[part.len() - shape.suffix_bytes..];
            if let Some(child) = self.child(node, Edge::Wild { prefix, suffix }) {
                self.enter(child, next);
            }
        }
    }

    /// Adds `node` and what `**` reaches from it with no segment at all.
    fn enter(&self, node: u32, reached: &mut Vec<u32>) {
        let mut here = Some(node);
        while let Some(node) = here {
            reached.push(node);
            here = self.node(node).deep;
        }
    }

    fn child(&self, parent: u32, edge: Edge<'_>) -> Option<u32> {
        self.edges.find(self.edges.hash((parent, edge)), |child| {
            let child = self.node(child);
            child.parent == parent && child.edge.borrow() == edge
        })
    }

    fn child_or_insert(&mut self, parent: u32, edge: Edge<'_>) -> u32 {
        if let Some(child) = self.child(parent, edge) {
            return child;
        }
        let child = small(self.nodes.insert(Node::new(parent, edge)));
        self.edges.insert(self.edges.hash((parent, edge)), child);
        let node = self.node_mut(parent);
        node.children_count += 1;
        match edge {
            Edge::Deep => node.deep = Some(child),
            Edge::Wild { prefix, suffix } => node.add_shape(prefix.len(), suffix.len()),
            Edge::Root | Edge::Literal(_) => {}
        }
        child
    }

    /// Removes `node` and those above it that have nothing left.
    fn prune(&mut self, node: u32) {
        let mut here = node;
        while here != ROOT && self.node(here).is_empty() {
            let gone = self.nodes.remove(here as usize);
            let edge = gone.edge.borrow();
            self.edges.remove(self.edges.hash((gone.parent, edge)), here);
            let parent = self.node_mut(gone.parent);
            parent.children_count -= 1;
            match edge {
                Edge::Deep => parent.deep = None,
                Edge::Wild { prefix, suffix } => parent.remove_shape(prefix.len(), suffix.len()),
                Edge::Root | Edge::Literal(_) => {}
            }
            here = gone.parent;
        }
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check_invariants(&self) {
        assert!(self.texts.count() == self.entries.len());
        assert!(self.edges.count() + 1 == self.nodes.len());
        for (key, entry) in &self.entries {
            assert!(self.find(entry.pattern.as_str()) == Some(PatternKey(small(key))));
            let patterns = &self.node(entry.node).patterns;
            assert!(patterns[entry.at as usize] == PatternKey(small(key)));
        }
        let mut patterns_count = 0;
        let mut children_count = 0;
        for (index, node) in &self.nodes {
            patterns_count += node.patterns.len();
            children_count += node.children_count as usize;
            let shaped_count: u32 = node.shapes.iter().map(|shape| shape.children_count).sum();
            assert!(shaped_count + u32::from(node.deep.is_some()) <= node.children_count);
            if index != ROOT as usize {
                assert!(!node.is_empty());
                assert!(self.child(node.parent, node.edge.borrow()) == Some(small(index)));
            }
        }
        assert!(patterns_count == self.entries.len());
        assert!(children_count + 1 == self.nodes.len());
    }
}

impl Node {
    fn new(parent: u32, edge: Edge<'_>) -> Self {
        let (shapes, patterns) = (Vec::new(), Vec::new());
        Self { parent, edge: edge.to_owned(), children_count: 0, deep: None, shapes, patterns }
    }

    fn is_empty(&self) -> bool {
        self.children_count == 0 && self.patterns.is_empty()
    }

    fn shape_at(&self, prefix_bytes: usize, suffix_bytes: usize) -> Option<usize> {
        let wanted = (prefix_bytes, suffix_bytes);
        self.shapes.iter().position(|it| (it.prefix_bytes, it.suffix_bytes) == wanted)
    }

    fn add_shape(&mut self, prefix_bytes: usize, suffix_bytes: usize) {
        match self.shape_at(prefix_bytes, suffix_bytes) {
            Some(at) => self.shapes[at].children_count += 1,
            None => self.shapes.push(Shape { prefix_bytes, suffix_bytes, children_count: 1 }),
        }
    }

    fn remove_shape(&mut self, prefix_bytes: usize, suffix_bytes: usize) {
        let at = self.shape_at(prefix_bytes, suffix_bytes).expect("a child's shape is counted");
        self.shapes[at].children_count -= 1;
        if self.shapes[at].children_count == 0 {
            self.shapes.swap_remove(at);
        }
    }
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 patterns and nodes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn parse(text: &str) -> Pattern {
        Pattern::parse(text).expect("the test's pattern is good")
    }

    fn texts<T>(index: &PatternIndex<T>, destination: &str) -> Vec<String> {
        let mut walk = Walk::default();
        let keys = index.matches(destination, &mut walk);
        keys.iter().map(|&key| index.pattern(key).expect("it matched").to_string()).collect()
    }

    #[track_caller]
    fn check(patterns: &[&str], destination: &str, expected: &[&str]) {
        let mut index = PatternIndex::default();
        for text in patterns {
            index.insert(&parse(text), || ());
        }
        index.check_invariants();
        assert_eq!(texts(&index, destination), expected, "{destination}");
    }

    #[test]
    fn all_that_match_are_found_in_the_order_of_their_insertion() {
        check(
            &[
                "/topic/**",
                "/topic/a.*",
                "/topic/?.b",
                "/topic/*.c",
                "/queue/**",
                "/**/a.b",
                "/topic/a.b",
            ],
            "/topic/a.b",
            &["/topic/**", "/topic/a.*", "/topic/?.b", "/**/a.b", "/topic/a.b"],
        );
        check(
            &["/topic/*", "/topic/**", "/topic/?", "/topic/*/"],
            "/topic/",
            &["/topic/*", "/topic/**", "/topic/*/"],
        );
        check(&["/topic/*.é", "/topic/é*é", "/topic/*"], "/topic/é", &["/topic/*"]);
    }

    #[test]
    fn many_ways_to_a_pattern_give_it_once() {
        let patterns = ["/**/**/**", "/**/a/**/a", "/**/*/**/*", "/a/**"];
        check(&patterns, &"/a".repeat(200), &patterns);
        check(&["/**", "/*"], "/", &["/**", "/*"]);
    }

    #[test]
    fn ten_thousand_patterns_of_one_node_are_not_visited() {
        let mut index = PatternIndex::default();
        for number in 0..10_000 {
            index.insert(&parse(&format!("/topic/room.{number}.*")), || number);
            index.insert(&parse(&format!("/topic/price.*.{number}")), || number);
            index.insert(&parse(&format!("/topic/**/end.{number}")), || number);
        }
        let topic = index.child(ROOT, Edge::Literal(b"topic")).expect("all begin with it");
        let shapes_count = index.node(topic).shapes.len();
        assert_eq!(shapes_count, 8, "one to four digits, in two places");
        for number in [0, 77, 9_999] {
            let of_one = |it: String| vec![it];
            assert_eq!(
                texts(&index, &format!("/topic/room.{number}.x")),
                of_one(format!("/topic/room.{number}.*"))
            );
            assert_eq!(
                texts(&index, &format!("/topic/price.x.{number}")),
                of_one(format!("/topic/price.*.{number}"))
            );
            assert_eq!(
                texts(&index, &format!("/topic/a/b/end.{number}")),
                of_one(format!("/topic/**/end.{number}"))
            );
        }
    }

    #[test]
    fn an_index_from_which_all_is_removed_is_as_new() {
        let mut index = PatternIndex::default();
        let keys = ["/a/*/b", "/a/**", "/a/b?*c", "/a/b*c", "/"]
            .map(|text| index.insert(&parse(text), || text));
        assert_eq!(index.insert(&parse("/a/**"), || unreachable!()), keys[1]);
        assert_eq!(index.count(), 5);
        for key in keys {
            assert!(index.get(key).is_some());
            index.remove(key).expect("it is there");
            assert_eq!(index.get(key), None);
            assert_eq!(index.get_mut(key), None);
            assert_eq!(index.remove(key), None);
            index.check_invariants();
        }
        assert_eq!((index.count(), index.nodes.len(), index.edges.count()), (0, 1, 0));
        assert!(index.node(ROOT).shapes.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(String),
        Remove(usize),
    }

    fn some_step() -> impl Strategy<Value = Step> {
        let part =
            select(vec!["a", "b", "ab", "*", "**", "?", "a*", "*b", "a*b", "a?b", "{x}", "é*"]);
        let last = select(vec!["", "", "/", "/b{x:a|b}"]);
        let text = (prop::collection::vec(part, 1..4), last)
            .prop_map(|(parts, last)| format!("/{}{last}", parts.join("/")));
        prop_oneof![3 => text.prop_map(Step::Insert), 2 => any::<usize>().prop_map(Step::Remove)]
    }

    fn some_destination() -> impl Strategy<Value = String> {
        (prop::collection::vec("[ab]{1,3}|é", 0..4), select(vec!["", "", "/"]))
            .prop_map(|(parts, last)| format!("/{}{last}", parts.join("/")))
    }

    proptest! {
        #[test]
        fn the_index_equals_a_list(
            steps in prop::collection::vec(some_step(), 1..40),
            destinations in prop::collection::vec(some_destination(), 8),
        ) {
            let mut index = PatternIndex::default();
            let mut model: Vec<(PatternKey, Pattern, usize)> = Vec::new();
            let mut walk = Walk::default();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(text) => {
                        let pattern = parse(&text);
                        let known = model.iter().find(|it| it.1 == pattern).map(|it| it.0);
                        prop_assert_eq!(index.find(&text), known);
                        let key = index.insert(&pattern, || number);
                        prop_assert_eq!(known.unwrap_or(key), key);
                        if known.is_none() {
                            model.push((key, pattern, number));
                        }
                    }
                    Step::Remove(at) if !model.is_empty() => {
                        let (key, _, value) = model.swap_remove(at % model.len());
                        prop_assert_eq!(index.remove(key), Some(value));
                    }
                    Step::Remove(_) => {}
                }
                index.check_invariants();
                prop_assert_eq!(index.count(), model.len());
                for to in &destinations {
                    let mut wanted: Vec<_> =
                        model.iter().filter(|it| it.1.matches(to)).map(|it| it.0).collect();
                    wanted.sort_unstable();
                    prop_assert_eq!(index.matches(to, &mut walk), &*wanted);
                }
                for (key, _, value) in &model {
                    prop_assert_eq!(index.get(*key), Some(value));
                }
            }
        }
    }
}
