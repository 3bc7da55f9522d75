//! Traces as Privet itself shows them, by the API and by the command line alike: costs in nano-dollars, lengths of time in
//! milliseconds.

use std::collections::BTreeMap;

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, Observation, ScoreTarget};
use privet_store::{DailySums, StoredScore, Sums, TraceSession, TraceUser, TraceWithTotals};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

const NANOS_PER_MILLI: f64 = 1e6;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// A trace of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct TraceSummary {
    /// Its id.
    id: String,
    /// When it began, RFC 3339.
    started_at: String,
    /// What it is called.
    name: Option<String>,
    /// For whom it ran.
    user_id: Option<String>,
    /// The session it belongs to.
    session_id: Option<String>,
    /// The environment.
    environment: String,
    /// The release of the application.
    release: Option<String>,
    /// The version of this kind of trace.
    version: Option<String>,
    /// Its tags.
    tags: Vec<String>,
    /// From its beginning to the end of its last observation, in milliseconds.
    latency_ms: Option<f64>,
    /// How many observations it has.
    observations: u64,
    /// How many of them failed.
    errors: u64,
    /// Tokens that went into models.
    input_tokens: u64,
    /// Tokens that came out.
    output_tokens: u64,
    /// All tokens.
    total_tokens: u64,
    /// What they cost, in nano-dollars.
    cost_nanos: i64,
}

/// A trace with all that belongs to it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TraceDetail {
    #[serde(flatten)]
    trace: TraceSummary,
    /// What went in: any JSON.
    #[schema(value_type = Option<Object>)]
    input: Option<Box<RawValue>>,
    /// What came out: any JSON.
    #[schema(value_type = Option<Object>)]
    output: Option<Box<RawValue>>,
    /// Its metadata.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Its observations, in the order of their beginning.
    steps: Vec<ObservationDetail>,
    /// The judgements of it and of its observations.
    scores: Vec<ScoreDetail>,
}

/// An observation: a step of a trace.
#[derive(Serialize, ToSchema)]
pub(crate) struct ObservationDetail {
    /// Its id.
    id: String,
    /// The observation that it is part of.
    parent_id: Option<String>,
    /// `SPAN`, `GENERATION`, `EVENT`, `AGENT`, `TOOL`, `CHAIN`, `RETRIEVER`, `EVALUATOR`, `EMBEDDING` or `GUARDRAIL`.
    r#type: &'static str,
    /// What it is called.
    name: Option<String>,
    /// When it began, RFC 3339.
    started_at: String,
    /// When it ended, RFC 3339.
    ended_at: Option<String>,
    /// How long it took, in milliseconds.
    latency_ms: Option<f64>,
    /// Until the first token came, in milliseconds.
    first_token_ms: Option<f64>,
    /// `DEBUG`, `DEFAULT`, `WARNING` or `ERROR`.
    level: &'static str,
    /// What is to be said of it.
    status_message: Option<String>,
    /// The version of this kind of step.
    version: Option<String>,
    /// The environment.
    environment: String,
    /// The model.
    model: Option<String>,
    /// Its parameters.
    #[schema(value_type = Object)]
    model_parameters: Map<String, Value>,
    /// The prompt it was made with.
    prompt_name: Option<String>,
    /// That prompt's version.
    prompt_version: Option<u32>,
    /// Tokens by kind.
    usage: BTreeMap<String, u64>,
    /// What it cost by kind, in nano-dollars.
    cost: BTreeMap<String, i64>,
    /// What it cost in all, in nano-dollars.
    cost_nanos: i64,
    /// What went in: any JSON.
    #[schema(value_type = Option<Object>)]
    input: Option<Box<RawValue>>,
    /// What came out: any JSON.
    #[schema(value_type = Option<Object>)]
    output: Option<Box<RawValue>>,
    /// Its metadata.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

/// A score.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScoreDetail {
    /// Its id.
    id: String,
    /// The trace that is judged.
    trace_id: Option<String>,
    /// The observation of that trace, where one is judged.
    observation_id: Option<String>,
    /// The session that is judged.
    session_id: Option<String>,
    /// The run of a data set that is judged.
    dataset_run_id: Option<String>,
    /// What is measured.
    name: String,
    /// `NUMERIC`, `BOOLEAN`, `CATEGORICAL`, `TEXT` or `CORRECTION`.
    r#type: &'static str,
    /// The number.
    value: f64,
    /// The word or text, where it is one.
    text: Option<String>,
    /// Why.
    comment: Option<String>,
    /// `API`, `EVAL` or `ANNOTATION`.
    source: &'static str,
    /// The environment.
    environment: String,
    /// When it was judged, RFC 3339.
    scored_at: String,
    /// When it was first written, RFC 3339.
    created_at: String,
}

/// What traces add up to.
#[derive(Serialize, ToSchema)]
pub(crate) struct SumsView {
    /// How many traces.
    traces: u64,
    /// How many observations.
    observations: u64,
    /// How many of those failed.
    errors: u64,
    /// Tokens that went into models.
    input_tokens: u64,
    /// Tokens that came out.
    output_tokens: u64,
    /// All tokens.
    total_tokens: u64,
    /// What they cost, in nano-dollars.
    cost_nanos: i64,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// Its id.
    id: String,
    /// When its first trace began, RFC 3339.
    created_at: String,
    /// When its last trace began, RFC 3339.
    last_at: String,
    /// The environment of one of its traces.
    environment: String,
    /// For whom its traces ran.
    user_ids: Vec<String>,
    #[serde(flatten)]
    sums: SumsView,
}

/// A user, by what the traces say that name him.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserView {
    /// His id.
    id: String,
    /// When his first trace began, RFC 3339; of one that expired the day is known.
    first_at: String,
    /// When his last trace began, RFC 3339.
    last_at: String,
    #[serde(flatten)]
    sums: SumsView,
}

/// The sums of a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct DayView {
    /// The day (UTC), such as `2026-11-25`.
    date: String,
    /// The model, prompt, user, tag or name of traces; empty for everything.
    value: String,
    /// The version of a prompt.
    prompt_version: Option<u32>,
    /// The environment.
    environment: String,
    /// How many traces; of models and prompts none are counted.
    traces: i64,
    /// How many observations.
    observations: i64,
    /// How many of those failed.
    errors: i64,
    /// Tokens that went into models.
    input_tokens: i64,
    /// Tokens that came out.
    output_tokens: i64,
    /// All tokens.
    total_tokens: i64,
    /// What they cost, in nano-dollars.
    cost_nanos: i64,
    /// The mean time that traces (by user, tag and name) or observations took, in milliseconds.
    latency_ms: Option<f64>,
}

fn millis(from: NanoTimestamp, until: Option<NanoTimestamp>) -> Option<f64> {
    until.map(|until| until.since(from).as_nanos() as f64 / NANOS_PER_MILLI)
}

fn raw(json: Option<JsonText>) -> Option<Box<RawValue>> {
    RawValue::from_string(json?.as_str().to_owned()).ok()
}

impl From<&TraceWithTotals> for TraceSummary {
    fn from(TraceWithTotals { trace, totals }: &TraceWithTotals) -> Self {
        Self {
            id: trace.id.to_string(),
            started_at: trace.timestamp.to_string(),
            name: trace.name.clone(),
            user_id: trace.user_id.clone(),
            session_id: trace.session_id.clone(),
            environment: trace.environment.clone(),
            release: trace.release.clone(),
            version: trace.version.clone(),
            tags: trace.tags.clone(),
            latency_ms: millis(trace.timestamp, totals.ended_at),
            observations: totals.observations,
            errors: totals.errors,
            input_tokens: totals.input_tokens,
            output_tokens: totals.output_tokens,
            total_tokens: totals.total_tokens,
            cost_nanos: totals.cost.as_i64(),
        }
    }
}

impl TraceDetail {
    pub(crate) fn new(whole: TraceWithTotals, observations: Vec<Observation>, scores: Vec<StoredScore>) -> Self {
        let summary = TraceSummary::from(&whole);
        Self {
            trace: summary,
            input: raw(whole.trace.input),
            output: raw(whole.trace.output),
            metadata: whole.trace.metadata,
            steps: observations.into_iter().map(ObservationDetail::from).collect(),
            scores: scores.into_iter().map(ScoreDetail::from).collect(),
        }
    }
}

impl From<Observation> for ObservationDetail {
    fn from(one: Observation) -> Self {
        Self {
            cost_nanos: one.total_cost().as_i64(),
            latency_ms: millis(one.start, one.end),
            first_token_ms: millis(one.start, one.completion_start),
            id: one.id.into(),
            parent_id: one.parent_id.map(String::from),
            r#type: one.observation_type.as_str(),
            name: one.name,
            started_at: one.start.to_string(),
            ended_at: one.end.map(|end| end.to_string()),
            level: one.level.as_str(),
            status_message: one.status_message,
            version: one.version,
            environment: one.environment,
            model: one.model,
            model_parameters: one.model_parameters,
            prompt_name: one.prompt.as_ref().map(|prompt| prompt.name.clone()),
            prompt_version: one.prompt.map(|prompt| prompt.version),
            usage: one.usage,
            cost: one.cost.into_iter().map(|(kind, cost)| (kind, cost.as_i64())).collect(),
            input: raw(one.input),
            output: raw(one.output),
            metadata: one.metadata,
        }
    }
}

impl From<StoredScore> for ScoreDetail {
    fn from(StoredScore { score, created_at, .. }: StoredScore) -> Self {
        let mut view = Self {
            id: score.id.into(),
            trace_id: None,
            observation_id: None,
            session_id: None,
            dataset_run_id: None,
            name: score.name,
            r#type: score.score_type.as_str(),
            value: score.value,
            text: score.text,
            comment: score.comment,
            source: score.source.as_str(),
            environment: score.environment,
            scored_at: score.timestamp.to_string(),
            created_at: created_at.to_string(),
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

impl From<Sums> for SumsView {
    fn from(sums: Sums) -> Self {
        Self {
            traces: sums.traces,
            observations: sums.observations,
            errors: sums.errors,
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            total_tokens: sums.total_tokens,
            cost_nanos: sums.cost.as_i64(),
        }
    }
}

impl From<TraceSession> for SessionView {
    fn from(session: TraceSession) -> Self {
        Self {
            id: session.id,
            created_at: session.created_at.to_string(),
            last_at: session.last_at.to_string(),
            environment: session.environment,
            user_ids: session.user_ids,
            sums: session.sums.into(),
        }
    }
}

impl From<TraceUser> for UserView {
    fn from(user: TraceUser) -> Self {
        Self {
            id: user.id,
            first_at: user.first_at.to_string(),
            last_at: user.last_at.to_string(),
            sums: user.sums.into(),
        }
    }
}

impl From<DailySums> for DayView {
    fn from(sums: DailySums) -> Self {
        let at = NanoTimestamp::from_nanos(sums.day.saturating_mul(NANOS_PER_DAY)).to_string();
        Self {
            date: at.chars().take("2026-11-25".len()).collect(),
            value: sums.value,
            prompt_version: sums.prompt_version,
            environment: sums.environment,
            traces: sums.traces,
            observations: sums.observations,
            errors: sums.errors,
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            total_tokens: sums.total_tokens,
            cost_nanos: sums.cost.as_i64(),
            latency_ms: (sums.ended > 0).then(|| sums.latency_ms as f64 / sums.ended as f64),
        }
    }
}
