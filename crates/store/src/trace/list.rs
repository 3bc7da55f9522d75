//! Lists of traces and of observations.

use std::collections::{BTreeSet, HashMap};

use privet_domain::id::ProjectId;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{Observation, TraceId};

use super::columns::{ObservationColumn, OwnColumn, TraceColumn};
use super::condition::{Condition, push_all};
use super::contents::Bodies;
use super::detail::TraceWithTotals;
use super::page::{COUNT_MAX, Count, Page, Place, cut, push_after, push_limit};
use super::row::{ObservationRow, TraceRow};
use super::sql::Sql;
use super::stored_id::pack;
use super::{TraceStore, stored_id};
use crate::error::StoreError;

const TRACE: &str = "t.project_id, t.id, t.started_at, t.name, t.user_id, t.session_id, t.environment, t.release, t.version, \
     t.public, t.tags, t.origins, t.ended_at, t.observations, t.errors, t.input_tokens, t.output_tokens, t.total_tokens, \
     t.cost_nanos";
const OBSERVATION: &str = "o.project_id, o.id, o.trace_id, o.parent_id, o.type, o.name, o.started_at, o.ended_at, o.first_token_at, \
     o.folded_at, o.level, o.status_message, o.version, o.environment, o.model, o.model_parameters, o.usage, o.cost, \
     o.prompt_name, o.prompt_version";
const NO_TRACE_CONTENT: &str =
    ", CAST(NULL AS TEXT) AS metadata, CAST(NULL AS BYTEA) AS input, CAST(NULL AS BYTEA) AS output";
const NO_OBSERVATION_CONTENT: &str = ", CAST(NULL AS TEXT) AS metadata, CAST(NULL AS BYTEA) AS resource, CAST(NULL AS BYTEA) AS input, \
     CAST(NULL AS BYTEA) AS output";

/// By what a list of traces is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TraceOrder {
    /// Their beginning. Only this order is read off an index.
    #[default]
    Timestamp,
    /// Their id.
    Id,
    /// Their name.
    Name,
    /// Their user.
    User,
    /// Their session.
    Session,
    /// Their release.
    Release,
    /// Their version.
    Version,
    /// How long they took.
    Latency,
    /// What they cost.
    Cost,
    /// Their tokens.
    Tokens,
}

impl TraceOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Timestamp => "t.started_at",
            Self::Id => "t.id",
            Self::Name => "COALESCE(t.name, '')",
            Self::User => "COALESCE(t.user_id, '')",
            Self::Session => "COALESCE(t.session_id, '')",
            Self::Release => "COALESCE(t.release, '')",
            Self::Version => "COALESCE(t.version, '')",
            Self::Latency => "(COALESCE(t.ended_at, t.started_at) - t.started_at)",
            Self::Cost => "t.cost_nanos",
            Self::Tokens => "t.total_tokens",
        }
    }
}

/// Which traces, and what of them.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// All of these hold.
    pub conditions: Vec<Condition<TraceColumn>>,
    /// By what they are ordered. A page after a place is always in the order of time.
    pub order: TraceOrder,
    /// Whether the greatest come first.
    pub is_descending: bool,
    /// Which of them.
    pub page: Page,
    /// Whether inputs, outputs and metadata are read.
    pub has_contents: bool,
}

/// Some traces.
#[derive(Clone, Debug)]
pub struct TraceList {
    /// The traces.
    pub traces: Vec<TraceWithTotals>,
    /// Where the next page begins, if there is one and the order is that of time, newest first.
    pub next: Option<Place>,
}

/// Which observations, and what of them.
#[derive(Clone, Debug)]
pub struct ObservationQuery {
    /// All of these hold.
    pub conditions: Vec<Condition<ObservationColumn>>,
    /// Which of them, newest first.
    pub page: Page,
    /// Whether inputs, outputs and metadata are read.
    pub has_contents: bool,
}

/// Some observations, newest first.
#[derive(Clone, Debug)]
pub struct ObservationList {
    /// The observations.
    pub observations: Vec<Observation>,
    /// Where the next page begins, if there is one.
    pub next: Option<Place>,
}

impl TraceStore {
    /// Lists traces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_traces(&self, project: ProjectId, query: &TraceQuery) -> Result<TraceList, StoreError> {
        let sql = traces_sql(self.sql(), project, query);
        let mut rows: Vec<TraceRow> = self.select(sql).await?;
        let next =
            cut(&mut rows, &query.page, |row| Place::new(NanoTimestamp::from_nanos(row.started_at), row.id.clone()));
        let mut bodies = Bodies::default();
        let mut traces = Vec::with_capacity(rows.len());
        for row in rows {
            traces.push(self.read_trace(row, &mut bodies).await?);
        }
        let is_in_time = query.order == TraceOrder::Timestamp && query.is_descending;
        Ok(TraceList { traces, next: next.filter(|_| is_in_time) })
    }

    /// How many traces there are for these conditions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_traces(
        &self,
        project: ProjectId,
        conditions: &[Condition<TraceColumn>],
    ) -> Result<Count, StoreError> {
        let mut sql = self.sql();
        sql.push("SELECT COUNT(*) FROM (SELECT 1 FROM traces t WHERE t.project_id = ").bind(project);
        push_all(&mut sql, conditions);
        self.count(sql).await
    }

    /// Lists observations, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_observations(
        &self,
        project: ProjectId,
        query: &ObservationQuery,
    ) -> Result<ObservationList, StoreError> {
        let sql = observations_sql(self.sql(), project, query);
        let mut rows: Vec<ObservationRow> = self.select(sql).await?;
        let next =
            cut(&mut rows, &query.page, |row| Place::new(NanoTimestamp::from_nanos(row.started_at), row.id.clone()));
        let mut bodies = Bodies::default();
        let mut observations = Vec::with_capacity(rows.len());
        for row in rows {
            observations.push(self.read_observation(row, &mut bodies).await?);
        }
        Ok(ObservationList { observations, next })
    }

    /// How many observations there are for these conditions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_observations(
        &self,
        project: ProjectId,
        conditions: &[Condition<ObservationColumn>],
    ) -> Result<Count, StoreError> {
        let mut sql = self.sql();
        sql.push("SELECT COUNT(*) FROM (SELECT 1");
        push_observations(&mut sql, project, conditions);
        self.count(sql).await
    }

    /// The traces with these ids, without contents. Those that are not there are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn traces_by_id(
        &self,
        project: ProjectId,
        ids: impl IntoIterator<Item = TraceId> + Send,
    ) -> Result<HashMap<TraceId, TraceWithTotals>, StoreError> {
        let ids: BTreeSet<Vec<u8>> = ids.into_iter().map(|id| pack(id.as_str())).collect();
        let mut traces = HashMap::new();
        for ids in ids.into_iter().collect::<Vec<_>>().chunks(IDS_MAX) {
            let mut sql = self.sql();
            sql.push("SELECT ").push(TRACE).push(NO_TRACE_CONTENT).push(" FROM traces t WHERE t.project_id = ");
            sql.bind(project).push(" AND t.id IN ").list(ids.iter().cloned());
            for row in self.select::<TraceRow>(sql).await? {
                let trace = self.read_trace(row, &mut Bodies::default()).await?;
                traces.insert(trace.trace.id.clone(), trace);
            }
        }
        Ok(traces)
    }

    /// The ids of the observations and of the scores of traces: of each trace, by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ids_within(
        &self,
        project: ProjectId,
        traces: &[TraceId],
    ) -> Result<HashMap<TraceId, Within>, StoreError> {
        let mut within: HashMap<TraceId, Within> = HashMap::new();
        for traces in traces.chunks(IDS_MAX) {
            for (is_score, from) in [
                (false, "SELECT trace_id, id FROM observations WHERE project_id = "),
                (true, "SELECT trace_id, id FROM scores WHERE project_id = "),
            ] {
                let mut sql = self.sql();
                sql.push(from).bind(project).push(" AND trace_id IN ").list(traces.iter().map(|id| pack(id.as_str())));
                sql.push(" LIMIT ").bind(WITHIN_MAX);
                for (trace, id) in self.select::<(Vec<u8>, Vec<u8>)>(sql).await? {
                    let (Ok(trace), Some(id)) = (stored_id::trace_id(&trace), stored_id::unpack(&id)) else { continue };
                    let within = within.entry(trace).or_default();
                    (if is_score { &mut within.scores } else { &mut within.observations }).push(id);
                }
            }
        }
        Ok(within)
    }

    pub(crate) async fn count(&self, mut sql: Sql) -> Result<Count, StoreError> {
        let rows = i64::try_from(COUNT_MAX).unwrap_or(i64::MAX).saturating_add(1);
        sql.push(" LIMIT ").bind(rows).push(") AS counted");
        self.select_number(sql).await.map(Count::of_rows)
    }
}

/// So many ids stand in one statement.
pub(crate) const IDS_MAX: usize = 500;
/// So many ids of observations are told in a list of traces.
const WITHIN_MAX: i64 = 100_000;

/// The ids of what a trace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Of its observations.
    pub observations: Vec<String>,
    /// Of its scores.
    pub scores: Vec<String>,
}

/// The statement that lists traces.
pub(crate) fn traces_sql(mut sql: Sql, project: ProjectId, query: &TraceQuery) -> Sql {
    sql.push("SELECT ").push(TRACE);
    sql.push(if query.has_contents { ", t.metadata, t.input, t.output" } else { NO_TRACE_CONTENT });
    sql.push(" FROM traces t WHERE t.project_id = ").bind(project);
    push_all(&mut sql, &query.conditions);
    let (order, is_descending) = match query.page {
        Page::After(..) => (TraceOrder::Timestamp, true),
        Page::Skip(..) => (query.order, query.is_descending),
    };
    push_after(&mut sql, &query.page, "t.started_at", "t.id");
    let direction = if is_descending { " DESC" } else { " ASC" };
    sql.push(" ORDER BY ").push(order.sql()).push(direction).push(", t.id").push(direction);
    push_limit(&mut sql, &query.page);
    sql
}

/// The statement that lists observations.
pub(crate) fn observations_sql(mut sql: Sql, project: ProjectId, query: &ObservationQuery) -> Sql {
    sql.push("SELECT ").push(OBSERVATION);
    sql.push(if query.has_contents { ", o.metadata, o.resource, o.input, o.output" } else { NO_OBSERVATION_CONTENT });
    push_observations(&mut sql, project, &query.conditions);
    push_after(&mut sql, &query.page, "o.started_at", "o.id");
    sql.push(" ORDER BY o.started_at DESC, o.id DESC");
    push_limit(&mut sql, &query.page);
    sql
}

/// From observations, joined with their traces where a condition speaks of those. A trace, a user or a session is looked for first:
/// SQLite would rather walk through time, newest first, past the observations of all others.
pub(crate) fn push_observations(sql: &mut Sql, project: ProjectId, conditions: &[Condition<ObservationColumn>]) {
    let has = |wanted: fn(ObservationColumn) -> bool| {
        conditions.iter().any(|condition| condition.is_exact() && wanted(condition.column))
    };
    let of_some_traces = has(|column| column == ObservationColumn::Own(OwnColumn::Trace));
    let of_whom = has(|column| {
        matches!(column, ObservationColumn::OfTrace(TraceColumn::User | TraceColumn::Session | TraceColumn::Id))
    });
    let speaks_of_traces = conditions.iter().any(|condition| matches!(condition.column, ObservationColumn::OfTrace(_)));
    match (of_some_traces, of_whom, speaks_of_traces) {
        (false, true, _) => {
            sql.push(" FROM traces t")
                .push_for_sqlite(" CROSS")
                .push(" JOIN observations o")
                .push_for_sqlite(" INDEXED BY observations_by_trace");
            sql.push(" ON o.project_id = t.project_id AND o.trace_id = t.id");
        }
        (is_indexed, false, true) | (is_indexed @ true, true, _) => {
            sql.push(" FROM observations o");
            if is_indexed {
                sql.push_for_sqlite(" INDEXED BY observations_by_trace");
            }
            sql.push(" JOIN traces t ON t.project_id = o.project_id AND t.id = o.trace_id");
        }
        (true, false, false) => {
            sql.push(" FROM observations o").push_for_sqlite(" INDEXED BY observations_by_trace");
        }
        (false, false, false) => {
            sql.push(" FROM observations o");
        }
    }
    sql.push(" WHERE o.project_id = ").bind(project);
    if of_whom {
        sql.push(" AND t.project_id = ").bind(project);
    }
    push_all(sql, conditions);
}
