//! Spans as an OpenTelemetry SDK sends them, in OTLP's protobuf form. Written by hand: a library would cost the load as much as
//! the server.

use bytes::Bytes;

/// Observations of one trace.
pub(super) const SPANS_PER_TRACE: u64 = 10;

const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;

/// An export of so many traces, none like another's. `number` counts the traces of all exports.
pub(super) fn export(first_number: u64, traces: u64, started_at_ns: u64) -> Bytes {
    let mut spans = Vec::new();
    for number in first_number..first_number + traces {
        for index in 0..SPANS_PER_TRACE {
            field(&mut spans, 2, &span(trace_id(number), number, index, started_at_ns + number * 1_000));
        }
    }
    request(&spans)
}

/// An export of one trace of so many observations.
pub(super) fn long_trace(id: [u8; 16], observations: u64, started_at_ns: u64) -> Bytes {
    let mut spans = Vec::new();
    for index in 0..observations {
        field(&mut spans, 2, &span(id, 1 << 40, index, started_at_ns));
    }
    request(&spans)
}

fn trace_id(number: u64) -> [u8; 16] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut id = [0xbe; 16];
    for (place, byte) in id.iter_mut().zip(mixed.to_be_bytes().into_iter().chain(number.to_be_bytes())) {
        *place = byte;
    }
    id
}

fn request(spans: &[u8]) -> Bytes {
    let mut resource = Vec::new();
    for (name, value) in [("service.name", "bench"), ("telemetry.sdk.language", "rust"), ("host.name", "bench-1")] {
        field(&mut resource, 1, &attribute(name, value));
    }
    let mut scope = Vec::new();
    field(&mut scope, 1, b"bench");
    let mut scope_spans = Vec::new();
    field(&mut scope_spans, 1, &scope);
    scope_spans.extend_from_slice(spans);
    let mut resource_spans = Vec::new();
    field(&mut resource_spans, 1, &resource);
    field(&mut resource_spans, 2, &scope_spans);
    let mut request = Vec::new();
    field(&mut request, 1, &resource_spans);
    Bytes::from(request)
}

/// The first span is the root, every third a call of a model.
fn span(trace_id: [u8; 16], number: u64, index: u64, started_at_ns: u64) -> Vec<u8> {
    let id = |index: u64| (number.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (index + 1)).to_be_bytes();
    let mut span = Vec::with_capacity(1024);
    field(&mut span, 1, &trace_id);
    field(&mut span, 2, &id(index));
    if index > 0 {
        field(&mut span, 4, &id(0));
    }
    field(&mut span, 5, if index == 0 { b"handle-request" } else { b"step" });
    let start = started_at_ns + index * 1_000_000;
    for (number, time) in [(7, start), (8, start + 900_000)] {
        varint(&mut span, number << 3 | FIXED_64);
        span.extend_from_slice(&time.to_le_bytes());
    }
    let mut add = |name: &str, value: &str| field(&mut span, 9, &attribute(name, value));
    if index == 0 {
        add("langfuse.trace.name", "bench-request");
        add("user.id", &format!("user-{}", number % 1_000));
        add("session.id", &format!("session-{}", number % 20_000));
    }
    if index % 3 == 1 {
        add("langfuse.observation.type", "generation");
        add("langfuse.observation.model.name", "gpt-4o-mini");
        add("langfuse.observation.usage_details", r#"{"input":128,"output":64,"total":192}"#);
        add("langfuse.observation.model.parameters", r#"{"temperature":0.2,"max_tokens":512}"#);
    }
    let question = format!(
        r#"{{"question":"Traveller {number} asks at step {index}: which two places would you see first, and how far apart are they on foot?"}}"#
    );
    add("langfuse.observation.input", &question);
    add(
        "langfuse.observation.output",
        "See the main square with the Cloth Hall first, then walk along the Royal Road to Kazimierz.",
    );
    span
}

fn attribute(name: &str, value: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len() + 4);
    field(&mut text, 1, value.as_bytes());
    let mut attribute = Vec::with_capacity(name.len() + text.len() + 8);
    field(&mut attribute, 1, name.as_bytes());
    field(&mut attribute, 2, &text);
    attribute
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | LENGTH);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_tags_are_varints() {
        let mut out = Vec::new();
        field(&mut out, 1, &[7; 300]);
        assert_eq!((&out[..3], out.len()), (&[0x0a, 0xac, 0x02][..], 303));
    }

    #[test]
    fn no_two_traces_have_one_id() {
        assert_ne!(trace_id(1), trace_id(2));
    }
}
