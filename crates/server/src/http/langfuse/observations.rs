//! `/api/public/observations` and `/api/public/v2/observations`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_domain::trace::{JsonText, Observation, ObservationId, TraceId};
use privet_store::{
    Condition, ObservationColumn, ObservationQuery, OwnColumn, Page, Test, TraceColumn, TraceWithTotals,
};
use serde_json::{Map, Value, json};

use super::filter::{joined, observation_column};
use super::query::{Named, PAGE_MAX, PageMeta, Params, counted_by_page, missing, skipped, wrong};
use super::traces::Listed;
use super::views::{ObservationView, cost_details, dollars, seconds, updated_at};
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// Pages from a cursor are not larger.
const CURSOR_PAGE_MAX: u32 = 1_000;
/// Of a longer value of metadata this many characters are shown, unless it is asked for whole.
const METADATA_CHARS: usize = 200;
const FIELDS: [&str; 10] =
    ["core", "basic", "time", "io", "metadata", "model", "usage", "prompt", "metrics", "trace_context"];

/// Observations, newest first.
#[utoipa::path(
    get, path = "/api/public/observations", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
        ("name" = Option<String>, Query, description = "Only of this name"),
        ("userId" = Option<String>, Query, description = "Only of this user's traces"),
        ("type" = Option<String>, Query, description = "Only of this type"),
        ("traceId" = Option<String>, Query, description = "Only of this trace"),
        ("level" = Option<String>, Query, description = "Only of this level"),
        ("parentObservationId" = Option<String>, Query, description = "Only parts of this observation; empty: of none"),
        ("environment" = Option<Vec<String>>, Query, description = "Only of one of these environments"),
        ("fromStartTime" = Option<String>, Query, description = "Only those that began at this instant or later"),
        ("toStartTime" = Option<String>, Query, description = "Only those that began before this instant"),
        ("version" = Option<String>, Query, description = "Only of this version"),
        ("promptName" = Option<String>, Query, description = "Only those made with this prompt"),
        ("promptVersion" = Option<u32>, Query, description = "Only those made with this version of the prompt"),
        ("filter" = Option<String>, Query, description = "A JSON list of conditions"),
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
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let (page, limit) = (params.page()?, params.limit(PAGE_MAX)?);
    let conditions = joined(&params, simple(&params)?, observation_column)?;
    let store = &http.engine.traces.store;
    let query = ObservationQuery { conditions, page: Page::Skip(skipped(page, limit), limit), has_contents: true };
    let list = store.list_observations(caller.project_id, &query).await?;
    let count = match counted_by_page(page, limit, list.observations.len(), list.next.is_none()) {
        Some(count) => count,
        None => store.count_observations(caller.project_id, &query.conditions).await?,
    };
    let project = &caller.project_shown.id;
    let data: Vec<_> = list.observations.into_iter().map(|one| ObservationView::new(one, project)).collect();
    Ok(Json(Listed { data, meta: PageMeta::new(page, limit, count) }).into_response())
}

/// An observation.
#[utoipa::path(
    get, path = "/api/public/observations/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The observation")),
    responses(
        (status = 200, description = "The observation", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "There is no such observation in the key's project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Named(id): Named<ObservationId>,
) -> Result<Response, Failure<Langfuse>> {
    let found = http.engine.traces.store.observation(caller.project_id, &id).await;
    let observation = found.map_err(|error| missing(error, "observation", id.as_str()))?;
    Ok(Json(ObservationView::new(observation, &caller.project_shown.id)).into_response())
}

/// Observations, newest first, with the groups of fields that are asked for.
#[utoipa::path(
    get, path = "/api/public/v2/observations", tag = "Langfuse",
    params(
        ("fields" = Option<String>, Query, description = "Groups of fields, with commas: core, basic, time, io, metadata, \
            model, usage, prompt, metrics, trace_context; `core,basic` by default"),
        ("expandMetadata" = Option<String>, Query, description = "Keys of metadata that are shown whole"),
        ("limit" = Option<u32>, Query, description = "Up to 1000; 50 by default"),
        ("cursor" = Option<String>, Query, description = "`cursor` of the page before"),
        ("name" = Option<String>, Query, description = "Only of this name"),
        ("userId" = Option<String>, Query, description = "Only of this user's traces"),
        ("sessionId" = Option<String>, Query, description = "Only of this session's traces"),
        ("type" = Option<String>, Query, description = "Only of this type"),
        ("traceId" = Option<String>, Query, description = "Only of this trace"),
        ("level" = Option<String>, Query, description = "Only of this level"),
        ("parentObservationId" = Option<String>, Query, description = "Only parts of this observation; empty: of none"),
        ("isRootObservation" = Option<bool>, Query, description = "Only those that are part of none, or of one"),
        ("environment" = Option<Vec<String>>, Query, description = "Only of one of these environments"),
        ("fromStartTime" = Option<String>, Query, description = "Only those that began at this instant or later"),
        ("toStartTime" = Option<String>, Query, description = "Only those that began before this instant"),
        ("version" = Option<String>, Query, description = "Only of this version"),
        ("filter" = Option<String>, Query, description = "A JSON list of conditions"),
    ),
    responses(
        (status = 200, description = "A page", body = Object),
        (status = 400, description = "A parameter is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list_by_fields(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    if params.parsed("parseIoAsJson", "false")? == Some(true) {
        return Err(wrong("parseIoAsJson", "false, or absent: `input` and `output` are always texts").into());
    }
    let fields = Fields::of(&params)?;
    let limit = params.limit(CURSOR_PAGE_MAX)?;
    let conditions = joined(&params, simple(&params)?, observation_column)?;
    let store = &http.engine.traces.store;
    let has_contents = fields.has("io") || fields.has("metadata");
    let query = ObservationQuery { conditions, page: Page::After(params.cursor()?, limit), has_contents };
    let list = store.list_observations(caller.project_id, &query).await?;
    let traces = match fields.has("basic") || fields.has("trace_context") {
        true => store.traces_by_id(caller.project_id, list.observations.iter().map(|one| one.trace_id.clone())).await?,
        false => HashMap::new(),
    };
    let project = &caller.project_shown.id;
    let data: Vec<_> = list.observations.into_iter().map(|one| fields.view(one, &traces, project)).collect();
    let mut meta = Map::new();
    if let Some(next) = list.next {
        meta.insert("cursor".to_owned(), json!(next.to_string()));
    }
    Ok(Json(Listed { data, meta }).into_response())
}

/// The conditions of single parameters.
fn simple(params: &Params) -> Result<Vec<Condition<ObservationColumn>>, ApiError> {
    let mut conditions = Vec::new();
    for (name, column) in [
        ("name", OwnColumn::Name),
        ("traceId", OwnColumn::Trace),
        ("type", OwnColumn::Type),
        ("level", OwnColumn::Level),
        ("version", OwnColumn::Version),
        ("promptName", OwnColumn::PromptName),
    ] {
        conditions.extend(params.text(name).map(|value| Condition::is(column.into(), value)));
    }
    for (name, column) in [("userId", TraceColumn::User), ("sessionId", TraceColumn::Session)] {
        conditions.extend(params.text(name).map(|value| Condition::is(column.into(), value)));
    }
    conditions.extend(params.given("parentObservationId").map(|parent| match parent {
        "" => Condition { column: OwnColumn::Parent.into(), test: Test::IsSet(false) },
        parent => Condition::is(OwnColumn::Parent.into(), parent),
    }));
    let is_root = params.parsed("isRootObservation", "true or false")?;
    conditions.extend(is_root.map(|is_root| Condition { column: OwnColumn::IsRoot.into(), test: Test::Flag(is_root) }));
    let version: Option<u32> = params.parsed("promptVersion", "a number")?;
    conditions.extend(version.map(|version| {
        let test = Test::Number(privet_store::Comparison::Equal, f64::from(version));
        Condition { column: OwnColumn::PromptVersion.into(), test }
    }));
    conditions.extend(params.time("fromStartTime")?.map(|at| Condition::since(OwnColumn::Start.into(), at)));
    conditions.extend(params.time("toStartTime")?.map(|at| Condition::before(OwnColumn::Start.into(), at)));
    let environments = params.all("environment");
    if !environments.is_empty() {
        conditions.push(Condition { column: OwnColumn::Environment.into(), test: Test::AnyOf(environments) });
    }
    Ok(conditions)
}

/// Which groups of fields are shown.
struct Fields {
    groups: Vec<String>,
    expanded: Vec<String>,
}

impl Fields {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let mut groups = params.parts("fields");
        if let Some(unknown) = groups.iter().find(|group| !FIELDS.contains(&group.as_str())) {
            let what = format!("of {}, not `{}`", FIELDS.join(", "), crate::http::error::shortened(unknown));
            return Err(wrong("fields", &what));
        }
        if groups.is_empty() {
            groups.push("basic".to_owned());
        }
        Ok(Self { groups, expanded: params.parts("expandMetadata") })
    }

    fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|has| has == group)
    }

    fn view(&self, one: Observation, traces: &HashMap<TraceId, TraceWithTotals>, project: &str) -> Map<String, Value> {
        let trace = traces.get(&one.trace_id).map(|trace| &trace.trace);
        let mut view = View(Map::new());
        view.add([
            ("id", json!(one.id)),
            ("traceId", json!(one.trace_id)),
            ("projectId", json!(project)),
            ("startTime", json!(one.start)),
            ("endTime", json!(one.end)),
            ("parentObservationId", json!(one.parent_id)),
            ("type", json!(one.observation_type)),
        ]);
        if self.has("basic") {
            view.add([
                ("name", json!(one.name)),
                ("level", json!(one.level)),
                ("statusMessage", json!(one.status_message)),
                ("version", json!(one.version.as_ref().or_else(|| trace?.version.as_ref()))),
                ("environment", json!(one.environment)),
                ("bookmarked", json!(false)),
                ("public", json!(trace.is_some_and(|trace| trace.public))),
                ("userId", json!(trace.and_then(|trace| trace.user_id.as_ref()))),
                ("sessionId", json!(trace.and_then(|trace| trace.session_id.as_ref()))),
                ("isRootObservation", json!(one.parent_id.is_none())),
            ]);
        }
        if self.has("time") {
            view.add([
                ("completionStartTime", json!(one.completion_start)),
                ("createdAt", json!(one.start)),
                ("updatedAt", json!(updated_at(&one))),
            ]);
        }
        self.add_figures(&one, &mut view);
        if self.has("trace_context") {
            view.add([
                ("traceName", json!(trace.and_then(|trace| trace.name.as_ref()))),
                ("tags", json!(trace.map(|trace| trace.tags.as_slice()).unwrap_or_default())),
                ("release", json!(trace.and_then(|trace| trace.release.as_ref()))),
            ]);
        }
        if self.has("io") {
            view.add([("input", as_text(one.input)), ("output", as_text(one.output))]);
        }
        if self.has("metadata") {
            view.add([("metadata", Value::Object(self.metadata(one.metadata)))]);
        }
        view.0
    }

    /// The groups that speak of the model and of what it used.
    fn add_figures(&self, one: &Observation, view: &mut View) {
        if self.has("model") {
            view.add([
                ("model", json!(one.model)),
                ("internalModelId", Value::Null),
                ("modelParameters", json!(one.model_parameters)),
                ("modelId", Value::Null),
                ("inputPrice", Value::Null),
                ("outputPrice", Value::Null),
                ("totalPrice", Value::Null),
            ]);
        }
        if self.has("usage") {
            view.add([
                ("usageDetails", json!(one.usage)),
                ("costDetails", json!(cost_details(one))),
                ("totalCost", json!(dollars(one.total_cost()))),
                ("usagePricingTierName", Value::Null),
            ]);
        }
        if self.has("prompt") {
            view.add([
                ("promptId", Value::Null),
                ("promptName", json!(one.prompt.as_ref().map(|prompt| &prompt.name))),
                ("promptVersion", json!(one.prompt.as_ref().map(|prompt| prompt.version))),
            ]);
        }
        if self.has("metrics") {
            view.add([
                ("latency", json!(seconds(one.start, one.end))),
                ("timeToFirstToken", json!(seconds(one.start, one.completion_start))),
            ]);
        }
    }

    fn metadata(&self, metadata: Map<String, Value>) -> Map<String, Value> {
        let shown = |(key, value): (String, Value)| {
            let value = if self.expanded.contains(&key) { value } else { cut(value) };
            (key, value)
        };
        metadata.into_iter().map(shown).collect()
    }
}

/// An object in the making.
struct View(Map<String, Value>);

impl View {
    fn add<const N: usize>(&mut self, fields: [(&str, Value); N]) {
        self.0.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
}

/// A text as it is; any other content as its JSON.
fn as_text(content: Option<JsonText>) -> Value {
    let Some(content) = content else { return Value::Null };
    match serde_json::from_str::<String>(content.as_str()) {
        Ok(text) => Value::String(text),
        Err(_) => Value::String(content.as_str().to_owned()),
    }
}

fn cut(value: Value) -> Value {
    let text = match &value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        _ => return value,
    };
    match text.char_indices().nth(METADATA_CHARS) {
        Some((end, _)) => Value::String(text.get(..end).unwrap_or_default().to_owned()),
        None => value,
    }
}
