//! The surfaces of the API: each has its own shape of an error.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use privet_dialects::anthropic::error::{ErrorFacts, encode};
use privet_dialects::gemini;
use serde_json::json;

use super::address_limiter::Counted;
use super::error::ApiError;
use super::request_id;

/// A family of endpoints that share the shape of their errors.
pub(crate) trait Surface: Send + Sync + 'static {
    /// Under which limit of the client's address its requests are counted.
    const COUNTED: Counted = Counted::Api;

    /// Whether a key may be presented as a pair (`Authorization: Basic PUBLIC:SECRET`).
    const TAKES_PAIRS: bool = false;

    /// Whether a key may stand in the query (`?key=KEY`).
    const TAKES_QUERY_KEYS: bool = false;

    /// The error's status.
    fn status(error: &ApiError) -> StatusCode {
        error.status
    }

    /// The error's body.
    fn body(error: &ApiError) -> Vec<u8>;
}

/// `/v1`: OpenAI's envelope.
pub(crate) struct OpenAi;

/// `/v1/messages`: Anthropic's envelope.
pub(crate) struct Anthropic;

/// `/v1beta`, and methods of models under `/v1`: Google's envelope.
pub(crate) struct Gemini;

/// `/v1/models`: OpenAI's envelope, or Anthropic's or Google's where their clients ask.
pub(crate) struct Models;

/// `/api/chat`: the lesson's one field.
pub(crate) struct Lesson;

/// The rest of `/api`: the lesson's field and a stable code.
pub(crate) struct Native;

/// `/api/public`: the surface of Langfuse's SDKs.
pub(crate) struct Langfuse;

impl Surface for OpenAi {
    fn body(error: &ApiError) -> Vec<u8> {
        privet_dialects::openai::error::encode(&error.message, error.kind(), error.param.as_deref(), Some(&error.code))
    }
}

impl Surface for Anthropic {
    fn status(error: &ApiError) -> StatusCode {
        error.status_for_anthropic()
    }

    fn body(error: &ApiError) -> Vec<u8> {
        let request_id = request_id::current().map(|answering| answering.id.to_string());
        encode(&ErrorFacts {
            status: Self::status(error).as_u16(),
            message: &error.message,
            param: error.param.as_deref(),
            code: error.code_for_anthropic(),
            request_id: request_id.as_deref(),
        })
    }
}

impl Surface for Gemini {
    const TAKES_QUERY_KEYS: bool = true;

    fn body(error: &ApiError) -> Vec<u8> {
        let request_id = request_id::current().map(|answering| answering.id.to_string());
        let retry_in = error.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        gemini::error::encode(&gemini::error::ErrorFacts {
            status: Self::status(error).as_u16(),
            message: &error.message,
            param: error.param.as_deref(),
            code: &error.code,
            request_id: request_id.as_deref(),
            retry_in,
        })
    }
}

/// Of a path that several kinds of clients know, the surface is by the request.
impl Surface for Models {
    fn status(error: &ApiError) -> StatusCode {
        if asked_by_anthropics() { Anthropic::status(error) } else { OpenAi::status(error) }
    }

    fn body(error: &ApiError) -> Vec<u8> {
        if asked_by_anthropics() {
            Anthropic::body(error)
        } else if asked_by_geminis() {
            Gemini::body(error)
        } else {
            OpenAi::body(error)
        }
    }
}

/// Whether the request that is being answered is one of Anthropic's clients.
pub(crate) fn asked_by_anthropics() -> bool {
    request_id::current().is_some_and(|answering| answering.is_anthropics)
}

/// Whether a request is one of Anthropic's clients: by its path, or where the path is OpenAI's too, by the header that they all send.
pub(crate) fn is_anthropics(path: &str, headers: &HeaderMap) -> bool {
    let is_messages = path == "/v1/messages" || path.starts_with("/v1/messages/");
    is_messages || (path.starts_with("/v1/models") && headers.contains_key(ANTHROPIC_VERSION))
}

/// Whether the request that is being answered is one of Gemini's clients.
pub(crate) fn asked_by_geminis() -> bool {
    request_id::current().is_some_and(|answering| answering.is_geminis)
}

/// Whether a request is one of Gemini's clients: by its path, or where the path is OpenAI's too, by the header with their key.
pub(crate) fn is_geminis(path: &str, headers: &HeaderMap) -> bool {
    let is_own = path == "/v1beta" || path.starts_with("/v1beta/");
    is_own || (path.starts_with("/v1/models") && headers.contains_key(GOOGLE_KEY))
}

/// The header in which clients of Gemini's send their key.
pub(crate) const GOOGLE_KEY: &str = "x-goog-api-key";

/// The header that every client of Anthropic's sends.
pub(crate) const ANTHROPIC_VERSION: &str = "anthropic-version";

/// The header by which they ask for what is not in the version.
pub(crate) const ANTHROPIC_BETA: &str = "anthropic-beta";

impl Surface for Lesson {
    const COUNTED: Counted = Counted::Chat;

    fn body(error: &ApiError) -> Vec<u8> {
        json!({"error": error.lesson_message()}).to_string().into_bytes()
    }
}

impl Surface for Native {
    fn body(error: &ApiError) -> Vec<u8> {
        json!({"error": error.message, "code": error.code}).to_string().into_bytes()
    }
}

impl Surface for Langfuse {
    const TAKES_PAIRS: bool = true;

    fn body(error: &ApiError) -> Vec<u8> {
        let body = match &error.issues {
            None => json!({"message": error.message, "error": error.class()}),
            Some(issues) => json!({"message": "Invalid request data", "error": issues}),
        };
        body.to_string().into_bytes()
    }
}

/// An error on its way out, in the shape of its surface.
pub(crate) struct Failure<S: Surface> {
    error: ApiError,
    surface: std::marker::PhantomData<S>,
}

impl<S: Surface, E: Into<ApiError>> From<E> for Failure<S> {
    fn from(error: E) -> Self {
        Self { error: error.into(), surface: std::marker::PhantomData }
    }
}

impl<S: Surface> IntoResponse for Failure<S> {
    fn into_response(self) -> Response {
        let body = S::body(&self.error);
        let mut response = (S::status(&self.error), body).into_response();
        if let Some(limit) = self.error.limit {
            // Told on the way out, in the surface's form.
            response.extensions_mut().insert(*limit);
        }
        let headers = response.headers_mut();
        for (name, value) in self.error.headers.iter() {
            headers.insert(name, value.clone());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
