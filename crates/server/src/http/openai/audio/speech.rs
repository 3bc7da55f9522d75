//! `POST /v1/audio/speech`.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use privet_dialects::openai::audio::IncomingAudio;
use privet_domain::id::RequestId;

use super::{Asker, pass};
use crate::http::authenticate::{ForChat, Spending};
use crate::http::docs::{OpenAiError, SpeechRequest};
use crate::http::idempotency::RepeatableBody;
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};

/// Speak a text, in OpenAI's shape.
///
/// The request goes to the provider of the model as it is, and its answer comes as it is made: sound, or events with
/// `stream_format: "sse"`.
#[utoipa::path(
    post, path = "/v1/audio/speech", tag = "OpenAI",
    request_body = SpeechRequest,
    params(("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing, if the answer has no more than 1 MB")),
    responses(
        (status = 200, description = "The sound, with the provider's content type", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The request is wrong, or its model's provider has no such endpoint", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 402, description = "A budget is used up", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model, or it has a budget and the model no price", body = OpenAiError),
        (status = 404, description = "Unknown model", body = OpenAiError),
        (status = 409, description = "The Idempotency-Key is in use, or was used for another request", body = OpenAiError),
        (status = 413, description = "The body is too large", body = OpenAiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = OpenAiError),
        (status = 502, description = "The provider failed", body = OpenAiError),
        (status = 503, description = "The provider or the server is unavailable", body = OpenAiError),
        (status = 504, description = "The provider took too long", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<OpenAi, ForChat>,
    headers: HeaderMap,
    body: RepeatableBody<OpenAi>,
) -> Result<Response, Failure<OpenAi>> {
    let RepeatableBody { bytes, repeatable, .. } = body;
    Ok(pass(http, Asker { caller, request_id, headers }, repeatable, move || IncomingAudio::speech(bytes)).await?)
}
