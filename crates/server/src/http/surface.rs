//! The surfaces of the API: each has its own shape of an error.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::address_limiter::Counted;
use super::error::ApiError;

/// A family of endpoints that share the shape of their errors.
pub(crate) trait Surface: Send + Sync + 'static {
    /// Under which limit of the client's address its requests are counted.
    const COUNTED: Counted = Counted::Api;

    /// Whether a key may be presented as a pair (`Authorization: Basic PUBLIC:SECRET`).
    const TAKES_PAIRS: bool = false;

    /// The error's body.
    fn body(error: &ApiError) -> Vec<u8>;
}

/// `/v1`: OpenAI's envelope.
pub(crate) struct OpenAi;

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
        let mut response = (self.error.status, body).into_response();
        let headers = response.headers_mut();
        for (name, value) in self.error.headers.iter() {
            headers.insert(name, value.clone());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
