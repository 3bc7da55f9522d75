//! `POST /v1/embeddings`.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use privet_dialects::openai::embeddings::IncomingEmbeddings;
use privet_domain::id::RequestId;
use privet_engine::embedding::{EmbeddingsCommand, EmbeddingsReply};

use crate::http::authenticate::{ForEmbeddings, Spending};
use crate::http::docs::{EmbeddingList, EmbeddingsRequest, OpenAiError};
use crate::http::error::ApiError;
use crate::http::idempotency::{RepeatableBody, once};
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};
use crate::http::trace_context::{request_trace, told};

/// Turn texts into vectors, in OpenAI's shape.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "OpenAI",
    request_body = EmbeddingsRequest,
    params(("idempotency-key" = Option<String>, Header, description = "Names the request: sent again within 24 h, it is answered as before and costs nothing")),
    responses(
        (status = 200, description = "The vectors", body = EmbeddingList),
        (status = 400, description = "The request is wrong, or its model's provider has no embeddings", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `embeddings`, or may not use the model", body = OpenAiError),
        (status = 404, description = "Unknown model", body = OpenAiError),
        (status = 408, description = "The body came too slowly", body = OpenAiError),
        (status = 409, description = "The Idempotency-Key is in use, or was used for another request", body = OpenAiError),
        (status = 413, description = "The body is too large", body = OpenAiError),
        (status = 429, description = "Too many requests, here or at the provider; `retry-after` says how long to wait", body = OpenAiError),
        (status = 502, description = "The provider failed", body = OpenAiError),
        (status = 503, description = "The provider or the server is unavailable", body = OpenAiError),
        (status = 504, description = "The provider took too long", body = OpenAiError),
    ),
    security(("key" = ["embeddings"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Extension(request_id): Extension<RequestId>,
    Spending { caller, .. }: Spending<OpenAi, ForEmbeddings>,
    headers: HeaderMap,
    RepeatableBody { bytes, repeatable, .. }: RepeatableBody<OpenAi>,
) -> Result<Response, Failure<OpenAi>> {
    let trace = request_trace(&headers);
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let incoming = IncomingEmbeddings::parse(bytes)?;
        let command = EmbeddingsCommand { caller, request_id, incoming, trace: trace.clone(), traces_texts: true };
        told(&trace, engine.embed(command).await.map(respond).map_err(ApiError::from))
    };
    Ok(once(&http, family_id, repeatable, work).await?)
}

fn respond(reply: EmbeddingsReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.headers_mut() = reply.headers;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
