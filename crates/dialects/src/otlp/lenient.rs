//! OTLP's JSON as senders write it: 64-bit numbers are texts or numbers, enumerations numbers or names, what is empty is absent or
//! null. What cannot be read in one span must not keep the others out, so that it is empty here and refused with its span.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};

use super::wire::{AnyValue, AnyValueKind, ArrayValue, KeyValueList};

/// A number in any of its forms.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

/// What may be null.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A time; 0 if it is none.
pub(super) fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(match Option::<Number>::deserialize(deserializer)? {
        Some(Number::Unsigned(number)) => number,
        Some(Number::Text(text)) => text.parse().unwrap_or(0),
        // JavaScript's numbers lose what is below 256 ns, and are still a time.
        Some(Number::Float(number)) => number as u64,
        Some(Number::Signed(_)) | None => 0,
    })
}

/// A code; the names of codes are understood where they matter.
pub(super) fn enumeration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Ok(match Option::<Number>::deserialize(deserializer)? {
        Some(Number::Unsigned(number)) => i32::try_from(number).unwrap_or(0),
        Some(Number::Text(text)) => match text.to_ascii_uppercase().trim_start_matches("STATUS_CODE_") {
            "OK" => 1,
            "ERROR" => 2,
            text => text.parse().unwrap_or(0),
        },
        Some(Number::Signed(_) | Number::Float(_)) | None => 0,
    })
}

impl Number {
    /// A whole number, or else what it is.
    fn into_whole(self) -> AnyValueKind {
        match self {
            Self::Signed(number) => AnyValueKind::IntValue(number),
            Self::Unsigned(number) => match i64::try_from(number) {
                Ok(number) => AnyValueKind::IntValue(number),
                Err(_) => AnyValueKind::DoubleValue(number as f64),
            },
            Self::Float(number) => AnyValueKind::DoubleValue(number),
            Self::Text(text) => match text.parse() {
                Ok(number) => AnyValueKind::IntValue(number),
                Err(_) => AnyValueKind::StringValue(text),
            },
        }
    }

    /// A number with a fraction; JSON writes `"NaN"` and `"Infinity"`.
    fn into_float(self) -> f64 {
        match self {
            Self::Signed(number) => number as f64,
            Self::Unsigned(number) => number as f64,
            Self::Float(number) => number,
            Self::Text(text) => text.parse().unwrap_or(f64::NAN),
        }
    }
}

/// A value as JSON has it: an object with one member, or with none.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Number>,
    double_value: Option<Number>,
    array_value: Option<ArrayValue>,
    kvlist_value: Option<KeyValueList>,
    bytes_value: Option<String>,
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = JsonValue::deserialize(deserializer)?;
        let bytes = |text: String| match BASE64_STANDARD.decode(&text) {
            Ok(bytes) => AnyValueKind::BytesValue(bytes),
            Err(_) => AnyValueKind::StringValue(text),
        };
        let value = (json.string_value.map(AnyValueKind::StringValue))
            .or(json.bool_value.map(AnyValueKind::BoolValue))
            .or_else(|| json.int_value.map(Number::into_whole))
            .or_else(|| json.double_value.map(|number| AnyValueKind::DoubleValue(number.into_float())))
            .or(json.array_value.map(AnyValueKind::ArrayValue))
            .or(json.kvlist_value.map(AnyValueKind::KvlistValue))
            .or_else(|| json.bytes_value.map(bytes));
        Ok(Self { value })
    }
}

/// Ids, in hexadecimal. Empty if it is none.
pub(super) mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::otlp) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(in crate::otlp) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let digits = text.as_bytes();
        if digits.len() % 2 != 0 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Ok(Vec::new());
        }
        let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16));
        Ok(bytes.collect::<Result<_, _>>().unwrap_or_default())
    }
}

/// Bytes, in base64.
pub(super) mod base64_text {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::Serializer;

    pub(in crate::otlp) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }
}
