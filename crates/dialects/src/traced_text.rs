//! Texts of traces that stand in columns and indexes of their own: how long they may be, and what they may hold.

/// The longest name (also of a user, a session, a model, a tag …), in bytes: it stands in indexes, which take no more.
pub(crate) const NAME_BYTES_MAX: usize = 1_000;
/// The longest environment, in bytes.
pub(crate) const ENVIRONMENT_BYTES_MAX: usize = 200;
/// The longest comment or status, in bytes.
pub(crate) const PROSE_BYTES_MAX: usize = 64 * 1024;
/// So many tags, and kinds of usage, a trace or an observation may have.
pub(crate) const LIST_MAX: usize = 100;
/// Of another's words so many are repeated in an error.
const REPEATED_CHARS_MAX: usize = 200;

/// The text, if it can be kept; none if it is empty.
///
/// # Errors
/// With what is wrong with it.
pub(crate) fn kept(name: &str, text: Option<String>, bytes_max: usize) -> Result<Option<String>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > bytes_max {
        return Err(format!("`{name}` has {} bytes; at most {bytes_max} are kept", text.len()));
    }
    // PostgreSQL has no text with it.
    if text.contains('\0') {
        return Err(format!("`{name}` holds the character NUL, which no text here may"));
    }
    Ok(Some(text))
}

/// The text as far as it can be kept, where nobody would read a refusal.
pub(crate) fn clipped(mut text: String, bytes_max: usize) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() <= bytes_max {
        return text;
    }
    const ELLIPSIS: &str = "…";
    let end = (0..=bytes_max - ELLIPSIS.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text + ELLIPSIS
}

/// An error's words, without the megabyte that it may repeat.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(REPEATED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_column_takes_is_refused_or_clipped() {
        assert_eq!(kept("name", Some("ä".repeat(3)), 6), Ok(Some("äää".to_owned())));
        assert!(kept("name", Some("ä".repeat(3)), 5).unwrap_err().contains("`name` has 6 bytes; at most 5"));
        assert!(kept("name", Some("a\0b".to_owned()), 10).unwrap_err().contains("NUL"));
        assert_eq!(kept("name", Some(String::new()), 10), Ok(None));
        assert_eq!(clipped("ä".repeat(6), 10), "äää…");
        assert_eq!(clipped("a\0b".to_owned(), 10), "a\u{fffd}b");
    }
}
