//! One transaction of the writer: reads the rows that its batches change, joins them, and writes.

use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use privet_domain::trace::{ScoreTarget, TraceBatch};
use sqlx::{PgConnection, SqliteConnection};

use super::body::BatchBodies;
use super::merge::{Merge, Rows, Wanted, tokens};
use super::row::{ObservationRow, TraceRow, to_json};
use super::statements;
use super::stored_id::pack;
use super::writer::Work;
use crate::error::StoreError;
use crate::statements::chunks;

/// The same function for both databases; a generic one would need a page of bounds.
macro_rules! define_apply {
    ($name:ident, $connection:ty, $statements:expr) => {
        pub(super) async fn $name(
            conn: &mut $connection,
            work: &mut Work,
            batches: Vec<(ProjectId, TraceBatch)>,
            now: Timestamp,
            minute: i64,
        ) -> Result<BatchBodies, StoreError> {
            let generation: i64 =
                sqlx::query_scalar("SELECT generation FROM body_generation WHERE id = 1").fetch_one(&mut *conn).await?;
            if generation != work.generation {
                work.encoder.forget();
                work.generation = generation;
            }
            let wanted = Wanted::by(&batches);
            let mut moves = true;
            let mut traces: Vec<TraceRow> = Vec::new();
            for (project, ids) in &wanted.traces {
                for ids in chunks(&ids.iter().collect::<Vec<_>>()) {
                    let mut load = sqlx::query_as($statements.load_traces(ids.len())).bind(project.as_uuid());
                    for id in ids {
                        load = load.bind(id.as_slice());
                    }
                    traces.extend(load.fetch_all(&mut *conn).await?);
                }
            }
            let mut observations: Vec<ObservationRow> = Vec::new();
            let mut wanted = wanted.observations;
            while !wanted.is_empty() {
                for (project, ids) in std::mem::take(&mut wanted) {
                    for ids in chunks(&ids.iter().collect::<Vec<_>>()) {
                        let mut load = sqlx::query_as($statements.load_observations(ids.len())).bind(project.as_uuid());
                        for id in ids {
                            load = load.bind(id.as_slice());
                        }
                        observations.extend(load.fetch_all(&mut *conn).await?);
                    }
                }
                if moves {
                    wanted = Wanted::moved(&batches, &observations).observations;
                    moves = false;
                }
            }
            let mut merge = Merge::of_stored(traces, observations)?;
            for (project, batch) in batches {
                merge.join(project, batch, &*work.pricing);
            }
            let rows = merge.into_rows(&mut work.encoder, minute, work.settings);
            for rows in chunks(&rows.bodies.new) {
                let mut insert = sqlx::query($statements.bodies(rows.len()));
                for body in rows {
                    insert = insert
                        .bind(body.hash.as_slice())
                        .bind(body.parent.as_ref().map(|parent| parent.as_slice()))
                        .bind(body.content.as_slice())
                        .bind(body.minute);
                }
                insert.execute(&mut *conn).await?;
            }
            for chunk in chunks(&rows.traces) {
                let mut insert = sqlx::query($statements.traces(chunk.len()));
                for row in chunk {
                    let trace = &row.trace;
                    insert = insert
                        .bind(row.project.as_uuid())
                        .bind(row.id.as_slice())
                        .bind(trace.timestamp.as_nanos())
                        .bind(trace.name.as_deref().map(clean))
                        .bind(trace.user_id.as_deref().map(clean))
                        .bind(trace.session_id.as_deref().map(clean))
                        .bind(clean(&trace.environment))
                        .bind(trace.release.as_deref().map(clean))
                        .bind(trace.version.as_deref().map(clean))
                        .bind(i64::from(trace.public))
                        .bind(to_json(&trace.tags, trace.tags.is_empty()))
                        .bind(to_json(&trace.metadata, trace.metadata.is_empty()))
                        .bind(trace.input.as_deref())
                        .bind(trace.output.as_deref())
                        .bind(trace.origins.to_stored())
                        .bind(minute)
                        .bind(row.sums.ended_at)
                        .bind(row.sums.observations)
                        .bind(row.sums.errors)
                        .bind(row.sums.input_tokens)
                        .bind(row.sums.output_tokens)
                        .bind(row.sums.total_tokens)
                        .bind(row.sums.cost_nanos);
                }
                insert.execute(&mut *conn).await?;
            }
            for chunk in chunks(&rows.observations) {
                let mut insert = sqlx::query($statements.observations(chunk.len()));
                for row in chunk {
                    let one = &row.observation;
                    insert = insert
                        .bind(row.project.as_uuid())
                        .bind(row.id.as_slice())
                        .bind(pack(one.trace_id.as_str()))
                        .bind(one.parent_id.as_ref().map(|parent| pack(parent.as_str())))
                        .bind(one.observation_type.as_str())
                        .bind(one.name.as_deref().map(clean))
                        .bind(one.start.as_nanos())
                        .bind(one.end.map(|end| end.as_nanos()))
                        .bind(one.completion_start.map(|at| at.as_nanos()))
                        .bind(one.folded_at.as_nanos())
                        .bind(one.level.as_str())
                        .bind(one.status_message.as_deref().map(clean))
                        .bind(one.version.as_deref().map(clean))
                        .bind(clean(&one.environment))
                        .bind(one.input.as_deref())
                        .bind(one.output.as_deref())
                        .bind(to_json(&one.metadata, one.metadata.is_empty()))
                        .bind(row.resource.as_deref())
                        .bind(one.model.as_deref().map(clean))
                        .bind(to_json(&one.model_parameters, one.model_parameters.is_empty()))
                        .bind(to_json(&one.usage, one.usage.is_empty()))
                        .bind(to_json(&one.cost, one.cost.is_empty()))
                        .bind(one.prompt.as_ref().map(|prompt| clean(&prompt.name)))
                        .bind(one.prompt.as_ref().map(|prompt| i64::from(prompt.version)))
                        .bind(tokens(one.input_tokens()))
                        .bind(tokens(one.output_tokens()))
                        .bind(tokens(one.total_tokens()))
                        .bind(one.total_cost().as_i64());
                }
                insert.execute(&mut *conn).await?;
            }
            for chunk in chunks(&rows.scores) {
                let mut insert = sqlx::query($statements.scores(chunk.len()));
                for (project, id, score) in chunk {
                    let target = Target::of(&score.target);
                    insert = insert
                        .bind(project.as_uuid())
                        .bind(id.as_slice())
                        .bind(target.trace)
                        .bind(target.observation)
                        .bind(target.session)
                        .bind(target.dataset_run)
                        .bind(clean(&score.name))
                        .bind(score.score_type.as_str())
                        .bind(score.value)
                        .bind(score.text.as_deref().map(clean))
                        .bind(score.comment.as_deref().map(clean))
                        .bind(score.source.as_str())
                        .bind(score.author_user_id.as_deref().map(clean))
                        .bind(score.config_id.as_deref().map(clean))
                        .bind(clean(&score.environment))
                        .bind(to_json(&score.metadata, score.metadata.is_empty()))
                        .bind(score.timestamp.as_nanos())
                        .bind(now.as_micros())
                        .bind(now.as_micros())
                        .bind(minute);
                }
                insert.execute(&mut *conn).await?;
            }
            let Rows { metrics, ended, bodies, .. } = rows;
            for chunk in chunks(&metrics.into_rows()) {
                let mut insert = sqlx::query($statements.metrics(chunk.len()));
                for (key, counts) in chunk {
                    insert = insert
                        .bind(key.project.as_uuid())
                        .bind(key.day)
                        .bind(key.dimension)
                        .bind(clean(&key.value))
                        .bind(clean(&key.environment))
                        .bind(counts.traces)
                        .bind(counts.observations)
                        .bind(counts.errors)
                        .bind(counts.input_tokens)
                        .bind(counts.output_tokens)
                        .bind(counts.total_tokens)
                        .bind(counts.cost_nanos)
                        .bind(counts.ended)
                        .bind(counts.latency_ms);
                }
                insert.execute(&mut *conn).await?;
            }
            for chunk in chunks(&ended) {
                let mut insert = sqlx::query($statements.exports(chunk.len()));
                for (project, id) in chunk {
                    insert = insert.bind(project.as_uuid()).bind(id.as_slice());
                }
                insert.execute(&mut *conn).await?;
            }
            Ok(bodies)
        }
    };
}

define_apply!(sqlite, SqliteConnection, statements::SQLITE);
define_apply!(postgres, PgConnection, statements::POSTGRES);

/// PostgreSQL's texts hold no NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The columns of a score's target.
#[derive(Default)]
struct Target {
    trace: Option<Vec<u8>>,
    observation: Option<Vec<u8>>,
    session: Option<String>,
    dataset_run: Option<String>,
}

impl Target {
    fn of(target: &ScoreTarget) -> Self {
        match target {
            ScoreTarget::Trace(trace, observation) => Self {
                trace: Some(pack(trace.as_str())),
                observation: observation.as_ref().map(|id| pack(id.as_str())),
                ..Self::default()
            },
            ScoreTarget::Session(session) => Self { session: Some(clean(session)), ..Self::default() },
            ScoreTarget::DatasetRun(run) => Self { dataset_run: Some(clean(run)), ..Self::default() },
        }
    }
}
