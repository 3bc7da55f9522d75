//! The text of a message between those before and after it: what makes a short answer findable by its question.

/// So much of a neighbour belongs to a window, in characters: its end if it comes before, its beginning if it comes after.
const NEIGHBOUR_CHARS: usize = 600;

/// A line between its neighbours.
pub(super) fn window(before: Option<&str>, own: &str, after: Option<&str>) -> String {
    let mut text = String::with_capacity(own.len() + 2 * NEIGHBOUR_CHARS);
    if let Some(before) = before {
        text.push_str(last_chars(before));
        text.push('\n');
    }
    text.push_str(own);
    if let Some(after) = after {
        text.push('\n');
        text.push_str(first_chars(after));
    }
    text
}

fn first_chars(text: &str) -> &str {
    let end = text.char_indices().nth(NEIGHBOUR_CHARS).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

fn last_chars(text: &str) -> &str {
    let start = text.char_indices().rev().nth(NEIGHBOUR_CHARS - 1).map_or(0, |(at, _)| at);
    text.get(start..).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_cut_at_characters_and_the_own_text_is_not() {
        let long = "ż".repeat(NEIGHBOUR_CHARS + 7);
        let cut = "ż".repeat(NEIGHBOUR_CHARS);
        assert_eq!(window(Some(&long), &long, Some(&long)), format!("{cut}\n{long}\n{cut}"));
        assert_eq!(window(None, "own", None), "own");
        assert_eq!(window(Some("a"), "own", None), "a\nown");
        assert_eq!(window(Some(""), "own", Some("b")), "\nown\nb");
        assert_eq!(last_chars("abc"), "abc");
    }
}
