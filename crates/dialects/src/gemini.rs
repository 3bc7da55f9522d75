//! Gemini's dialect: `generateContent` and `batchEmbedContents` (<https://ai.google.dev/api/generate-content>).
//!
//! For clients: [`incoming`] reads a request, [`answer`], [`stream_encoder`] and [`error`] write what they get, [`json_array`] in the form
//! that a stream has without `alt=sse`. For providers: [`request`] writes a request, [`response`] and [`stream`] read what they answer,
//! always in the form `alt=sse`. [`relay`] passes a stream from one to the other.

use std::fmt::Write as _;

use serde_json::Value;

pub mod answer;
mod content;
pub mod embeddings;
pub mod error;
mod fields;
pub mod incoming;
pub mod json_array;
mod meaning;
pub mod relay;
pub mod request;
mod request_size;
pub mod response;
mod schema;
mod signature;
pub mod stream;
pub mod stream_encoder;
mod thread;
mod wire;

/// Where a chat request goes, under the provider's base URL.
#[must_use]
pub fn chat_path(model: &str, stream: bool) -> String {
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("/v1beta/models/{}:{method}", path_segment(model))
}

/// The model and the method of a path, behind `models/`: the model's own name may have colons and slashes.
#[must_use]
pub fn method_of(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once(':').filter(|(model, method)| !model.is_empty() && !method.is_empty())
}

/// Whether the id of a call, or of the one that a result answers, was made here, since its provider or its client gave it none.
#[must_use]
pub fn is_minted(call_id: &str) -> bool {
    wire::is_minted(call_id) || content::is_by_name(call_id)
}

/// Where an embeddings request goes, under the provider's base URL.
#[must_use]
pub fn embeddings_path(model: &str) -> String {
    format!("/v1beta/models/{}:batchEmbedContents", path_segment(model))
}

/// Where a request is counted, under the provider's base URL.
#[must_use]
pub fn count_path(model: &str) -> String {
    format!("/v1beta/models/{}:countTokens", path_segment(model))
}

/// The question for a count of a request: in this form its instructions and tools count too.
#[must_use]
pub fn count_question(model: &str, request: &[u8]) -> Vec<u8> {
    let mut question =
        format!("{{\"generateContentRequest\":{{\"model\":{},", Value::from(format!("models/{}", bare_name(model))));
    // A request is an object that is not empty.
    question.push_str(&String::from_utf8_lossy(request.get(1..).unwrap_or_default()));
    question.push('}');
    question.into_bytes()
}

/// A model's name without Google's prefix, safe as a part of a path (RFC 3986).
fn path_segment(model: &str) -> String {
    let mut segment = String::with_capacity(model.len());
    for byte in bare_name(model).bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

fn bare_name(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_model_and_hold_nothing_else() {
        assert_eq!(chat_path("gemini-2.5-flash", false), "/v1beta/models/gemini-2.5-flash:generateContent");
        assert_eq!(chat_path("models/g", true), "/v1beta/models/g:streamGenerateContent?alt=sse");
        assert_eq!(embeddings_path("gemini-embedding-001"), "/v1beta/models/gemini-embedding-001:batchEmbedContents");
        assert_eq!(method_of("openai/llama3:8b:generateContent"), Some(("openai/llama3:8b", "generateContent")));
        assert_eq!((method_of("gemini"), method_of(":x"), method_of("x:")), (None, None, None));
        assert_eq!(chat_path("a/../b?c#d é", false), "/v1beta/models/a%2F..%2Fb%3Fc%23d%20%C3%A9:generateContent");
    }
}
