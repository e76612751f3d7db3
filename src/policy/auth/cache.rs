//! A bounded map that forgets what was not asked for lately.

use std::collections::HashMap;
use std::mem;

/// The hash of a token; collisions cannot be made, so equal hashes are equal tokens.
pub(super) type Digest = [u8; 32];

/// Values by digest, `entries_max` at most: two halves, of which the old one goes as a whole when
/// the young one is full. What is asked for in the old half moves to the young one.
#[derive(Debug)]
pub(super) struct Cache<V> {
    young: HashMap<Digest, V>,
    old: HashMap<Digest, V>,
    half_max: usize,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half_max: (entries_max / 2).max(1) }
    }

    pub(super) fn get(&mut self, digest: &Digest) -> Option<V> {
        if let Some(value) = self.young.get(digest) {
            return Some(value.clone());
        }
        let value = self.old.remove(digest)?;
        self.insert(*digest, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, digest: Digest, value: V) {
        if self.half_max <= self.young.len() && !self.young.contains_key(&digest) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, value);
        assert!(self.young.len() <= self.half_max && self.old.len() <= self.half_max);
    }

    pub(super) fn remove(&mut self, digest: &Digest) {
        self.young.remove(digest);
        self.old.remove(digest);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_asked_for() {
        let digest = |it: u8| [it; 32];
        let mut cache = Cache::new(8);
        cache.insert(digest(0), 0);
        for it in 1..=200 {
            cache.insert(digest(it), it);
            assert_eq!(cache.get(&digest(0)), Some(0), "{it}");
            assert!(cache.len() <= 8);
        }
        assert_eq!(cache.get(&digest(1)), None);
        assert_eq!(cache.get(&digest(200)), Some(200));
        cache.remove(&digest(200));
        assert_eq!(cache.get(&digest(200)), None);
    }
}
