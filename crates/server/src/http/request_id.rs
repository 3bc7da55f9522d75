//! The request's id: made for each request, told in `x-request-id`, and the head of its log lines; the count of requests;
//! and the place where its rate limits are noted until the answer tells them.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use privet_domain::id::RequestId;
use privet_domain::time::{Clock as _, SystemClock};
use tracing::Instrument as _;

use super::error::GATE_HEADER;
use super::rate_status::{RateForm, RateSlot, RateStatus};
use super::surface::{is_anthropics, is_geminis};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same under the name that Anthropic's clients know.
static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What an error must know of its request.
#[derive(Clone, Copy)]
pub(crate) struct Answering {
    /// The request's id.
    pub(crate) id: RequestId,
    /// Whether it is one of Anthropic's clients.
    pub(crate) is_anthropics: bool,
    /// Whether it is one of Gemini's clients.
    pub(crate) is_geminis: bool,
}

tokio::task_local! {
    static ANSWERING: Answering;
}

/// The request that is being answered here.
pub(crate) fn current() -> Option<Answering> {
    ANSWERING.try_with(|answering| *answering).ok()
}

/// Gives the request its id, which handlers read as an extension, and reports its end.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    request.extensions_mut().insert(id);
    let rate = RateSlot::default();
    request.extensions_mut().insert(rate.clone());
    let span = tracing::info_span!("request", id = %id);
    let is_anthropics = is_anthropics(request.uri().path(), request.headers());
    let is_geminis = is_geminis(request.uri().path(), request.headers());
    let answering = Answering { id, is_anthropics, is_geminis };
    let mut response = ANSWERING.scope(answering, next.run(request).instrument(span.clone())).await;
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID.clone(), value.clone());
        response.headers_mut().insert(X_REQUEST_ID.clone(), value);
    }
    let refused_by = response.extensions_mut().remove::<RateStatus>();
    let form = if is_anthropics { RateForm::Anthropic(SystemClock.now()) } else { RateForm::OpenAi };
    rate.write(refused_by, form, response.headers_mut());
    if let Some(gate) = response.headers().get(&GATE_HEADER).and_then(|gate| gate.to_str().ok()) {
        metrics::counter!("privet_refusals_total", "gate" => gate.to_owned()).increment(1);
    }
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    span.in_scope(|| tracing::debug!(%method, route, status, seconds, "answered"));
    metrics::counter!("privet_requests_total", "route" => route.to_owned(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("privet_request_seconds", "route" => route.to_owned()).record(seconds);
    response
}
