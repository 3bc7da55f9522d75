//! `/api/switches`: the kill switch. For administrators.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_engine::switchboard::{self, SwitchScope};
use privet_store::SwitchedOff;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::authenticate::{Authenticated, ForAdmin};
use super::body::JsonBody;
use super::conversations::{Queried, decode};
use super::docs::NativeError;
use super::router::Http;
use super::surface::{Failure, Native};

/// What to switch off.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSwitch {
    /// `global`, `key/ID` or `provider/NAME`.
    scope: String,
    /// Why; whoever is refused reads it.
    reason: Option<String>,
}

/// Something that is switched off.
#[derive(Serialize, ToSchema)]
pub(crate) struct SwitchView {
    /// `global`, `key/ID` or `provider/NAME`.
    scope: String,
    /// Why.
    reason: String,
    /// When, RFC 3339.
    at: String,
}

/// All that is switched off.
#[derive(Serialize, ToSchema)]
pub(crate) struct SwitchList {
    /// In the order of their scopes.
    data: Vec<SwitchView>,
}

/// Which switch.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SwitchQuery {
    /// `global`, `key/ID` or `provider/NAME`.
    scope: String,
}

impl From<SwitchedOff> for SwitchView {
    fn from(switch: SwitchedOff) -> Self {
        Self { scope: switch.scope, reason: switch.reason, at: switch.at.to_string() }
    }
}

/// What is switched off.
#[utoipa::path(
    get, path = "/api/switches", tag = "Money",
    responses(
        (status = 200, description = "All that is switched off", body = SwitchList),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    _caller: Authenticated<Native, ForAdmin>,
) -> Result<Json<SwitchList>, Failure<Native>> {
    let switches = http.engine.store.switches().await?;
    Ok(Json(SwitchList { data: switches.into_iter().map(SwitchView::from).collect() }))
}

/// Switch everything, a key or a provider off: new calls are refused, running ones stop.
#[utoipa::path(
    post, path = "/api/switches", tag = "Money",
    request_body = NewSwitch,
    responses(
        (status = 201, description = "It is off", body = SwitchView),
        (status = 400, description = "The scope is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 404, description = "Unknown key or provider", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn switch_off(
    State(http): State<Http>,
    _caller: Authenticated<Native, ForAdmin>,
    body: JsonBody<Native>,
) -> Result<(StatusCode, Json<SwitchView>), Failure<Native>> {
    let new: NewSwitch = decode(&body.bytes)?;
    let engine = &http.engine;
    let providers: Vec<&str> = engine.router.providers().map(|provider| provider.name()).collect();
    let scope = SwitchScope::read(&new.scope, &engine.store, &providers).await?;
    let switch = switchboard::switched_off(&scope, new.reason, engine.clock.now());
    engine.store.switch_off(&switch).await?;
    engine.switchboard.reload().await?;
    Ok((StatusCode::CREATED, Json(switch.into())))
}

/// Switch it on again.
#[utoipa::path(
    delete, path = "/api/switches", tag = "Money",
    params(SwitchQuery),
    responses(
        (status = 204, description = "It is on"),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 404, description = "It was not off", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn switch_on(
    State(http): State<Http>,
    _caller: Authenticated<Native, ForAdmin>,
    Queried(query): Queried<SwitchQuery>,
) -> Result<StatusCode, Failure<Native>> {
    switchboard::switch_on(&http.engine.store, &query.scope).await?;
    http.engine.switchboard.reload().await?;
    Ok(StatusCode::NO_CONTENT)
}
