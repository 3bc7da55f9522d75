//! `POST /v1/moderations`.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use privet_dialects::openai::passed::Endpoint;
use privet_domain::id::RequestId;

use super::passed::{Asked, pass};
use crate::http::authenticate::{ForChat, Spending};
use crate::http::docs::{Moderation, ModerationsRequest, OpenAiError};
use crate::http::idempotency::RepeatableBody;
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};

/// Ask whether a text or a picture is harmful, in OpenAI's shape.
///
/// The request goes to the provider of the model as it is, and its answer comes as it is. Without a model it is OpenAI's
/// `omni-moderation-latest`, which is free.
#[utoipa::path(
    post, path = "/v1/moderations", tag = "OpenAI",
    request_body = ModerationsRequest,
    params(("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before")),
    responses(
        (status = 200, description = "A verdict for each input", body = Moderation),
        (status = 400, description = "The request is wrong, or its model's provider does not moderate", body = OpenAiError),
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
    Ok(pass(http, Asked { endpoint: Endpoint::Moderations, caller, request_id, headers, body }).await?)
}
