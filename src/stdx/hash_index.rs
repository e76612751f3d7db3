//! A hash index: finds a small key by the hash of what it stands for, while its owner keeps the
//! names.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::BuildHasherDefault;
use std::hash::Hash;
use std::hash::Hasher;
use std::hash::RandomState;

/// Keys by hash. What a key stands for is stored once, at the owner, who compares it in
/// [`Self::find`].
///
/// The hash is seeded at random, so no peer can choose names that meet; nothing here is ever
/// walked in hash order, so nothing that follows from it differs from run to run.
///
/// Invariant: a hash of `clashes` is a hash of `firsts` too.
#[derive(Debug, Default)]
pub struct HashIndex {
    seeds: RandomState,
    firsts: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// Further keys of a hash: with 64 seeded bits there are none, but wrong they would not be.
    clashes: Vec<(u64, u32)>,
}

impl HashIndex {
    /// The hash of a name, to be given to the other functions.
    #[must_use]
    pub fn hash(&self, name: impl Hash) -> u64 {
        self.seeds.hash_one(name)
    }

    /// The key under `hash` for which `is_it` holds.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let first = *self.firsts.get(&hash)?;
        if is_it(first) {
            return Some(first);
        }
        self.clashes.iter().filter(|it| it.0 == hash).map(|it| it.1).find(|&key| is_it(key))
    }

    /// Adds `key`, which must not be there yet.
    pub fn insert(&mut self, hash: u64, key: u32) {
        let first = *self.firsts.entry(hash).or_insert(key);
        if first != key {
            self.clashes.push((hash, key));
        }
    }

    /// Removes `key`.
    ///
    /// # Panics
    ///
    /// If it is not there: the index and its owner would disagree.
    pub fn remove(&mut self, hash: u64, key: u32) {
        if self.firsts.get(&hash) != Some(&key) {
            let at = self.clashes.iter().position(|it| *it == (hash, key));
            self.clashes.swap_remove(at.expect("the owner removes what it inserted"));
            return;
        }
        match self.clashes.iter().position(|it| it.0 == hash) {
            Some(at) => self.firsts.insert(hash, self.clashes.swap_remove(at).1),
            None => self.firsts.remove(&hash),
        };
    }

    /// How many keys there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.firsts.len() + self.clashes.len()
    }
}

/// Passes on what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_hash_stay_apart_in_any_order_of_removal() {
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let mut index = HashIndex::default();
            for key in [1, 2, 3] {
                index.insert(7, key);
            }
            index.insert(8, 4);
            for (at, gone) in order.into_iter().enumerate() {
                assert_eq!(index.find(7, |key| key == gone), Some(gone));
                index.remove(7, gone);
                for key in order {
                    let wanted = order[at + 1..].contains(&key).then_some(key);
                    assert_eq!(index.find(7, |it| it == key), wanted);
                }
            }
            assert_eq!((index.count(), index.find(8, |_| true)), (1, Some(4)));
        }
    }

    #[test]
    fn equal_names_have_equal_hashes_in_one_index() {
        let index = HashIndex::default();
        assert_eq!(index.hash(("a", 1)), index.hash((&String::from("a"), 1)));
        assert_ne!(index.hash("a"), index.hash("b"));
    }
}
