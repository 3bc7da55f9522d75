//! Any text as a query of the keyword index: one of its words is enough, inside the owner.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization as _;

use super::owner::Owner;

/// A query has so many words at most. Of more, the longest are taken: they are the rarest.
const WORDS_MAX: usize = 32;
/// Longer runs of letters are no words that anybody would search.
const WORD_CHARS_MAX: usize = 64;

/// The expression for `MATCH`: one of the words, inside one of the owners if any are given. Nothing of a text is syntax: each word
/// stands in quotes, and has letters and digits alone.
pub(super) fn expression(owners: &[Owner], words: &[String]) -> String {
    if owners.is_empty() {
        return format!("text : ({})", any(words));
    }
    let owners: Vec<String> = owners.iter().map(|owner| owner.token()).collect();
    format!("owner : ({}) AND text : ({})", any(&owners), any(words))
}

/// The expression for one word, whoever's.
pub(super) fn word_expression(word: &str) -> String {
    format!("text : \"{word}\"")
}

fn any(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    quoted.join(" OR ")
}

/// The words of a text, each once, in small letters.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    // The index holds letters with their marks as one; some systems send them apart.
    let text: String = text.nfc().collect();
    let mut words: Vec<String> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(WORD_CHARS_MAX).collect::<String>().to_lowercase())
        .filter(|word| seen.insert(word.clone()))
        .collect();
    if words.len() > WORDS_MAX {
        // Stable: of equally long words the first are taken.
        words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
        words.truncate(WORDS_MAX);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_once_and_without_what_stands_between() {
        assert_eq!(words("Łódź, łódź! it's 42\0NEAR(a*)"), ["łódź", "it", "s", "42", "near", "a"]);
        assert!(words(" \"'*:^-()\u{301}").is_empty());
        assert_eq!(words("Krako\u{301}w"), ["kraków"], "letters whose marks come apart");
    }

    #[test]
    fn of_too_many_words_the_longest_are_taken() {
        let text: Vec<String> = (0..100).map(|number| "x".repeat(number % 50 + 1) + &number.to_string()).collect();
        let words = words(&text.join(" "));
        assert_eq!(words.len(), WORDS_MAX);
        assert!(words.iter().all(|word| word.len() > 30), "{words:?}");
    }
}
