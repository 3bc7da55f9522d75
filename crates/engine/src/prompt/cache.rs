//! What was fetched, in memory of a bounded size. When it is full, or anything changed, all of it is forgotten: to fetch again
//! is cheap, and nothing stale can stay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use privet_domain::id::ProjectId;
use privet_domain::prompt::Selector;

use super::{Form, Prompt};

const ENTRIES_MAX: usize = 4_096;
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What an entry weighs besides its texts.
const ENTRY_BYTES: usize = 512;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) project: ProjectId,
    pub(super) name: String,
    pub(super) selector: Selector,
    pub(super) form: Form,
}

#[derive(Default)]
pub(super) struct Cache {
    /// Also what is not there: a request for it is as cheap.
    entries: HashMap<Key, Option<Arc<Prompt>>>,
    bytes: usize,
    /// Grows whenever all is forgotten.
    generation: u64,
}

impl Cache {
    /// What is known of it; else the generation in which the database is asked.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Arc<Prompt>>, u64> {
        self.entries.get(key).cloned().ok_or(self.generation)
    }

    /// Keeps what the database said, unless something changed since it was asked.
    pub(super) fn put(&mut self, key: Key, found: Option<Arc<Prompt>>, generation: u64) {
        if generation != self.generation {
            return;
        }
        let bytes = ENTRY_BYTES + key.name.len() + found.as_deref().map_or(0, weight);
        if self.entries.len() >= ENTRIES_MAX || self.bytes + bytes > BYTES_MAX {
            self.entries.clear();
            self.bytes = 0;
        }
        if self.entries.insert(key, found).is_none() {
            self.bytes += bytes;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::default() };
    }
}

fn weight(prompt: &Prompt) -> usize {
    let texts: usize = prompt.body.texts().map(|text| text.len() + ENTRY_BYTES).sum();
    texts + prompt.config.to_string().len() + prompt.parts.len() * ENTRY_BYTES
}

pub(super) fn locked(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { project: ProjectId::new(), name: name.to_owned(), selector: Selector::production(), form: Form::Raw }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let mut cache = Cache::default();
        let Err(generation) = cache.get(&key("a")) else { panic!() };
        cache.clear();
        let asked = key("a");
        cache.put(asked.clone(), None, generation);
        let Err(generation) = cache.get(&asked) else { panic!("stale") };
        cache.put(asked.clone(), None, generation);
        assert!(cache.get(&asked).is_ok_and(|found| found.is_none()));
    }

    #[test]
    fn whoever_asks_for_many_names_does_not_fill_the_memory() {
        let mut cache = Cache::default();
        for n in 0..3 * ENTRIES_MAX {
            cache.put(key(&n.to_string()), None, 0);
            assert!(cache.entries.len() <= ENTRIES_MAX && cache.bytes <= BYTES_MAX);
        }
    }
}
