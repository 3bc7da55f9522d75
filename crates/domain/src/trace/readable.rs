//! JSON that every reader can read: what clients write is looser.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The code of the character that stands for what is none.
const REPLACEMENT: &[u8; 4] = b"fffd";

/// JSON in which no escape is half a character. JavaScript writes such halves where it cut a text in the middle of one; most
/// readers refuse the whole JSON for it.
#[must_use]
pub fn mend_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(offset) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        let escape = at + offset;
        at = match (escaped(json, escape), escaped(json, escape + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => escape + 12,
            (Some(0xd800..=0xdfff), _) => {
                let copy = mended.get_or_insert_with(|| json.to_vec());
                if let Some(digits) = copy.get_mut(escape + 2..escape + 6) {
                    digits.copy_from_slice(REPLACEMENT);
                }
                escape + 6
            }
            _ => escape + 2,
        };
    }
    mended.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The code of the escape `\uXXXX` that begins here.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let escape = json.get(at..at.checked_add(6)?)?;
    let digits = escape.strip_prefix(b"\\u").filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether a text is JSON that can be read to its last number and character.
pub(super) fn is_readable(json: &str) -> bool {
    serde_json::from_str::<Walked>(json).is_ok()
}

/// A value that was read whole and is forgotten.
struct Walked;

impl<'de> Deserialize<'de> for Walked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Walked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_unit<E>(self) -> Result<Walked, E> {
        Ok(Walked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Walked, A::Error> {
        while elements.next_element::<Walked>()?.is_some() {}
        Ok(Walked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Walked, A::Error> {
        while members.next_entry::<Walked, Walked>()?.is_some() {}
        Ok(Walked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_characters_are_replaced_and_whole_ones_stay() {
        for (given, mended) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDE00 x""#, r#""\ufffd x""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\ud83d"#, r#""\ufffd"#),
            (r#""\ud8"#, r#""\ud8"#),
            ("\"\\", "\"\\"),
        ] {
            assert_eq!(mend_surrogates(given.as_bytes()), mended.as_bytes(), "{given}");
        }
    }

    #[test]
    fn what_some_reader_would_refuse_is_not_readable() {
        for readable in ["1", "\"x\"", "null", "[1.5,{\"a\":[true]}]", "{\"a\":1,\"a\":2}"] {
            assert!(is_readable(readable), "{readable}");
        }
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        for unreadable in ["", "x", "1e999", "[1] 2", "\"\\ud800\"", "{\"a\"}", &deep] {
            assert!(!is_readable(unreadable), "{unreadable}");
        }
    }
}
