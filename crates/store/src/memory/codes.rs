//! Vectors in one bit for each dimension, all of an embedder in memory: what is near among a hundred thousand is found without
//! reading them from the disk. A scan gives a shortlist, which is then compared exactly by the vectors themselves.
//!
//! The codes are a guess that costs nothing when it is wrong: a number that the database does not know any more is dropped from the
//! shortlist and from here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use privet_domain::id::ConversationId;
use privet_domain::memory::{Embedding, MemoryFilter, MemoryId, MemoryKind};
use privet_domain::time::Timestamp;

use super::owner::Owner;

/// Codes are held in blocks of so many: what a scan reads is never changed, but copied by who changes it.
const BLOCK_ROWS: usize = 2048;
/// The dimensions in one word of a code, and in one of the bytes by which it is weighed.
const WORD_BITS: usize = 64;
const BYTE_VALUES: usize = 256;

/// So many of the nearest by the number of differing bits are weighed.
const NEAR: usize = 2_000;
/// So many of the nearest by weight are compared exactly.
pub(super) const SHORTLIST: usize = 200;

/// What a code belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeRow {
    pub(super) number: i64,
    pub(super) memory: MemoryId,
    pub(super) conversation: Option<ConversationId>,
    pub(super) kind: MemoryKind,
    pub(super) created_at: Timestamp,
}

#[derive(Clone, Default)]
struct Block {
    rows: Vec<CodeRow>,
    /// As many words for each row as a code has.
    words: Vec<u64>,
}

/// The codes of one owner.
#[derive(Clone, Default)]
struct Group {
    blocks: Vec<Arc<Block>>,
    /// The greatest number that was ever put here: what is greater is new.
    highest: i64,
}

/// All codes of one embedder.
pub(super) struct CodeBook {
    code_words: usize,
    groups: HashMap<Owner, Group>,
}

/// Some owners' codes at one moment.
pub(super) struct Snapshot {
    code_words: usize,
    blocks: Vec<Arc<Block>>,
}

impl CodeBook {
    pub(super) fn new(dimensions: usize) -> Self {
        Self { code_words: dimensions.div_ceil(WORD_BITS).max(1), groups: HashMap::new() }
    }

    /// Puts a code in, in place of the one of the same number.
    pub(super) fn put(&mut self, owner: Owner, row: CodeRow, code: &[u64]) {
        if code.len() != self.code_words {
            return;
        }
        let group = self.groups.entry(owner).or_default();
        if row.number <= group.highest && group.replace(row, code) {
            return;
        }
        group.highest = group.highest.max(row.number);
        if group.blocks.last().is_none_or(|block| block.rows.len() >= BLOCK_ROWS) {
            group.blocks.push(Arc::default());
        }
        if let Some(block) = group.blocks.last_mut().map(Arc::make_mut) {
            block.rows.push(row);
            block.words.extend_from_slice(code);
        }
    }

    /// Puts all codes of another one in, in place of those of the same numbers.
    pub(super) fn put_all(&mut self, other: &Self) {
        for (owner, group) in &other.groups {
            for block in &group.blocks {
                for (row, code) in block.rows.iter().zip(block.words.chunks_exact(self.code_words)) {
                    self.put(*owner, *row, code);
                }
            }
        }
    }

    /// Removes those of memories.
    pub(super) fn remove_memories(&mut self, memories: &HashSet<MemoryId>) {
        self.remove(|row| memories.contains(&row.memory));
    }

    /// Removes some of an owner.
    pub(super) fn remove_numbers(&mut self, owner: Owner, numbers: &HashSet<i64>) {
        let code_words = self.code_words;
        if let Some(group) = self.groups.get_mut(&owner) {
            group.remove(code_words, &|row: &CodeRow| numbers.contains(&row.number));
        }
        self.groups.retain(|_, group| !group.blocks.is_empty());
    }

    fn remove(&mut self, is_gone: impl Fn(&CodeRow) -> bool) {
        let code_words = self.code_words;
        for group in self.groups.values_mut() {
            group.remove(code_words, &is_gone);
        }
        self.groups.retain(|_, group| !group.blocks.is_empty());
    }

    /// Gives back what was reserved for more.
    pub(super) fn shrink(&mut self) {
        for block in self.groups.values_mut().flat_map(|group| &mut group.blocks) {
            let block = Arc::make_mut(block);
            block.rows.shrink_to_fit();
            block.words.shrink_to_fit();
        }
    }

    pub(super) fn snapshot(&self, owners: &[Owner]) -> Snapshot {
        let groups = owners.iter().filter_map(|owner| self.groups.get(owner));
        Snapshot { code_words: self.code_words, blocks: groups.flat_map(|group| group.blocks.clone()).collect() }
    }
}

impl Group {
    fn replace(&mut self, row: CodeRow, code: &[u64]) -> bool {
        for block in &mut self.blocks {
            let Some(at) = block.rows.iter().position(|old| old.number == row.number) else { continue };
            let block = Arc::make_mut(block);
            if let (Some(old), Some(words)) = (block.rows.get_mut(at), block.words.chunks_exact_mut(code.len()).nth(at))
            {
                *old = row;
                words.copy_from_slice(code);
            }
            return true;
        }
        false
    }

    fn remove(&mut self, code_words: usize, is_gone: &impl Fn(&CodeRow) -> bool) {
        for block in &mut self.blocks {
            if !block.rows.iter().any(is_gone) {
                continue;
            }
            let mut left = Block::default();
            for (row, code) in block.rows.iter().zip(block.words.chunks_exact(code_words)) {
                if !is_gone(row) {
                    left.rows.push(*row);
                    left.words.extend_from_slice(code);
                }
            }
            *block = Arc::new(left);
        }
        self.blocks.retain(|block| !block.rows.is_empty());
    }
}

/// The code of a vector: a bit for each dimension, set where it is positive.
pub(super) fn code(values: &[f32]) -> Vec<u64> {
    let word = |values: &[f32]| {
        values.iter().enumerate().fold(0_u64, |word, (bit, value)| word | (u64::from(*value > 0.0) << bit))
    };
    values.chunks(WORD_BITS).map(word).collect()
}

impl Snapshot {
    pub(super) fn rows(&self) -> usize {
        self.blocks.iter().map(|block| block.rows.len()).sum()
    }

    /// The numbers of those that are likely to be the nearest, at most [`SHORTLIST`], in no order.
    pub(super) fn shortlist(&self, query: &Embedding, filter: &MemoryFilter, limit: usize) -> Vec<i64> {
        let shortlist = SHORTLIST.max(limit.saturating_mul(2));
        let near = self.near(&code(query.values()), filter, NEAR.max(shortlist.saturating_mul(4)));
        if near.len() <= shortlist {
            return near.into_iter().map(|(row, _)| row.number).collect();
        }
        let weights = Weights::new(query);
        let mut weighed: Vec<(f32, i64)> = near.iter().map(|(row, code)| (weights.weigh(code), row.number)).collect();
        let by_weight = |one: &(f32, i64), other: &(f32, i64)| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1));
        weighed.select_nth_unstable_by(shortlist, by_weight);
        weighed.truncate(shortlist);
        weighed.into_iter().map(|(_, number)| number).collect()
    }

    /// Those with the fewest differing bits, at most `limit`.
    fn near(&self, query: &[u64], filter: &MemoryFilter, limit: usize) -> Vec<(&CodeRow, &[u64])> {
        let is_open = filter.is_open();
        let farthest = self.code_words * WORD_BITS;
        let mut counts = vec![0_usize; farthest + 1];
        let mut distances: Vec<u16> = Vec::with_capacity(self.rows());
        for block in &self.blocks {
            for (row, code) in block.rows.iter().zip(block.words.chunks_exact(self.code_words)) {
                if !is_open && !filter.passes(row.kind, row.created_at, row.conversation) {
                    distances.push(u16::MAX);
                    continue;
                }
                let distance = distance(query, code);
                if let Some(count) = counts.get_mut(usize::from(distance)) {
                    *count += 1;
                }
                distances.push(distance);
            }
        }
        let (last, mut of_last) = last_within(&counts, limit);
        let rows =
            self.blocks.iter().flat_map(|block| block.rows.iter().zip(block.words.chunks_exact(self.code_words)));
        let mut near = Vec::with_capacity(limit.min(distances.len()));
        for (row, distance) in rows.zip(distances) {
            let is_near = usize::from(distance) < last || (usize::from(distance) == last && of_last > 0);
            if is_near {
                of_last -= usize::from(usize::from(distance) == last);
                near.push(row);
            }
        }
        near
    }
}

/// The distance up to which there are so many, and how many of exactly that distance are among them.
fn last_within(counts: &[usize], limit: usize) -> (usize, usize) {
    let mut left = limit;
    for (distance, count) in counts.iter().enumerate() {
        if *count >= left {
            return (distance, left);
        }
        left -= count;
    }
    (counts.len(), 0)
}

fn distance(one: &[u64], other: &[u64]) -> u16 {
    let bits: u32 = one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum();
    u16::try_from(bits).unwrap_or(u16::MAX - 1)
}

/// What each byte of a code adds to the product of the query with it: the query keeps its numbers, only what is searched has bits.
struct Weights(Vec<[f32; BYTE_VALUES]>);

impl Weights {
    fn new(query: &Embedding) -> Self {
        let table = |values: &[f32]| {
            let mut table = [0.0; BYTE_VALUES];
            for (byte, sum) in table.iter_mut().enumerate() {
                let signed = |(bit, value): (usize, &f32)| if byte >> bit & 1 == 1 { *value } else { -value };
                *sum = values.iter().enumerate().map(signed).sum();
            }
            table
        };
        Self(query.values().chunks(8).map(table).collect())
    }

    fn weigh(&self, code: &[u64]) -> f32 {
        let bytes = code.iter().flat_map(|word| word.to_le_bytes());
        self.0.iter().zip(bytes).filter_map(|(table, byte)| table.get(usize::from(byte))).sum()
    }
}

#[cfg(test)]
mod tests {
    use privet_domain::id::ProjectId;
    use privet_domain::memory::{MemoryScope, Representation};

    use super::*;

    fn owner(user: &str) -> Owner {
        Owner::of(&MemoryScope::new(ProjectId::from(uuid::Uuid::nil()), user), Representation::Text)
    }

    fn row(number: i64) -> CodeRow {
        CodeRow {
            number,
            memory: MemoryId::new(),
            conversation: None,
            kind: if number % 2 == 0 { MemoryKind::Note } else { MemoryKind::Fact },
            created_at: Timestamp::from_micros(number),
        }
    }

    /// Pseudo-random numbers around 0.
    fn vector(seed: i64, dimensions: usize) -> Embedding {
        let mut state = seed.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / 16_777_216.0) - 0.5
        };
        let values: Vec<f32> = (0..dimensions).map(|_| next()).collect();
        Embedding::new(&values, dimensions).unwrap()
    }

    fn book(users: &[&str], each: i64, dimensions: usize) -> CodeBook {
        let mut book = CodeBook::new(dimensions);
        for number in 0..each {
            for (at, user) in users.iter().enumerate() {
                let number = number * users.len() as i64 + at as i64;
                book.put(owner(user), row(number), &code(vector(number, dimensions).values()));
            }
        }
        book
    }

    fn found(book: &CodeBook, user: &str, query: &Embedding, filter: &MemoryFilter) -> Vec<i64> {
        let mut found = book.snapshot(&[owner(user)]).shortlist(query, filter, 10);
        found.sort_unstable();
        found
    }

    #[test]
    fn a_scan_finds_what_it_searches_and_nothing_of_another_owner() {
        let book = book(&["ada", "bob"], 5_000, 100);
        for number in [0, 776, 9_998] {
            let found = found(&book, "ada", &vector(number, 100), &MemoryFilter::default());
            assert_eq!(found.len(), SHORTLIST);
            assert!(found.contains(&number) && found.iter().all(|number| number % 2 == 0));
        }
        assert!(found(&book, "eve", &vector(1, 100), &MemoryFilter::default()).is_empty());
    }

    #[test]
    fn few_are_all_found_and_a_filter_leaves_all_that_it_lets_pass() {
        let book = book(&["ada"], 150, 64);
        assert_eq!(found(&book, "ada", &vector(1, 64), &MemoryFilter::default()), (0..150).collect::<Vec<_>>());
        let kind = MemoryFilter { kind: Some(MemoryKind::Fact), ..MemoryFilter::default() };
        assert_eq!(found(&book, "ada", &vector(1, 64), &kind).len(), 75);
        let since = MemoryFilter { since: Some(Timestamp::from_micros(140)), ..MemoryFilter::default() };
        assert_eq!(found(&book, "ada", &vector(1, 64), &since), (140..150).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_removed_or_replaced_is_found_no_more() {
        let mut book = book(&["ada"], 5_000, 64);
        let gone = row(7);
        book.put(owner("ada"), gone, &code(vector(9_999, 64).values()));
        assert_eq!(book.snapshot(&[owner("ada")]).rows(), 5_000, "in place of the old one");
        assert!(found(&book, "ada", &vector(9_999, 64), &MemoryFilter::default()).contains(&7));
        book.remove_memories(&HashSet::from([gone.memory]));
        assert!(!found(&book, "ada", &vector(9_999, 64), &MemoryFilter::default()).contains(&7));
        book.remove_numbers(owner("ada"), &(0..4_990).collect());
        assert_eq!(found(&book, "ada", &vector(1, 64), &MemoryFilter::default()), (4_990..5_000).collect::<Vec<_>>());
        book.remove_numbers(owner("ada"), &(0..5_000).collect());
        assert!(book.groups.is_empty());
    }

    #[test]
    fn the_weight_is_the_product_with_the_signs() {
        let (query, other) = (vector(1, 100), vector(2, 100));
        let signs = other.values().iter().map(|value| if *value > 0.0 { 1.0 } else { -1.0 });
        let expected: f32 = query.values().iter().zip(signs).map(|(value, sign)| value * sign).sum();
        assert!((Weights::new(&query).weigh(&code(other.values())) - expected).abs() < 1e-4);
    }

    #[test]
    fn the_nearest_by_bits_are_exactly_so_many() {
        assert_eq!(last_within(&[3, 0, 5, 1], 4), (2, 1));
        assert_eq!(last_within(&[3, 0, 5, 1], 3), (0, 3));
        assert_eq!(last_within(&[3, 0, 5, 1], 99), (4, 0));
    }
}
