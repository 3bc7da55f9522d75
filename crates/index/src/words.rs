//! A text as weighted words: BM25 without what is counted over all texts, which the server adds (its IDF modifier).
//!
//! Words are taken as the keyword index in SQLite takes them (`unicode61 remove_diacritics 2`): letters and digits, small, Latin
//! letters without their marks. The server is given a word's hash, never the word.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization as _;

/// A query has so many words at most. Of more, the longest are taken: they are the rarest.
const QUERY_WORDS_MAX: usize = 32;
/// Longer runs of letters are no words that anybody would search.
const WORD_CHARS_MAX: usize = 64;
/// BM25's usual constants: how soon a word that is repeated counts no more, and how much a long text is held against it.
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// What counts as a text of middle length, in words. The server keeps no average; messages and passages are about so long.
const AVERAGE_WORDS: f32 = 50.0;
/// Marks that stand after the letter they change.
const MARKS: std::ops::RangeInclusive<char> = '\u{300}'..='\u{36f}';

/// Words by their hashes, each with its weight; hashes in rising order, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WeightedWords {
    /// The hashes.
    pub(crate) ids: Vec<u32>,
    /// The weights, in the same order.
    pub(crate) weights: Vec<f32>,
}

impl WeightedWords {
    /// A text that is to be found.
    pub(crate) fn of_text(text: &str) -> Self {
        let (mut counts, mut length) = (BTreeMap::<u32, f32>::new(), 0.0_f32);
        for word in words(text) {
            *counts.entry(id(&word)).or_default() += 1.0;
            length += 1.0;
        }
        let norm = K1 * (1.0 - B + B * length / AVERAGE_WORDS);
        counts.into_iter().map(|(id, count)| (id, count * (K1 + 1.0) / (count + norm))).collect()
    }

    /// A query: each of its words counts alike.
    pub(crate) fn of_query(text: &str) -> Self {
        let mut seen = std::collections::HashSet::new();
        let mut words: Vec<String> = words(text).filter(|word| seen.insert(word.clone())).collect();
        if words.len() > QUERY_WORDS_MAX {
            // Stable: of equally long words the first are taken.
            words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
            words.truncate(QUERY_WORDS_MAX);
        }
        let ids: std::collections::BTreeSet<u32> = words.iter().map(|word| id(word)).collect();
        ids.into_iter().map(|id| (id, 1.0)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl FromIterator<(u32, f32)> for WeightedWords {
    fn from_iter<T: IntoIterator<Item = (u32, f32)>>(words: T) -> Self {
        let (ids, weights) = words.into_iter().unzip();
        Self { ids, weights }
    }
}

/// The words of a text, in their order.
fn words(text: &str) -> impl Iterator<Item = String> {
    let is_part = |letter: char| letter.is_alphanumeric() || MARKS.contains(&letter);
    text.split(move |letter: char| !is_part(letter)).map(plain).filter(|word| !word.is_empty())
}

/// In small letters; Latin ones without their marks. `ł` has no other form, and letters of other scripts keep theirs.
fn plain(word: &str) -> String {
    let small = word.chars().filter(|letter| !MARKS.contains(letter)).flat_map(char::to_lowercase);
    // A capital's small form can have a mark of its own, as `İ` has.
    let small = small.filter(|letter| !MARKS.contains(letter));
    small.map(|letter| base(letter).unwrap_or(letter)).take(WORD_CHARS_MAX).collect()
}

/// The Latin letter that a letter with marks is made of.
fn base(letter: char) -> Option<char> {
    if letter.is_ascii() {
        return None;
    }
    let mut parts = std::iter::once(letter).nfd();
    let base = parts.next().filter(char::is_ascii_alphabetic)?;
    parts.all(|mark| MARKS.contains(&mark)).then_some(base)
}

/// A word's number. Two words in a million share one with another; they are then found together.
fn id(word: &str) -> u32 {
    let hash = blake3::hash(word.as_bytes());
    hash.as_bytes().first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn words_are_small_and_latin_letters_lose_their_marks() {
        assert_eq!(list("Zażółć GĘŚLĄ jaźń: it's 42%"), ["zazołc", "gesla", "jazn", "it", "s", "42"]);
        assert_eq!(list("e\u{301}te\u{301} ÉTÉ Ệ İx"), ["ete", "ete", "e", "ix"]);
        assert_eq!(list("Йод Ёж άλφα 東京"), ["йод", "ёж", "άλφα", "東京"]);
        assert!(list(" \"'*:^-()\u{301}\0").is_empty());
    }

    #[test]
    fn a_repeated_word_weighs_more_and_a_long_text_less() {
        let weight = |text: &str, word: &str| {
            let weighted = WeightedWords::of_text(text);
            let place = weighted.ids.iter().position(|known| *known == id(word)).unwrap();
            weighted.weights[place]
        };
        let once = weight("apple tree", "apple");
        let twice = weight("apple apple", "apple");
        let long = weight(&format!("apple {}", "word ".repeat(500)), "apple");
        assert!(long < once && once < twice && twice < K1 + 1.0, "{long} {once} {twice}");
    }

    #[test]
    fn hashes_rise_and_stand_once() {
        let text: Vec<String> = (0..500).map(|number| format!("w{} w{number}", number % 7)).collect();
        for weighted in [WeightedWords::of_text(&text.join(" ")), WeightedWords::of_query(&text.join(" "))] {
            assert!(weighted.ids.is_sorted_by(|one, next| one < next));
            assert_eq!(weighted.ids.len(), weighted.weights.len());
        }
        assert_eq!(WeightedWords::of_query(&text.join(" ")).ids.len(), QUERY_WORDS_MAX);
        assert!(WeightedWords::of_query("?!").is_empty());
    }

    #[test]
    fn a_words_number_never_changes() {
        // It stands in collections that live on.
        assert_eq!(id("apple"), id("apple"));
        assert_eq!(WeightedWords::of_query("Äpple").ids, WeightedWords::of_text("apple").ids);
    }
}
