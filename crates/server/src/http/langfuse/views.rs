//! Traces, observations, sessions and scores in the shapes that the SDKs' clients read. Costs are US dollars, times ISO 8601 with
//! milliseconds, lengths of time seconds.

use std::collections::BTreeMap;

use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, Observation, ScoreTarget, ScoreType, TOTAL, Trace, is_output};
use privet_store::{StoredScore, TraceSession, TraceTotals, TraceWithTotals, Within};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const NANOS_PER_DOLLAR: f64 = 1e9;

/// Money as a number of dollars.
pub(crate) fn dollars(cost: Nanos) -> f64 {
    cost.as_i64() as f64 / NANOS_PER_DOLLAR
}

/// Content as JSON, as it was sent.
pub(crate) fn raw(json: Option<JsonText>) -> Option<Box<RawValue>> {
    RawValue::from_string(json?.as_str().to_owned()).ok()
}

/// Seconds from one instant to another.
pub(crate) fn seconds(from: NanoTimestamp, until: Option<NanoTimestamp>) -> Option<f64> {
    until.map(|until| until.since(from).as_secs_f64())
}

/// A trace, without what belongs to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceView {
    id: String,
    project_id: String,
    timestamp: NanoTimestamp,
    name: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    release: Option<String>,
    version: Option<String>,
    environment: String,
    public: bool,
    bookmarked: bool,
    tags: Vec<String>,
    external_id: Option<String>,
    created_at: NanoTimestamp,
    updated_at: NanoTimestamp,
    #[serde(flatten)]
    contents: Option<TraceContents>,
}

#[derive(Serialize)]
struct TraceContents {
    input: Option<Box<RawValue>>,
    output: Option<Box<RawValue>>,
    metadata: Map<String, Value>,
}

impl TraceView {
    pub(crate) fn new(trace: Trace, totals: &TraceTotals, project: &str, has_contents: bool) -> Self {
        Self {
            id: trace.id.into(),
            project_id: project.to_owned(),
            timestamp: trace.timestamp,
            name: trace.name,
            user_id: trace.user_id,
            session_id: trace.session_id,
            release: trace.release,
            version: trace.version,
            environment: trace.environment,
            public: trace.public,
            bookmarked: false,
            tags: trace.tags,
            external_id: None,
            created_at: trace.timestamp,
            updated_at: totals.ended_at.unwrap_or(trace.timestamp),
            contents: has_contents.then(|| TraceContents {
                input: raw(trace.input),
                output: raw(trace.output),
                metadata: trace.metadata,
            }),
        }
    }
}

/// A trace with what belongs to it: whole, or by its ids.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceDetails<O: Serialize, S: Serialize> {
    #[serde(flatten)]
    trace: TraceView,
    html_path: String,
    latency: f64,
    total_cost: f64,
    observations: Vec<O>,
    scores: Vec<S>,
}

impl<O: Serialize, S: Serialize> TraceDetails<O, S> {
    pub(crate) fn new(
        TraceWithTotals { trace, totals }: TraceWithTotals,
        project: &str,
        shown: Shown,
        observations: Vec<O>,
        scores: Vec<S>,
    ) -> Self {
        let latency = seconds(trace.timestamp, totals.ended_at).unwrap_or(0.0);
        Self {
            html_path: format!("/project/{project}/traces/{}", trace.id),
            // What the original says where it was not asked for figures.
            latency: if shown.metrics { latency } else { -1.0 },
            total_cost: if shown.metrics { dollars(totals.cost) } else { -1.0 },
            trace: TraceView::new(trace, &totals, project, shown.contents),
            observations,
            scores,
        }
    }
}

/// Which groups of fields a trace is shown with.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) contents: bool,
    pub(crate) observations: bool,
    pub(crate) scores: bool,
    pub(crate) metrics: bool,
}

impl Shown {
    pub(crate) const ALL: Self = Self { contents: true, observations: true, scores: true, metrics: true };

    /// What `fields` names; everything where there is none.
    pub(crate) fn of(fields: &[String]) -> Self {
        if fields.is_empty() {
            return Self::ALL;
        }
        let has = |name: &str| fields.iter().any(|field| field == name);
        Self { contents: has("io"), observations: has("observations"), scores: has("scores"), metrics: has("metrics") }
    }
}

/// A trace of a list, with the ids of what belongs to it.
pub(crate) fn trace_of_list(
    trace: TraceWithTotals,
    project: &str,
    shown: Shown,
    within: Within,
) -> TraceDetails<String, String> {
    TraceDetails::new(trace, project, shown, within.observations, within.scores)
}

/// An observation, as all versions of the clients before 5 read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObservationView {
    id: String,
    trace_id: String,
    project_id: String,
    r#type: &'static str,
    name: Option<String>,
    start_time: NanoTimestamp,
    end_time: Option<NanoTimestamp>,
    completion_start_time: Option<NanoTimestamp>,
    model: Option<String>,
    model_parameters: Map<String, Value>,
    input: Option<Box<RawValue>>,
    output: Option<Box<RawValue>>,
    version: Option<String>,
    metadata: Map<String, Value>,
    level: &'static str,
    status_message: Option<String>,
    parent_observation_id: Option<String>,
    environment: String,
    prompt_id: Option<String>,
    prompt_name: Option<String>,
    prompt_version: Option<u32>,
    model_id: Option<String>,
    input_price: Option<f64>,
    output_price: Option<f64>,
    total_price: Option<f64>,
    usage: UsageView,
    usage_details: BTreeMap<String, u64>,
    cost_details: BTreeMap<String, f64>,
    calculated_input_cost: Option<f64>,
    calculated_output_cost: Option<f64>,
    calculated_total_cost: Option<f64>,
    latency: Option<f64>,
    time_to_first_token: Option<f64>,
    unit: &'static str,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    created_at: NanoTimestamp,
    updated_at: NanoTimestamp,
}

/// What was used, in the old form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageView {
    input: u64,
    output: u64,
    total: u64,
    unit: &'static str,
    input_cost: Option<f64>,
    output_cost: Option<f64>,
    total_cost: Option<f64>,
}

const UNIT: &str = "TOKENS";

/// What an observation cost: in, out and in all; of the parts only what is known.
#[derive(Clone, Copy)]
pub(crate) struct Costs {
    pub(crate) input: Option<f64>,
    pub(crate) output: Option<f64>,
    pub(crate) total: Option<f64>,
}

impl Costs {
    pub(crate) fn of(observation: &Observation) -> Self {
        Self::of_kinds(&observation.cost, observation.total_cost())
    }

    fn of_kinds(kinds: &BTreeMap<String, Nanos>, total: Nanos) -> Self {
        let sum = |wanted: fn(&str) -> bool| {
            let parts: Vec<Nanos> = kinds
                .iter()
                .filter(|(kind, _)| kind.as_str() != TOTAL && wanted(kind))
                .map(|(_, cost)| *cost)
                .collect();
            (!parts.is_empty()).then(|| dollars(parts.into_iter().sum()))
        };
        Self {
            input: sum(|kind| !is_output(kind)),
            output: sum(is_output),
            total: (!kinds.is_empty()).then(|| dollars(total)),
        }
    }
}

/// What an observation cost by kind.
pub(crate) fn cost_details(observation: &Observation) -> BTreeMap<String, f64> {
    observation.cost.iter().map(|(kind, cost)| (kind.clone(), dollars(*cost))).collect()
}

/// When an observation last changed, as far as is known.
pub(crate) fn updated_at(observation: &Observation) -> NanoTimestamp {
    observation.folded_at.max(observation.end.unwrap_or(observation.start))
}

impl ObservationView {
    pub(crate) fn new(one: Observation, project: &str) -> Self {
        let costs = Costs::of(&one);
        let (input, output, total) = (one.input_tokens(), one.output_tokens(), one.total_tokens());
        let usage = UsageView {
            input,
            output,
            total,
            unit: UNIT,
            input_cost: costs.input,
            output_cost: costs.output,
            total_cost: costs.total,
        };
        Self {
            cost_details: cost_details(&one),
            updated_at: updated_at(&one),
            latency: seconds(one.start, one.end),
            time_to_first_token: seconds(one.start, one.completion_start),
            id: one.id.into(),
            trace_id: one.trace_id.into(),
            project_id: project.to_owned(),
            r#type: one.observation_type.as_str(),
            name: one.name,
            start_time: one.start,
            end_time: one.end,
            completion_start_time: one.completion_start,
            model: one.model,
            model_parameters: one.model_parameters,
            input: raw(one.input),
            output: raw(one.output),
            version: one.version,
            metadata: one.metadata,
            level: one.level.as_str(),
            status_message: one.status_message,
            parent_observation_id: one.parent_id.map(String::from),
            environment: one.environment,
            prompt_id: None,
            prompt_name: one.prompt.as_ref().map(|prompt| prompt.name.clone()),
            prompt_version: one.prompt.map(|prompt| prompt.version),
            model_id: None,
            input_price: None,
            output_price: None,
            total_price: None,
            usage,
            usage_details: one.usage,
            calculated_input_cost: costs.input,
            calculated_output_cost: costs.output,
            calculated_total_cost: costs.total,
            unit: UNIT,
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: total,
            created_at: one.start,
        }
    }
}

/// A session.
pub(crate) fn session(session: &TraceSession, project: &str) -> Map<String, Value> {
    let fields = [
        ("id", json!(session.id)),
        ("createdAt", json!(session.created_at)),
        ("projectId", json!(project)),
        ("environment", json!(session.environment)),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// A score, as all versions of the clients before 5 read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScoreView {
    id: String,
    project_id: String,
    trace_id: Option<String>,
    observation_id: Option<String>,
    session_id: Option<String>,
    dataset_run_id: Option<String>,
    name: String,
    data_type: &'static str,
    value: Option<f64>,
    string_value: Option<String>,
    source: &'static str,
    comment: Option<String>,
    metadata: Map<String, Value>,
    author_user_id: Option<String>,
    config_id: Option<String>,
    queue_id: Option<String>,
    environment: String,
    timestamp: NanoTimestamp,
    created_at: NanoTimestamp,
    updated_at: NanoTimestamp,
}

impl ScoreView {
    pub(crate) fn new(StoredScore { score, created_at, updated_at }: StoredScore, project: &str) -> Self {
        let mut view = Self {
            id: score.id.into(),
            project_id: project.to_owned(),
            trace_id: None,
            observation_id: None,
            session_id: None,
            dataset_run_id: None,
            name: score.name,
            data_type: score.score_type.as_str(),
            value: Some(score.value),
            string_value: match score.score_type {
                ScoreType::Numeric => None,
                ScoreType::Boolean => Some(if score.value == 0.0 { "False" } else { "True" }.to_owned()),
                _ => score.text,
            },
            source: score.source.as_str(),
            comment: score.comment,
            metadata: score.metadata,
            author_user_id: score.author_user_id,
            config_id: score.config_id,
            queue_id: None,
            environment: score.environment,
            timestamp: score.timestamp,
            created_at: created_at.into(),
            updated_at: updated_at.into(),
        };
        match score.target {
            ScoreTarget::Trace(trace, observation) => {
                view.trace_id = Some(trace.into());
                view.observation_id = observation.map(String::from);
            }
            ScoreTarget::Session(session) => view.session_id = Some(session),
            ScoreTarget::DatasetRun(run) => view.dataset_run_id = Some(run),
        }
        view
    }
}

/// Whether clients that know three types of scores can read it.
pub(crate) const fn is_of_old_type(score: &StoredScore) -> bool {
    matches!(score.score.score_type, ScoreType::Numeric | ScoreType::Boolean | ScoreType::Categorical)
}
