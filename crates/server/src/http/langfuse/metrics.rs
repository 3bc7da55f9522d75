//! `/api/public/metrics`, `/v2/metrics` and `/metrics/daily`: figures over traces, observations and scores.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{TOTAL, is_output};
use privet_engine::keyring::Caller;
use privet_engine::traces::figures::{Figure, Figures, GroupKey};
use privet_store::{SCAN_ROWS_MAX, Scan, ScanRow, Scanned};
use serde_json::{Map, Value, json};

use super::day_sums;
use super::metrics_query::{Asked, MetricsQuery, Part, Plan, Source, View};
use super::query::{Params, wrong};
use super::views::dollars;
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// The dimension of time in the answer.
const TIME: &str = "time_dimension";

/// Figures: sums, means and percentiles of what is asked, by what is asked.
#[utoipa::path(
    get, path = "/api/public/v2/metrics", tag = "Langfuse",
    params(("query" = String, Query, description = "JSON with view, dimensions, metrics, filters, timeDimension, fromTimestamp, \
        toTimestamp, orderBy and config")),
    responses(
        (status = 200, description = "One object for each group", body = Object),
        (status = 400, description = "The query is wrong, or its range of time holds too much", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    Ok(answer(&http, &caller, &params).await?)
}

/// Figures, as the first version of this route.
#[utoipa::path(
    get, path = "/api/public/metrics", tag = "Langfuse",
    params(("query" = String, Query, description = "As for `/v2/metrics`; its views include `traces`")),
    responses(
        (status = 200, description = "One object for each group", body = Object),
        (status = 400, description = "The query is wrong, or its range of time holds too much", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read_old(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    Ok(answer(&http, &caller, &params).await?)
}

async fn answer(http: &Http, caller: &Caller, params: &Params) -> Result<Response, ApiError> {
    let text = params.text("query").ok_or_else(|| wrong("query", "given: JSON that says what is asked"))?;
    let data = rows(http, caller, text).await?;
    Ok(Json(json!({"data": data})).into_response())
}

/// The rows that a query in JSON asks for.
pub(super) async fn rows(http: &Http, caller: &Caller, query: &str) -> Result<Vec<Map<String, Value>>, ApiError> {
    let asked = MetricsQuery::parse(query)?.check()?;
    // What the sums of days answer is checked by the same rules as what is scanned.
    let figures = match asked.view {
        View::Traces => {
            let plan = Plan::of_traces(&asked)?;
            match day_sums::figures(http, caller, &asked, &plan.conditions).await? {
                Some(figures) => figures,
                None => {
                    let (scan, mut fold) = fold(&asked, plan);
                    let store = &http.engine.traces.store;
                    let scanned = store.scan_traces(caller.project_id, &scan, |row| fold.add(row)).await?;
                    fold.finish(scanned)?
                }
            }
        }
        View::Observations => {
            let plan = Plan::of_observations(&asked)?;
            match day_sums::figures(http, caller, &asked, &plan.conditions).await? {
                Some(figures) => figures,
                None => {
                    let (scan, mut fold) = fold(&asked, plan);
                    let store = &http.engine.traces.store;
                    let scanned = store.scan_observations(caller.project_id, &scan, |row| fold.add(row)).await?;
                    fold.finish(scanned)?
                }
            }
        }
        View::NumericScores | View::BooleanScores | View::CategoricalScores => {
            let (scan, mut fold) = fold(&asked, Plan::of_scores(&asked)?);
            let store = &http.engine.traces.store;
            let scanned = store.scan_scores(caller.project_id, &scan, |row| fold.add(row)).await?;
            fold.finish(scanned)?
        }
    };
    let mut rows: Vec<Map<String, Value>> =
        figures.finish().into_iter().map(|(key, figures)| row(&asked, key, figures)).collect();
    order(&asked, &mut rows)?;
    rows.truncate(asked.rows_max);
    Ok(rows)
}

/// A scan under way.
struct Fold {
    parts: Vec<Part>,
    sources: Vec<Source>,
    figures: Figures,
}

fn fold<C>(asked: &Asked, plan: Plan<C>) -> (Scan<C>, Fold) {
    let Plan { conditions, texts, numbers, parts, sources } = plan;
    let metrics = asked.aggregations.iter().copied().enumerate().collect();
    let figures = Figures::new(asked.granularity, sources.len(), metrics);
    (Scan { conditions, texts, numbers, from: asked.from, until: asked.until }, Fold { parts, sources, figures })
}

impl Fold {
    fn add(&mut self, row: ScanRow) {
        let numbers: Vec<Option<f64>> = self.sources.iter().map(|source| number(*source, &row)).collect();
        // A record with several tags belongs to several groups.
        let mut groups: Vec<Vec<Option<String>>> = vec![Vec::new()];
        for part in &self.parts {
            let texts = texts(*part, &row);
            let with = |group: &Vec<Option<String>>| {
                texts.iter().map(|text| [group.as_slice(), std::slice::from_ref(text)].concat()).collect::<Vec<_>>()
            };
            groups = groups.iter().flat_map(with).collect();
        }
        for texts in groups {
            self.figures.add(row.at, texts, &numbers);
        }
    }

    fn finish(self, scanned: Scanned) -> Result<Figures, ApiError> {
        match scanned {
            Scanned::Whole => Ok(self.figures),
            Scanned::TooMany => Err(ApiError::bad_request(format!(
                "The range of time holds more than {SCAN_ROWS_MAX} records. Narrow `fromTimestamp` and `toTimestamp`; or ask \
                 what the sums of days know: a range of whole days (UTC) with counts, tokens, costs and mean latency, in all or \
                 by one of model, prompt, user and tag."
            ))),
        }
    }
}

fn number(source: Source, row: &ScanRow) -> Option<f64> {
    match source {
        Source::Rows => Some(1.0),
        Source::Number(place) => row.numbers.get(place).copied().flatten(),
        Source::Cost(place, wants_output) => {
            let costs: BTreeMap<String, Nanos> = serde_json::from_str(row.texts.get(place)?.as_deref()?).ok()?;
            let wanted = costs.iter().filter(|(kind, _)| kind.as_str() != TOTAL && is_output(kind) == wants_output);
            Some(dollars(wanted.map(|(_, cost)| *cost).sum()))
        }
    }
}

fn texts(part: Part, row: &ScanRow) -> Vec<Option<String>> {
    let text = |place: usize| row.texts.get(place).cloned().flatten();
    let date = |chars: usize| row.at.to_string().get(..chars).map(str::to_owned);
    match part {
        Part::Text(place) => vec![text(place)],
        Part::Flag(place) => vec![text(place).map(|flag| (flag == "1").to_string())],
        Part::Tags(place) => {
            let tags: Vec<String> = text(place).and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default();
            if tags.is_empty() { vec![None] } else { tags.into_iter().map(Some).collect() }
        }
        Part::Month => vec![date("2026-11".len())],
        Part::Day => vec![date("2026-11-25".len())],
    }
}

fn row(asked: &Asked, key: GroupKey, figures: Vec<Figure>) -> Map<String, Value> {
    let mut row = Map::new();
    if let Some(time) = key.time {
        row.insert(TIME.to_owned(), json!(NanoTimestamp::from_nanos(time)));
    }
    for (name, text) in asked.dimensions.iter().zip(key.texts) {
        row.insert(name.clone(), json!(text));
    }
    for (metric, figure) in asked.metrics.iter().zip(figures) {
        let value = match figure {
            Figure::None => Value::Null,
            // A count is a whole number, and is written as one.
            Figure::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => json!(number as i64),
            Figure::Number(number) => json!(number),
            Figure::Parts(parts) => json!(parts),
        };
        row.insert(format!("{}_{}", metric.aggregation, metric.measure), value);
    }
    row
}

/// As is asked; else by time, or the greatest of the first metric first.
fn order(asked: &Asked, rows: &mut [Map<String, Value>]) -> Result<(), ApiError> {
    let mut fields: Vec<(String, bool)> = Vec::new();
    for order in &asked.order {
        let metric = asked.metrics.iter().map(|metric| format!("{}_{}", metric.aggregation, metric.measure));
        let known: Vec<String> = asked.dimensions.iter().cloned().chain(metric).chain([TIME.to_owned()]).collect();
        // Both `sum_totalCost` and `totalCost_sum` are in use.
        let turned = order.field.rsplit_once('_').map(|(measure, aggregation)| format!("{aggregation}_{measure}"));
        let field = [Some(order.field.clone()), turned].into_iter().flatten().find(|field| known.contains(field));
        let Some(field) = field else {
            return Err(wrong("query.orderBy", &format!("by one of {}", known.join(", "))));
        };
        fields.push((field, order.direction.eq_ignore_ascii_case("desc")));
    }
    if fields.is_empty()
        && asked.granularity.is_none()
        && let Some(metric) = asked.metrics.first()
    {
        fields.push((format!("{}_{}", metric.aggregation, metric.measure), true));
    }
    rows.sort_by(|one, other| {
        let by = |(field, is_descending): &(String, bool)| {
            let ordering = compare(one.get(field), other.get(field));
            if *is_descending { ordering.reverse() } else { ordering }
        };
        fields.iter().map(by).find(|ordering| ordering.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    Ok(())
}

fn compare(one: Option<&Value>, other: Option<&Value>) -> std::cmp::Ordering {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    match (number(one), number(other)) {
        (None, None) => text(one).cmp(&text(other)),
        (one, other) => one.unwrap_or(f64::NEG_INFINITY).total_cmp(&other.unwrap_or(f64::NEG_INFINITY)),
    }
}
