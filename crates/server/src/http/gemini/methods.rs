//! `POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent` and `:countTokens`; the same under `/v1/models`.
//!
//! The model's name may have slashes and colons: what stands behind the last colon is the method.

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use privet_dialects::gemini::incoming::{Asked, IncomingGenerate};
use privet_dialects::gemini::method_of;
use privet_domain::id::RequestId;
use privet_engine::count::CountCommand;
use privet_engine::keyring::Caller;
use privet_providers::PassedHead;

use super::json_array::as_array;
use crate::http::authenticate::{ForChat, Spending};
use crate::http::chat;
use crate::http::docs::{GeminiAnswer, GeminiError, GeminiTokenCount, GenerateContentRequest};
use crate::http::error::{ApiError, shortened};
use crate::http::idempotency::{RepeatableBody, asks_for_events, once};
use crate::http::reply::{respond, without_stale};
use crate::http::router::Http;
use crate::http::surface::{Failure, Gemini};
use crate::http::trace_context::told;

/// A call of a method.
pub(crate) struct Call {
    http: Http,
    caller: Caller,
    request_id: RequestId,
    headers: HeaderMap,
    body: RepeatableBody<Gemini>,
    model: String,
}

/// How an answer comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    /// As server-sent events.
    Events,
    /// As one array.
    Array,
}

/// Calls the method of a model that the path names.
pub(crate) async fn call(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<Gemini, ForChat>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: RepeatableBody<Gemini>,
) -> Result<Response, Failure<Gemini>> {
    let Path(path) = path.map_err(|_| ApiError::bad_request("The path is not valid UTF-8."))?;
    let Some((model, method)) = method_of(&path) else { return Err(no_method(&path).into()) };
    let call = Call { http, caller, request_id, headers, body, model: model.to_owned() };
    let answered = match method {
        "generateContent" => generate(call).await,
        "streamGenerateContent" => {
            let form = if asks_for_events(&uri) { Form::Events } else { Form::Array };
            stream(call, form).await
        }
        "countTokens" => count(call).await,
        _ => Err(no_method(&path)),
    };
    Ok(answered?)
}

/// The same for a name whose slashes were not escaped, where the first part is matched apart.
pub(crate) async fn call_with_slashes(
    http: State<Http>,
    request_id: Extension<RequestId>,
    spending: Spending<Gemini, ForChat>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: RepeatableBody<Gemini>,
) -> Result<Response, Failure<Gemini>> {
    let path = path.map(|Path((head, rest))| Path(format!("{head}/{rest}")));
    call(http, request_id, spending, path, uri, headers, body).await
}

fn no_method(path: &str) -> ApiError {
    let path = shortened(path);
    ApiError::not_found(format!(
        "There is no method `{path}` of a model; write `MODEL:generateContent`, `MODEL:streamGenerateContent` or `MODEL:countTokens`."
    ))
}

/// Chat with a model, in Gemini's shape.
///
/// The model is any that Privet knows: `gemini-2.5-flash`, `openai/gpt-4o`, an alias. A model of Gemini's gets the request as its own bytes;
/// one of another provider gets what it can express, and what it cannot is an error that names the field.
/// A conversation is continued by the header `x-conversation-id` or by `metadata.conversation_id`, and a prompt is put in front by
/// `x-privet-prompt` or `metadata.prompt`. `metadata` is Privet's own; `metadata.user_id` is the end user. `store: false` keeps the chat
/// out of the history.
#[utoipa::path(
    post, path = "/v1beta/models/{model}:generateContent", tag = "Gemini",
    request_body = GenerateContentRequest,
    params(
        ("model" = String, Path, description = "`provider/model` or an alias"),
        ("x-conversation-id" = Option<String>, Header, description = "The conversation to continue, a UUID"),
        ("x-privet-prompt" = Option<String>, Header, description = "The prompt to put in front: `NAME`, `NAME@LABEL`, `NAME@VERSION`, or JSON as in `metadata.prompt`"),
        ("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing"),
    ),
    responses(
        (status = 200, description = "The answer; the header `x-conversation-id` names its conversation, `x-privet-trace-id` its trace", body = GeminiAnswer),
        (status = 400, description = "The request is wrong, or its model's provider cannot do it", body = GeminiError),
        (status = 401, description = "No valid key", body = GeminiError),
        (status = 402, description = "A budget is used up", body = GeminiError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = GeminiError),
        (status = 404, description = "Unknown model, conversation or prompt", body = GeminiError),
        (status = 408, description = "The body came too slowly", body = GeminiError),
        (status = 409, description = "The Idempotency-Key is in use, or was used for another request", body = GeminiError),
        (status = 413, description = "The body is too large", body = GeminiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = GeminiError),
        (status = 502, description = "The provider failed", body = GeminiError),
        (status = 503, description = "The provider or the server is unavailable", body = GeminiError),
        (status = 504, description = "The provider took too long", body = GeminiError),
        (status = 507, description = "The disk is full", body = GeminiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn generate(call: Call) -> Result<Response, ApiError> {
    complete(call, Form::Whole).await
}

/// Chat with a model, in Gemini's shape, as a stream.
///
/// With `alt=sse` the pieces come as server-sent events, else as the elements of one JSON array. All else is as in `generateContent`.
#[utoipa::path(
    post, path = "/v1beta/models/{model}:streamGenerateContent", tag = "Gemini",
    request_body = GenerateContentRequest,
    params(
        ("model" = String, Path, description = "`provider/model` or an alias"),
        ("alt" = Option<String>, Query, description = "`sse` for server-sent events"),
        ("x-conversation-id" = Option<String>, Header, description = "The conversation to continue, a UUID"),
        ("x-privet-prompt" = Option<String>, Header, description = "The prompt to put in front"),
        ("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing"),
    ),
    responses(
        (status = 200, description = "The pieces of the answer; the last one has the reason for its end, and the tokens", body = GeminiAnswer),
        (status = 400, description = "The request is wrong, or its model's provider cannot do it", body = GeminiError),
        (status = 401, description = "No valid key", body = GeminiError),
        (status = 402, description = "A budget is used up", body = GeminiError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = GeminiError),
        (status = 404, description = "Unknown model, conversation or prompt", body = GeminiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = GeminiError),
        (status = 502, description = "The provider failed", body = GeminiError),
        (status = 503, description = "The provider or the server is unavailable", body = GeminiError),
    ),
    security(("key" = ["chat"])),
)]
async fn stream(call: Call, form: Form) -> Result<Response, ApiError> {
    complete(call, form).await
}

/// Count the input tokens of a request, without sending it.
///
/// The body is `contents` alone, or a whole request in `generateContentRequest`. The provider of the model counts: Gemini and Anthropic
/// do, and the offline provider; servers of OpenAI's dialect do not, which is an error. It costs nothing.
#[utoipa::path(
    post, path = "/v1beta/models/{model}:countTokens", tag = "Gemini",
    request_body = GenerateContentRequest,
    params(("model" = String, Path, description = "`provider/model` or an alias")),
    responses(
        (status = 200, description = "The count", body = GeminiTokenCount),
        (status = 400, description = "The request is wrong, or its model's provider does not count", body = GeminiError),
        (status = 401, description = "No valid key", body = GeminiError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = GeminiError),
        (status = 404, description = "Unknown model", body = GeminiError),
        (status = 413, description = "The body is too large", body = GeminiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = GeminiError),
        (status = 502, description = "The provider failed", body = GeminiError),
        (status = 503, description = "The provider or the server is unavailable", body = GeminiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn count(call: Call) -> Result<Response, ApiError> {
    let Call { http, caller, request_id, body, model, .. } = call;
    let incoming = IncomingGenerate::parse_counted(body.bytes, model)?.into();
    let command = CountCommand { caller, request_id, incoming, passed: PassedHead::default() };
    let counted = http.engine.count_tokens(&command).await?;
    let mut response = Response::new(Body::from(counted.body));
    *response.headers_mut() = without_stale(counted.headers);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn complete(call: Call, form: Form) -> Result<Response, ApiError> {
    let Call { http, caller, request_id, headers, body, model } = call;
    let RepeatableBody { bytes, repeatable, .. } = body;
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let incoming = IncomingGenerate::parse(bytes, Asked { model, stream: form != Form::Whole })?.into();
        let command = chat::command(incoming, &headers, PassedHead::default(), caller, request_id)?;
        let trace = command.trace.clone();
        let replied = engine.complete(command).await.map_err(ApiError::from);
        let response = replied.map(|reply| respond(reply, |bytes| bytes));
        told(&trace, response.map(|response| if form == Form::Array { as_array(response) } else { response }))
    };
    once(&http, family_id, repeatable, work).await
}
