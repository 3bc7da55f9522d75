//! Where a request stands in its client's trace: the headers `traceparent` and `tracestate` (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/>).

use std::fmt;

use super::{ObservationId, TraceId};

/// So many bytes of `tracestate` are passed on at least (section 3.3.1.5).
const STATE_BYTES_MAX: usize = 512;
/// So many members it has at most (section 3.3.1.1).
const STATE_MEMBERS_MAX: usize = 32;

/// A trace that a client began, and the span in it that the request is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: ObservationId,
    /// Whether the client records it.
    pub sampled: bool,
    /// The header `tracestate`, for whoever comes next.
    pub state: Option<String>,
}

impl TraceParent {
    /// Reads the header. `None` for what is none: it is then as if there were none (section 4.3).
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A later version may have more parts; 255 is none.
        let is_version = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let is_id = |id: &str, digits| hex(id, digits) && id.bytes().any(|byte| byte != b'0');
        if !is_version || !is_id(trace, 32) || !is_id(span, 16) || !hex(flags, 2) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id: trace.parse().ok()?, span_id: span.parse().ok()?, sampled, state: None })
    }

    /// With the headers `tracestate`, several being one list. A list that is none is dropped, and of one that is too long the end.
    #[must_use]
    pub fn with_state<'a>(self, headers: impl Iterator<Item = &'a str>) -> Self {
        let members: Vec<&str> =
            headers.flat_map(|header| header.split(',')).map(str::trim).filter(|member| !member.is_empty()).collect();
        let is_list = members.len() <= STATE_MEMBERS_MAX && members.iter().all(|member| is_member(member));
        let mut state = String::new();
        for member in members.into_iter().filter(|_| is_list) {
            if state.len() + 1 + member.len() > STATE_BYTES_MAX {
                break;
            }
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
        Self { state: Some(state).filter(|state| !state.is_empty()), ..self }
    }

    /// The same trace, further down: this span is the parent of what comes.
    #[must_use]
    pub fn at(&self, span_id: ObservationId) -> Self {
        Self { span_id, ..self.clone() }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `key=value`, of printable characters.
fn is_member(member: &str) -> bool {
    let is_printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    member.split_once('=').is_some_and(|(key, value)| {
        !key.is_empty() && is_printable(key) && !value.is_empty() && is_printable(value) && !value.contains('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_reads_back_and_what_is_none_is_ignored() {
        assert_eq!(TraceParent::parse(HEADER).unwrap().to_string(), HEADER);
        assert!(TraceParent::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-later").is_some());
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_state_is_joined_and_what_is_no_list_is_dropped() {
        let state = |headers: &[&str]| TraceParent::parse(HEADER).unwrap().with_state(headers.iter().copied()).state;
        assert_eq!(state(&["a=1, b@c=2", "d=3"]).as_deref(), Some("a=1,b@c=2,d=3"));
        assert_eq!(state(&["a=1,,"]).as_deref(), Some("a=1"));
        for none in ["", " , ", "a", "a=", "=1", "a=1=2", "a=\u{e9}"] {
            assert_eq!(state(&[none]), None, "{none}");
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&[&many(32)]), Some(many(32)));
        assert_eq!(state(&[&many(33)]), None);
        let long = format!("a={},b={}", "x".repeat(400), "y".repeat(400));
        assert_eq!(state(&[&long]), Some(format!("a={}", "x".repeat(400))), "whole members alone");
    }

    #[test]
    fn further_down_the_trace_and_its_state_stay() {
        let parent = TraceParent::parse(HEADER).unwrap().with_state(["a=1"].into_iter());
        let below = parent.at(ObservationId::from_bytes([1; 8]));
        assert_eq!(below.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01");
        assert_eq!(below.state, parent.state);
    }
}
