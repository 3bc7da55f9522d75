//! `/api/providers`: how the providers and their models do. For administrators: what fails may be another project's call.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use privet_engine::health::{LastError, ModelHealth};
use privet_providers::{Provider, ProviderKind};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::authenticate::{Authenticated, ForAdmin};
use super::docs::NativeError;
use super::router::Http;
use super::surface::{Failure, Native};

/// How all providers do.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderList {
    /// In the order of their names.
    data: Vec<ProviderView>,
}

/// How a provider does, as this server saw it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderView {
    /// Its name.
    name: String,
    /// What it speaks: `openai`, `anthropic`, `gemini` or `offline`.
    kind: &'static str,
    /// Why it is switched off, if it is.
    switched_off: Option<String>,
    keys: KeysView,
    /// Those of its models that were called, in the order of their names.
    models: Vec<ModelView>,
}

/// The keys of a provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeysView {
    /// How many it has.
    count: usize,
    /// How many of them are put aside, because they were refused or have made their requests.
    aside: usize,
}

/// How a model does.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelView {
    /// The provider's own name of it.
    model: String,
    /// `closed`: it is called; `open`: it failed too often and is passed over; `half_open`: one call tries it.
    state: &'static str,
    /// How many calls ended lately (`routing.breaker.window`).
    calls: usize,
    /// The part of them that failed, from 0 to 1.
    error_rate: f64,
    /// Half of the answers began within so many milliseconds.
    p50_ms: Option<u64>,
    /// Of a hundred answers, 95 began within so many milliseconds.
    p95_ms: Option<u64>,
    /// The last failure, if there was one.
    last_error: Option<ErrorView>,
}

/// A failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorView {
    /// `connect`, `timeout`, `limited`, `key_refused`, `server`, `reported` (an error inside a 200), `cut` or `malformed`.
    kind: &'static str,
    /// The status, where the provider said one.
    status: Option<u16>,
    /// What happened, with what is private masked.
    text: String,
    /// When, RFC 3339.
    at: String,
}

/// How the providers do: their breakers, errors, latencies and keys.
///
/// Each server tells what it saw itself, since it started.
#[utoipa::path(
    get, path = "/api/providers", tag = "Operations",
    responses(
        (status = 200, description = "All providers", body = ProviderList),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    _caller: Authenticated<Native, ForAdmin>,
) -> Result<Json<ProviderList>, Failure<Native>> {
    let engine = &http.engine;
    let now = Instant::now();
    let (mut models, switches) = (engine.health.list(now), engine.store.switches().await?);
    let data = engine.router.providers().map(|provider| {
        let name = provider.name();
        let (count, aside) = provider.key_counts(now);
        let own = models.extract_if(.., |model| model.provider == name).map(ModelView::from).collect();
        let off = switches.iter().find(|switch| switch.scope == format!("provider/{name}"));
        ProviderView {
            name: name.to_owned(),
            kind: kind(provider),
            switched_off: off.map(|switch| switch.reason.clone()),
            keys: KeysView { count, aside },
            models: own,
        }
    });
    Ok(Json(ProviderList { data: data.collect() }))
}

fn kind(provider: &Provider) -> &'static str {
    match provider {
        Provider::Http(http) => http.settings().kind.as_str(),
        Provider::Offline => ProviderKind::Offline.as_str(),
        Provider::Local(_) => ProviderKind::Local.as_str(),
    }
}

impl From<ModelHealth> for ModelView {
    fn from(health: ModelHealth) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred calls")]
        let error_rate = if health.calls == 0 { 0.0 } else { health.errors as f64 / health.calls as f64 };
        Self {
            model: health.model,
            state: health.state.as_str(),
            calls: health.calls,
            error_rate,
            p50_ms: health.p50.map(millis),
            p95_ms: health.p95.map(millis),
            last_error: health.last_error.map(ErrorView::from),
        }
    }
}

impl From<LastError> for ErrorView {
    fn from(error: LastError) -> Self {
        let LastError { kind, status, text, at } = error;
        Self { kind: kind.as_str(), status, text, at: at.to_string() }
    }
}
