//! Whether the server lives, is ready, and how much it does.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::router::Http;

/// The state of the server.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or what is wrong.
    status: &'static str,
    /// Privet's version.
    version: &'static str,
}

impl Health {
    const fn new(status: &'static str) -> Self {
        Self { status, version: env!("CARGO_PKG_VERSION") }
    }
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "Operations",
    responses((status = 200, description = "It lives", body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health::new("ok"))
}

/// The server takes requests: its database answers and it is not shutting down.
#[utoipa::path(get, path = "/readyz", tag = "Operations",
    responses(
        (status = 200, description = "It is ready", body = Health),
        (status = 503, description = "It is not", body = Health),
    ))]
pub(crate) async fn readyz(State(http): State<Http>) -> Response {
    if http.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Health::new("shutting down"))).into_response();
    }
    match http.engine.store.ping().await {
        Ok(()) => Json(Health::new("ok")).into_response(),
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health::new("the database does not answer"))).into_response()
        }
    }
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Operations",
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(http): State<Http>) -> Response {
    metrics::gauge!("privet_calls_under_way").set(u32::try_from(http.engine.calls_under_way()).unwrap_or(u32::MAX));
    let mut response = http.metrics.render().into_response();
    let text = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// A greeting: `Hello World` as in the lesson, or a page for a browser.
#[utoipa::path(get, path = "/", tag = "Operations",
    responses((status = 200, description = "A greeting", body = String, content_type = "text/plain")))]
pub(crate) async fn greet(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        Html(include_str!("greeting.html")).into_response()
    } else {
        "Hello World".into_response()
    }
}
