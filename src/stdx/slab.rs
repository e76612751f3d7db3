//! A generational slab: dense storage whose keys stay wrong after their entry is gone.

/// Where an entry lives, and which of the entries that lived there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Position in the slab; given again to a later entry.
    pub index: u32,
    generation: u32,
}

impl Key {
    /// Both numbers as one, for what the kernel hands back.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key of these bits.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Entries of one kind, found by [`Key`] or, where the owner knows the entry to be there, by index.
///
/// Invariants: `vacant` holds just the indexes without a value, so `len` = entries − vacant; an
/// index's generation rises with every removal, so an old key finds nothing.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    vacant: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `value` in the lowest-cost free place.
    ///
    /// # Panics
    ///
    /// With 2^32 entries, which no machine's descriptors allow.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.vacant.pop() {
            let entry = &mut self.entries[index as usize];
            assert!(entry.value.is_none());
            entry.value = Some(value);
            return Key { index, generation: entry.generation };
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 entries");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Key { index, generation: 0 }
    }

    /// Takes the entry out; `None` when it is gone already.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(key.index);
        Some(value)
    }

    /// The entry of `key`, unless it is gone.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The entry of `key`, unless it is gone.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// The entry that lives at `index` now.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.value.as_mut()
    }

    /// The key of the entry that lives at `index` now.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let entry = self.entries.get(index as usize)?;
        entry.value.as_ref().map(|_| Key { index, generation: entry.generation })
    }

    /// Places of entries, taken or not: each index is below.
    #[must_use]
    pub fn places(&self) -> usize {
        self.entries.len()
    }

    /// All entries in the order of their index.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let index = u32::try_from(index).ok()?;
            let value = entry.value.as_ref()?;
            Some((Key { index, generation: entry.generation }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_where_a_new_entry_lives() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.key_at(first.index), Some(second));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_key_comes_back_from_its_bits() {
        let mut slab = Slab::default();
        let first = slab.insert(());
        slab.remove(first);
        let key = slab.insert(());
        assert_eq!(Key::from_bits(key.to_bits()), key);
        assert_ne!(Key::from_bits(first.to_bits()), key);
    }

    #[test]
    fn entries_are_listed_in_order_of_index() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..5).map(|it| slab.insert(it)).collect();
        slab.remove(keys[2]);
        assert_eq!(slab.iter().map(|(_, it)| *it).collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!(slab.key_at(2), None);
        assert_eq!(slab.at_mut(9), None);
    }
}
