//! OpenTelemetry's traces on the wire (OTLP 1.x over HTTP, <https://opentelemetry.io/docs/specs/otlp/>): protobuf and JSON in, the
//! pieces of traces out; and observations as protobuf, for other collectors.

mod attributes;
mod content;
mod encode;
mod lenient;
mod model;
mod observation;
mod trace;
mod weight;
pub mod wire;

pub use encode::{Outgoing, decode_reply, encode_export};
use privet_domain::trace::{TraceBatch, mend_surrogates};
use prost::Message as _;

use crate::json_limits::{self, JsonLimits};
use crate::traced_text::shortened;
use wire::ExportTraceServiceRequest;

/// An export cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The body is no export of OTLP traces: {0}. Send an ExportTraceServiceRequest as protobuf or as JSON.")]
pub struct BadExport(String);

/// What an export holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// The pieces.
    pub batch: TraceBatch,
    /// Spans that were read.
    pub accepted: usize,
    /// Spans that were not.
    pub rejected: usize,
    /// Why the first of these were not.
    pub reasons: Vec<String>,
}

/// Of refused spans so many reasons are told.
const REASONS_TOLD: usize = 5;

/// Reads protobuf.
///
/// # Errors
/// When it is none.
pub fn decode_protobuf(body: &[u8]) -> Result<Export, BadExport> {
    if !weight::is_bearable(body) {
        return Err(BadExport(
            "it holds too many spans and attributes for one request; send smaller batches".to_owned(),
        ));
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|error| BadExport(error.to_string()))?;
    Ok(read(request))
}

/// JSON nests as deep as attributes do, and an export holds many members.
const JSON_LIMITS: JsonLimits = JsonLimits { depth_max: 100, members_max: 1_000_000 };

/// Reads JSON.
///
/// # Errors
/// When it is none.
pub fn decode_json(body: &[u8]) -> Result<Export, BadExport> {
    json_limits::check(body, &JSON_LIMITS).map_err(|error| BadExport(error.message))?;
    let body = mend_surrogates(body);
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(BadExport("it is no JSON object".to_owned()));
    }
    let request = serde_json::from_slice(&body);
    let request = request.map_err(|error: serde_json::Error| BadExport(shortened(&error.to_string())))?;
    Ok(read(request))
}

/// The answer to an export in protobuf; empty where every span is kept.
#[must_use]
pub fn encode_reply(rejected: usize, reasons: &str) -> Vec<u8> {
    let partial = wire::PartialSuccess {
        rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: reasons.to_owned(),
    };
    let partial_success = (rejected > 0).then_some(partial);
    wire::ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

fn read(request: ExportTraceServiceRequest) -> Export {
    let mut export = Export::default();
    for of_resource in request.resource_spans {
        let resource = attributes::Attributes::of(of_resource.resource.unwrap_or_default().attributes);
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.unwrap_or_default();
            let origin = observation::Origin::new(&resource, scope);
            for span in of_scope.spans {
                match observation::read(span, &origin) {
                    Ok((trace, observation)) => {
                        export.accepted += 1;
                        export.batch.traces.extend(trace);
                        export.batch.observations.push(observation);
                    }
                    Err(reason) => {
                        export.rejected += 1;
                        if export.reasons.len() < REASONS_TOLD {
                            export.reasons.push(reason);
                        }
                    }
                }
            }
        }
    }
    export
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_export_is_an_error_and_an_empty_one_is_empty() {
        assert!(decode_protobuf(b"\xff\xff\xff").is_err());
        assert!(decode_json(b"[]").is_err());
        assert!(decode_json(b"{").is_err());
        assert_eq!(decode_protobuf(b"").unwrap(), Export::default());
        assert_eq!(decode_json(b"{}").unwrap(), Export::default());
    }
}
