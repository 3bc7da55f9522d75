//! Which words of a query are worth while, where an owner has very many texts: a word that stands in a large part of them says little
//! of what is sought, and every text in which it stands would have to be ranked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use privet_domain::memory::IndexError;

use super::{EmbeddedIndex, failed};
use crate::memory::owner::Owner;
use crate::memory::words::word_expression;

/// An owner with so many representations is searched by all words.
const FEW: i64 = 5_000;
/// A word that stands in more representations than this is common.
const COMMON: i64 = 5_000;
/// The rarest words are taken until they stand in so many representations together.
const MATCHES_MAX: i64 = 10_000;
/// So many words are remembered, and so often looked up before they are counted again.
const REMEMBERED: usize = 20_000;
const LOOKED_UP: usize = 100_000;

const OWNED: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM memory_representations WHERE owner = $1 LIMIT $2)";
const STANDS_IN: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM memory_terms WHERE memory_terms MATCH $1 LIMIT $2)";
const NEWEST: &str =
    "SELECT number FROM memory_representations WHERE owner = $1 ORDER BY number DESC LIMIT 1 OFFSET $2";

/// In how many representations words stand, as they were counted not long ago. A count ends beyond [`COMMON`].
#[derive(Default)]
pub(super) struct WordCounts(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    counts: HashMap<String, i64>,
    looked_up: usize,
}

impl WordCounts {
    fn get(&self, word: &str) -> Option<i64> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.looked_up += 1;
        if remembered.looked_up > LOOKED_UP || remembered.counts.len() > REMEMBERED {
            *remembered = Remembered::default();
        }
        remembered.counts.get(word).copied()
    }

    fn put(&self, word: &str, count: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.insert(word.to_owned(), count);
    }
}

/// What is searched for.
pub(super) struct Search {
    pub(super) words: Vec<String>,
    /// Only from this number on.
    pub(super) from: i64,
}

impl EmbeddedIndex {
    /// The words by which owners are searched, and from where on.
    pub(super) async fn worth_while(&self, owners: &[Owner], words: Vec<String>) -> Result<Search, IndexError> {
        let readers = &self.sqlite()?.readers;
        let mut owned: i64 = 0;
        for owner in owners {
            owned += sqlx::query_scalar::<_, i64>(OWNED)
                .bind(owner.token())
                .bind(FEW + 1)
                .fetch_one(readers)
                .await
                .map_err(failed)?;
        }
        if owned <= FEW {
            return Ok(Search { words, from: 0 });
        }
        let mut counted = Vec::with_capacity(words.len());
        for word in words {
            counted.push((self.stands_in(&word).await?, word));
        }
        counted.sort_by_key(|(count, word)| (*count, std::cmp::Reverse(word.len())));
        if counted.first().is_some_and(|(count, _)| *count > COMMON) {
            // Common words alone find the newest.
            let mut from = i64::MAX;
            for owner in owners {
                let oldest: Option<i64> = sqlx::query_scalar(NEWEST)
                    .bind(owner.token())
                    .bind(FEW)
                    .fetch_optional(readers)
                    .await
                    .map_err(failed)?;
                from = from.min(oldest.unwrap_or(0));
            }
            return Ok(Search { words: counted.into_iter().map(|(_, word)| word).collect(), from });
        }
        let mut left = MATCHES_MAX;
        let rare = counted.into_iter().take_while(|(count, _)| {
            left -= count;
            left >= 0
        });
        Ok(Search { words: rare.map(|(_, word)| word).collect(), from: 0 })
    }

    async fn stands_in(&self, word: &str) -> Result<i64, IndexError> {
        if let Some(count) = self.word_counts.get(word) {
            return Ok(count);
        }
        let count: i64 = sqlx::query_scalar(STANDS_IN)
            .bind(word_expression(word))
            .bind(COMMON + 1)
            .fetch_one(&self.sqlite()?.readers)
            .await
            .map_err(failed)?;
        self.word_counts.put(word, count);
        Ok(count)
    }
}
