//! What arrives of traces: it is refused, or every piece is read or named.

use privet_dialects::langfuse::{Allowed, decode_batch};
use privet_dialects::otlp;

pub(crate) fn otlp_protobuf(input: &[u8]) {
    counted(otlp::decode_protobuf(input).ok());
}

pub(crate) fn otlp_json(input: &[u8]) {
    counted(otlp::decode_json(input).ok());
}

fn counted(export: Option<otlp::Export>) {
    let Some(export) = export else { return };
    assert!(export.batch.observations.len() <= export.accepted, "each observation is of a span");
    assert_eq!(export.rejected > 0, !export.reasons.is_empty(), "what is rejected has a reason, and nothing else");
    assert!(!otlp::encode_reply(export.rejected, &export.reasons.join("; ")).is_empty() || export.rejected == 0);
}

pub(crate) fn langfuse(input: &[u8]) {
    for allowed in [Allowed::All, Allowed::Scores] {
        let Ok(batch) = decode_batch(input, allowed) else { continue };
        assert!(batch.rejected.iter().all(|rejected| !rejected.reason.is_empty()), "what is rejected has a reason");
        let pieces = batch.batch.traces.len() + batch.batch.observations.len() + batch.batch.scores.len();
        assert!(pieces > 0 || batch.accepted.is_empty(), "what is accepted is kept");
    }
}
