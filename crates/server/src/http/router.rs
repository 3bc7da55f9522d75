//! The list of routes, and what every route shares: the request's id, the log, and the answer to a panic.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use privet_engine::Engine;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::docs::ApiDoc;
use super::door::Door;
use super::error::{ApiError, shortened};
use super::linger::linger;
use super::request_id::identify;
use super::surface::{Anthropic, Failure, Gemini, Langfuse, Native, OpenAi, is_anthropics, is_geminis};
use super::{
    anthropic, conversations, documents, erasures, feedback, gemini, health, keys, langfuse, lesson_chat, memories,
    messages, openai, prompts, providers, switches, traces, usage,
};

/// What handlers need.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) engine: Arc<Engine>,
    /// The limits of addresses.
    pub(crate) door: Arc<Door>,
    pub(crate) body_limits: BodyLimits,
    pub(crate) metrics: PrometheusHandle,
    /// Every task that works for a connection.
    pub(crate) connections: TaskTracker,
    /// Cancelled when the server begins to shut down.
    pub(crate) draining: CancellationToken,
}

/// How large and how slow a body may be.
#[derive(Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// All routes.
pub(crate) fn router(http: Http) -> Router {
    let (routes, document) = described().split_for_parts();
    routes
        .route("/v1/models/{model}", post(gemini::methods::call))
        .route(
            "/v1/models/{model}/{*rest}",
            get(openai::models::read_with_slashes).post(gemini::methods::call_with_slashes),
        )
        .route("/v1beta/models/{*rest}", get(gemini::models::read).post(gemini::methods::call))
        .route(
            "/api/public/v2/prompts/{name}/{*rest}",
            get(langfuse::prompts::read_with_slashes)
                .delete(langfuse::prompts::delete_with_slashes)
                .patch(langfuse::prompts::label_with_slashes),
        )
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(axum::middleware::from_fn(identify))
        .layer(axum::middleware::from_fn_with_state(http.connections.clone(), linger))
        .with_state(http)
}

fn described() -> OpenApiRouter<Http> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(health::greet))
        .routes(routes!(lesson_chat::create))
        .routes(routes!(openai::chat_completions::create))
        .routes(routes!(openai::responses::create))
        .routes(routes!(openai::responses::count))
        .routes(routes!(openai::responses::kept::read, openai::responses::kept::delete))
        .routes(routes!(openai::responses::kept::cancel))
        .routes(routes!(openai::responses::kept::input_items))
        .routes(routes!(openai::embeddings::create))
        .routes(routes!(openai::images::create))
        .routes(routes!(openai::moderations::create))
        .routes(routes!(openai::audio::speech::create))
        .routes(routes!(openai::audio::transcriptions::create))
        .routes(routes!(openai::audio::translations::create))
        .routes(routes!(anthropic::messages::create))
        .routes(routes!(anthropic::count_tokens::count))
        .routes(routes!(gemini::models::list))
        .routes(routes!(openai::models::list))
        .routes(routes!(openai::models::read))
        .routes(routes!(conversations::list, conversations::create))
        .routes(routes!(conversations::export))
        .routes(routes!(conversations::read, conversations::delete))
        .routes(routes!(messages::read, messages::edit, messages::delete))
        .routes(routes!(prompts::list, prompts::create))
        .routes(routes!(prompts::read, prompts::delete))
        .routes(routes!(prompts::versions))
        .routes(routes!(prompts::diff))
        .routes(routes!(prompts::used_by))
        .routes(routes!(prompts::labels::put, prompts::labels::remove))
        .routes(routes!(prompts::labels::list_protected))
        .routes(routes!(prompts::labels::protect, prompts::labels::unprotect))
        .routes(routes!(prompts::filling::compile))
        .routes(routes!(prompts::filling::run))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::read, keys::change, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(feedback::create))
        .routes(routes!(usage::sum))
        .routes(routes!(usage::explain))
        .routes(routes!(switches::list, switches::switch_off, switches::switch_on))
        .routes(routes!(providers::list))
        .routes(routes!(erasures::list))
        .routes(routes!(traces::list))
        .routes(routes!(traces::read, traces::delete))
        .routes(routes!(traces::sessions))
        .routes(routes!(traces::session))
        .routes(routes!(traces::users))
        .routes(routes!(traces::user, erasures::erase))
        .routes(routes!(traces::scores))
        .routes(routes!(traces::days))
        .routes(routes!(memories::list, memories::create, memories::delete_many))
        .routes(routes!(memories::search::create))
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(documents::read, documents::delete))
        .routes(routes!(memories::read, memories::update, memories::delete))
        .routes(routes!(memories::history))
        .routes(routes!(langfuse::health::read))
        .routes(routes!(langfuse::projects::list))
        .routes(routes!(langfuse::ingestion::create))
        .routes(routes!(langfuse::spans::create))
        .routes(routes!(langfuse::spans::create_plain))
        .routes(routes!(langfuse::scores::create, langfuse::judgements::list_old))
        .routes(routes!(langfuse::judgements::read_old, langfuse::judgements::delete))
        .routes(routes!(langfuse::judgements::list))
        .routes(routes!(langfuse::judgements::read))
        .routes(routes!(langfuse::judgements::list_typed))
        .routes(routes!(langfuse::traces::list, langfuse::traces::delete_many))
        .routes(routes!(langfuse::traces::read, langfuse::traces::delete))
        .routes(routes!(langfuse::observations::list))
        .routes(routes!(langfuse::observations::read))
        .routes(routes!(langfuse::observations::list_by_fields))
        .routes(routes!(langfuse::sessions::list))
        .routes(routes!(langfuse::sessions::read))
        .routes(routes!(langfuse::prompts::list, langfuse::prompts::create))
        .routes(routes!(langfuse::prompts::read, langfuse::prompts::delete))
        .routes(routes!(langfuse::prompts::label))
        .routes(routes!(langfuse::metrics::read))
        .routes(routes!(langfuse::metrics::read_old))
        .routes(routes!(langfuse::day_sums::daily))
        .routes(routes!(langfuse::score_configs::list, langfuse::score_configs::create))
        .routes(routes!(langfuse::score_configs::read, langfuse::score_configs::update))
        .routes(routes!(langfuse::models::list))
        .routes(routes!(langfuse::models::read))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

async fn no_such_route(uri: axum::http::Uri, headers: HeaderMap) -> Response {
    let error = ApiError::not_found(format!("There is no route `{}`; /docs lists the routes.", shortened(uri.path())));
    on_surface(&uri, &headers, error)
}

async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri, headers: HeaderMap) -> Response {
    let message = format!("The route `{}` does not take {method}; /docs lists what it takes.", shortened(uri.path()));
    on_surface(&uri, &headers, ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message))
}

fn on_surface(uri: &axum::http::Uri, headers: &HeaderMap, error: ApiError) -> Response {
    let path = uri.path();
    if is_anthropics(path, headers) {
        Failure::<Anthropic>::from(error).into_response()
    } else if is_geminis(path, headers) {
        Failure::<Gemini>::from(error).into_response()
    } else if path.starts_with("/v1") {
        Failure::<OpenAi>::from(error).into_response()
    } else if path == "/api/public" || path.starts_with("/api/public/") {
        Failure::<Langfuse>::from(error).into_response()
    } else {
        Failure::<Native>::from(error).into_response()
    }
}

/// A panic is a fault of ours: it is logged, and the client gets an answer instead of a dead connection.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn after_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    let message = "The server failed on this request; its log says where.";
    Failure::<Native>::from(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)).into_response()
}
