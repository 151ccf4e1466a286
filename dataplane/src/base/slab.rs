//! Tables with stable keys: an index that packets can carry and a generation that makes a stale key find nothing.
//!
//! Promises: O(1) insert, find and remove; never more entries than the bound; indices are dense, so that parallel arrays can use
//! them. Allocation happens on insert only, and inserts come from commands.

/// Names one entry for as long as it lives; later entries at the same index have other keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Names nothing, in every table.
    pub const NOWHERE: Self = Self { index: u32::MAX, generation: 0 };

    /// The entry's place, for arrays parallel to the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// A bounded table.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    bound: usize,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// An empty table of at most `bound` entries.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self { entries: Vec::new(), free: Vec::new(), bound }
    }

    /// Adds an entry; gives it back when the table is full.
    ///
    /// # Errors
    /// The value, when the table is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Ok(Key { index, generation: entry.generation });
        }
        match u32::try_from(self.entries.len()) {
            Ok(index) if self.entries.len() < self.bound => {
                self.entries.push(Entry { generation: 0, value: Some(value) });
                Ok(Key { index, generation: 0 })
            }
            _ => Err(value),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index())?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Gives an entry another key, its last one: what still carries an earlier key finds nothing. The index stays.
    pub fn rename(&mut self, key: Key) -> Option<Key> {
        let entry = self.entries.get_mut(key.index()).filter(|entry| entry.generation == key.generation)?;
        entry.value.as_ref()?;
        entry.generation = entry.generation.wrapping_add(1);
        Some(Key { index: key.index, generation: entry.generation })
    }

    /// The entry, if it still lives.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index())?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The entry, if it still lives.
    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index())?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// Key of the entry that lives at `index`.
    #[must_use]
    pub fn key_at(&self, index: usize) -> Option<Key> {
        let entry = self.entries.get(index)?;
        entry.value.as_ref()?;
        Some(Key { index: u32::try_from(index).ok()?, generation: entry.generation })
    }

    /// Keys of all entries, by index.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        (0..self.entries.len()).filter_map(|index| self.key_at(index))
    }

    /// How many entries live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no entry lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new(2);
        let first = slab.insert("a").expect("room");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b").expect("room");
        assert_eq!(second.index(), first.index());
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"b")));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.count(), 1);
    }

    #[test]
    fn a_full_table_refuses() {
        let mut slab = Slab::new(1);
        let key = slab.insert(1).expect("room");
        assert_eq!(slab.insert(2), Err(2));
        slab.remove(key);
        assert!(slab.is_empty());
        assert!(slab.insert(3).is_ok());
        assert_eq!(slab.keys().count(), 1);
    }
}
