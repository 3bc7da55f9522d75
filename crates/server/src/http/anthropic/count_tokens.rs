//! `POST /v1/messages/count_tokens`.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use privet_dialects::anthropic::incoming::IncomingMessages;
use privet_domain::id::RequestId;
use privet_engine::count::CountCommand;

use super::messages::passed;
use crate::http::authenticate::{ForChat, Spending};
use crate::http::body::JsonBody;
use crate::http::docs::{AnthropicError, CountTokensRequest, TokenCount};
use crate::http::reply::without_stale;
use crate::http::router::Http;
use crate::http::surface::{Anthropic, Failure};

/// Count the input tokens of a Messages request, without sending it.
///
/// The provider of the model counts: Anthropic and Gemini do, and the offline provider; servers of OpenAI's dialect do not, which is an
/// error. It costs nothing. What stands in the body is counted; neither a conversation nor a prompt is added.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "Anthropic",
    request_body = CountTokensRequest,
    responses(
        (status = 200, description = "The count", body = TokenCount),
        (status = 400, description = "The request is wrong, or its model's provider does not count", body = AnthropicError),
        (status = 401, description = "No valid key", body = AnthropicError),
        (status = 403, description = "The key has not the scope `chat`, or may not use the model", body = AnthropicError),
        (status = 404, description = "Unknown model", body = AnthropicError),
        (status = 413, description = "The body is too large", body = AnthropicError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = AnthropicError),
        (status = 502, description = "The provider failed", body = AnthropicError),
        (status = 503, description = "The provider or the server is unavailable", body = AnthropicError),
        (status = 504, description = "The provider took too long", body = AnthropicError),
        (status = 529, description = "The provider has too much to do", body = AnthropicError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn count(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<Anthropic, ForChat>,
    uri: Uri,
    headers: HeaderMap,
    JsonBody { bytes, .. }: JsonBody<Anthropic>,
) -> Result<Response, Failure<Anthropic>> {
    let incoming = IncomingMessages::parse(bytes)?.into();
    let command = CountCommand { caller, request_id, incoming, passed: passed(&uri, &headers) };
    let counted = http.engine.count_tokens(&command).await?;
    let mut response = Response::new(Body::from(counted.body));
    *response.headers_mut() = without_stale(counted.headers);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
