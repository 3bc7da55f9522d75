//! `GET /v1beta/models` and `GET /v1beta/models/{model}`: what the key may use, in Gemini's shape.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use privet_engine::models::OfferedModel;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::authenticate::{AnyKey, Authenticated};
use crate::http::docs::{GeminiError, GeminiModel, GeminiModelList};
use crate::http::error::ApiError;
use crate::http::openai::models::{find, permitted};
use crate::http::router::Http;
use crate::http::surface::{Failure, Gemini};

/// Which part of the list is wanted.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    /// At most so many; all when absent.
    page_size: Option<usize>,
    /// The `nextPageToken` of the page before.
    page_token: Option<String>,
}

/// The models that the key may use, in Gemini's shape.
#[utoipa::path(
    get, path = "/v1beta/models", tag = "Gemini",
    params(Page),
    responses(
        (status = 200, description = "The models", body = GeminiModelList),
        (status = 400, description = "A page that there is not", body = GeminiError),
        (status = 401, description = "No valid key", body = GeminiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = GeminiError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Gemini, AnyKey>,
    uri: Uri,
) -> Result<Json<GeminiModelList>, Failure<Gemini>> {
    Ok(Json(page(permitted(&http, &caller).await, &uri)?))
}

/// One model, in Gemini's shape.
#[utoipa::path(
    get, path = "/v1beta/models/{model}", tag = "Gemini",
    params(("model" = String, Path, description = "`provider/model` or an alias")),
    responses(
        (status = 200, description = "The model", body = GeminiModel),
        (status = 401, description = "No valid key", body = GeminiError),
        (status = 403, description = "The key may not use the model", body = GeminiError),
        (status = 404, description = "Unknown model", body = GeminiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = GeminiError),
    ),
    security(("key" = [])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Gemini, AnyKey>,
    model: Result<Path<String>, PathRejection>,
) -> Result<Json<GeminiModel>, Failure<Gemini>> {
    let Path(model) = model.map_err(|_| ApiError::bad_request("The path is not valid UTF-8."))?;
    Ok(Json(find(&http, &caller, &model).await?.into()))
}

/// The part of the models that the query asks for.
pub(crate) fn page(models: Vec<OfferedModel>, uri: &Uri) -> Result<GeminiModelList, ApiError> {
    let Query(Page { page_size, page_token }) = Query::<Page>::try_from_uri(uri)
        .map_err(|_| ApiError::bad_request("`pageSize` must be a whole number.").at("pageSize"))?;
    let from = match page_token.filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => {
            let at = token.parse().ok().filter(|at| (1..=models.len()).contains(at));
            at.ok_or_else(|| {
                let message = "`pageToken` is none that was given out; leave it out to begin at the beginning.";
                ApiError::bad_request(message).at("pageToken")
            })?
        }
    };
    let to = models.len().min(from.saturating_add(page_size.filter(|size| *size > 0).unwrap_or(usize::MAX)));
    let next_page_token = (to < models.len()).then(|| to.to_string());
    let models = models.into_iter().skip(from).take(to - from).map(GeminiModel::from).collect();
    Ok(GeminiModelList { models, next_page_token })
}

impl From<OfferedModel> for GeminiModel {
    fn from(offered: OfferedModel) -> Self {
        Self {
            name: format!("models/{}", offered.id),
            display_name: offered.id,
            version: "",
            description: format!("Answered by {}", offered.owned_by),
            supported_generation_methods: ["generateContent", "countTokens"],
        }
    }
}
