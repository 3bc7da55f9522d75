//! Error bodies in each dialect's shape, for error statuses and inside a 200.

use serde_json::{Value, json};

use super::behaviour::{Behaviour, ErrorInside, ErrorShape};
use super::event::Event;
use super::request::Dialect;

/// The body of an error answer.
pub(super) fn body(dialect: Dialect, status: u16, behaviour: &Behaviour, request_id: &str) -> Value {
    let message = behaviour.error_message.clone().unwrap_or_else(|| format!("the mock answers {status} as scripted"));
    let (kind, code) = defaults(dialect, status);
    let kind = behaviour.error_type.as_deref().unwrap_or(kind);
    match dialect {
        Dialect::OpenAi | Dialect::Responses => {
            let code = behaviour.error_code.as_deref().or(code);
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        }
        Dialect::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
        }
        Dialect::Gemini => json!({"error": {"code": status, "message": message, "status": kind}}),
    }
}

/// The error inside a 200, when the answer is not streamed.
pub(super) fn inside_body(dialect: Dialect, error: &ErrorInside) -> Value {
    let message = message(error);
    match (error.shape, dialect) {
        (ErrorShape::Vllm, _) => json!({"error": server_error(&message)}),
        (ErrorShape::Flat, _) => server_error(&message),
        (ErrorShape::Native, Dialect::OpenAi) => {
            json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}})
        }
        (ErrorShape::Native, Dialect::Responses) => {
            json!({"code": "server_error", "message": message, "param": null, "error": {"code": "server_error", "message": message}})
        }
        (ErrorShape::Native, Dialect::Anthropic) => {
            json!({"type": "error", "error": {"type": "overloaded_error", "message": message}})
        }
        (ErrorShape::Native, Dialect::Gemini) => {
            json!({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})
        }
    }
}

/// The same as the last events of a stream.
pub(super) fn inside_events(dialect: Dialect, error: &ErrorInside) -> Vec<Event> {
    let body = inside_body(dialect, error);
    match (error.shape, dialect) {
        (ErrorShape::Native, Dialect::Anthropic | Dialect::Responses) => vec![Event::named("error", body)],
        (ErrorShape::Native, _) => vec![Event::json(body)],
        // These servers end even a failed stream with the mark of a clean one.
        (ErrorShape::Vllm | ErrorShape::Flat, _) => vec![Event::json(body), Event::raw("[DONE]")],
    }
}

fn message(error: &ErrorInside) -> String {
    error.message.clone().unwrap_or_else(|| "the mock fails inside a 200 as scripted".to_owned())
}

fn server_error(message: &str) -> Value {
    json!({"object": "error", "message": message, "type": "InternalServerError", "param": null, "code": 500})
}

/// Error type and, for OpenAI, code of a status.
fn defaults(dialect: Dialect, status: u16) -> (&'static str, Option<&'static str>) {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => match status {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            404 => ("invalid_request_error", Some("model_not_found")),
            429 => ("requests", Some("rate_limit_exceeded")),
            400..=499 => ("invalid_request_error", None),
            _ => ("server_error", None),
        },
        Dialect::Anthropic => match status {
            401 => ("authentication_error", None),
            403 => ("permission_error", None),
            404 => ("not_found_error", None),
            413 => ("request_too_large", None),
            429 => ("rate_limit_error", None),
            529 => ("overloaded_error", None),
            400..=499 => ("invalid_request_error", None),
            _ => ("api_error", None),
        },
        Dialect::Gemini => match status {
            401 => ("UNAUTHENTICATED", None),
            403 => ("PERMISSION_DENIED", None),
            404 => ("NOT_FOUND", None),
            429 => ("RESOURCE_EXHAUSTED", None),
            503 => ("UNAVAILABLE", None),
            504 => ("DEADLINE_EXCEEDED", None),
            400..=499 => ("INVALID_ARGUMENT", None),
            _ => ("INTERNAL", None),
        },
    }
}
