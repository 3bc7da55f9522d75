//! Text: its encoding, and what is left out of it.

use super::{Document, DocumentError, DocumentLimits, Section};

/// A title or a heading is cut to so many characters.
const LINE_CHARS_MAX: usize = 200;

pub(super) fn read(file: &[u8], limits: &DocumentLimits) -> Result<Document, DocumentError> {
    let text = clean(&decode(file)?);
    check_bytes(text.len(), limits)?;
    let section = Section { text, ..Section::default() };
    Ok(Document { sections: vec![section], ..Document::default() })
}

pub(super) const fn check_bytes(bytes: usize, limits: &DocumentLimits) -> Result<(), DocumentError> {
    if bytes > limits.text_bytes_max {
        return Err(DocumentError::TextTooLarge { bytes_max: limits.text_bytes_max });
    }
    Ok(())
}

/// UTF-8, or UTF-16 that says so with its first two bytes.
pub(super) fn decode(file: &[u8]) -> Result<String, DocumentError> {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
    };
    let text = match file {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    };
    text.ok_or(DocumentError::NotUtf8)
}

/// Line breaks of one kind, and no control characters.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            // A page break ends a paragraph.
            '\u{c}' => clean.push_str("\n\n"),
            '\r' | '\u{b}' | '\u{85}' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// A title or a heading: one line of bounded length; `None` if it says nothing.
pub(super) fn one_line(text: &str) -> Option<String> {
    let line = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(LINE_CHARS_MAX).collect();
    (!line.is_empty()).then_some(line)
}
