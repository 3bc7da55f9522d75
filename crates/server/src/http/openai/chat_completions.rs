//! `POST /v1/chat/completions`.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use privet_dialects::openai::chat_request::IncomingChat;
use privet_domain::id::RequestId;
use privet_providers::PassedHead;

use crate::http::authenticate::{ForChat, Spending};
use crate::http::chat;
use crate::http::docs::{ChatCompletion, ChatCompletionRequest, OpenAiError};
use crate::http::error::ApiError;
use crate::http::idempotency::{RepeatableBody, once};
use crate::http::reply::respond;
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};
use crate::http::trace_context::told;

/// Chat with a model, in OpenAI's shape.
///
/// Fields that are not listed pass through to providers of the same dialect. `stream: true` answers as server-sent events.
/// A conversation is continued by the header `x-conversation-id` or by `metadata.conversation_id`: send only what is new, or
/// the whole thread; both are understood.
/// A prompt is put in front by the header `x-privet-prompt` or by `metadata.prompt`: `{"name", "label" or "version",
/// "variables", "placeholders"}`, as an object or as its JSON in a string. Neither is told to the provider.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "OpenAI",
    request_body = ChatCompletionRequest,
    params(
        ("x-conversation-id" = Option<String>, Header, description = "The conversation to continue, a UUID"),
        ("x-privet-prompt" = Option<String>, Header, description = "The prompt to put in front: `NAME`, `NAME@LABEL`, `NAME@VERSION`, or JSON as in `metadata.prompt`"),
        ("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing"),
    ),
    responses(
        (status = 200, description = "The answer; the header `x-conversation-id` names its conversation, `x-privet-trace-id` its trace, `x-privet-provider` and `x-privet-model` who answered, `x-privet-attempts` what was tried", body = ChatCompletion),
        (status = 400, description = "The request is wrong, or its model's provider cannot do it", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = OpenAiError),
        (status = 404, description = "Unknown model, conversation or prompt", body = OpenAiError),
        (status = 408, description = "The body came too slowly", body = OpenAiError),
        (status = 409, description = "The Idempotency-Key is in use, or was used for another request", body = OpenAiError),
        (status = 413, description = "The body is too large", body = OpenAiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = OpenAiError),
        (status = 502, description = "The provider failed", body = OpenAiError),
        (status = 503, description = "The provider or the server is unavailable", body = OpenAiError),
        (status = 504, description = "The provider took too long", body = OpenAiError),
        (status = 507, description = "The disk is full", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<OpenAi, ForChat>,
    headers: HeaderMap,
    RepeatableBody { bytes, repeatable, .. }: RepeatableBody<OpenAi>,
) -> Result<Response, Failure<OpenAi>> {
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let incoming = IncomingChat::parse(bytes)?.into();
        let command = chat::command(incoming, &headers, PassedHead::default(), caller, request_id)?;
        let trace = command.trace.clone();
        let replied = engine.complete(command).await.map_err(ApiError::from);
        told(&trace, replied.map(|reply| respond(reply, |bytes| bytes)))
    };
    Ok(once(&http, family_id, repeatable, work).await?)
}
