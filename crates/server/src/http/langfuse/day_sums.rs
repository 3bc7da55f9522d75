//! What the sums of days answer: `/metrics/daily`, and queries for counts, tokens, costs and mean latency of whole days.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_engine::keyring::Caller;
use privet_engine::traces::figures::{Aggregation, Figures};
use privet_store::{
    Column, Condition, Count, DailyQuery, DailySums, Days, Dimension, ObservationColumn, OwnColumn, Test, TextTest,
    TraceColumn,
};
use serde_json::{Map, Value, json};

use super::metrics_query::{Asked, View};
use super::query::{PAGE_MAX, PageMeta, Params, skipped};
use super::traces::Listed;
use super::views::dollars;
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// The last second of a day counts as its end: people write `23:59:59`.
const LAST_SECOND: i64 = 1_000_000_000;
/// So many days are counted at once.
const DAYS_MAX: usize = 1_000;
/// Sums of more days and values than this are not read at once.
const SUMS_MAX: u32 = 200_000;

/// A column of either view that has sums, or by which sums are told apart.
pub(super) trait Summed: Column {
    /// The dimension of the sums that it is.
    fn dimension(self) -> Option<Dimension>;
    fn is_environment(self) -> bool;
    fn is_prompt_version(self) -> bool;
}

impl Summed for TraceColumn {
    fn dimension(self) -> Option<Dimension> {
        match self {
            Self::User => Some(Dimension::User),
            Self::Tags => Some(Dimension::Tag),
            _ => None,
        }
    }

    fn is_environment(self) -> bool {
        self == Self::Environment
    }

    fn is_prompt_version(self) -> bool {
        false
    }
}

impl Summed for ObservationColumn {
    fn dimension(self) -> Option<Dimension> {
        match self {
            Self::Own(OwnColumn::Model) => Some(Dimension::Model),
            Self::Own(OwnColumn::PromptName) => Some(Dimension::Prompt),
            Self::OfTrace(column) => column.dimension(),
            Self::Own(_) => None,
        }
    }

    fn is_environment(self) -> bool {
        self == Self::Own(OwnColumn::Environment)
    }

    fn is_prompt_version(self) -> bool {
        self == Self::Own(OwnColumn::PromptVersion)
    }
}

/// What is asked, as the sums of days know it.
struct Sums {
    by: Dimension,
    values: Vec<String>,
    environments: Vec<String>,
    days: Days,
}

/// Figures made of the sums of days; `None` if those do not know what is asked.
pub(super) async fn figures<C: Summed>(
    http: &Http,
    caller: &Caller,
    asked: &Asked,
    conditions: &[Condition<C>],
) -> Result<Option<Figures>, ApiError> {
    let Some(sums) = Sums::of(asked, conditions) else { return Ok(None) };
    let query = |by, values: &[String]| DailyQuery {
        by,
        values: values.to_vec(),
        environments: sums.environments.clone(),
        days: sums.days,
        limit: SUMS_MAX,
    };
    let store = &http.engine.traces.store;
    let mut rows = store.daily_sums(caller.project_id, &query(sums.by, &sums.values)).await?;
    if u32::try_from(rows.len()).is_ok_and(|rows| rows >= SUMS_MAX) {
        return Ok(None);
    }
    // What has no model, prompt or user stands in the sums of everything alone.
    let mut rest = match sums.values.is_empty() && !matches!(sums.by, Dimension::All | Dimension::Tag) {
        true => rest(&rows, store.daily_sums(caller.project_id, &query(Dimension::All, &[])).await?),
        false => Vec::new(),
    };
    let metrics = asked.aggregations.iter().copied().enumerate().collect();
    let mut figures = Figures::new(asked.granularity, asked.metrics.len(), metrics);
    let is_all = sums.by == Dimension::All;
    for (row, is_rest) in rows.drain(..).map(|row| (row, is_all)).chain(rest.drain(..).map(|row| (row, true))) {
        let records = match asked.view {
            View::Traces => row.traces,
            _ => row.observations,
        };
        if records <= 0 {
            continue;
        }
        let at = NanoTimestamp::from_nanos(row.day.saturating_mul(NANOS_PER_DAY));
        let texts = asked.dimensions.iter().map(|name| match name.as_str() {
            "environment" => Some(row.environment.clone()),
            "promptVersion" => row.prompt_version.map(|version| version.to_string()),
            _ if is_rest => None,
            _ => Some(row.value.clone()),
        });
        let numbers: Vec<(u64, f64)> =
            asked.metrics.iter().map(|metric| number(&metric.measure, &row, records)).collect();
        figures.add_sums(at, texts.collect(), &numbers);
    }
    Ok(Some(figures))
}

/// How many numbers of a measure a day has, and what they add up to.
fn number(measure: &str, row: &DailySums, records: i64) -> (u64, f64) {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let sum = match measure {
        "latency" => return (count(row.ended), row.latency_ms as f64),
        "count" => records as f64,
        "observationsCount" | "countObservations" => row.observations as f64,
        "errorCount" => row.errors as f64,
        "totalTokens" => row.total_tokens as f64,
        "inputTokens" => row.input_tokens as f64,
        "outputTokens" => row.output_tokens as f64,
        _ => dollars(row.cost),
    };
    (count(records), sum)
}

/// What is left of everything when the rows are taken away, by day and environment.
fn rest(rows: &[DailySums], all: Vec<DailySums>) -> Vec<DailySums> {
    let mut all: BTreeMap<(i64, String), DailySums> =
        all.into_iter().map(|row| ((row.day, row.environment.clone()), row)).collect();
    for row in rows {
        let Some(all) = all.get_mut(&(row.day, row.environment.clone())) else { continue };
        all.traces -= row.traces;
        all.observations -= row.observations;
        all.errors -= row.errors;
        all.input_tokens -= row.input_tokens;
        all.output_tokens -= row.output_tokens;
        all.total_tokens -= row.total_tokens;
        all.cost = all.cost.saturating_sub(row.cost);
        all.ended -= row.ended;
        all.latency_ms -= row.latency_ms;
    }
    all.into_values().collect()
}

impl Sums {
    fn of<C: Summed>(asked: &Asked, conditions: &[Condition<C>]) -> Option<Self> {
        if asked.granularity.is_some_and(|granularity| !granularity.is_of_days()) {
            return None;
        }
        let days = whole_days(asked.from, asked.until)?;
        let mut by: BTreeSet<Dimension> = BTreeSet::new();
        let (mut values, mut environments) = (Vec::new(), Vec::new());
        for name in &asked.dimensions {
            match name.as_str() {
                "environment" => {}
                // With the prompt's name it tells the sums apart; without it nothing does.
                "promptVersion" if asked.dimensions.iter().any(|other| other == "promptName") => {}
                name => drop(by.insert(dimension(asked.view, name)?)),
            }
        }
        for condition in conditions {
            let texts = match &condition.test {
                Test::Text(TextTest::Is, text) => vec![text.clone()],
                Test::AnyOf(texts) => texts.clone(),
                Test::AllOf(texts) if texts.len() == 1 => texts.clone(),
                _ => return None,
            };
            if condition.column.is_prompt_version() {
                return None;
            }
            let into = match condition.column.is_environment() {
                true => &mut environments,
                false => {
                    by.insert(condition.column.dimension()?);
                    &mut values
                }
            };
            // A second condition on the same column, or one that nothing meets, is left to the scan.
            if !into.is_empty() || texts.is_empty() {
                return None;
            }
            *into = texts;
        }
        let by = match by.len() {
            0 => Dimension::All,
            1 => by.into_iter().next()?,
            _ => return None,
        };
        // A trace with two of the tags would count twice.
        if by == Dimension::Tag && values.len() > 1 && !asked.dimensions.iter().any(|name| name.contains("ags")) {
            return None;
        }
        let is_known = |measure: &str, aggregation: Aggregation| knows(asked.view, by, measure, aggregation);
        let mut metrics = asked.metrics.iter().zip(&asked.aggregations);
        metrics.all(|(metric, aggregation)| is_known(&metric.measure, *aggregation)).then_some(Self {
            by,
            values,
            environments,
            days,
        })
    }
}

fn dimension(view: View, name: &str) -> Option<Dimension> {
    Some(match (view, name) {
        (View::Traces | View::Observations, "userId") => Dimension::User,
        (View::Traces | View::Observations, "tags" | "traceTags") => Dimension::Tag,
        (View::Observations, "model" | "providedModelName") => Dimension::Model,
        (View::Observations, "promptName") => Dimension::Prompt,
        _ => return None,
    })
}

fn knows(view: View, by: Dimension, measure: &str, aggregation: Aggregation) -> bool {
    let is_sum = matches!(aggregation, Aggregation::Sum | Aggregation::Average | Aggregation::Count);
    let is_of_traces = matches!(by, Dimension::User | Dimension::Tag);
    match measure {
        // Its sums are those of the traces by user and tag, and of the observations otherwise.
        "latency" => is_sum && is_of_traces == (view == View::Traces),
        "observationsCount" | "countObservations" => is_sum && view == View::Traces,
        "count" | "errorCount" | "totalTokens" | "inputTokens" | "outputTokens" | "totalCost" => is_sum,
        _ => false,
    }
}

/// The days of a range, if it begins and ends at midnight (UTC).
fn whole_days(from: NanoTimestamp, until: NanoTimestamp) -> Option<Days> {
    let (begin, end) = (from.as_nanos(), until.as_nanos());
    let is_midnight = begin.rem_euclid(NANOS_PER_DAY) == 0;
    let of_day = end.rem_euclid(NANOS_PER_DAY);
    let until = match of_day {
        0 => until.day(),
        late if late >= NANOS_PER_DAY - LAST_SECOND => until.day() + 1,
        _ => return None,
    };
    is_midnight.then_some(Days { from: Some(from.day()), until: Some(until) })
}

/// The sums of days, newest first. Days are whole: one that `fromTimestamp` or `toTimestamp` lies in counts.
#[utoipa::path(
    get, path = "/api/public/metrics/daily", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "So many days: up to 100; 50 by default"),
        ("traceName" = Option<String>, Query, description = "Only traces of this name"),
        ("userId" = Option<String>, Query, description = "Only traces of this user"),
        ("tags" = Option<String>, Query, description = "Only traces with this tag"),
        ("environment" = Option<Vec<String>>, Query, description = "Only of one of these environments"),
        ("fromTimestamp" = Option<String>, Query, description = "From the day of this instant on"),
        ("toTimestamp" = Option<String>, Query, description = "Up to the day of this instant"),
    ),
    responses(
        (status = 200, description = "A page of days", body = Object),
        (status = 400, description = "A parameter is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn daily(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let (page, limit) = (params.page()?, params.limit(PAGE_MAX)?);
    let days = match Whose::of(&params) {
        Whose::Sums(by, values) => summed(&http, &caller, &params, by, values).await?,
        Whose::Traces(filters) => counted(&http, &caller, &params, &filters).await?,
    };
    let items = u64::try_from(days.len()).unwrap_or(u64::MAX);
    let skip = usize::try_from(skipped(page, limit)).unwrap_or(usize::MAX);
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let data: Vec<Value> = days.into_iter().skip(skip).take(shown).collect();
    let meta = PageMeta::new(page, limit, Count { items, is_more: false });
    Ok(Json(Listed { data, meta }).into_response())
}

/// Whose days are asked for.
enum Whose {
    /// Those that have sums.
    Sums(Dimension, Vec<String>),
    /// Those of the traces that these filters find.
    Traces(Vec<Value>),
}

impl Whose {
    fn of(params: &Params) -> Self {
        let tags = params.all("tags");
        match (params.text("traceName"), params.text("userId"), tags.as_slice()) {
            (None, None, []) => Self::Sums(Dimension::All, Vec::new()),
            (None, Some(user), []) => Self::Sums(Dimension::User, vec![user.to_owned()]),
            (None, None, [tag]) => Self::Sums(Dimension::Tag, vec![tag.clone()]),
            (name, user, _) => {
                let is = |column: &str, value: &str| json!({"type": "string", "column": column, "operator": "=", "value": value});
                let all_of = json!({"type": "arrayOptions", "column": "tags", "operator": "all of", "value": tags});
                let tags = (!tags.is_empty()).then_some(all_of);
                let filters = [name.map(|name| is("name", name)), user.map(|user| is("userId", user)), tags];
                Self::Traces(filters.into_iter().flatten().collect())
            }
        }
    }
}

async fn summed(
    http: &Http,
    caller: &Caller,
    params: &Params,
    by: Dimension,
    values: Vec<String>,
) -> Result<Vec<Value>, ApiError> {
    let last = |at: NanoTimestamp| NanoTimestamp::from_nanos(at.as_nanos().saturating_sub(1)).day() + 1;
    let days = Days {
        from: params.time("fromTimestamp")?.map(NanoTimestamp::day),
        until: params.time("toTimestamp")?.map(last),
    };
    let query = DailyQuery { by, values, environments: params.all("environment"), days, limit: SUMS_MAX };
    let store = &http.engine.traces.store;
    let sums = store.daily_sums(caller.project_id, &query).await?;
    let by_model = match by {
        Dimension::All => {
            let query = DailyQuery { by: Dimension::Model, values: Vec::new(), ..query };
            store.daily_sums(caller.project_id, &query).await?
        }
        _ => Vec::new(),
    };
    Ok(by_day(sums, by_model))
}

/// Days that no sums know: counted trace by trace, up to the bound of a scan.
async fn counted(http: &Http, caller: &Caller, params: &Params, filters: &[Value]) -> Result<Vec<Value>, ApiError> {
    let day = |nanos: i64| NanoTimestamp::from_nanos(nanos.div_euclid(NANOS_PER_DAY).saturating_mul(NANOS_PER_DAY));
    let now = NanoTimestamp::from(http.engine.clock.now());
    let from = params.time("fromTimestamp")?.map_or(0, NanoTimestamp::as_nanos);
    let until = params.time("toTimestamp")?.unwrap_or(now).as_nanos().saturating_sub(1);
    let mut filters = filters.to_vec();
    let environments = params.all("environment");
    if !environments.is_empty() {
        filters.push(
            json!({"type": "stringOptions", "column": "environment", "operator": "any of", "value": environments}),
        );
    }
    let metric = |measure: &str, aggregation: &str| json!({"measure": measure, "aggregation": aggregation});
    let query = json!({
        "view": "traces", "filters": filters, "timeDimension": {"granularity": "day"},
        "metrics": [metric("count", "count"), metric("observationsCount", "sum"), metric("totalCost", "sum")],
        "fromTimestamp": day(from), "toTimestamp": day(until.saturating_add(NANOS_PER_DAY)),
        "orderBy": [{"field": "time_dimension", "direction": "desc"}], "config": {"row_limit": DAYS_MAX},
    });
    let rows = super::metrics::rows(http, caller, &query.to_string()).await?;
    let days = rows.iter().map(|row| {
        let of = |name: &str| row.get(name).cloned().unwrap_or_default();
        let at = of("time_dimension");
        let date = at.as_str().and_then(|at| at.get(.."2026-11-25".len())).unwrap_or_default();
        json!({
            "date": date, "countTraces": of("count_count"), "countObservations": of("sum_observationsCount"),
            "totalCost": of("sum_totalCost"), "usage": [],
        })
    });
    Ok(days.collect())
}

fn by_day(sums: Vec<DailySums>, by_model: Vec<DailySums>) -> Vec<Value> {
    let mut days: BTreeMap<i64, (DayTotal, BTreeMap<String, DayTotal>)> = BTreeMap::new();
    for row in sums {
        days.entry(row.day).or_default().0.add(&row);
    }
    for row in by_model {
        days.entry(row.day).or_default().1.entry(row.value.clone()).or_default().add(&row);
    }
    days.into_iter().rev().map(|(day, (total, models))| total.of_day(day, models)).collect()
}

#[derive(Default)]
struct DayTotal {
    traces: i64,
    observations: i64,
    input: i64,
    output: i64,
    total: i64,
    cost: Nanos,
}

impl DayTotal {
    fn add(&mut self, row: &DailySums) {
        self.traces += row.traces;
        self.observations += row.observations;
        self.input += row.input_tokens;
        self.output += row.output_tokens;
        self.total += row.total_tokens;
        self.cost = self.cost.saturating_add(row.cost);
    }

    fn of_day(&self, day: i64, models: BTreeMap<String, Self>) -> Value {
        let at = NanoTimestamp::from_nanos(day.saturating_mul(NANOS_PER_DAY)).to_string();
        let date = at.get(.."2026-11-25".len()).unwrap_or_default();
        let usage: Vec<Map<String, Value>> = models.iter().map(|(model, sums)| sums.of_model(model)).collect();
        json!({
            "date": date, "countTraces": self.traces, "countObservations": self.observations,
            "totalCost": dollars(self.cost), "usage": usage,
        })
    }

    fn of_model(&self, model: &str) -> Map<String, Value> {
        let fields = [
            ("model", json!(model)),
            ("inputUsage", json!(self.input)),
            ("outputUsage", json!(self.output)),
            ("totalUsage", json!(self.total)),
            ("countTraces", json!(self.traces)),
            ("countObservations", json!(self.observations)),
            ("totalCost", json!(dollars(self.cost))),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_of_whole_days_are_answered_by_the_sums() {
        let days = |from: &str, until: &str| {
            let at = |text: &str| NanoTimestamp::parse(text).unwrap();
            whole_days(at(from), at(until)).map(|days| days.until.unwrap() - days.from.unwrap())
        };
        assert_eq!(days("2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"), Some(2));
        assert_eq!(days("2026-11-01T00:00:00Z", "2026-11-03T23:59:59.999Z"), Some(3));
        assert_eq!(days("2026-11-01T00:00:01Z", "2026-11-03T00:00:00Z"), None);
        assert_eq!(days("2026-11-01T00:00:00Z", "2026-11-03T12:00:00Z"), None);
    }
}
