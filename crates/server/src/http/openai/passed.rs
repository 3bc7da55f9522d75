//! What pictures and moderations have in common on their way to the engine and back.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use privet_dialects::openai::passed::{Endpoint, IncomingPassed};
use privet_domain::id::RequestId;
use privet_engine::keyring::Caller;
use privet_engine::passed::{PassedCommand, PassedReply};

use crate::http::error::ApiError;
use crate::http::idempotency::{RepeatableBody, once};
use crate::http::reply::without_stale;
use crate::http::router::Http;
use crate::http::surface::OpenAi;
use crate::http::trace_context::{request_trace, told};

/// A request, and who asks.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) caller: Caller,
    pub(super) request_id: RequestId,
    pub(super) headers: HeaderMap,
    pub(super) body: RepeatableBody<OpenAi>,
}

/// Passes it on, once for its Idempotency-Key.
pub(super) async fn pass(http: Http, asked: Asked) -> Result<Response, ApiError> {
    let Asked { endpoint, caller, request_id, headers, body } = asked;
    let RepeatableBody { bytes, repeatable, .. } = body;
    let trace = request_trace(&headers);
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let incoming = IncomingPassed::parse(bytes, endpoint)?;
        let command = PassedCommand { caller, request_id, incoming, trace: trace.clone() };
        told(&trace, engine.pass(command).await.map(respond).map_err(ApiError::from))
    };
    once(&http, family_id, repeatable, work).await
}

fn respond(reply: PassedReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.headers_mut() = without_stale(reply.headers);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
