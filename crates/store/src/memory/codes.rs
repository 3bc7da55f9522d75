//! Vectors in a few bits for each dimension, all of an embedder in memory: what is near among a hundred thousand is found without
//! reading them from the disk. First the differing bits are counted, one for each dimension; of those that differ least the *levels*
//! are weighed, four bits for each dimension; the best of these are a shortlist, which is compared by the vectors themselves.
//!
//! Embeddings of texts all lie to one side, so bits and levels tell how far a vector lies beyond their *centre*. The product with a
//! query is guessed from them and two numbers for each vector (as RaBitQ does, Gao and Long 2024). Measured on 40,000 vectors in
//! clusters, the shortlist of 200 holds of the ten nearest 22 to 100 in a hundred by bits alone, and nearly all by levels.
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
/// The dimensions in one word of bits.
const WORD_BITS: usize = 64;
/// A level stands for one of 16 distances from the centre, half of them on each side.
const LEVELS: f32 = 16.0;
const LEVEL_MIDDLE: f32 = (LEVELS - 1.0) / 2.0;
/// The distance between two levels in parts of what vectors are beyond the centre, root mean square: the best for a normal distribution.
const LEVEL_STEP: f32 = 0.335_2;
/// A query's numbers are weighed as integers up to this.
const WEIGHT_MAX: f32 = 2_000.0;

/// So many of the nearest by the number of differing bits are weighed by their levels, or a part of all.
const NEAR: usize = 4_096;
const NEAR_PART: usize = 16;
/// So many of the nearest by their levels are compared exactly.
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
    fits: Vec<Fit>,
    /// A bit for each dimension, in as many words for each row as a code has.
    words: Vec<u64>,
    /// A level for each dimension, two in a byte.
    levels: Vec<u8>,
}

/// The codes of one owner.
#[derive(Clone, Default)]
struct Group {
    blocks: Vec<Arc<Block>>,
    /// The greatest number that was ever put here: what is greater is new.
    highest: i64,
}

/// How much of a block belongs to a row.
#[derive(Clone, Copy)]
struct Shape {
    words: usize,
    level_bytes: usize,
}

/// All codes of one embedder.
pub(super) struct CodeBook {
    centre: Arc<[f32]>,
    shape: Shape,
    rows: usize,
    groups: HashMap<Owner, Group>,
}

/// Some owners' codes at one moment.
pub(super) struct Snapshot {
    centre: Arc<[f32]>,
    shape: Shape,
    blocks: Vec<Arc<Block>>,
}

impl CodeBook {
    /// An empty one of vectors around a centre.
    pub(super) fn around(centre: Vec<f32>) -> Self {
        let shape =
            Shape { words: centre.len().div_ceil(WORD_BITS).max(1), level_bytes: centre.len().div_ceil(2).max(1) };
        Self { centre: centre.into(), shape, rows: 0, groups: HashMap::new() }
    }

    /// How many codes it has.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Puts a vector's code in, in place of the one of the same number.
    pub(super) fn put(&mut self, owner: Owner, row: CodeRow, vector: &Embedding) {
        if vector.dimensions() != self.centre.len() {
            return;
        }
        let code = Code::new(vector.values(), &self.centre);
        let group = self.groups.entry(owner).or_default();
        if row.number <= group.highest && group.replace(row, &code) {
            return;
        }
        group.highest = group.highest.max(row.number);
        if group.blocks.last().is_none_or(|block| block.rows.len() >= BLOCK_ROWS) {
            group.blocks.push(Arc::default());
        }
        if let Some(block) = group.blocks.last_mut().map(Arc::make_mut) {
            block.rows.push(row);
            block.fits.push(code.fit);
            block.words.extend_from_slice(&code.words);
            block.levels.extend_from_slice(&code.levels);
            self.rows += 1;
        }
    }

    /// Removes those of memories.
    pub(super) fn remove_memories(&mut self, memories: &HashSet<MemoryId>) {
        self.remove(|row| memories.contains(&row.memory));
    }

    /// Removes some of some owners.
    pub(super) fn remove_numbers(&mut self, owners: &[Owner], numbers: &HashSet<i64>) {
        for owner in owners {
            if let Some(group) = self.groups.get_mut(owner) {
                self.rows -= group.remove(self.shape, &|row: &CodeRow| numbers.contains(&row.number));
            }
        }
        self.groups.retain(|_, group| !group.blocks.is_empty());
    }

    fn remove(&mut self, is_gone: impl Fn(&CodeRow) -> bool) {
        for group in self.groups.values_mut() {
            self.rows -= group.remove(self.shape, &is_gone);
        }
        self.groups.retain(|_, group| !group.blocks.is_empty());
    }

    /// Gives back what was reserved for more.
    pub(super) fn shrink(&mut self) {
        for block in self.groups.values_mut().flat_map(|group| &mut group.blocks) {
            let block = Arc::make_mut(block);
            block.rows.shrink_to_fit();
            block.fits.shrink_to_fit();
            block.words.shrink_to_fit();
            block.levels.shrink_to_fit();
        }
    }

    pub(super) fn snapshot(&self, owners: &[Owner]) -> Snapshot {
        let groups = owners.iter().filter_map(|owner| self.groups.get(owner));
        Snapshot {
            centre: self.centre.clone(),
            shape: self.shape,
            blocks: groups.flat_map(|group| group.blocks.clone()).collect(),
        }
    }
}

impl Group {
    fn replace(&mut self, row: CodeRow, code: &Code) -> bool {
        for block in &mut self.blocks {
            let Some(at) = block.rows.iter().position(|old| old.number == row.number) else { continue };
            let block = Arc::make_mut(block);
            let words = block.words.chunks_exact_mut(code.words.len()).nth(at);
            let levels = block.levels.chunks_exact_mut(code.levels.len()).nth(at);
            if let (Some(old), Some(fit)) = (block.rows.get_mut(at), block.fits.get_mut(at)) {
                (*old, *fit) = (row, code.fit);
            }
            if let (Some(words), Some(levels)) = (words, levels) {
                words.copy_from_slice(&code.words);
                levels.copy_from_slice(&code.levels);
            }
            return true;
        }
        false
    }

    /// Gives how many are gone.
    fn remove(&mut self, shape: Shape, is_gone: &impl Fn(&CodeRow) -> bool) -> usize {
        let mut gone = 0;
        for block in &mut self.blocks {
            if !block.rows.iter().any(is_gone) {
                continue;
            }
            let mut left = Block::default();
            for coded in block.coded(shape) {
                if is_gone(coded.row) {
                    gone += 1;
                    continue;
                }
                left.rows.push(*coded.row);
                left.fits.push(*coded.fit);
                left.words.extend_from_slice(coded.words);
                left.levels.extend_from_slice(coded.levels);
            }
            *block = Arc::new(left);
        }
        self.blocks.retain(|block| !block.rows.is_empty());
        gone
    }
}

/// A code in its block.
#[derive(Clone, Copy)]
struct Coded<'a> {
    row: &'a CodeRow,
    fit: &'a Fit,
    words: &'a [u64],
    levels: &'a [u8],
}

impl Block {
    fn coded(&self, shape: Shape) -> impl Iterator<Item = Coded<'_>> {
        let heads = self.rows.iter().zip(&self.fits);
        let codes = self.words.chunks_exact(shape.words).zip(self.levels.chunks_exact(shape.level_bytes));
        heads.zip(codes).map(|((row, fit), (words, levels))| Coded { row, fit, words, levels })
    }

    fn at(&self, at: usize, shape: Shape) -> Option<Coded<'_>> {
        let levels = self.levels.get(at * shape.level_bytes..(at + 1) * shape.level_bytes)?;
        let words = self.words.get(at * shape.words..(at + 1) * shape.words)?;
        Some(Coded { row: self.rows.get(at)?, fit: self.fits.get(at)?, words, levels })
    }
}

/// What makes a product of a code's levels that of its vector.
#[derive(Clone, Copy)]
struct Fit {
    /// By how much the product with the levels is stretched.
    scale: f32,
    /// The product of the centre with the vector.
    offset: f32,
}

/// The code of a vector.
struct Code {
    words: Vec<u64>,
    levels: Vec<u8>,
    fit: Fit,
}

impl Code {
    fn new(values: &[f32], centre: &[f32]) -> Self {
        let beyond: Vec<f32> = values.iter().zip(centre).map(|(value, centre)| value - centre).collect();
        let squares: f32 = beyond.iter().map(|value| value * value).sum();
        let step = (squares / beyond.len() as f32).sqrt() * LEVEL_STEP;
        let per_step = if step > 0.0 { 1.0 / step } else { 0.0 };
        let level = |value: &f32| (value * per_step + LEVELS / 2.0).clamp(0.0, LEVELS - 1.0) as u8;
        let pair = |pair: &[f32]| pair.iter().rev().fold(0, |byte, value| byte << 4 | level(value));
        let product: f32 = beyond.iter().map(|value| value * (f32::from(level(value)) - LEVEL_MIDDLE)).sum();
        let word = |values: &[f32]| {
            values.iter().enumerate().fold(0_u64, |word, (bit, value)| word | (u64::from(*value > 0.0) << bit))
        };
        Self {
            words: beyond.chunks(WORD_BITS).map(word).collect(),
            levels: beyond.chunks(2).map(pair).collect(),
            fit: Fit {
                scale: if product > 0.0 { squares / product } else { 0.0 },
                offset: values.iter().zip(centre).map(|(value, centre)| value * centre).sum(),
            },
        }
    }
}

impl Snapshot {
    pub(super) fn rows(&self) -> usize {
        self.blocks.iter().map(|block| block.rows.len()).sum()
    }

    /// The numbers of those that are likely to be the nearest, at most [`SHORTLIST`] or twice the limit, in no order.
    pub(super) fn shortlist(&self, query: &Embedding, filter: &MemoryFilter, limit: usize) -> Vec<i64> {
        let shortlist = SHORTLIST.max(limit.saturating_mul(2));
        let near = self.near(query, filter, NEAR.max(shortlist.saturating_mul(4)).max(self.rows() / NEAR_PART));
        if near.len() <= shortlist {
            return near.into_iter().map(|coded| coded.row.number).collect();
        }
        let weights = Weights::new(query, &self.centre);
        let mut weighed: Vec<(f32, i64)> = near.iter().map(|coded| (weights.weigh(coded), coded.row.number)).collect();
        let by_weight = |one: &(f32, i64), other: &(f32, i64)| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1));
        weighed.select_nth_unstable_by(shortlist, by_weight);
        weighed.truncate(shortlist);
        weighed.into_iter().map(|(_, number)| number).collect()
    }

    /// Those with the fewest differing bits, at most `limit`.
    fn near(&self, query: &Embedding, filter: &MemoryFilter, limit: usize) -> Vec<Coded<'_>> {
        let is_open = filter.is_open();
        let passes = |row: &CodeRow| is_open || filter.passes(row.kind, row.created_at, row.conversation);
        let coded = || self.blocks.iter().flat_map(|block| block.coded(self.shape));
        if self.rows() <= limit {
            return coded().filter(|coded| passes(coded.row)).collect();
        }
        let code = Code::new(query.values(), &self.centre);
        let mut counts = vec![0_usize; self.shape.words * WORD_BITS + 1];
        let mut distances: Vec<u16> = Vec::with_capacity(self.rows());
        for block in &self.blocks {
            for (row, words) in block.rows.iter().zip(block.words.chunks_exact(self.shape.words)) {
                let distance = if passes(row) { distance(&code.words, words) } else { u16::MAX };
                if let Some(count) = counts.get_mut(usize::from(distance)) {
                    *count += 1;
                }
                distances.push(distance);
            }
        }
        let (last, mut of_last) = last_within(&counts, limit);
        let mut near = Vec::with_capacity(limit);
        let mut distances = distances.as_slice();
        for block in &self.blocks {
            let (of_block, rest) = distances.split_at(block.rows.len().min(distances.len()));
            distances = rest;
            for (at, distance) in of_block.iter().enumerate() {
                if *distance > last || (*distance == last && of_last == 0) {
                    continue;
                }
                of_last -= usize::from(*distance == last);
                near.extend(block.at(at, self.shape));
            }
        }
        near
    }
}

/// The distance up to which there are so many, and how many of exactly that distance are among them.
fn last_within(counts: &[usize], limit: usize) -> (u16, usize) {
    let mut left = limit;
    for (distance, count) in (0..u16::MAX).zip(counts) {
        if *count >= left {
            return (distance, left);
        }
        left -= count;
    }
    (u16::MAX - 1, usize::MAX)
}

/// Words are counted so many at once: the compiler has instructions for that.
const LANES: usize = 4;
/// So often a byte can take up the bits of another one.
const TAKES: usize = 31;

/// In how many bits two codes differ. Without the processor's own instruction, which not every one has, bits are counted in all bytes
/// of several words at once.
fn distance(one: &[u64], other: &[u64]) -> u16 {
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut bits = 0;
    for (ones, others) in ones.chunks(TAKES).zip(others.chunks(TAKES)) {
        let mut bytes = [0_u64; LANES];
        for (one, other) in ones.iter().zip(others) {
            for ((bytes, one), other) in bytes.iter_mut().zip(one).zip(other) {
                *bytes += bits_of_bytes(one ^ other);
            }
        }
        bits += bytes.into_iter().map(sum_of_bytes).sum::<u64>();
    }
    bits += one_rest.iter().zip(other_rest).map(|(one, other)| u64::from((one ^ other).count_ones())).sum::<u64>();
    u16::try_from(bits).unwrap_or(u16::MAX - 1)
}

/// In each byte how many of its bits are set.
const fn bits_of_bytes(word: u64) -> u64 {
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f
}

const fn sum_of_bytes(bytes: u64) -> u64 {
    let doubles = (bytes & 0x00ff_00ff_00ff_00ff) + (bytes >> 8 & 0x00ff_00ff_00ff_00ff);
    doubles.wrapping_mul(0x0001_0001_0001_0001) >> 48
}

/// A query, to be multiplied with levels: integers, those of the lower halves of bytes apart from those of the upper ones.
struct Weights {
    low: Vec<i16>,
    high: Vec<i16>,
    /// What one of the integers stands for.
    unit: f32,
    /// What they would give with every level in the middle.
    middle: f32,
}

impl Weights {
    fn new(query: &Embedding, centre: &[f32]) -> Self {
        let beyond: Vec<f32> = query.values().iter().zip(centre).map(|(value, centre)| value - centre).collect();
        let largest = beyond.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let unit = if largest > 0.0 { largest / WEIGHT_MAX } else { 1.0 };
        let weight = |value: Option<&f32>| value.map_or(0, |value| (value / unit).round() as i16);
        let low: Vec<i16> = beyond.chunks(2).map(|pair| weight(pair.first())).collect();
        let high: Vec<i16> = beyond.chunks(2).map(|pair| weight(pair.get(1))).collect();
        let sum: i32 = low.iter().chain(&high).map(|weight| i32::from(*weight)).sum();
        Self { low, high, unit, middle: sum as f32 * LEVEL_MIDDLE }
    }

    /// The product with a vector as far as its code tells, less what is the same for every vector.
    fn weigh(&self, coded: &Coded<'_>) -> f32 {
        let (low, low_rest) = self.low.as_chunks::<16>();
        let (high, high_rest) = self.high.as_chunks::<16>();
        let (levels, levels_rest) = coded.levels.as_chunks::<16>();
        let mut sum = 0;
        for ((low, high), levels) in low.iter().zip(high).zip(levels) {
            sum += product(low, high, levels);
        }
        sum += product(low_rest, high_rest, levels_rest);
        coded.fit.offset + coded.fit.scale * self.unit * (sum as f32 - self.middle)
    }
}

fn product(low: &[i16], high: &[i16], levels: &[u8]) -> i32 {
    let weights = low.iter().zip(high);
    let products = weights.zip(levels).map(|((low, high), byte)| {
        i32::from(*low) * i32::from(i16::from(byte & 15)) + i32::from(*high) * i32::from(i16::from(byte >> 4))
    });
    products.sum()
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
        let mut book = CodeBook::around(vec![0.0; dimensions]);
        for number in 0..each {
            for (at, user) in users.iter().enumerate() {
                let number = number * users.len() as i64 + at as i64;
                book.put(owner(user), row(number), &vector(number, dimensions));
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
        book.put(owner("ada"), gone, &vector(9_999, 64));
        assert_eq!(book.snapshot(&[owner("ada")]).rows(), 5_000, "in place of the old one");
        assert!(found(&book, "ada", &vector(9_999, 64), &MemoryFilter::default()).contains(&7));
        book.remove_memories(&HashSet::from([gone.memory]));
        assert!(!found(&book, "ada", &vector(9_999, 64), &MemoryFilter::default()).contains(&7));
        book.remove_numbers(&[owner("ada")], &(0..4_990).collect());
        assert_eq!(found(&book, "ada", &vector(1, 64), &MemoryFilter::default()), (4_990..5_000).collect::<Vec<_>>());
        book.remove_numbers(&[owner("ada")], &(0..5_000).collect());
        assert!(book.groups.is_empty() && book.rows() == 0);
    }

    #[test]
    fn the_weight_is_nearly_the_product() {
        let centre: Vec<f32> = vector(3, 101).values().iter().map(|value| value * 0.5).collect();
        for seed in 10..60 {
            let (query, other) = (vector(seed, 101), vector(seed + 100, 101));
            let code = Code::new(other.values(), &centre);
            let coded = Coded { row: &row(1), fit: &code.fit, words: &code.words, levels: &code.levels };
            let product = |one: &[f32]| one.iter().zip(&centre).map(|(one, other)| one * other).sum::<f32>();
            // The same for every vector, so that the order needs it not.
            let of_query = product(query.values()) - product(&centre);
            let guess = Weights::new(&query, &centre).weigh(&coded) + of_query;
            assert!((guess - query.cosine(&other)).abs() < 0.04, "{guess} for {}", query.cosine(&other));
        }
    }

    #[test]
    fn a_vector_at_the_centre_has_a_code_too() {
        let (query, centre) = (vector(1, 64), vector(2, 64));
        let code = Code::new(centre.values(), centre.values());
        let coded = Coded { row: &row(1), fit: &code.fit, words: &code.words, levels: &code.levels };
        assert!(Weights::new(&query, centre.values()).weigh(&coded).is_finite());
        assert!(Weights::new(&centre, centre.values()).weigh(&coded).is_finite());
    }

    #[test]
    fn the_distance_is_the_number_of_differing_bits() {
        for words in [0, 1, 3, 4, 16, 48, 150] {
            let code = |seed: u64| -> Vec<u64> {
                (0..words).map(|word| (seed + word).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
            };
            let (one, other) = (code(1), code(77));
            let expected: u32 = one.iter().zip(&other).map(|(one, other)| (one ^ other).count_ones()).sum();
            assert_eq!(u32::from(distance(&one, &other)), expected);
            let all: Vec<u64> = one.iter().map(|word| !word).collect();
            assert_eq!(u64::from(distance(&one, &all)), words * 64);
        }
    }

    #[test]
    fn the_nearest_by_bits_are_exactly_so_many() {
        assert_eq!(last_within(&[3, 0, 5, 1], 4), (2, 1));
        assert_eq!(last_within(&[3, 0, 5, 1], 3), (0, 3));
        assert_eq!(last_within(&[3, 0, 5, 1], 99).0, u16::MAX - 1, "all");
    }
}
