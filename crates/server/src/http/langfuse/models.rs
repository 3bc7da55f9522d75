//! `/api/public/models`: the models whose prices are known, read only. The price book is kept by the configuration.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_domain::money::Nanos;
use privet_domain::pricing::Price;
use privet_domain::time::NanoTimestamp;
use privet_store::Count;
use serde_json::{Value, json};

use super::query::{Named, PAGE_MAX, PageMeta, Params, missing, skipped};
use super::traces::Listed;
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// Prices are for a million tokens in the book, and for one here.
const NANOS_PER_DOLLAR_PER_MILLION: f64 = 1e15;

/// The models whose prices are known.
#[utoipa::path(
    get, path = "/api/public/models", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
    ),
    responses(
        (status = 200, description = "A page", body = Object),
        (status = 400, description = "A parameter is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    _reader: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let (page, limit) = (params.page()?, params.limit(PAGE_MAX)?);
    let all: Vec<Value> = http.engine.prices.rows().map(|price| view(price)).collect();
    let count = Count { items: u64::try_from(all.len()).unwrap_or(u64::MAX), is_more: false };
    let skip = usize::try_from(skipped(page, limit)).unwrap_or(usize::MAX);
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let data: Vec<Value> = all.into_iter().skip(skip).take(shown).collect();
    Ok(Json(Listed { data, meta: PageMeta::new(page, limit, count) }).into_response())
}

/// A model whose price is known.
#[utoipa::path(
    get, path = "/api/public/models/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The model, as the list names it")),
    responses(
        (status = 200, description = "The model", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "No price of such a model is known", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    _reader: Authenticated<Langfuse, ForRead>,
    Named(id): Named<String>,
) -> Result<Response, Failure<Langfuse>> {
    let found = http.engine.prices.rows().find(|price| id_of(price) == id).map(|price| view(price));
    match found {
        Some(view) => Ok(Json(view).into_response()),
        None => Err(missing(privet_store::StoreError::NotFound, "model", &id).into()),
    }
}

/// A model may have a new price from some day on: the day tells its rows apart.
fn id_of(price: &Price) -> String {
    let from = NanoTimestamp::from(price.from).to_string();
    format!("{}@{}", price.model, from.get(.."2026-11-25".len()).unwrap_or_default())
}

fn view(price: &Price) -> Value {
    let dollars = |nanos: Nanos| nanos.as_i64() as f64 / NANOS_PER_DOLLAR_PER_MILLION;
    let rates = &price.standard;
    let (input, output, cached) = (dollars(rates.input), dollars(rates.output), dollars(rates.cached_input));
    let name = price.model.split_once('/').map_or(price.model.as_str(), |(_, name)| name);
    json!({
        "id": id_of(price), "modelName": price.model, "matchPattern": format!("(?i)^{}$", literal(name)),
        "startDate": NanoTimestamp::from(price.from), "unit": "TOKENS", "inputPrice": input, "outputPrice": output,
        "totalPrice": null, "tokenizerId": null, "tokenizerConfig": null, "isLangfuseManaged": true,
        "createdAt": NanoTimestamp::from(price.from),
        "prices": {"input": {"price": input}, "output": {"price": output}, "input_cached_tokens": {"price": cached}},
        "pricingTiers": [],
    })
}

/// A name as a regular expression that matches it alone; one that ends in `*` is the beginning of names.
fn literal(name: &str) -> String {
    if let Some(beginning) = name.strip_suffix('*') {
        return literal(beginning) + ".*";
    }
    let escaped = name.chars().flat_map(|c| [(!c.is_ascii_alphanumeric() && c.is_ascii()).then_some('\\'), Some(c)]);
    escaped.flatten().collect()
}
