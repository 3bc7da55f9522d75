//! What the memory is filled with: texts of invented words, as often as words are in a language, and vectors in clusters or in groups
//! that are nearly the same. Everything is made of a number, so that it can be made again where it is compared.

use anyhow::{Result, ensure};
use privet_domain::memory::Embedding;

/// As many as the goals speak of.
pub(crate) const DIMENSIONS: usize = 1_024;
const VOCABULARY: u64 = 20_000;
const WORDS_OF_TEXT: u64 = 24;
const WORDS_OF_QUESTION: u64 = 8;
const ONE_CLUSTER: u64 = 100;
/// Salts keep what is made of the same number apart.
const TEXTS: u64 = 1;
const QUESTIONS: u64 = 2;
const CENTRES: u64 = 3;
const NOISE: u64 = 4;
const WINDOWS: u64 = 5;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of a salt and a number.
    pub(crate) fn of(salt: u64, number: u64) -> Self {
        let mut random = Self(salt.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ number.wrapping_mul(0xa076_1d64_78bd_642f));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A word, the common ones more often: about as Zipf says.
    fn word(&mut self) -> String {
        let rank = (VOCABULARY as f64).powf(self.share()) as u64;
        let syllables = ["ba", "ko", "ri", "tu", "ne", "la", "mo", "si", "du", "pe"];
        let mut rest = rank.wrapping_mul(7_919) % 100_003;
        let mut word = String::new();
        while word.is_empty() || rest > 0 {
            word.push_str(syllables.get((rest % 10) as usize).copied().unwrap_or_default());
            rest /= 10;
        }
        word
    }

    /// A point of nearly normal distribution, about as long as said.
    fn point(&mut self, length: f32) -> Vec<f32> {
        // Four bytes have a deviation of 147.8 together.
        let scale = length / (147.8 * (DIMENSIONS as f32).sqrt());
        let mut point = Vec::with_capacity(DIMENSIONS);
        while point.len() < DIMENSIONS {
            for four in self.next().to_le_bytes().chunks(4) {
                let sum: f32 = four.iter().map(|byte| f32::from(*byte) - 127.5).sum();
                point.push(sum * scale);
            }
        }
        point
    }
}

/// The text of a memory.
pub(crate) fn text(number: u64) -> String {
    words(Random::of(TEXTS, number), WORDS_OF_TEXT)
}

/// A question, as long as people ask.
pub(crate) fn question(number: u64) -> String {
    words(Random::of(QUESTIONS, number), WORDS_OF_QUESTION)
}

fn words(mut random: Random, count: u64) -> String {
    let count = count / 2 + random.next() % count;
    (0..count).map(|_| random.word()).collect::<Vec<_>>().join(" ")
}

/// How vectors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A hundred around each centre, some way from it; all of them to one side, as embeddings of texts do.
    Clusters,
    /// A hundred that are nearly the same.
    Duplicates,
}

/// Makes vectors of numbers.
pub(crate) struct Vectors {
    lie: Lie,
    common: Vec<f32>,
    centres: Vec<Vec<f32>>,
}

impl Vectors {
    /// For so many memories.
    pub(crate) fn new(lie: Lie, memories: u64) -> Self {
        let clusters = memories.div_ceil(ONE_CLUSTER).max(1);
        Self {
            lie,
            common: Random::of(CENTRES, u64::MAX).point(0.6),
            centres: (0..clusters).map(|cluster| Random::of(CENTRES, cluster).point(0.6)).collect(),
        }
    }

    /// That of a memory's text.
    pub(crate) fn of_text(&self, number: u64) -> Result<Embedding> {
        self.near(number, Random::of(NOISE, number), self.spread())
    }

    /// That of a memory's text between its neighbours.
    pub(crate) fn of_window(&self, number: u64) -> Result<Embedding> {
        self.near(number, Random::of(WINDOWS, number), self.spread())
    }

    /// That of a question.
    pub(crate) fn of_question(&self, number: u64) -> Result<Embedding> {
        self.near(number.wrapping_mul(7_919), Random::of(QUESTIONS, number), self.spread() * 1.2)
    }

    const fn spread(&self) -> f32 {
        match self.lie {
            Lie::Clusters => 0.53,
            Lie::Duplicates => 0.05,
        }
    }

    fn near(&self, number: u64, mut random: Random, spread: f32) -> Result<Embedding> {
        let cluster = usize::try_from(number % self.centres.len() as u64)?;
        let mut point = random.point(spread);
        ensure!(point.len() == DIMENSIONS, "a vector has {} dimensions", point.len());
        let centre = self.centres.get(cluster).into_iter().flatten();
        for ((value, common), centre) in point.iter_mut().zip(&self.common).zip(centre) {
            *value += common + centre;
        }
        Ok(Embedding::new(&point, DIMENSIONS)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_a_cluster_are_nearer_than_others_and_the_same_each_time() {
        for lie in [Lie::Clusters, Lie::Duplicates] {
            let vectors = Vectors::new(lie, 1_000);
            let of = |number| vectors.of_text(number).unwrap();
            assert_eq!(of(3), of(3));
            assert!(of(3).cosine(&of(13)) > of(3).cosine(&of(14)) + 0.1, "ten clusters: 3 and 13 share one");
            assert!(of(3).cosine(&of(13)) < 0.9999);
            assert!(vectors.of_question(7).unwrap().cosine(&of(7_919 * 7 % 10)) > 0.6);
        }
    }

    #[test]
    fn texts_differ_and_are_the_same_each_time() {
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
        assert!(question(1).split(' ').count() >= 4);
    }
}
