//! The strings of a JSON text, wherever they stand: keys and values, and those of JSON inside a string. Numbers too, since a card's
//! number is one.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// JSON inside a string inside JSON is followed so deep.
const NESTED_MAX: usize = 4;
/// A shorter number is none of a card.
const CARD_DIGITS_MIN: usize = 12;

/// What replaces private things in a string; `None` if there are none.
pub(super) trait Mask {
    fn mask(&self, text: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Mask for F {
    fn mask(&self, text: &str) -> Option<String> {
        self(text)
    }
}

/// The text with its strings masked; `None` if nothing changes.
pub(super) fn mask_text(json: &str, mask: &impl Mask) -> Option<String> {
    mask_nested(json, mask, NESTED_MAX)
}

fn mask_nested(json: &str, mask: &impl Mask, depth: usize) -> Option<String> {
    let bytes = json.as_bytes();
    let mut out = String::new();
    // Up to here `out` has it.
    let mut copied = 0;
    let mut at = 0;
    let mut changed = false;
    let mut replace = |from: usize, to: usize, with: &str, changed: &mut bool| {
        out.push_str(json.get(copied..from).unwrap_or_default());
        out.push_str(with);
        copied = to;
        *changed = true;
    };
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let raw = json.get(at..end).unwrap_or_default();
                if let Some(masked) = mask_string(raw, mask, depth) {
                    replace(at, end, &Value::from(masked).to_string(), &mut changed);
                }
                at = end;
            }
            b'0'..=b'9' => {
                let length = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
                let end = at + length;
                if length >= CARD_DIGITS_MIN
                    && let Some(masked) = json.get(at..end).and_then(|digits| mask.mask(digits))
                {
                    // The rest of the number, its sign, fraction and exponent, goes with it.
                    let from = at - usize::from(at.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'-'));
                    let is_rest = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                    let rest = bytes.iter().skip(end).take_while(is_rest).count();
                    replace(from, end + rest, &Value::from(masked).to_string(), &mut changed);
                    at = end + rest;
                } else {
                    at = end;
                }
            }
            _ => at += 1,
        }
    }
    if !changed {
        return None;
    }
    out.push_str(json.get(copied..).unwrap_or_default());
    Some(out)
}

/// Where the string that begins here ends, behind its closing quote.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(rest) = bytes.get(at..) {
        match memchr::memchr2(b'"', b'\\', rest) {
            None => return bytes.len(),
            Some(found) if rest.get(found) == Some(&b'"') => return at + found + 1,
            Some(found) => at += found + 2,
        }
    }
    bytes.len()
}

fn mask_string(raw: &str, mask: &impl Mask, depth: usize) -> Option<String> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return mask.mask(inner);
    }
    // What some reader would refuse (half a surrogate) is masked as it stands.
    let text: Cow<'_, str> = serde_json::from_str(raw).map_or(Cow::Borrowed(inner), Cow::Owned);
    // The arguments of a tool's call are JSON in a string, where `@` may stand as \u0040.
    let is_nested = depth > 0
        && text.contains('\\')
        && text.trim_start().starts_with(['{', '[', '"'])
        && serde_json::from_str::<&RawValue>(&text).is_ok();
    if !is_nested {
        return mask.mask(&text);
    }
    let masked = mask_nested(&text, mask, depth - 1);
    mask.mask(masked.as_deref().unwrap_or(&text)).or(masked)
}

/// Masks the strings, keys and long numbers of an object.
pub(super) fn mask_object(object: &mut Map<String, Value>, mask: &impl Mask) {
    let has_private_key = object.keys().any(|key| mask.mask(key).is_some());
    if has_private_key {
        let members = std::mem::take(object);
        object.extend(members.into_iter().map(|(key, value)| (mask.mask(&key).unwrap_or(key), value)));
    }
    for value in object.values_mut() {
        mask_value(value, mask);
    }
}

fn mask_value(value: &mut Value, mask: &impl Mask) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            let digits = number.to_string();
            if digits.len() >= CARD_DIGITS_MIN
                && let Some(masked) = mask.mask(&digits)
            {
                *value = Value::String(masked);
            }
        }
        Value::String(text) => {
            let quoted = if text.contains('\\') { Some(Value::from(text.as_str()).to_string()) } else { None };
            let masked = match quoted {
                Some(quoted) => mask_string(&quoted, mask, NESTED_MAX),
                None => mask.mask(text),
            };
            if let Some(masked) = masked {
                *text = masked;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| mask_value(value, mask)),
        Value::Object(members) => mask_object(members, mask),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
    use serde_json::json;

    use super::*;

    fn canary(text: &str) -> Option<String> {
        text.contains("4111111111111111")
            .then(|| text.replace("4111111111111111", "[card]"))
            .or_else(|| text.contains("a@b.pl").then(|| text.replace("a@b.pl", "[email]")))
    }

    #[test]
    fn strings_are_masked_wherever_and_however_they_stand() {
        for (json, expected) in [
            (r#""a@b.pl""#, r#""[email]""#),
            (r#"{"a\u0040b.pl": 1, "x": "say \"a@b.pl\""}"#, r#"{"[email]": 1, "x": "say \"[email]\""}"#),
            (r#"[ "\na@b.pl" , 1.50 ]"#, r#"[ "\n[email]" , 1.50 ]"#),
            (r#"{"n":-4111111111111111.0e2,"m":4111111111111111}"#, r#"{"n":"[card]","m":"[card]"}"#),
            (r#"{"arguments":"{\"to\":\"a\\u0040b.pl\"}"}"#, r#"{"arguments":"{\"to\":\"[email]\"}"}"#),
            (r#""\\" "#, r#""\\" "#),
        ] {
            let masked = mask_text(json, &canary);
            assert_eq!(masked.as_deref().unwrap_or(json), expected);
        }
    }

    #[test]
    fn what_holds_nothing_private_is_not_touched() {
        assert_eq!(mask_text(r#"{"a":[1,"b\u0041",null]}"#, &canary), None);
    }

    #[test]
    fn an_object_is_masked_with_its_keys() {
        let Value::Object(mut object) = json!({"a@b.pl": ["x a@b.pl", 4_111_111_111_111_111_u64, {"k": "a@b.pl"}]})
        else {
            panic!("an object")
        };
        mask_object(&mut object, &canary);
        assert_eq!(Value::from(object), json!({"[email]": ["x [email]", "[card]", {"k": "[email]"}]}));
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![any::<String>(), proptest::strategy::Just("\"a@b.pl\\".to_owned())];
        let leaf = prop_oneof![text.clone().prop_map(Value::from), any::<u64>().prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn masked_json_is_json_without_the_canary(value in value()) {
            let json = value.to_string();
            let masked = mask_text(&json, &canary).unwrap_or(json);
            let read: Value = serde_json::from_str(&masked).unwrap();
            assert!(!read.to_string().contains("a@b.pl"));
        }
    }
}
