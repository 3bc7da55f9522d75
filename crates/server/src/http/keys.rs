//! `/api/keys`: make, list, read, change, revoke and rotate API keys. For administrators.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use privet_domain::id::ApiKeyId;
use privet_domain::key_limits::KeyLimits;
use privet_domain::scope::Scopes;
use privet_domain::time::Timestamp;
use privet_engine::api_key::{self, CreatedKey, DEFAULT_PROJECT, DEFAULT_USER, KeyChange, KeyRequest};
use privet_engine::key_settings::{KeyField, KeySettings, end_at, read_life, read_name};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::authenticate::{Authenticated, ForAdmin};
use super::body::JsonBody;
use super::conversations::{PathId, decode};
use super::docs::NativeError;
use super::error::{ApiError, shortened};
use super::router::Http;
use super::surface::{Failure, Native};
use crate::key_view::{CreatedKeyView, KeyView};

/// So long both keys are valid unless the request says otherwise.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What you call it.
    name: String,
    /// The user it belongs to; `owner` when absent.
    user: Option<String>,
    /// The project whose data it sees, made if missing; `default` when absent.
    project: Option<String>,
    /// What it may do: `chat`, `embeddings`, `read`, `prompts`, `traces`, `admin`; all but `prompts` and `admin` when absent.
    scopes: Option<Vec<String>>,
    /// The models that it may use: `provider/model`, an alias, or a beginning with `*` at its end; all when absent.
    models: Option<Vec<String>>,
    /// How much money, such as `1.00/day` or `20/month Europe/Warsaw`; one for each of day, week, month and total.
    budgets: Option<Vec<String>>,
    /// How many requests, such as `60/1m`.
    rates: Option<Vec<String>>,
    /// How many tokens, such as `100000/1m`.
    token_rates: Option<Vec<String>>,
    /// How many calls under way.
    #[schema(minimum = 1)]
    concurrency: Option<u32>,
    /// How many requests from one address, such as `1/10s`, in place of the configured rate.
    address_rate: Option<String>,
    /// For how long its answers are kept for the same question, such as `10m`; not at all when absent.
    cache: Option<String>,
    /// When it ends, RFC 3339.
    expires_at: Option<String>,
    /// When it ends, from now: `30d`.
    expires_in: Option<String>,
}

/// What to change of a key. What is absent stays; an empty list or null removes a limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyPatch {
    /// What you call it.
    name: Option<String>,
    /// What it may do: `chat`, `embeddings`, `read`, `prompts`, `traces`, `admin`.
    scopes: Option<Vec<String>>,
    /// The models that it may use: `provider/model`, an alias, or a beginning with `*` at its end.
    models: Option<Vec<String>>,
    /// How much money, such as `1.00/day` or `20/month Europe/Warsaw`; one for each of day, week, month and total.
    budgets: Option<Vec<String>>,
    /// How many requests, such as `60/1m`.
    rates: Option<Vec<String>>,
    /// How many tokens, such as `100000/1m`.
    token_rates: Option<Vec<String>>,
    /// How many calls under way.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    concurrency: Option<Option<u32>>,
    /// How many requests from one address, such as `1/10s`, in place of the configured rate.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    address_rate: Option<Option<String>>,
    /// For how long its answers are kept for the same question, such as `10m`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    cache: Option<Option<String>>,
    /// When it ends, RFC 3339.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
    /// When it ends, from now: `30d`.
    expires_in: Option<String>,
}

/// How to replace a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// So long both keys are valid; `24h` when absent.
    overlap: Option<String>,
}

/// All keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// The keys, oldest first.
    data: Vec<KeyView>,
}

/// Tells a null from a field that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl NewKey {
    fn read(self, now: Timestamp) -> Result<KeyRequest, ApiError> {
        let settings = KeySettings {
            scopes: self.scopes,
            models: self.models,
            budgets: self.budgets,
            rates: self.rates,
            token_rates: self.token_rates,
            concurrency: self.concurrency.map(Some),
            address_rate: self.address_rate.map(Some),
            cache: self.cache.map(Some),
        };
        let (mut scopes, mut limits) = (Scopes::default(), KeyLimits::default());
        settings.apply(&mut scopes, &mut limits)?;
        Ok(KeyRequest {
            name: read_name(KeyField::Name, &self.name)?,
            user_id: read_name(KeyField::User, self.user.as_deref().unwrap_or(DEFAULT_USER))?,
            project: read_name(KeyField::Project, self.project.as_deref().unwrap_or(DEFAULT_PROJECT))?,
            scopes,
            limits,
            expires_at: end(self.expires_at.as_deref(), self.expires_in.as_deref(), now)?,
        })
    }
}

impl KeyPatch {
    fn read(self, now: Timestamp) -> Result<KeyChange, ApiError> {
        let end = end(self.expires_at.as_ref().and_then(Option::as_deref), self.expires_in.as_deref(), now)?;
        let is_end_given = self.expires_at.is_some() || self.expires_in.is_some();
        Ok(KeyChange {
            name: self.name.as_deref().map(|name| read_name(KeyField::Name, name)).transpose()?,
            settings: KeySettings {
                scopes: self.scopes,
                models: self.models,
                budgets: self.budgets,
                rates: self.rates,
                token_rates: self.token_rates,
                concurrency: self.concurrency,
                address_rate: self.address_rate,
                cache: self.cache,
            },
            expires_at: is_end_given.then_some(end),
        })
    }
}

fn end(at: Option<&str>, after: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let wrong = |field: &str, text: &str, remedy: &str| {
        ApiError::bad_request(format!("`{field}`: `{}` {remedy}.", shortened(text))).at(field)
    };
    match (at, after) {
        (Some(_), Some(_)) => {
            Err(ApiError::bad_request("`expires_at` and `expires_in` say the same; write one of them.")
                .at("expires_in"))
        }
        (Some(at), None) => {
            let remedy = "is no instant to come; write RFC 3339 such as `2030-01-31T12:00:00Z`";
            end_at(at, now).map(Some).ok_or_else(|| wrong("expires_at", at, remedy))
        }
        (None, Some(after)) => {
            let remedy = "is no time; write one such as `12h` or `30d`";
            read_life(after).map(|life| Some(now.after(life))).ok_or_else(|| wrong("expires_in", after, remedy))
        }
        (None, None) => Ok(None),
    }
}

/// Make a key. Its text is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/api/keys", tag = "Keys",
    request_body = NewKey,
    responses(
        (status = 201, description = "The key", body = CreatedKeyView),
        (status = 400, description = "A field is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    body: JsonBody<Native>,
) -> Result<Response, Failure<Native>> {
    let now = http.engine.clock.now();
    let request = decode::<NewKey>(&body.bytes)?.read(now)?;
    let created = api_key::create(&http.engine.store, &request, now).await?;
    tracing::info!(id = %created.key.id, by = %caller.key_id, "an API key was made");
    revealed(&http, &created).await
}

/// All keys of all projects, without their secrets.
#[utoipa::path(
    get, path = "/api/keys", tag = "Keys",
    responses(
        (status = 200, description = "The keys", body = KeyList),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    _admin: Authenticated<Native, ForAdmin>,
) -> Result<Json<KeyList>, Failure<Native>> {
    let keys = api_key::list(&http.engine.store).await?;
    let data = keys.iter().map(KeyView::read).collect::<Result<_, _>>()?;
    Ok(Json(KeyList { data }))
}

/// One key, without its secret.
#[utoipa::path(
    get, path = "/api/keys/{id}", tag = "Keys",
    params(("id" = uuid::Uuid, Path, description = "The key")),
    responses(
        (status = 200, description = "The key", body = KeyView),
        (status = 400, description = "The path is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 404, description = "There is no key with this id", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    _admin: Authenticated<Native, ForAdmin>,
    PathId(id): PathId<ApiKeyId>,
) -> Result<Json<KeyView>, Failure<Native>> {
    let key = api_key::find(&http.engine.store, &id.to_string()).await?;
    Ok(Json(KeyView::read(&key)?))
}

/// Change a key's name, scopes, limits or end. It holds at once.
#[utoipa::path(
    patch, path = "/api/keys/{id}", tag = "Keys",
    params(("id" = uuid::Uuid, Path, description = "The key")),
    request_body = KeyPatch,
    responses(
        (status = 200, description = "The key as it is now", body = KeyView),
        (status = 400, description = "A field is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 404, description = "There is no key with this id", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 409, description = "The key is revoked", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn change(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    PathId(id): PathId<ApiKeyId>,
    body: JsonBody<Native>,
) -> Result<Json<KeyView>, Failure<Native>> {
    let change = decode::<KeyPatch>(&body.bytes)?.read(http.engine.clock.now())?;
    let key = api_key::update(&http.engine.store, &id.to_string(), &change).await?;
    tracing::info!(%id, by = %caller.key_id, "an API key was changed");
    // What is asked for may be less than what the key had: it must hold before the answer. Asking again does no harm.
    http.engine.keyring.reload().await?;
    Ok(Json(KeyView::read(&key)?))
}

/// Revoke a key. From this answer on it opens nothing.
#[utoipa::path(
    delete, path = "/api/keys/{id}", tag = "Keys",
    params(("id" = uuid::Uuid, Path, description = "The key")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 400, description = "The path is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 404, description = "There is no key with this id", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn revoke(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    PathId(id): PathId<ApiKeyId>,
) -> Result<StatusCode, Failure<Native>> {
    api_key::revoke(&http.engine.store, &id.to_string(), http.engine.clock.now()).await?;
    tracing::info!(%id, by = %caller.key_id, "an API key was revoked");
    http.engine.keyring.reload().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a key by one with the same rights. Both are valid for a while; budgets go on with the new one.
#[utoipa::path(
    post, path = "/api/keys/{id}/rotate", tag = "Keys",
    params(("id" = uuid::Uuid, Path, description = "The key")),
    request_body(content = Option<Rotation>),
    responses(
        (status = 201, description = "The new key", body = CreatedKeyView),
        (status = 400, description = "A field is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
        (status = 404, description = "There is no key with this id", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 409, description = "The key is revoked or expired", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn rotate(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    PathId(id): PathId<ApiKeyId>,
    body: JsonBody<Native>,
) -> Result<Response, Failure<Native>> {
    let rotation: Option<Rotation> = if body.bytes.trim_ascii().is_empty() { None } else { decode(&body.bytes)? };
    let overlap = match rotation.and_then(|rotation| rotation.overlap) {
        None => OVERLAP,
        Some(text) => read_life(&text).ok_or_else(|| {
            let text = shortened(&text);
            let message =
                format!("`overlap`: `{text}` is no time; write one such as `24h`, or revoke the key instead.");
            ApiError::bad_request(message).at("overlap")
        })?,
    };
    let created = api_key::rotate(&http.engine.store, &id.to_string(), overlap, http.engine.clock.now()).await?;
    tracing::info!(%id, successor = %created.key.id, by = %caller.key_id, "an API key was rotated");
    revealed(&http, &created).await
}

/// The answer that shows a new key. It is valid by then, if the database still answers; a moment later at the latest.
async fn revealed(http: &Http, created: &CreatedKey) -> Result<Response, Failure<Native>> {
    if let Err(error) = http.engine.keyring.reload().await {
        tracing::warn!(%error, "a new API key is not known yet");
    }
    let mut response = (StatusCode::CREATED, Json(CreatedKeyView::reveal(created)?)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
