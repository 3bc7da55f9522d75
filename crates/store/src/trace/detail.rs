//! One trace with all that belongs to it.

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, Observation, ObservationId, Trace, TraceId};
use serde_json::Value;

use super::TraceStore;
use super::contents::Bodies;
use super::row::{Content, ObservationRow, TraceRow, TraceSums};
use super::stored_id::pack;
use crate::db::reading;
use crate::error::StoreError;

/// What a trace's observations add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceTotals {
    /// The latest end.
    pub ended_at: Option<NanoTimestamp>,
    /// How many observations it has.
    pub observations: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Tokens that went into models.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// All tokens.
    pub total_tokens: u64,
    /// What they cost.
    pub cost: Nanos,
}

/// A trace and what its observations add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceWithTotals {
    /// The trace.
    pub trace: Trace,
    /// What its observations add up to.
    pub totals: TraceTotals,
}

impl From<TraceSums> for TraceTotals {
    fn from(sums: TraceSums) -> Self {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Self {
            ended_at: sums.ended_at.map(NanoTimestamp::from_nanos),
            observations: count(sums.observations),
            errors: count(sums.errors),
            input_tokens: count(sums.input_tokens),
            output_tokens: count(sums.output_tokens),
            total_tokens: count(sums.total_tokens),
            cost: Nanos::new(sums.cost_nanos),
        }
    }
}

impl TraceStore {
    /// A trace.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none with this id.
    pub async fn trace(&self, project: ProjectId, id: &TraceId) -> Result<TraceWithTotals, StoreError> {
        let row: Option<TraceRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM traces WHERE project_id = $1 AND id = $2")
                .bind(project.as_uuid())
                .bind(pack(id.as_str()))
                .fetch_optional(pool)
                .await
        })?;
        self.read_trace(row.ok_or(StoreError::NotFound)?, &mut Bodies::default()).await
    }

    /// An observation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none with this id.
    pub async fn observation(&self, project: ProjectId, id: &ObservationId) -> Result<Observation, StoreError> {
        let row: Option<ObservationRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM observations WHERE project_id = $1 AND id = $2")
                .bind(project.as_uuid())
                .bind(pack(id.as_str()))
                .fetch_optional(pool)
                .await
        })?;
        self.read_observation(row.ok_or(StoreError::NotFound)?, &mut Bodies::default()).await
    }

    /// A trace's observations in the order of their beginning.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn observations_of(&self, project: ProjectId, id: &TraceId) -> Result<Vec<Observation>, StoreError> {
        let rows: Vec<ObservationRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM observations WHERE project_id = $1 AND trace_id = $2 ORDER BY started_at, id")
                .bind(project.as_uuid())
                .bind(pack(id.as_str()))
                .fetch_all(pool)
                .await
        })?;
        let mut bodies = Bodies::default();
        let mut observations = Vec::with_capacity(rows.len());
        // The last has the longest thread, which the others begin.
        for row in rows.into_iter().rev() {
            observations.push(self.read_observation(row, &mut bodies).await?);
        }
        observations.reverse();
        Ok(observations)
    }

    /// A row with its contents.
    pub(crate) async fn read_trace(&self, row: TraceRow, bodies: &mut Bodies) -> Result<TraceWithTotals, StoreError> {
        let totals = row.sums().into();
        let stored = row.into_record()?;
        let trace = Trace {
            input: self.read(stored.input, bodies).await?,
            output: self.read(stored.output, bodies).await?,
            id: stored.id,
            timestamp: stored.timestamp,
            name: stored.name,
            user_id: stored.user_id,
            session_id: stored.session_id,
            release: stored.release,
            version: stored.version,
            environment: stored.environment,
            public: stored.public,
            tags: stored.tags,
            metadata: stored.metadata,
            origins: stored.origins,
        };
        Ok(TraceWithTotals { trace, totals })
    }

    /// A row with its contents, and with what its process has in common in its metadata.
    pub(crate) async fn read_observation(
        &self,
        mut row: ObservationRow,
        bodies: &mut Bodies,
    ) -> Result<Observation, StoreError> {
        let resource = row.resource.take();
        let stored = row.into_record()?;
        let mut metadata = stored.metadata;
        if let Some(resource) = resource
            && let Ok(Value::Object(members)) = serde_json::from_str(self.content(&resource, bodies).await?.as_str())
        {
            metadata.extend(members);
        }
        Ok(Observation {
            input: self.read(stored.input, bodies).await?,
            output: self.read(stored.output, bodies).await?,
            metadata,
            id: stored.id,
            trace_id: stored.trace_id,
            folded_at: stored.folded_at,
            parent_id: stored.parent_id,
            observation_type: stored.observation_type,
            name: stored.name,
            start: stored.start,
            end: stored.end,
            completion_start: stored.completion_start,
            level: stored.level,
            status_message: stored.status_message,
            version: stored.version,
            environment: stored.environment,
            model: stored.model,
            model_parameters: stored.model_parameters,
            usage: stored.usage,
            cost: stored.cost,
            prompt: stored.prompt,
        })
    }

    async fn read(&self, content: Option<Content>, bodies: &mut Bodies) -> Result<Option<JsonText>, StoreError> {
        match content {
            None => Ok(None),
            Some(Content::New(json)) => Ok(Some(json)),
            Some(Content::Stored(stored)) => self.content(&stored, bodies).await.map(Some),
        }
    }
}
