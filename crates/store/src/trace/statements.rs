//! The statements of the writer of traces, made once for each size of batch (see the crate's `statements.rs`).

use std::sync::LazyLock;

use crate::statements::{BySize, insert, of_size, sizes};

const TRACE_COLUMNS: &str = "project_id, id, started_at, name, user_id, session_id, environment, release, version, public, tags, \
     metadata, input, output, origins, touched_minute, ended_at, observations, errors, input_tokens, output_tokens, \
     total_tokens, cost_nanos";
const OBSERVATION_COLUMNS: &str = "project_id, id, trace_id, parent_id, type, name, started_at, ended_at, first_token_at, folded_at, \
     level, status_message, version, environment, input, output, metadata, resource, model, model_parameters, usage, cost, \
     prompt_name, prompt_version, input_tokens, output_tokens, total_tokens, cost_nanos";
const SCORE_COLUMNS: &str = "project_id, id, trace_id, observation_id, session_id, dataset_run_id, name, type, value, text, comment, \
     source, author_user_id, config_id, environment, metadata, scored_at, created_at, updated_at, touched_minute";
const METRIC_COLUMNS: &str = "project_id, day, dimension, value, environment, traces, observations, errors, input_tokens, output_tokens, \
     total_tokens, cost_nanos, ended, latency_ms";

/// The statements of one database.
pub(crate) struct Statements {
    load_traces: BySize,
    load_observations: BySize,
    bodies: BySize,
    traces: BySize,
    observations: BySize,
    scores: BySize,
    metrics: BySize,
    exports: BySize,
    delete_bodies: BySize,
    keep_bodies: BySize,
}

pub(crate) static SQLITE: LazyLock<Statements> = LazyLock::new(|| Statements::new(|_| "?".to_owned()));
pub(crate) static POSTGRES: LazyLock<Statements> = LazyLock::new(|| Statements::new(|number| format!("${number}")));

impl Statements {
    fn new(parameter: fn(usize) -> String) -> Self {
        let load = |columns: &str, table: &str| {
            sizes(|rows| {
                let ids: Vec<String> = (2..rows + 2).map(parameter).collect();
                let project = parameter(1);
                format!("SELECT {columns} FROM {table} WHERE project_id = {project} AND id IN ({})", ids.join(", "))
            })
        };
        let upsert = |table: &str, columns: &str, keys: &str, set: &dyn Fn(&str) -> Option<String>| {
            let names: Vec<&str> = columns.split(',').map(str::trim).collect();
            let set: Vec<String> = names.iter().filter_map(|name| set(name)).collect();
            insert(parameter, &format!("{table} ({columns})"), names.len())
                .map(|statement| format!("{statement} ON CONFLICT ({keys}) DO UPDATE SET {}", set.join(", ")))
        };
        let replaced = |name: &str| format!("{name} = excluded.{name}");
        let unless = |kept: &'static [&'static str]| move |name: &str| (!kept.contains(&name)).then(|| replaced(name));
        let metric_keys = "project_id, day, dimension, value, environment";
        let added = |name: &str| {
            let is_key = metric_keys.split(", ").any(|key| key == name);
            (!is_key).then(|| format!("{name} = daily_metrics.{name} + excluded.{name}"))
        };
        Self {
            load_traces: load(TRACE_COLUMNS, "traces"),
            load_observations: load(OBSERVATION_COLUMNS, "observations"),
            bodies: insert(parameter, "bodies (hash, parent, content, touched_minute)", 4).map(|statement| {
                format!(
                    "{statement} ON CONFLICT (hash) DO UPDATE SET touched_minute = excluded.touched_minute \
                     WHERE bodies.touched_minute < excluded.touched_minute"
                )
            }),
            traces: upsert("traces", TRACE_COLUMNS, "project_id, id", &unless(&["project_id", "id", "touched_minute"])),
            observations: upsert("observations", OBSERVATION_COLUMNS, "project_id, id", &unless(&["project_id", "id"])),
            scores: upsert(
                "scores",
                SCORE_COLUMNS,
                "project_id, id",
                &unless(&["project_id", "id", "created_at", "touched_minute"]),
            ),
            metrics: upsert("daily_metrics", METRIC_COLUMNS, metric_keys, &added),
            exports: insert(parameter, "export_queue (project_id, observation_id)", 2),
            delete_bodies: sizes(|rows| {
                let hashes: Vec<String> = (1..=rows).map(parameter).collect();
                format!("DELETE FROM bodies WHERE touched_minute = -1 AND hash IN ({})", hashes.join(", "))
            }),
            keep_bodies: sizes(|rows| {
                let (minute, hashes) = (parameter(1), (2..rows + 2).map(parameter).collect::<Vec<String>>());
                format!(
                    "UPDATE bodies SET touched_minute = {minute} WHERE touched_minute = -1 AND hash IN ({})",
                    hashes.join(", ")
                )
            }),
        }
    }

    /// Selects traces: the project, then the ids.
    pub(crate) fn load_traces(&'static self, rows: usize) -> &'static str {
        of_size(&self.load_traces, rows)
    }

    /// Selects observations: the project, then the ids.
    pub(crate) fn load_observations(&'static self, rows: usize) -> &'static str {
        of_size(&self.load_observations, rows)
    }

    /// Inserts bodies, or notes that they are used.
    pub(crate) fn bodies(&'static self, rows: usize) -> &'static str {
        of_size(&self.bodies, rows)
    }

    /// Writes traces.
    pub(crate) fn traces(&'static self, rows: usize) -> &'static str {
        of_size(&self.traces, rows)
    }

    /// Writes observations.
    pub(crate) fn observations(&'static self, rows: usize) -> &'static str {
        of_size(&self.observations, rows)
    }

    /// Writes scores.
    pub(crate) fn scores(&'static self, rows: usize) -> &'static str {
        of_size(&self.scores, rows)
    }

    /// Adds to sums of days.
    pub(crate) fn metrics(&'static self, rows: usize) -> &'static str {
        of_size(&self.metrics, rows)
    }

    /// Queues observations for export.
    pub(crate) fn exports(&'static self, rows: usize) -> &'static str {
        of_size(&self.exports, rows)
    }

    /// Deletes bodies that an erasure marked: the hashes.
    pub(crate) fn delete_bodies(&'static self, rows: usize) -> &'static str {
        of_size(&self.delete_bodies, rows)
    }

    /// Takes the mark of an erasure from bodies: the minute, then the hashes.
    pub(crate) fn keep_bodies(&'static self, rows: usize) -> &'static str {
        of_size(&self.keep_bodies, rows)
    }
}
