//! `GET /v1/models` and `GET /v1/models/{model}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use privet_domain::key_limits::ModelNotAllowed;
use privet_engine::admission::Refused;
use privet_engine::keyring::Caller;
use privet_engine::models::OfferedModel;

use crate::http::authenticate::{AnyKey, Authenticated};
use crate::http::docs::{Model, ModelList, OpenAiError};
use crate::http::error::{ApiError, shortened};
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};

/// The models that the key may use: aliases of the configuration, then those of each provider.
#[utoipa::path(
    get, path = "/v1/models", tag = "OpenAI",
    responses(
        (status = 200, description = "The models", body = ModelList),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, AnyKey>,
) -> Result<Json<ModelList>, Failure<OpenAi>> {
    let mut models = http.engine.models.list(&http.engine.router).await;
    models.retain(|model| permit(&http, &caller, &model.id).is_ok());
    Ok(Json(ModelList { object: "list", data: models.into_iter().map(Model::from).collect() }))
}

/// One model.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "OpenAI",
    params(("model" = String, Path, description = "`provider/model` or an alias")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key may not use the model", body = OpenAiError),
        (status = 404, description = "Unknown model", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, AnyKey>,
    model: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, Failure<OpenAi>> {
    let Path(model) = model.map_err(|_| no_text())?;
    let models = http.engine.models.list(&http.engine.router).await;
    let found = models.into_iter().find(|offered| offered.id == model);
    let found = found.ok_or_else(|| {
        let model = shortened(&model);
        let message = format!("The model `{model}` does not exist here; GET /v1/models lists what there is.");
        ApiError::not_found(message).at("model")
    });
    let found = found?;
    permit(&http, &caller, &found.id).map_err(Refused::from)?;
    Ok(Json(Model::from(found)))
}

/// The same for a name whose slashes were not escaped: most clients put it into the path as it is.
pub(crate) async fn read_with_slashes(
    http: State<Http>,
    caller: Authenticated<OpenAi, AnyKey>,
    name: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Model>, Failure<OpenAi>> {
    let Path((head, rest)) = name.map_err(|_| no_text())?;
    read(http, caller, Ok(Path(format!("{head}/{rest}")))).await
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

impl From<OfferedModel> for Model {
    fn from(offered: OfferedModel) -> Self {
        Self { id: offered.id, object: "model", created: 0, owned_by: offered.owned_by }
    }
}
