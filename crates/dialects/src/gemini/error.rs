//! Errors as a client of Gemini's gets them: Google's envelope (<https://google.aip.dev/193>).

use serde_json::{Map, Value, json};

use crate::sse::write_event;
use crate::stream::StreamFailure;

/// What is said of an error.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFacts<'a> {
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub message: &'a str,
    /// The field at fault.
    pub param: Option<&'a str>,
    /// Stable, for programs.
    pub code: &'a str,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// When to come back, in seconds.
    pub retry_in: Option<u64>,
}

/// The envelope `{"error": {"code", "message", "status", "details"}}`. The status is by the code; the stable code and the field at fault
/// stand in the details, where Google has them: `ErrorInfo`, `RequestInfo` and `RetryInfo`.
#[must_use]
pub fn encode(facts: &ErrorFacts<'_>) -> Vec<u8> {
    let mut metadata = Map::from_iter([("code".to_owned(), json!(facts.code))]);
    metadata.extend(facts.param.map(|param| ("param".to_owned(), json!(param))));
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": facts.code.to_ascii_uppercase(), "domain": "privet", "metadata": metadata,
    })];
    let request = |id| json!({"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": id});
    details.extend(facts.request_id.map(request));
    let retry =
        |seconds| json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")});
    details.extend(facts.retry_in.map(retry));
    let error: Value = json!({
        "code": facts.status, "message": facts.message, "status": status_of(facts.status), "details": details,
    });
    json!({"error": error}).to_string().into_bytes()
}

/// The event of a failure in the middle of a stream. No candidate has a reason for its end then.
#[must_use]
pub fn event(failure: &StreamFailure<'_>) -> Vec<u8> {
    let facts = ErrorFacts {
        status: if failure.is_upstream { 503 } else { 500 },
        message: failure.message,
        param: None,
        code: failure.code,
        request_id: Some(failure.request_id),
        retry_in: None,
    };
    let mut out = Vec::new();
    write_event(&mut out, None, &encode(&facts));
    out
}

/// Google's word for a status (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
const fn status_of(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        402 | 429 | 507 => "RESOURCE_EXHAUSTED",
        409 => "ABORTED",
        499 => "CANCELLED",
        405 | 501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        400..=498 => "INVALID_ARGUMENT",
        502 | 503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_03_an_error_has_googles_envelope() {
        let facts = ErrorFacts {
            status: 429,
            message: "m",
            param: Some("contents"),
            code: "rate_limited",
            request_id: Some("r"),
            retry_in: Some(27),
        };
        let body: Value = serde_json::from_slice(&encode(&facts)).unwrap();
        assert_eq!(
            body,
            json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMITED", "domain": "privet",
                 "metadata": {"code": "rate_limited", "param": "contents"}},
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "r"},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "27s"},
            ]}})
        );
    }
}
