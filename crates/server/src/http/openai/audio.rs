//! What speech and recordings have in common on their way to the engine and back.

pub(crate) mod speech;
pub(crate) mod transcriptions;
pub(crate) mod translations;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use privet_dialects::BadRequest;
use privet_dialects::openai::audio::{AudioEndpoint, IncomingAudio};
use privet_domain::id::RequestId;
use privet_engine::audio::{AudioBody, AudioCommand, AudioReply};
use privet_engine::keyring::Caller;

use crate::http::error::ApiError;
use crate::http::form::RepeatableForm;
use crate::http::idempotency::{Repeatable, once};
use crate::http::reply::{EVENT_STREAM, sound_stream, without_stale};
use crate::http::router::Http;
use crate::http::surface::OpenAi;
use crate::http::trace_context::{request_trace, told};

/// Who asks.
struct Asker {
    caller: Caller,
    request_id: RequestId,
    headers: HeaderMap,
}

/// Passes a request on, once for its Idempotency-Key.
async fn pass(
    http: Http,
    asker: Asker,
    repeatable: Option<Repeatable>,
    incoming: impl FnOnce() -> Result<IncomingAudio, BadRequest> + Send + 'static,
) -> Result<Response, ApiError> {
    let Asker { caller, request_id, headers } = asker;
    let trace = request_trace(&headers);
    let (engine, family_id) = (http.engine.clone(), caller.family_id);
    let work = async move {
        let command = AudioCommand { caller, request_id, incoming: incoming()?, trace: trace.clone() };
        told(&trace, engine.pass_audio(command).await.map(respond).map_err(ApiError::from))
    };
    once(&http, family_id, repeatable, work).await
}

/// The same of a recording, whose form keeps its place in memory until the provider has it.
async fn pass_recording(
    http: Http,
    asker: Asker,
    endpoint: AudioEndpoint,
    form: RepeatableForm<OpenAi>,
) -> Result<Response, ApiError> {
    let RepeatableForm { parts, repeatable, place, .. } = form;
    let passed = pass(http, asker, repeatable, move || IncomingAudio::recording(endpoint, parts)).await;
    drop(place);
    passed
}

fn respond(reply: AudioReply) -> Response {
    let body = match reply.body {
        AudioBody::Whole(bytes) => Body::from(bytes),
        AudioBody::Stream(pieces) => sound_stream(pieces),
    };
    let mut response = Response::new(body);
    *response.headers_mut() = without_stale(reply.headers);
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.trim_start().starts_with(EVENT_STREAM)) {
        // nginx holds a stream back unless told not to.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}
