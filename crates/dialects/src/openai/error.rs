//! Errors: OpenAI's envelope out, any provider's error body in.

use serde_json::{Value, json};

/// What a provider said of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireError {
    /// For people.
    pub message: String,
    /// The family, `type` on the wire.
    pub kind: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// Stable, for programs.
    pub code: Option<String>,
}

/// Of a body that is no JSON so much is kept.
const EXCERPT_CHARS: usize = 300;

/// The envelope `{"error": {"message", "type", "param", "code"}}`.
#[must_use]
pub fn encode(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Vec<u8> {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}}).to_string().into_bytes()
}

/// Reads an error body of any provider: OpenAI's, Anthropic's and Gemini's envelopes, vLLM's and FastAPI's bare objects, or text.
#[must_use]
pub fn decode(body: &[u8]) -> WireError {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return from_text(body) };
    // Gemini wraps its streamed error in an array.
    let value = value.get(0).cloned().unwrap_or(value);
    let error = value.get("error").unwrap_or(&value);
    let message = match error {
        Value::String(message) => message.clone(),
        error => ["message", "detail", "msg"].iter().find_map(|field| error.get(field)).map_or_else(
            || excerpt(body),
            |message| message.as_str().map_or_else(|| message.to_string(), str::to_owned),
        ),
    };
    let text = |field: &str| match error.get(field) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    // Gemini's `status` is what others call `type`.
    WireError { message, kind: text("type").or_else(|| text("status")), param: text("param"), code: text("code") }
}

/// The error that a body with status 200, or an event of a stream, reports; `None` if it reports none.
#[must_use]
pub fn reported(value: &Value) -> Option<(Option<u16>, WireError)> {
    let inside = value.get("error").filter(|error| !error.is_null());
    let is_bare = value.get("object").and_then(Value::as_str) == Some("error");
    if inside.is_none() && !is_bare {
        return None;
    }
    let status = inside.unwrap_or(value).get("code").and_then(Value::as_u64);
    let status = status.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    Some((status, decode(value.to_string().as_bytes())))
}

fn from_text(body: &[u8]) -> WireError {
    WireError { message: excerpt(body), ..WireError::default() }
}

fn excerpt(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(EXCERPT_CHARS).collect();
    if text.is_empty() { "no reason given".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_03_the_envelope_has_its_four_fields() {
        let body: Value = serde_json::from_slice(&encode("m", "t", None, Some("c"))).unwrap();
        assert_eq!(body, json!({"error": {"message": "m", "type": "t", "param": null, "code": "c"}}));
    }

    #[test]
    fn the_error_of_any_provider_is_read() {
        let read = |body: &str| decode(body.as_bytes());
        assert_eq!(read(r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#).code.unwrap(), "c");
        assert_eq!(
            read(r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#).kind.unwrap(),
            "overloaded_error"
        );
        assert_eq!(
            read(r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#).kind.unwrap(),
            "INVALID_ARGUMENT"
        );
        assert_eq!(read(r#"[{"error":{"code":400,"message":"m"}}]"#).message, "m");
        assert_eq!(read(r#"{"object":"error","message":"m","code":404}"#).code.unwrap(), "404");
        for body in [r#"{"error":"m"}"#, r#"{"detail":"m"}"#, "m", r#"{"message":"m"}"#] {
            assert_eq!(read(body).message, "m", "{body}");
        }
        assert_eq!(read("").message, "no reason given");
    }

    #[test]
    fn an_answer_reports_no_error() {
        assert_eq!(reported(&json!({"choices": [], "error": null})), None);
        assert_eq!(reported(&json!({"object": "error", "message": "m", "code": 404})).unwrap().0, Some(404));
    }
}
