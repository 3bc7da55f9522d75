//! `/v1/responses/{response_id}`: reading, deleting and cancelling a response that is kept, and what it was asked. None of it costs
//! anything, and only the key that made a response finds it.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use privet_dialects::responses::id;
use privet_dialects::responses::output::SEALED;
use privet_domain::id::ResponseId;
use privet_engine::response::{self, ResponseWish};
use privet_store::StoreError;
use serde_json::Value;

use crate::http::authenticate::{Authenticated, ForChat};
use crate::http::docs::{ItemList, OpenAiError, ResponseDeleted, ResponseObject};
use crate::http::error::{ApiError, shortened};
use crate::http::router::Http;
use crate::http::surface::{Failure, OpenAi};

const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 100;

/// The query string, as pairs: some names stand in it more than once.
type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;
/// The response's id, as the path has it.
type Named = Result<Path<String>, PathRejection>;

/// A response that is kept.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}", tag = "OpenAI",
    params(
        ("response_id" = String, Path, description = "`resp_…`"),
        ("include[]" = Option<Vec<String>>, Query, description = "`reasoning.encrypted_content` tells what must go back to the provider"),
    ),
    responses(
        (status = 200, description = "The response", body = ResponseObject),
        (status = 400, description = "It cannot be streamed again", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`", body = OpenAiError),
        (status = 404, description = "Unknown, not kept, or another key's", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, ForChat>,
    named: Named,
    query: Pairs,
) -> Result<Json<Value>, Failure<OpenAi>> {
    let (name, pairs) = (text(named)?, pairs(query)?);
    if pairs.iter().any(|(key, value)| key == "stream" && value == "true") {
        let message = "A response can be streamed while it is made, and not again: read it without `stream`.";
        return Err(ApiError::bad_request(message).at("stream").into());
    }
    let wish = ResponseWish { id: parse(&name)?, seals: seals(&pairs) };
    Ok(Json(response::read(&http.engine.store, &caller, wish).await.map_err(|error| missing(error, &name))?))
}

/// Delete a response.
///
/// Where others went on from it, their conversation keeps what was said; else that goes too.
#[utoipa::path(
    delete, path = "/v1/responses/{response_id}", tag = "OpenAI",
    params(("response_id" = String, Path, description = "`resp_…`")),
    responses(
        (status = 200, description = "It is deleted", body = ResponseDeleted),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`", body = OpenAiError),
        (status = 404, description = "Unknown, not kept, or another key's", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, ForChat>,
    named: Named,
) -> Result<Json<ResponseDeleted>, Failure<OpenAi>> {
    let name = text(named)?;
    let deleted = response::delete(&http.engine.store, &caller, parse(&name)?, http.engine.clock.now()).await;
    deleted.map_err(|error| missing(error, &name))?;
    Ok(Json(ResponseDeleted { id: name, object: "response", deleted: true }))
}

/// Cancel a response that is made in the background. There are none here.
#[utoipa::path(
    post, path = "/v1/responses/{response_id}/cancel", tag = "OpenAI",
    params(("response_id" = String, Path, description = "`resp_…`")),
    responses(
        (status = 400, description = "It was made while its client waited: a client that leaves cancels it", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`", body = OpenAiError),
        (status = 404, description = "Unknown, not kept, or another key's", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn cancel(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, ForChat>,
    named: Named,
) -> Result<Json<Value>, Failure<OpenAi>> {
    let name = text(named)?;
    let wish = ResponseWish { id: parse(&name)?, seals: false };
    response::read(&http.engine.store, &caller, wish).await.map_err(|error| missing(error, &name))?;
    let message = "Cannot cancel a synchronous response: it was made while its client waited, and a client that leaves cancels it.";
    Err(ApiError::bad_request(message).into())
}

/// What a response was asked, item by item: its own input, without what it went on from.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}/input_items", tag = "OpenAI",
    params(
        ("response_id" = String, Path, description = "`resp_…`"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 100; 20 by default"),
        ("order" = Option<String>, Query, description = "`desc` (the last first, the default) or `asc`"),
        ("after" = Option<String>, Query, description = "The id of an item: the page begins behind it"),
        ("include[]" = Option<Vec<String>>, Query, description = "`reasoning.encrypted_content` tells what must go back to the provider"),
    ),
    responses(
        (status = 200, description = "A page of items", body = ItemList),
        (status = 400, description = "The page is not one", body = OpenAiError),
        (status = 401, description = "No valid key", body = OpenAiError),
        (status = 403, description = "The key has not the scope `chat`", body = OpenAiError),
        (status = 404, description = "Unknown, not kept, or another key's", body = OpenAiError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = OpenAiError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn input_items(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<OpenAi, ForChat>,
    named: Named,
    query: Pairs,
) -> Result<Json<ItemList>, Failure<OpenAi>> {
    let (name, pairs) = (text(named)?, pairs(query)?);
    let wish = ResponseWish { id: parse(&name)?, seals: seals(&pairs) };
    let page = Page::read(&pairs)?;
    let items = response::read_input(&http.engine.store, &caller, wish).await;
    Ok(Json(page.of(items.map_err(|error| missing(error, &name))?)?))
}

/// Which items are asked for.
struct Page {
    limit: usize,
    is_ascending: bool,
    after: Option<String>,
}

impl Page {
    fn read(pairs: &[(String, String)]) -> Result<Self, ApiError> {
        let given = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let limit = match given("limit").map(str::parse) {
            None => PAGE_DEFAULT,
            Some(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => limit,
            Some(_) => {
                return Err(ApiError::bad_request(format!("`limit` must be 1 to {PAGE_MAX}.")).at("limit"));
            }
        };
        let is_ascending = match given("order") {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(ApiError::bad_request("`order` must be `asc` or `desc`.").at("order")),
        };
        Ok(Self { limit, is_ascending, after: given("after").map(str::to_owned) })
    }

    fn of(&self, mut items: Vec<Value>) -> Result<ItemList, ApiError> {
        if !self.is_ascending {
            items.reverse();
        }
        let id_of = |item: Option<&Value>| item.and_then(|item| item.get("id")?.as_str()).map(str::to_owned);
        let begins = match &self.after {
            None => 0,
            Some(after) => match items.iter().position(|item| id_of(Some(item)).as_ref() == Some(after)) {
                Some(place) => place + 1,
                None => {
                    let message = format!("`after` names no item of this response: `{}`.", shortened(after));
                    return Err(ApiError::bad_request(message).at("after"));
                }
            },
        };
        let has_more = items.len() > begins.saturating_add(self.limit);
        let data: Vec<Value> = items.into_iter().skip(begins).take(self.limit).collect();
        let (first_id, last_id) = (id_of(data.first()), id_of(data.last()));
        Ok(ItemList { object: "list", first_id, last_id, has_more, data })
    }
}

fn text(named: Named) -> Result<String, ApiError> {
    named.map(|Path(name)| name).map_err(|_| ApiError::bad_request("The path is not valid UTF-8."))
}

fn pairs(query: Pairs) -> Result<Vec<(String, String)>, ApiError> {
    query.map(|Query(pairs)| pairs).map_err(|error| ApiError::bad_request(error.body_text()))
}

/// Whether what must go back to the provider is asked for.
fn seals(pairs: &[(String, String)]) -> bool {
    pairs.iter().any(|(key, value)| matches!(key.as_str(), "include" | "include[]") && value == SEALED)
}

fn parse(name: &str) -> Result<ResponseId, ApiError> {
    id::decode(name).ok_or_else(|| not_found(name))
}

fn missing(error: StoreError, name: &str) -> ApiError {
    match error {
        StoreError::NotFound => not_found(name),
        error => error.into(),
    }
}

fn not_found(name: &str) -> ApiError {
    let message = format!(
        "Response with id '{}' not found. It must be kept (`store` is not false), and only the key that made it can read it.",
        shortened(name)
    );
    ApiError::new(StatusCode::NOT_FOUND, "response_not_found", message).at("response_id")
}
