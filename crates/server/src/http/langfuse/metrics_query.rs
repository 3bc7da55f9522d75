//! The query of `/metrics`: what is asked, and how it is read: off the sums of days where those know it, else by a scan.

use privet_domain::time::NanoTimestamp;
use privet_engine::traces::figures::{Aggregation, Granularity};
use privet_store::{
    Column, Condition, JudgedColumn, Kind, ObservationColumn, OwnColumn, ScoreColumn, Test, TraceColumn,
};
use serde::Deserialize;

use super::filter::{Filter, conditions, observation_column, score_column, trace_column};
use super::query::wrong;
use crate::http::error::{ApiError, Issue, shortened};

/// So many dimensions and so many metrics are asked for at once.
const PARTS_MAX: usize = 20;
const ROWS_DEFAULT: usize = 100;
const ROWS_MAX: usize = 1_000;
const BINS_DEFAULT: usize = 10;
const BINS_MAX: usize = 100;

/// What is asked, as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricsQuery {
    view: String,
    #[serde(default)]
    dimensions: Vec<DimensionName>,
    metrics: Vec<Metric>,
    #[serde(default)]
    pub(crate) filters: Vec<Filter>,
    #[serde(default)]
    time_dimension: Option<TimeDimension>,
    from_timestamp: String,
    to_timestamp: String,
    #[serde(default)]
    order_by: Option<Vec<OrderBy>>,
    #[serde(default)]
    config: Option<QueryConfig>,
}

#[derive(Deserialize)]
struct DimensionName {
    field: String,
}

/// A measure, and what becomes of it.
#[derive(Deserialize)]
pub(crate) struct Metric {
    pub(crate) measure: String,
    pub(crate) aggregation: String,
}

#[derive(Deserialize)]
struct TimeDimension {
    granularity: String,
}

/// By what the rows of the answer are ordered.
#[derive(Deserialize)]
pub(crate) struct OrderBy {
    pub(crate) field: String,
    pub(crate) direction: String,
}

#[derive(Deserialize, Default)]
struct QueryConfig {
    #[serde(default)]
    bins: Option<usize>,
    #[serde(default, alias = "rowLimit")]
    row_limit: Option<usize>,
}

/// Of what figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Traces,
    Observations,
    /// Numbers, and true and false as 1 and 0.
    NumericScores,
    BooleanScores,
    CategoricalScores,
}

/// What is asked, once it was found to make sense.
pub(crate) struct Asked {
    pub(crate) view: View,
    pub(crate) dimensions: Vec<String>,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) aggregations: Vec<Aggregation>,
    pub(crate) granularity: Option<Granularity>,
    pub(crate) from: NanoTimestamp,
    pub(crate) until: NanoTimestamp,
    pub(crate) order: Vec<OrderBy>,
    pub(crate) rows_max: usize,
    pub(crate) filters: Vec<Filter>,
}

impl MetricsQuery {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        serde_json::from_str(text).map_err(|error| {
            let message = format!(
                "must be JSON with `view`, `metrics` (a list of `measure` and `aggregation`), `fromTimestamp` and \
                 `toTimestamp`: {error}"
            );
            ApiError::invalid_data(vec![Issue::at("query", message)])
        })
    }

    /// The query, if it makes sense.
    pub(crate) fn check(self) -> Result<Asked, ApiError> {
        let view = match self.view.as_str() {
            "traces" => View::Traces,
            "observations" => View::Observations,
            "scores-numeric" => View::NumericScores,
            "scores-boolean" => View::BooleanScores,
            "scores-categorical" => View::CategoricalScores,
            _ => {
                let what = "traces, observations, scores-numeric, scores-boolean or scores-categorical";
                return Err(wrong("query.view", what));
            }
        };
        if self.metrics.is_empty() || self.metrics.len() > PARTS_MAX || self.dimensions.len() > PARTS_MAX {
            return Err(wrong("query.metrics", &format!("1 to {PARTS_MAX}, and at most {PARTS_MAX} dimensions")));
        }
        let time = |name: &str, text: &str| {
            NanoTimestamp::parse(text)
                .ok_or_else(|| wrong(name, "an instant in ISO 8601 such as `2026-11-25T00:00:00Z`"))
        };
        let from = time("query.fromTimestamp", &self.from_timestamp)?;
        let until = time("query.toTimestamp", &self.to_timestamp)?;
        if until <= from {
            return Err(wrong("query.toTimestamp", "after `fromTimestamp`"));
        }
        let config = self.config.unwrap_or_default();
        let (bins, rows_max) = (config.bins.unwrap_or(BINS_DEFAULT), config.row_limit.unwrap_or(ROWS_DEFAULT));
        if !(1..=BINS_MAX).contains(&bins) || !(1..=ROWS_MAX).contains(&rows_max) {
            return Err(wrong(
                "query.config",
                &format!("`bins` from 1 to {BINS_MAX}, `row_limit` from 1 to {ROWS_MAX}"),
            ));
        }
        let granularity = match self.time_dimension {
            None => None,
            Some(time) => Some(granularity(&time.granularity, from, until)?),
        };
        let aggregations = self.metrics.iter().map(|metric| aggregation(metric, bins)).collect::<Result<_, _>>()?;
        Ok(Asked {
            view,
            dimensions: self.dimensions.into_iter().map(|dimension| dimension.field).collect(),
            metrics: self.metrics,
            aggregations,
            granularity,
            from,
            until,
            order: self.order_by.unwrap_or_default(),
            rows_max,
            filters: self.filters,
        })
    }
}

fn granularity(name: &str, from: NanoTimestamp, until: NanoTimestamp) -> Result<Granularity, ApiError> {
    Ok(match name {
        "auto" => Granularity::for_range(from, until),
        "minute" => Granularity::Minute,
        "hour" => Granularity::Hour,
        "day" => Granularity::Day,
        "week" => Granularity::Week,
        "month" => Granularity::Month,
        _ => return Err(wrong("query.timeDimension.granularity", "auto, minute, hour, day, week or month")),
    })
}

fn aggregation(metric: &Metric, bins: usize) -> Result<Aggregation, ApiError> {
    Ok(match metric.aggregation.as_str() {
        "sum" => Aggregation::Sum,
        "avg" => Aggregation::Average,
        "count" => Aggregation::Count,
        "min" => Aggregation::Min,
        "max" => Aggregation::Max,
        "p50" => Aggregation::Percentile(0.50),
        "p75" => Aggregation::Percentile(0.75),
        "p90" => Aggregation::Percentile(0.90),
        "p95" => Aggregation::Percentile(0.95),
        "p99" => Aggregation::Percentile(0.99),
        "histogram" => Aggregation::Histogram(bins),
        _ => {
            let what = "sum, avg, count, min, max, p50, p75, p90, p95, p99 or histogram";
            return Err(wrong("query.metrics.aggregation", what));
        }
    })
}

/// Where the number of a measure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Every record counts 1.
    Rows,
    /// A number that is read, by its place.
    Number(usize),
    /// The part of the costs by kind that went in or came out, in a text by its place.
    Cost(usize, bool),
}

/// Where the text of a dimension comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A text that is read, by its place.
    Text(usize),
    /// A list of tags, by its place: a record counts once for each.
    Tags(usize),
    /// True or false, by its place.
    Flag(usize),
    /// The month, as in `2026-11`.
    Month,
    /// The day, as in `2026-11-25`.
    Day,
}

/// What a scan reads, and what is made of it.
pub(crate) struct Plan<C> {
    pub(crate) conditions: Vec<Condition<C>>,
    pub(crate) texts: Vec<C>,
    pub(crate) numbers: Vec<C>,
    pub(crate) parts: Vec<Part>,
    pub(crate) sources: Vec<Source>,
}

impl<C: Column + PartialEq> Plan<C> {
    fn new(
        asked: &Asked,
        column: fn(&str) -> Option<C>,
        measure: fn(&str) -> Option<Measure<C>>,
    ) -> Result<Self, ApiError> {
        let mut plan = Self {
            conditions: conditions(&asked.filters, "query.filters", column)?,
            texts: Vec::new(),
            numbers: Vec::new(),
            parts: Vec::new(),
            sources: Vec::new(),
        };
        for name in &asked.dimensions {
            let part = match name.as_str() {
                "startTimeMonth" | "timestampMonth" => Part::Month,
                "startTimeDay" | "timestampDay" => Part::Day,
                name => plan.part(column(name)).ok_or_else(|| {
                    wrong(
                        "query.dimensions",
                        &format!("fields to group by, and `{}` is none of this view", shortened(name)),
                    )
                })?,
            };
            plan.parts.push(part);
        }
        for metric in &asked.metrics {
            let measure = measure(&metric.measure).ok_or_else(|| {
                wrong(
                    "query.metrics.measure",
                    &format!("a measure of this view, and `{}` is none", shortened(&metric.measure)),
                )
            })?;
            let source = match measure {
                Measure::Rows => Source::Rows,
                Measure::Number(column) => Source::Number(place(&mut plan.numbers, column)),
                Measure::Cost(column, is_output) => Source::Cost(place(&mut plan.texts, column), is_output),
            };
            plan.sources.push(source);
        }
        Ok(plan)
    }

    fn part(&mut self, column: Option<C>) -> Option<Part> {
        let column = column?;
        match column.kind() {
            Kind::Text | Kind::Integer | Kind::Number => Some(Part::Text(place(&mut self.texts, column))),
            Kind::Tags => Some(Part::Tags(place(&mut self.texts, column))),
            Kind::Flag => Some(Part::Flag(place(&mut self.texts, column))),
            Kind::Id | Kind::Time | Kind::Seconds | Kind::Dollars | Kind::Object | Kind::Levels => None,
        }
    }
}

/// Where a column stands among those that are read.
fn place<C: PartialEq>(columns: &mut Vec<C>, column: C) -> usize {
    let found = columns.iter().position(|read| *read == column);
    found.unwrap_or_else(|| {
        columns.push(column);
        columns.len() - 1
    })
}

/// What is measured.
enum Measure<C> {
    Rows,
    Number(C),
    Cost(C, bool),
}

impl Plan<TraceColumn> {
    pub(crate) fn of_traces(asked: &Asked) -> Result<Self, ApiError> {
        Self::new(asked, trace_column, |name| {
            Some(match name {
                "count" => Measure::Rows,
                "observationsCount" | "countObservations" => Measure::Number(TraceColumn::Observations),
                "errorCount" => Measure::Number(TraceColumn::Errors),
                "latency" => Measure::Number(TraceColumn::Latency),
                "totalTokens" => Measure::Number(TraceColumn::TotalTokens),
                "inputTokens" => Measure::Number(TraceColumn::InputTokens),
                "outputTokens" => Measure::Number(TraceColumn::OutputTokens),
                "totalCost" => Measure::Number(TraceColumn::Cost),
                _ => return None,
            })
        })
    }
}

impl Plan<ObservationColumn> {
    pub(crate) fn of_observations(asked: &Asked) -> Result<Self, ApiError> {
        Self::new(asked, observation_column, |name| {
            let own = |column: OwnColumn| Measure::Number(column.into());
            Some(match name {
                "count" => Measure::Rows,
                "latency" => own(OwnColumn::Latency),
                "timeToFirstToken" => own(OwnColumn::FirstToken),
                "streamingLatency" => own(OwnColumn::Streaming),
                "totalTokens" => own(OwnColumn::TotalTokens),
                "inputTokens" => own(OwnColumn::InputTokens),
                "outputTokens" => own(OwnColumn::OutputTokens),
                "tokensPerSecond" | "outputTokensPerSecond" => own(OwnColumn::TokensPerSecond),
                "totalCost" => own(OwnColumn::Cost),
                "inputCost" => Measure::Cost(OwnColumn::Costs.into(), false),
                "outputCost" => Measure::Cost(OwnColumn::Costs.into(), true),
                _ => return None,
            })
        })
    }
}

impl Plan<ScoreColumn> {
    pub(crate) fn of_scores(asked: &Asked) -> Result<Self, ApiError> {
        let mut plan = Self::new(asked, score_column, |name| {
            Some(match name {
                "count" => Measure::Rows,
                "value" => Measure::Number(JudgedColumn::Value.into()),
                _ => return None,
            })
        })?;
        let types: &[&str] = match asked.view {
            View::CategoricalScores => &["CATEGORICAL"],
            View::BooleanScores => &["BOOLEAN"],
            _ => &["NUMERIC", "BOOLEAN"],
        };
        let types = types.iter().map(|name| (*name).to_owned()).collect();
        plan.conditions.push(Condition { column: JudgedColumn::Type.into(), test: Test::AnyOf(types) });
        Ok(plan)
    }
}
