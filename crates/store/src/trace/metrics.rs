//! The sums of days: what a trace and an observation add to them.
//!
//! A record that changes takes away what it added and adds what it is now, so that the sums are right whatever arrives late or
//! twice.

use std::collections::BTreeMap;

use privet_domain::id::ProjectId;
use privet_domain::trace::{Level, Observation, Trace};

use super::merge::tokens;
use super::row::{Content, TraceSums};

/// So many characters of a value are kept.
pub(crate) const VALUE_CHARS_MAX: usize = 200;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// What is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) traces: i64,
    pub(crate) observations: i64,
    pub(crate) errors: i64,
    pub(crate) input_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) total_tokens: i64,
    pub(crate) cost_nanos: i64,
    /// How many of them have ended, and the sum of their times.
    pub(crate) ended: i64,
    pub(crate) latency_ms: i64,
}

impl Counts {
    fn add(&mut self, other: &Self, sign: i64) {
        let sum = |mine: &mut i64, theirs: i64| *mine = mine.saturating_add(theirs.saturating_mul(sign));
        sum(&mut self.traces, other.traces);
        sum(&mut self.observations, other.observations);
        sum(&mut self.errors, other.errors);
        sum(&mut self.input_tokens, other.input_tokens);
        sum(&mut self.output_tokens, other.output_tokens);
        sum(&mut self.total_tokens, other.total_tokens);
        sum(&mut self.cost_nanos, other.cost_nanos);
        sum(&mut self.ended, other.ended);
        sum(&mut self.latency_ms, other.latency_ms);
    }
}

/// By what the days are divided. The names are those in the database.
pub(crate) mod dimension {
    /// Everything; its value is empty.
    pub(crate) const ALL: &str = "all";
    /// By the model of observations.
    pub(crate) const MODEL: &str = "model";
    /// By the version of the prompt of observations: `name`, a line feed, the version.
    pub(crate) const PROMPT: &str = "prompt";
    /// By the user of traces.
    pub(crate) const USER: &str = "user";
    /// By each tag of traces.
    pub(crate) const TAG: &str = "tag";
}

/// A row of the sums.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MetricKey {
    pub(crate) project: ProjectId,
    /// Days since 1970, UTC.
    pub(crate) day: i64,
    pub(crate) dimension: &'static str,
    pub(crate) value: String,
    pub(crate) environment: String,
}

/// By how much the sums change.
#[derive(Debug, Default)]
pub(crate) struct MetricDeltas(BTreeMap<MetricKey, Counts>);

/// What one record adds: its day and environment, and the counts by dimension and value.
pub(crate) struct Contribution {
    day: i64,
    environment: String,
    counts: Vec<(&'static str, String, Counts)>,
}

impl MetricDeltas {
    /// Takes away what a record added, and adds what it is now.
    pub(crate) fn change<T>(&mut self, project: ProjectId, before: Option<&T>, now: &T, of: fn(&T) -> Contribution) {
        if let Some(before) = before {
            self.add(project, of(before), -1);
        }
        self.add(project, of(now), 1);
    }

    fn add(&mut self, project: ProjectId, contribution: Contribution, sign: i64) {
        let Contribution { day, environment, counts } = contribution;
        for (dimension, value, counts) in counts {
            let value = value.chars().take(VALUE_CHARS_MAX).collect();
            let key = MetricKey { project, day, dimension, value, environment: environment.clone() };
            self.0.entry(key).or_default().add(&counts, sign);
        }
    }

    /// The sums that change, in a fixed order.
    pub(crate) fn into_rows(self) -> Vec<(MetricKey, Counts)> {
        self.0.into_iter().filter(|(_, counts)| *counts != Counts::default()).collect()
    }
}

/// What an observation adds: to everything, to its model and to its prompt.
pub(crate) fn of_observation(observation: &Observation<Content>) -> Contribution {
    let latency = observation.end.map(|end| end.as_nanos().saturating_sub(observation.start.as_nanos()));
    let counts = Counts {
        traces: 0,
        observations: 1,
        errors: i64::from(observation.level == Level::Error),
        input_tokens: tokens(observation.input_tokens()),
        output_tokens: tokens(observation.output_tokens()),
        total_tokens: tokens(observation.total_tokens()),
        cost_nanos: observation.total_cost().as_i64(),
        ended: i64::from(latency.is_some()),
        latency_ms: latency.unwrap_or(0).max(0) / NANOS_PER_MILLI,
    };
    let prompt = observation.prompt.as_ref().map(|prompt| format!("{}\n{}", prompt.name, prompt.version));
    let values = [
        Some((dimension::ALL, String::new())),
        observation.model.clone().map(|model| (dimension::MODEL, model)),
        prompt.map(|prompt| (dimension::PROMPT, prompt)),
    ];
    let counts = values.into_iter().flatten().map(|(dimension, value)| (dimension, value, counts)).collect();
    Contribution { day: observation.start.day(), environment: observation.environment.clone(), counts }
}

/// What a trace with its observations adds: itself to everything, all of it to its user and its tags. Names are
/// not summed by: they may be what somebody said, and no two alike.
pub(crate) fn of_trace((trace, sums): &(Trace<Content>, TraceSums)) -> Contribution {
    let started_at = trace.timestamp.as_nanos();
    let latency = sums.ended_at.map(|end| end.saturating_sub(started_at).max(0) / NANOS_PER_MILLI);
    let counts = Counts {
        traces: 1,
        observations: sums.observations,
        errors: sums.errors,
        input_tokens: sums.input_tokens,
        output_tokens: sums.output_tokens,
        total_tokens: sums.total_tokens,
        cost_nanos: sums.cost_nanos,
        ended: i64::from(latency.is_some()),
        latency_ms: latency.unwrap_or(0),
    };
    // Its observations count in everything by themselves.
    let alone = Counts { traces: 1, ..Counts::default() };
    let mut by_value = vec![(dimension::ALL, String::new(), alone)];
    by_value.extend(trace.user_id.clone().map(|user| (dimension::USER, user, counts)));
    by_value.extend(trace.tags.iter().map(|tag| (dimension::TAG, tag.clone(), counts)));
    Contribution { day: trace.timestamp.day(), environment: trace.environment.clone(), counts: by_value }
}
