//! A batch of patches joined with what is stored: the rows to write, and by how much the sums of days change. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use privet_domain::id::ProjectId;
use privet_domain::trace::{
    Level, Observation, ObservationId, ObservationType, Score, Trace, TraceBatch, TraceId, TracePatch,
};

use super::body::{BatchBodies, BodyEncoder};
use super::metrics::{self, MetricDeltas};
use super::row::{Content, ObservationRow, TraceRow, TraceSums, split_resource};
use super::stored_id::{StoredId, pack};
use super::{Pricing, WriteSettings};
use crate::error::StoreError;

/// Which rows a batch needs to know.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) traces: BTreeMap<ProjectId, BTreeSet<StoredId>>,
    pub(crate) observations: BTreeMap<ProjectId, BTreeSet<StoredId>>,
}

/// The id of an observation whose own is another trace's already. Ids of spans are unique in their trace alone (OpenTelemetry, "SpanContext").
fn own_id(trace: &TraceId, id: &ObservationId) -> ObservationId {
    let mut hasher = blake3::Hasher::new_derive_key("privet observation of a trace v1");
    hasher.update(trace.as_str().as_bytes()).update(&[0]).update(id.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    ObservationId::from_bytes([a, b, c, d, e, f, g, h])
}

impl Wanted {
    /// Which observations there may be under ids of their own, since theirs are those of other traces.
    pub(crate) fn moved(batches: &[(ProjectId, TraceBatch)], stored: &[ObservationRow]) -> Self {
        let mut wanted = Self::default();
        let traces: HashMap<(ProjectId, &[u8]), &[u8]> =
            stored.iter().map(|row| ((row.project(), row.id.as_slice()), row.trace_id.as_slice())).collect();
        for (project, batch) in batches {
            for patch in &batch.observations {
                let id = pack(patch.id.as_str());
                let trace = traces.get(&(*project, id.as_slice()));
                if trace.is_some_and(|trace| *trace != pack(patch.trace_id.as_str()).as_slice()) {
                    let own = pack(own_id(&patch.trace_id, &patch.id).as_str());
                    wanted.observations.entry(*project).or_default().insert(own);
                }
            }
        }
        wanted
    }

    pub(crate) fn by(batches: &[(ProjectId, TraceBatch)]) -> Self {
        let mut wanted = Self::default();
        for (project, batch) in batches {
            let traces = wanted.traces.entry(*project).or_default();
            traces.extend(batch.traces.iter().map(|patch| pack(patch.id.as_str())));
            traces.extend(batch.observations.iter().map(|patch| pack(patch.trace_id.as_str())));
            let observations = wanted.observations.entry(*project).or_default();
            observations.extend(batch.observations.iter().map(|patch| pack(patch.id.as_str())));
        }
        wanted
    }
}

/// A trace on its way: as it was stored, and as it is now.
pub(crate) struct TraceState {
    pub(crate) trace: Trace<Content>,
    pub(crate) sums: TraceSums,
    stored: Option<(Trace<Content>, TraceSums)>,
}

/// An observation on its way.
pub(crate) struct ObservationState {
    pub(crate) observation: Observation<Content>,
    pub(crate) resource: Option<Content>,
    stored: Option<Observation<Content>>,
}

type Key = (ProjectId, StoredId);

/// Batches joined with the rows they change.
#[derive(Default)]
pub(crate) struct Merge {
    traces: BTreeMap<Key, TraceState>,
    observations: BTreeMap<Key, ObservationState>,
    scores: BTreeMap<Key, Score>,
    sums: HashMap<Key, TraceSums>,
}

/// What to write.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) bodies: BatchBodies,
    pub(crate) traces: Vec<TraceOut>,
    pub(crate) observations: Vec<ObservationOut>,
    pub(crate) scores: Vec<(ProjectId, StoredId, Score)>,
    pub(crate) metrics: MetricDeltas,
    /// Observations that have ended, for the export.
    pub(crate) ended: Vec<Key>,
}

/// A trace's row.
pub(crate) struct TraceOut {
    pub(crate) project: ProjectId,
    pub(crate) id: StoredId,
    pub(crate) trace: Trace<Vec<u8>>,
    pub(crate) sums: TraceSums,
}

/// An observation's row.
pub(crate) struct ObservationOut {
    pub(crate) project: ProjectId,
    pub(crate) id: StoredId,
    pub(crate) observation: Observation<Vec<u8>>,
    pub(crate) resource: Option<Vec<u8>>,
}

impl Merge {
    /// Begins with what is stored.
    pub(crate) fn of_stored(traces: Vec<TraceRow>, observations: Vec<ObservationRow>) -> Result<Self, StoreError> {
        let mut merge = Self::default();
        for row in traces {
            let (key, sums) = ((row.project(), row.id.clone()), row.sums());
            let trace = row.into_record()?;
            let state = TraceState { trace: trace.clone(), sums, stored: Some((trace, sums)) };
            merge.traces.insert(key, state);
        }
        for mut row in observations {
            let (key, resource) = ((row.project(), row.id.clone()), row.resource.take().map(Content::Stored));
            let observation = row.into_record()?;
            let state = ObservationState { observation: observation.clone(), resource, stored: Some(observation) };
            merge.observations.insert(key, state);
        }
        Ok(merge)
    }

    /// Joins a batch.
    pub(crate) fn join(&mut self, project: ProjectId, mut batch: TraceBatch, pricing: &dyn Pricing) {
        batch.traces.sort_by_key(|patch| patch.at);
        batch.observations.sort_by_key(|patch| (patch.at, patch.kind));
        for patch in batch.traces {
            self.join_trace(project, patch);
        }
        for mut patch in batch.observations {
            let mut key = (project, pack(patch.id.as_str()));
            if self.observations.get(&key).is_some_and(|state| state.observation.trace_id != patch.trace_id) {
                patch.id = own_id(&patch.trace_id, &patch.id);
                key.1 = pack(patch.id.as_str());
            }
            let resource = split_resource(&mut patch.metadata);
            let is_unpriced = patch.usage.is_some() && patch.cost.is_none();
            let state = match self.observations.remove(&key) {
                Some(mut state) => {
                    state.observation.fold(patch);
                    state
                }
                None => ObservationState { observation: Observation::begin(patch), resource: None, stored: None },
            };
            let mut state = state;
            if let Some(resource) = resource {
                state.resource = Some(Content::New(resource));
            }
            if is_unpriced || state.observation.cost.is_empty() {
                price(&mut state.observation, pricing);
            }
            // A trace of which nothing else is known.
            self.ensure_trace(project, &state.observation);
            self.observations.insert(key, state);
        }
        for score in batch.scores {
            self.scores.insert((project, pack(score.id.as_str())), score);
        }
    }

    fn join_trace(&mut self, project: ProjectId, patch: TracePatch) {
        let key = (project, pack(patch.id.as_str()));
        match self.traces.get_mut(&key) {
            Some(state) => state.trace.fold(patch),
            None => {
                let state = TraceState { trace: Trace::begin(patch), sums: TraceSums::default(), stored: None };
                self.traces.insert(key, state);
            }
        }
    }

    fn ensure_trace(&mut self, project: ProjectId, observation: &Observation<Content>) {
        let key = (project, pack(observation.trace_id.as_str()));
        if !self.traces.contains_key(&key) {
            let mut patch = TracePatch::new(observation.trace_id.clone(), observation.start);
            patch.environment = Some(observation.environment.clone());
            self.join_trace(project, patch);
        }
    }

    /// The rows to write.
    pub(crate) fn into_rows(mut self, encoder: &mut BodyEncoder, minute: i64, settings: WriteSettings) -> Rows {
        let mut rows = Rows::default();
        for (key, state) in std::mem::take(&mut self.observations) {
            self.add_to_trace(key.0, &state);
            rows.metrics.change(key.0, state.stored.as_ref(), &state.observation, metrics::of_observation);
            if settings.exports && has_ended(&state.observation) && !state.stored.as_ref().is_some_and(has_ended) {
                rows.ended.push(key.clone());
            }
            let resource = state.resource.map(|content| encode(encoder, key.0, content, minute, &mut rows.bodies));
            let observation = encode_observation(encoder, key.0, state.observation, minute, &mut rows.bodies);
            rows.observations.push(ObservationOut { project: key.0, id: key.1, observation, resource });
        }
        for (key, state) in self.traces {
            let sums = self.sums.remove(&key).unwrap_or(state.sums);
            let now = (state.trace, sums);
            rows.metrics.change(key.0, state.stored.as_ref(), &now, metrics::of_trace);
            let trace = encode_trace(encoder, key.0, now.0, minute, &mut rows.bodies);
            rows.traces.push(TraceOut { project: key.0, id: key.1, trace, sums });
        }
        rows.scores = self.scores.into_iter().map(|((project, id), score)| (project, id, score)).collect();
        rows
    }

    /// Changes what a trace's observations add up to by what one of them changed.
    fn add_to_trace(&mut self, project: ProjectId, state: &ObservationState) {
        let key = (project, pack(state.observation.trace_id.as_str()));
        let Some(trace) = self.traces.get(&key) else { return };
        let sums = self.sums.entry(key).or_insert(trace.sums);
        let now = &state.observation;
        let before = state.stored.as_ref();
        let change = |of: fn(&Observation<Content>) -> i64| of(now).saturating_sub(before.map_or(0, of));
        sums.observations += i64::from(before.is_none());
        sums.errors += change(|one| i64::from(one.level == Level::Error));
        sums.input_tokens += change(|one| tokens(one.input_tokens()));
        sums.output_tokens += change(|one| tokens(one.output_tokens()));
        sums.total_tokens += change(|one| tokens(one.total_tokens()));
        sums.cost_nanos = sums.cost_nanos.saturating_add(change(|one| one.total_cost().as_i64()));
        sums.ended_at = sums.ended_at.max(now.end.or(Some(now.start)).map(|end| end.as_nanos()));
    }
}

/// A moment has no end of its own.
fn has_ended(observation: &Observation<Content>) -> bool {
    observation.end.is_some() || observation.observation_type == ObservationType::Event
}

/// Tokens for the database. No step has so many that they would not fit.
pub(crate) fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX).min(TOKENS_MAX)
}

/// So that sums of many do not overflow.
const TOKENS_MAX: i64 = 1_000_000_000_000;

/// What the steps of models cost by the price book, where their sender does not say.
fn price(observation: &mut Observation<Content>, pricing: &dyn Pricing) {
    if observation.usage.is_empty() {
        return;
    }
    if let Some(model) = &observation.model
        && let Some(cost) = pricing.cost(model, &observation.usage, observation.start)
    {
        observation.cost = cost;
    }
}

fn encode(
    encoder: &mut BodyEncoder,
    project: ProjectId,
    content: Content,
    minute: i64,
    bodies: &mut BatchBodies,
) -> Vec<u8> {
    match content {
        Content::Stored(stored) => stored,
        Content::New(json) => encoder.encode(project, &json, minute, bodies),
    }
}

fn encode_trace(
    encoder: &mut BodyEncoder,
    project: ProjectId,
    trace: Trace<Content>,
    minute: i64,
    bodies: &mut BatchBodies,
) -> Trace<Vec<u8>> {
    let input = trace.input.map(|content| encode(encoder, project, content, minute, bodies));
    let output = match trace.output {
        Some(Content::New(json)) => Some(encoder.encode_output(project, &json, input.as_deref(), minute, bodies)),
        Some(Content::Stored(stored)) => Some(stored),
        None => None,
    };
    Trace {
        input,
        output,
        id: trace.id,
        timestamp: trace.timestamp,
        name: trace.name,
        user_id: trace.user_id,
        session_id: trace.session_id,
        release: trace.release,
        version: trace.version,
        environment: trace.environment,
        public: trace.public,
        tags: trace.tags,
        metadata: trace.metadata,
        origins: trace.origins,
    }
}

fn encode_observation(
    encoder: &mut BodyEncoder,
    project: ProjectId,
    observation: Observation<Content>,
    minute: i64,
    bodies: &mut BatchBodies,
) -> Observation<Vec<u8>> {
    let input = observation.input.map(|content| encode(encoder, project, content, minute, bodies));
    let output = match observation.output {
        Some(Content::New(json)) => Some(encoder.encode_output(project, &json, input.as_deref(), minute, bodies)),
        Some(Content::Stored(stored)) => Some(stored),
        None => None,
    };
    Observation {
        input,
        output,
        id: observation.id,
        trace_id: observation.trace_id,
        folded_at: observation.folded_at,
        parent_id: observation.parent_id,
        observation_type: observation.observation_type,
        name: observation.name,
        start: observation.start,
        end: observation.end,
        completion_start: observation.completion_start,
        level: observation.level,
        status_message: observation.status_message,
        version: observation.version,
        environment: observation.environment,
        metadata: observation.metadata,
        model: observation.model,
        model_parameters: observation.model_parameters,
        usage: observation.usage,
        cost: observation.cost,
        prompt: observation.prompt,
    }
}
