//! `POST /v1/responses` and `/v1/responses/input_tokens`; what is done with a response that is kept is in `kept.rs`.

pub(crate) mod kept;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use privet_dialects::responses::incoming::{Birth, IncomingResponses};
use privet_domain::id::RequestId;
use privet_engine::Engine;
use privet_engine::count::CountCommand;
use privet_engine::keyring::Caller;
use privet_engine::response;
use privet_providers::PassedHead;

use crate::http::authenticate::{ForChat, Spending};
use crate::http::body::JsonBody;
use crate::http::chat;
use crate::http::docs::{OpenAiError, ResponseObject, ResponseRequest, TokenCount};
use crate::http::error::ApiError;
use crate::http::idempotency::{RepeatableBody, once};
use crate::http::reply::{respond, without_stale};
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};
use crate::http::trace_context::told;

/// Make a response, in the shape of OpenAI's Responses API.
///
/// The model is any, of any provider: it gets what the request means in its own dialect, and what it cannot express is an error that names
/// the field. `stream: true` answers as server-sent events. A response is kept in a conversation, from where `previous_response_id` goes on,
/// for the key that made it; `store: false` keeps nothing. `conversation`, the header `x-conversation-id` or `metadata.conversation_id` goes
/// on in a conversation; all of `input` is new in it. A prompt is put in front by the header `x-privet-prompt` or by `metadata.prompt`.
/// A provider that speaks this API gets the request as it came; for others tools that OpenAI runs itself are refused. `background` is not done
/// here.
#[utoipa::path(
    post, path = "/v1/responses", tag = "OpenAI",
    request_body = ResponseRequest,
    params(
        ("x-conversation-id" = Option<String>, Header, description = "The conversation to continue, a UUID"),
        ("x-privet-prompt" = Option<String>, Header, description = "The prompt to put in front: `NAME`, `NAME@LABEL`, `NAME@VERSION`, or JSON as in `metadata.prompt`"),
        ("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing"),
    ),
    responses(
        (status = 200, description = "The response; the header `x-conversation-id` names its conversation, `x-privet-trace-id` its trace", body = ResponseObject),
        (status = 400, description = "The request is wrong, its model's provider cannot do it, or `previous_response_id` is not known", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 402, description = "A budget is used up", body = OpenAiError),
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
        let incoming = parse(&engine, &caller, request_id, bytes).await?.into();
        let command = chat::command(incoming, &headers, PassedHead::default(), caller, request_id)?;
        let trace = command.trace.clone();
        let replied = engine.complete(command).await.map_err(ApiError::from);
        told(&trace, replied.map(|reply| respond(reply, |bytes| bytes)))
    };
    Ok(once(&http, family_id, repeatable, work).await?)
}

/// Count the input tokens of a request, without sending it.
///
/// The provider of the model counts: Anthropic and Gemini do, the offline provider, and those with `api = "responses"`; servers that are
/// asked in chat completions do not, which is an error. It costs nothing. What stands in the body is counted, without a prompt; with a conversation or `previous_response_id` it is
/// refused.
#[utoipa::path(
    post, path = "/v1/responses/input_tokens", tag = "OpenAI",
    request_body = ResponseRequest,
    responses(
        (status = 200, description = "The count", body = TokenCount),
        (status = 400, description = "The request is wrong, or its model's provider does not count", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = OpenAiError),
        (status = 404, description = "Unknown model", body = OpenAiError),
        (status = 413, description = "The body is too large", body = OpenAiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = OpenAiError),
        (status = 502, description = "The provider failed", body = OpenAiError),
        (status = 503, description = "The provider or the server is unavailable", body = OpenAiError),
        (status = 504, description = "The provider took too long", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn count(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<OpenAi, ForChat>,
    JsonBody { bytes, .. }: JsonBody<OpenAi>,
) -> Result<Response, Failure<OpenAi>> {
    let incoming = parse(&http.engine, &caller, request_id, bytes).await?;
    if incoming.previous.is_some() || incoming.conversation_id.is_some() {
        let message = "Only what stands in the body is counted: send the whole thread as `input`, and no `previous_response_id` or \
                       conversation.";
        return Err(ApiError::bad_request(message).at("previous_response_id").into());
    }
    let command = CountCommand { caller, request_id, incoming: incoming.into(), passed: PassedHead::default() };
    let counted = http.engine.count_tokens(&command).await?;
    let mut response = Response::new(Body::from(counted.body));
    *response.headers_mut() = without_stale(counted.headers);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Reads a request, with the items that it refers to.
async fn parse(
    engine: &Engine,
    caller: &Caller,
    request_id: RequestId,
    bytes: Bytes,
) -> Result<IncomingResponses, ApiError> {
    let references = IncomingResponses::references(&bytes)?;
    let referenced = response::find_items(&engine.store, caller, &references).await?;
    let birth = Birth { id: request_id.as_uuid().into(), at: engine.clock.now().as_seconds() };
    Ok(IncomingResponses::parse(bytes, birth, &referenced)?)
}
