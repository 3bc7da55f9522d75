//! `GET /v1/models` and `GET /v1/models/{model}`: one path for three kinds of clients. Anthropic's send the header `anthropic-version`,
//! and Gemini's their key in `x-goog-api-key`: they get their shapes.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use privet_domain::key_limits::ModelNotAllowed;
use privet_engine::admission::Refused;
use privet_engine::keyring::Caller;
use privet_engine::models::OfferedModel;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::authenticate::{AnyKey, Authenticated};
use crate::http::docs::{AnthropicModel, AnthropicModelList, GeminiModel, Model, ModelList, OpenAiError};
use crate::http::error::{ApiError, shortened};
use crate::http::gemini;
use crate::http::router::Http;
use crate::http::surface::{Failure, Models, asked_by_anthropics, asked_by_geminis};

/// Which part of the list an Anthropic client wants.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct Page {
    /// For Anthropic's clients: at most so many; all when absent.
    limit: Option<usize>,
    /// For Anthropic's clients: those behind this one.
    after_id: Option<String>,
    /// For Anthropic's clients: those before this one.
    before_id: Option<String>,
}

/// The models that the key may use: aliases of the configuration, then those of each provider.
///
/// With the header `anthropic-version` the answer has Anthropic's shape, with `x-goog-api-key` Gemini's.
#[utoipa::path(
    get, path = "/v1/models", tag = "OpenAI",
    params(Page, ("anthropic-version" = Option<String>, Header, description = "Asks for Anthropic's shape")),
    responses(
        (status = 200, description = "The models; for Anthropic's clients an `AnthropicModelList`", body = ModelList),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Models, AnyKey>,
    page: Result<Query<Page>, QueryRejection>,
    uri: Uri,
) -> Result<Response, Failure<Models>> {
    let models = permitted(&http, &caller).await;
    if asked_by_geminis() && !asked_by_anthropics() {
        return Ok(Json(gemini::models::page(models, &uri)?).into_response());
    }
    if asked_by_anthropics() {
        let Query(page) = page.map_err(|_| ApiError::bad_request("`limit` must be a whole number.").at("limit"))?;
        return Ok(Json(page.of(models)).into_response());
    }
    Ok(Json(ModelList { object: "list", data: models.into_iter().map(Model::from).collect() }).into_response())
}

/// One model.
///
/// With the header `anthropic-version` the answer has Anthropic's shape.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "OpenAI",
    params(
        ("model" = String, Path, description = "`provider/model` or an alias"),
        ("anthropic-version" = Option<String>, Header, description = "Asks for Anthropic's shape"),
    ),
    responses(
        (status = 200, description = "The model; for Anthropic's clients an `AnthropicModel`", body = Model),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key may not use the model", body = OpenAiError),
        (status = 404, description = "Unknown model", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Models, AnyKey>,
    model: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure<Models>> {
    let Path(model) = model.map_err(|_| no_text())?;
    let found = find(&http, &caller, &model).await?;
    if asked_by_anthropics() {
        return Ok(Json(AnthropicModel::from(found)).into_response());
    }
    if asked_by_geminis() {
        return Ok(Json(GeminiModel::from(found)).into_response());
    }
    Ok(Json(Model::from(found)).into_response())
}

/// The models that the key may use.
pub(crate) async fn permitted(http: &Http, caller: &Caller) -> Vec<OfferedModel> {
    let mut models = http.engine.models.list(&http.engine.router).await;
    models.retain(|model| permit(http, caller, &model.id).is_ok());
    models
}

/// A model that the key may use.
pub(crate) async fn find(http: &Http, caller: &Caller, model: &str) -> Result<OfferedModel, ApiError> {
    let models = http.engine.models.list(&http.engine.router).await;
    let found = models.into_iter().find(|offered| offered.id == model).ok_or_else(|| {
        let model = shortened(model);
        let message = format!("The model `{model}` does not exist here; GET /v1/models lists what there is.");
        ApiError::not_found(message).at("model")
    })?;
    permit(http, caller, &found.id).map_err(Refused::from)?;
    Ok(found)
}

/// The same for a name whose slashes were not escaped: most clients put it into the path as it is.
pub(crate) async fn read_with_slashes(
    http: State<Http>,
    caller: Authenticated<Models, AnyKey>,
    name: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure<Models>> {
    let Path((head, rest)) = name.map_err(|_| no_text())?;
    read(http, caller, Ok(Path(format!("{head}/{rest}")))).await
}

impl Page {
    /// Its part of the models. Of a place that is not there, nothing is known: the list begins at its beginning.
    fn of(&self, models: Vec<OfferedModel>) -> AnthropicModelList {
        let place = |id: &Option<String>| models.iter().position(|model| Some(&model.id) == id.as_ref());
        let limit = self.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let (from, to) = match (place(&self.after_id), place(&self.before_id)) {
            (Some(after), _) => (after + 1, models.len().min((after + 1).saturating_add(limit))),
            (None, Some(before)) => (before.saturating_sub(limit), before),
            (None, None) => (0, models.len().min(limit)),
        };
        let has_more = if self.before_id.is_some() { from > 0 } else { to < models.len() };
        let data: Vec<AnthropicModel> =
            models.into_iter().skip(from).take(to.saturating_sub(from)).map(AnthropicModel::from).collect();
        let id = |model: Option<&AnthropicModel>| model.map(|model| model.id.clone());
        AnthropicModelList { first_id: id(data.first()), last_id: id(data.last()), has_more, data }
    }
}

/// Whether the key may use a model, by the name it is listed under or by that of a model which it stands for.
fn permit(http: &Http, caller: &Caller, id: &str) -> Result<(), ModelNotAllowed> {
    let Ok(route) = http.engine.router.resolve(Some(id)) else { return caller.limits.permit(id, id) };
    if route.targets().any(|target| caller.limits.allows(id, &target.name())) {
        return Ok(());
    }
    caller.limits.permit(id, id)
}

fn no_text() -> ApiError {
    ApiError::bad_request("The path is not valid UTF-8.")
}

impl From<OfferedModel> for AnthropicModel {
    fn from(offered: OfferedModel) -> Self {
        // When it was made is not known: that is what Anthropic says then.
        let created_at = "1970-01-01T00:00:00Z";
        Self { r#type: "model", display_name: offered.id.clone(), id: offered.id, created_at, lifecycle: "active" }
    }
}

impl From<OfferedModel> for Model {
    fn from(offered: OfferedModel) -> Self {
        Self { id: offered.id, object: "model", created: 0, owned_by: offered.owned_by }
    }
}
