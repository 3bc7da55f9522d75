//! `POST /v1/messages`.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::response::Response;
use privet_dialects::anthropic::incoming::IncomingMessages;
use privet_domain::id::RequestId;
use privet_providers::PassedHead;

use crate::http::authenticate::{ForChat, Spending};
use crate::http::chat;
use crate::http::docs::{AnthropicError, AnthropicMessage, MessagesRequest};
use crate::http::error::ApiError;
use crate::http::idempotency::{RepeatableBody, once};
use crate::http::reply::respond;
use crate::http::router::Http;
use crate::http::surface::{ANTHROPIC_BETA, ANTHROPIC_VERSION, Anthropic, Failure};
use crate::http::trace_context::told;

/// Chat with a model, in Anthropic's shape.
///
/// A model of Anthropic's gets the request as its own bytes, with the headers `anthropic-version` and `anthropic-beta` and the query
/// `beta=true`. A model of another provider gets what it can express; what it cannot is an error that names the field.
/// `cache_control`, `service_tier` and `speed` are hints to it, which have no effect.
/// A conversation is continued by the header `x-conversation-id` or by `metadata.conversation_id`, and a prompt is put in front by
/// `x-privet-prompt` or `metadata.prompt`, as in `/v1/chat/completions`. `store: false` keeps the chat out of the history.
/// `metadata.user_id` is the end user.
#[utoipa::path(
    post, path = "/v1/messages", tag = "Anthropic",
    request_body = MessagesRequest,
    params(
        ("x-conversation-id" = Option<String>, Header, description = "The conversation to continue, a UUID"),
        ("x-privet-prompt" = Option<String>, Header, description = "The prompt to put in front: `NAME`, `NAME@LABEL`, `NAME@VERSION`, or JSON as in `metadata.prompt`"),
        ("anthropic-version" = Option<String>, Header, description = "Passed on to Anthropic"),
        ("anthropic-beta" = Option<String>, Header, description = "Passed on to Anthropic"),
        ("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing"),
    ),
    responses(
        (status = 200, description = "The answer; the header `x-conversation-id` names its conversation, `x-privet-trace-id` its trace", body = AnthropicMessage),
        (status = 400, description = "The request is wrong, or its model's provider cannot do it", body = AnthropicError),
        (status = 401, description = "No valid key", body = AnthropicError),
        (status = 402, description = "A budget is used up", body = AnthropicError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = AnthropicError),
        (status = 404, description = "Unknown model, conversation or prompt", body = AnthropicError),
        (status = 408, description = "The body came too slowly", body = AnthropicError),
        (status = 409, description = "The Idempotency-Key is in use, or was used for another request", body = AnthropicError),
        (status = 413, description = "The body is too large", body = AnthropicError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = AnthropicError),
        (status = 502, description = "The provider failed", body = AnthropicError),
        (status = 503, description = "The provider or the server is unavailable", body = AnthropicError),
        (status = 504, description = "The provider took too long", body = AnthropicError),
        (status = 507, description = "The disk is full", body = AnthropicError),
        (status = 529, description = "The provider has too much to do", body = AnthropicError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<Anthropic, ForChat>,
    uri: Uri,
    headers: HeaderMap,
    RepeatableBody { bytes, repeatable, .. }: RepeatableBody<Anthropic>,
) -> Result<Response, Failure<Anthropic>> {
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let incoming = IncomingMessages::parse(bytes)?.into();
        let command = chat::command(incoming, &headers, passed(&uri, &headers), caller, request_id)?;
        let trace = command.trace.clone();
        let replied = engine.complete(command).await.map_err(ApiError::from);
        told(&trace, replied.map(|reply| respond(reply, |bytes| bytes)))
    };
    Ok(once(&http, family_id, repeatable, work).await?)
}

/// What a client of Anthropic's says beside its body.
pub(super) fn passed(uri: &Uri, headers: &HeaderMap) -> PassedHead {
    let mut passed = HeaderMap::new();
    for name in [ANTHROPIC_VERSION, ANTHROPIC_BETA].map(HeaderName::from_static) {
        for value in headers.get_all(&name) {
            passed.append(&name, value.clone());
        }
    }
    let is_beta = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "beta=true"));
    PassedHead { headers: passed, query: is_beta.then_some("beta=true") }
}
