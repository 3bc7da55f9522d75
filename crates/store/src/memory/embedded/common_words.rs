//! Which words of a query are worth while in a large index. Whoever ranks by BM25 walks through every text in which a word stands,
//! whoever's it is, and a word that stands in very many says little of what is sought.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use privet_domain::memory::IndexError;

use super::{EmbeddedIndex, failed};
use crate::memory::owner::Owner;
use crate::memory::words::word_expression;

/// An owner with so many representations or fewer is searched inside its own; of one with more, to walk through those would cost more
/// than to look at whose the matches are.
const FEW: i64 = 5_000;
/// A word that stands in more representations than this is common.
const COMMON: i64 = 5_000;
/// So many of the common words are searched where they do not make it slow, the longest first.
const COMMON_WORDS: usize = 3;
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
    /// Whether whose the texts are is a part of the search, and not looked at after it.
    pub(super) is_inside: bool,
    /// Only from this number on.
    pub(super) from: i64,
    /// Where these words find too few: the rare ones may be others' alone.
    pub(super) or_common: Vec<String>,
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
        let mut counted = Vec::with_capacity(words.len());
        for word in words {
            counted.push((self.stands_in(&word).await?, word));
        }
        // What stands nowhere finds nothing, and is no reason to leave the common words out.
        counted.retain(|(count, _)| *count > 0);
        counted.sort_by_key(|(count, word)| (*count, std::cmp::Reverse(word.chars().count())));
        let (mut rare, mut common): (Vec<_>, Vec<_>) = counted.into_iter().partition(|(count, _)| *count <= COMMON);
        common.truncate(COMMON_WORDS);
        if owned <= FEW {
            rare.append(&mut common);
            return Ok(Search {
                words: rare.into_iter().map(|(_, word)| word).collect(),
                is_inside: true,
                from: 0,
                or_common: Vec::new(),
            });
        }
        if rare.is_empty() {
            let words = common.into_iter().map(|(_, word)| word).collect();
            return Ok(Search { words, is_inside: false, from: self.newest(owners).await?, or_common: Vec::new() });
        }
        let mut left = MATCHES_MAX;
        let rare = rare.into_iter().take_while(|(count, _)| {
            left -= count;
            left >= 0
        });
        let words = rare.map(|(_, word)| word).collect();
        let or_common = common.into_iter().map(|(_, word)| word).collect();
        Ok(Search { words, is_inside: false, from: 0, or_common })
    }

    /// Where the newest of owners begin: in those alone common words are searched.
    pub(super) async fn newest(&self, owners: &[Owner]) -> Result<i64, IndexError> {
        let mut from = 0;
        for owner in owners {
            let oldest: Option<i64> = sqlx::query_scalar(NEWEST)
                .bind(owner.token())
                .bind(FEW)
                .fetch_optional(&self.sqlite()?.readers)
                .await
                .map_err(failed)?;
            from = oldest.unwrap_or(0).max(from);
        }
        Ok(from)
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
        if count > 0 {
            self.word_counts.put(word, count);
        }
        Ok(count)
    }
}
