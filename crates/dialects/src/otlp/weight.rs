//! How much an export in protobuf would take in memory: two bytes can be a whole span, and a small gzip many megabytes of them.
//! One pass over the bytes, which keeps nothing.

use prost::encoding::{WireType, decode_key, decode_varint};

/// The most that one export may weigh; an attribute weighs 1.
const WEIGHT_MAX: usize = 400_000;
/// A span's weight besides its attributes.
const SPAN_WEIGHT: usize = 8;
/// Values inside one another, each two messages. Deeper ones are refused when they are decoded.
const DEPTH_MAX: usize = 100;

/// What the messages are, as far as others are in them.
#[derive(Clone, Copy)]
enum Kind {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Scope,
    Span,
    Event,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
    /// Anything else.
    Leaf,
}

impl Kind {
    /// What stands in the field with this tag.
    const fn of_field(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Request, 1) => Self::ResourceSpans,
            (Self::ResourceSpans, 1) => Self::Resource,
            (Self::ResourceSpans, 2) => Self::ScopeSpans,
            (Self::ScopeSpans, 1) => Self::Scope,
            (Self::ScopeSpans, 2) => Self::Span,
            (Self::Resource, 1) | (Self::Scope | Self::Event, 3) | (Self::Span, 9) | (Self::KeyValueList, 1) => {
                Self::KeyValue
            }
            (Self::Span, 11) => Self::Event,
            (Self::Span, 15) => Self::Leaf,
            (Self::KeyValue, 2) | (Self::ArrayValue, 1) => Self::AnyValue,
            (Self::AnyValue, 5) => Self::ArrayValue,
            (Self::AnyValue, 6) => Self::KeyValueList,
            _ => return None,
        })
    }

    const fn weight(self) -> usize {
        match self {
            Self::Span | Self::ResourceSpans | Self::ScopeSpans | Self::Event => SPAN_WEIGHT,
            _ => 1,
        }
    }
}

/// Whether an export is light enough. What is broken is: decoding it says why.
pub(super) fn is_bearable(body: &[u8]) -> bool {
    let mut weight = 0;
    weigh(body, Kind::Request, DEPTH_MAX, &mut weight);
    weight <= WEIGHT_MAX
}

fn weigh(mut message: &[u8], kind: Kind, depth: usize, weight: &mut usize) {
    while !message.is_empty() && *weight <= WEIGHT_MAX {
        let Ok((tag, wire_type)) = decode_key(&mut message) else { return };
        let skipped = match wire_type {
            WireType::Varint => match decode_varint(&mut message) {
                Ok(_) => continue,
                Err(_) => return,
            },
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => match decode_varint(&mut message).map(usize::try_from) {
                Ok(Ok(length)) => length,
                _ => return,
            },
            // Groups are not in these messages.
            WireType::StartGroup | WireType::EndGroup => return,
        };
        let Some((content, rest)) = message.split_at_checked(skipped) else { return };
        message = rest;
        if let Some(inner) = kind.of_field(tag).filter(|_| matches!(wire_type, WireType::LengthDelimited)) {
            *weight += inner.weight();
            if depth > 0 {
                weigh(content, inner, depth - 1, weight);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::otlp::wire::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

    fn export(spans: usize) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { scope: None, spans: vec![Span::default(); spans] }];
        let resource_spans = vec![ResourceSpans { resource: None, scope_spans }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    #[test]
    fn a_hundred_kilobytes_of_empty_spans_are_too_many() {
        assert!(is_bearable(&export(10_000)));
        let heavy = export(60_000);
        assert!(heavy.len() < 130_000 && !is_bearable(&heavy));
    }

    proptest! {
        #[test]
        fn any_bytes_are_weighed(body in proptest::collection::vec(any::<u8>(), 0..500)) {
            prop_assert!(is_bearable(&body));
        }
    }
}
