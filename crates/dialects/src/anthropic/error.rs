//! Errors as an Anthropic client gets them (<https://platform.claude.com/docs/en/api/errors>).

use serde_json::json;

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
}

/// The envelope `{"type": "error", "error": {"type", "message", "details"}, "request_id"}`. The type is by the status, as it is with
/// Anthropic; the field at fault and the stable code stand in `details`, where clients look for an `error_code`.
#[must_use]
pub fn encode(facts: &ErrorFacts<'_>) -> Vec<u8> {
    let details = json!({"error_code": facts.code, "param": facts.param});
    let error = json!({"type": kind_of(facts.status), "message": facts.message, "details": details});
    json!({"type": "error", "error": error, "request_id": facts.request_id}).to_string().into_bytes()
}

/// The event of a failure in the middle of a stream. No `message_stop` follows it.
#[must_use]
pub fn event(failure: &StreamFailure<'_>) -> Vec<u8> {
    let facts = ErrorFacts {
        status: 500,
        message: failure.message,
        param: None,
        code: failure.code,
        request_id: Some(failure.request_id),
    };
    let mut out = Vec::new();
    write_event(&mut out, Some("error"), &encode(&facts));
    out
}

const fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}
