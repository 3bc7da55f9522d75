//! Lists: of traces, observations, sessions, users and scores, a page at a time.

use std::collections::HashMap;

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::{NanoTimestamp, Timestamp};
use privet_domain::trace::{Observation, Score, ScoreId, ScoreTarget, TraceId};
use sqlx::AssertSqlSafe;

use super::TraceStore;
use super::condition::{Bound, Conditions, bound};
use super::contents::Bodies;
use super::detail::TraceWithTotals;
use super::filter::{BadFilter, Column, Filter, OBSERVATION_COLUMNS, SCORE_COLUMNS, TRACE_COLUMNS, conditions};
use super::row::{ObservationRow, TraceRow, from_json};
use super::stored_id::{self, pack, unpack};
use crate::db::{reading, writing};
use crate::error::StoreError;

/// Counting ends here: whoever has more knows that there are many.
const COUNT_MAX: i64 = 100_000;

/// What cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A filter or an order is wrong.
    #[error(transparent)]
    Filter(#[from] BadFilter),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// So many items.
    pub limit: u32,
    /// After so many.
    pub offset: u64,
    /// The column that orders them, by its word in the API, and whether it falls; `None` for the newest first.
    pub order: Option<(String, bool)>,
    /// Of the newest first: only those after this one, whatever arrives meanwhile.
    pub after: Option<Place>,
    /// Whether all items are counted.
    pub counts: bool,
}

/// A place in a list that has the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instant of the item there.
    pub at: NanoTimestamp,
    /// Its id.
    pub id: String,
}

impl Page {
    /// The newest.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit, offset: 0, order: None, after: None, counts: true }
    }
}

/// A page of items.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many there are in all; counted to a hundred thousand, and only where the page asks for it.
    pub total: u64,
    /// Whether there are more after these.
    pub has_more: bool,
}

impl<T> Listed<T> {
    /// Of rows one more was read than the page has.
    fn of(mut items: Vec<T>, total: u64, page: &Page) -> Self {
        let limit = page.limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, total, has_more }
    }
}

/// A session: the traces that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// When its first trace began.
    pub created_at: NanoTimestamp,
    /// When its last trace began.
    pub last_at: NanoTimestamp,
    /// The environment of one of them.
    pub environment: String,
    /// How many there are.
    pub traces: u64,
    /// What they cost.
    pub cost: Nanos,
    /// Their tokens.
    pub total_tokens: u64,
}

/// A score as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredScore {
    /// The score.
    pub score: Score,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl TraceStore {
    /// Traces. Their contents are read only `with_contents`.
    ///
    /// # Errors
    /// When a filter is wrong or the database fails.
    pub async fn list_traces(
        &self,
        project: ProjectId,
        filters: &[Filter],
        page: &Page,
        with_contents: bool,
    ) -> Result<Listed<TraceWithTotals>, ListError> {
        let conditions = conditions(project, TRACE_COLUMNS, filters)?;
        let total = self.count("traces", &conditions, page).await?;
        let query = paged("traces", "started_at", TRACE_COLUMNS, conditions, page)?;
        let rows: Vec<TraceRow> = reading!(self, pool => {
            bound!(sqlx::query_as(AssertSqlSafe(query.sql)), query.bound).fetch_all(pool).await
        })
        .map_err(StoreError::from)?;
        let (mut items, mut bodies) = (Vec::with_capacity(rows.len()), Bodies::default());
        for mut row in rows {
            if !with_contents {
                (row.input, row.output) = (None, None);
            }
            items.push(self.read_trace(row, &mut bodies).await?);
        }
        Ok(Listed::of(items, total, page))
    }

    /// Observations, with their contents.
    ///
    /// # Errors
    /// When a filter is wrong or the database fails.
    pub async fn list_observations(
        &self,
        project: ProjectId,
        filters: &[Filter],
        page: &Page,
    ) -> Result<Listed<Observation>, ListError> {
        let conditions = conditions(project, OBSERVATION_COLUMNS, filters)?;
        let total = self.count("observations", &conditions, page).await?;
        let query = paged("observations", "started_at", OBSERVATION_COLUMNS, conditions, page)?;
        let rows: Vec<ObservationRow> = reading!(self, pool => {
            bound!(sqlx::query_as(AssertSqlSafe(query.sql)), query.bound).fetch_all(pool).await
        })
        .map_err(StoreError::from)?;
        let (mut items, mut bodies) = (Vec::with_capacity(rows.len()), Bodies::default());
        for row in rows {
            items.push(self.read_observation(row, &mut bodies).await?);
        }
        Ok(Listed::of(items, total, page))
    }

    /// Scores, the newest first.
    ///
    /// # Errors
    /// When a filter is wrong or the database fails.
    pub async fn list_scores(
        &self,
        project: ProjectId,
        filters: &[Filter],
        page: &Page,
    ) -> Result<Listed<StoredScore>, ListError> {
        let conditions = conditions(project, SCORE_COLUMNS, filters)?;
        let total = self.count("scores", &conditions, page).await?;
        let query = paged("scores", "scored_at", SCORE_COLUMNS, conditions, page)?;
        let rows: Vec<ScoreRow> = reading!(self, pool => {
            bound!(sqlx::query_as(AssertSqlSafe(query.sql)), query.bound).fetch_all(pool).await
        })
        .map_err(StoreError::from)?;
        let items = rows.into_iter().map(StoredScore::try_from).collect::<Result<_, _>>()?;
        Ok(Listed::of(items, total, page))
    }

    /// The scores of a trace and of its observations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scores_of(&self, project: ProjectId, trace: &TraceId) -> Result<Vec<StoredScore>, StoreError> {
        let rows: Vec<ScoreRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM scores WHERE project_id = $1 AND trace_id = $2 ORDER BY scored_at, id")
                .bind(project.as_uuid())
                .bind(pack(trace.as_str()))
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(StoredScore::try_from).collect()
    }

    /// A score.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none with this id.
    pub async fn score(&self, project: ProjectId, id: &ScoreId) -> Result<StoredScore, StoreError> {
        let row: Option<ScoreRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM scores WHERE project_id = $1 AND id = $2")
                .bind(project.as_uuid())
                .bind(pack(id.as_str()))
                .fetch_optional(pool)
                .await
        })?;
        row.ok_or(StoreError::NotFound)?.try_into()
    }

    /// Deletes a score.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none with this id.
    pub async fn delete_score(&self, project: ProjectId, id: &ScoreId) -> Result<(), StoreError> {
        let deleted = writing!(self, conn => {
            sqlx::query("DELETE FROM scores WHERE project_id = $1 AND id = $2")
                .bind(project.as_uuid())
                .bind(pack(id.as_str()))
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        if deleted == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }

    /// Deletes traces with their observations and scores. The sums of days stay; contents go when nobody has used them for long.
    /// Gives how many there were.
    ///
    /// # Errors
    /// When the database fails; then nothing is deleted.
    pub async fn delete_traces(&self, project: ProjectId, ids: &[TraceId]) -> Result<u64, StoreError> {
        Ok(writing!(self, conn => {
            let mut deleted = 0;
            for id in ids {
                let id = pack(id.as_str());
                for statement in [
                    "DELETE FROM scores WHERE project_id = $1 AND trace_id = $2",
                    "DELETE FROM observations WHERE project_id = $1 AND trace_id = $2",
                ] {
                    sqlx::query(statement).bind(project.as_uuid()).bind(&id).execute(&mut *conn).await?;
                }
                deleted += sqlx::query("DELETE FROM traces WHERE project_id = $1 AND id = $2")
                    .bind(project.as_uuid())
                    .bind(&id)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
            }
            deleted
        }))
    }

    /// Sessions, the latest begun first.
    ///
    /// # Errors
    /// When a filter is wrong or the database fails.
    pub async fn list_sessions(
        &self,
        project: ProjectId,
        filters: &[Filter],
        page: &Page,
    ) -> Result<Listed<Session>, ListError> {
        let mut conditions = conditions(project, TRACE_COLUMNS, filters)?;
        conditions.and("session_id IS NOT NULL", []);
        let counting = format!("SELECT COUNT(DISTINCT session_id) FROM traces {}", conditions.sql);
        let total: i64 = reading!(self, pool => {
            bound!(sqlx::query_scalar(AssertSqlSafe(counting)), conditions.bound.clone()).fetch_one(pool).await
        })
        .map_err(StoreError::from)?;
        let mut query = Conditions { sql: String::new(), bound: conditions.bound };
        query.sql = format!(
            "SELECT session_id, MIN(started_at) AS first_at, MAX(started_at) AS last_at, MAX(environment) AS environment, \
             COUNT(*) AS traces, CAST(SUM(cost_nanos) AS BIGINT) AS cost_nanos, \
             CAST(SUM(total_tokens) AS BIGINT) AS total_tokens \
             FROM traces {} GROUP BY session_id ORDER BY first_at DESC, session_id ",
            conditions.sql
        );
        limit(&mut query, page);
        let rows: Vec<SessionRow> = reading!(self, pool => {
            bound!(sqlx::query_as(AssertSqlSafe(query.sql)), query.bound).fetch_all(pool).await
        })
        .map_err(StoreError::from)?;
        Ok(Listed::of(rows.into_iter().map(Session::from).collect(), count(total), page))
    }

    /// The traces with these ids, without their contents, in no order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn traces_with(&self, project: ProjectId, ids: &[TraceId]) -> Result<Vec<TraceWithTotals>, StoreError> {
        let mut conditions = Conditions::of(project);
        and_ids(&mut conditions, "id", ids);
        let sql = format!("SELECT * FROM traces {}", conditions.sql);
        let rows: Vec<TraceRow> = reading!(self, pool => {
            bound!(sqlx::query_as(AssertSqlSafe(sql)), conditions.bound).fetch_all(pool).await
        })?;
        let mut traces = Vec::with_capacity(rows.len());
        for row in rows {
            let row = TraceRow { input: None, output: None, ..row };
            traces.push(self.read_trace(row, &mut Bodies::default()).await?);
        }
        Ok(traces)
    }

    /// The ids of the observations and of the scores of traces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members_of(&self, project: ProjectId, ids: &[TraceId]) -> Result<Members, StoreError> {
        let mut members = Members::default();
        for (table, into) in [("observations", &mut members.observations), ("scores", &mut members.scores)] {
            let mut conditions = Conditions::of(project);
            and_ids(&mut conditions, "trace_id", ids);
            let sql = format!("SELECT trace_id, id FROM {table} {}", conditions.sql);
            let rows: Vec<(Vec<u8>, Vec<u8>)> = reading!(self, pool => {
                bound!(sqlx::query_as(AssertSqlSafe(sql)), conditions.bound).fetch_all(pool).await
            })?;
            for (trace, id) in rows {
                into.entry(stored_id::trace_id(&trace)?).or_default().extend(unpack(&id));
            }
        }
        Ok(members)
    }

    async fn count(&self, table: &str, conditions: &Conditions, page: &Page) -> Result<u64, StoreError> {
        if !page.counts {
            return Ok(0);
        }
        let sql =
            format!("SELECT COUNT(*) FROM (SELECT 1 FROM {table} {} LIMIT {COUNT_MAX}) AS counted", conditions.sql);
        let total: i64 = reading!(self, pool => {
            bound!(sqlx::query_scalar(AssertSqlSafe(sql)), conditions.bound.clone()).fetch_one(pool).await
        })?;
        Ok(count(total))
    }
}

/// The ids of what belongs to traces.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Of observations.
    pub observations: HashMap<TraceId, Vec<String>>,
    /// Of scores.
    pub scores: HashMap<TraceId, Vec<String>>,
}

fn and_ids(conditions: &mut Conditions, column: &str, ids: &[TraceId]) {
    let places = vec!["?"; ids.len()].join(", ");
    let piece = if ids.is_empty() { "1 = 0".to_owned() } else { format!("{column} IN ({places})") };
    conditions.and(&piece, ids.iter().map(|id| Bound::Bytes(pack(id.as_str()))));
}

fn count(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn paged(
    table: &str,
    time: &str,
    columns: &[Column],
    mut conditions: Conditions,
    page: &Page,
) -> Result<Conditions, BadFilter> {
    if let Some(Place { at, id }) = &page.after {
        conditions.and(&format!("({time}, id) < (?, ?)"), [Bound::Int(at.as_nanos()), Bound::Bytes(pack(id))]);
    }
    let order = match &page.order {
        None => format!("{time} DESC, id DESC"),
        Some((name, falls)) => {
            let column = columns.iter().find(|(known, _, _)| known == name);
            let (_, sql, _) = column.ok_or_else(|| BadFilter::Column {
                column: name.chars().take(100).collect(),
                known: columns.iter().map(|(name, _, _)| *name).collect::<Vec<_>>().join(", "),
            })?;
            let direction = if *falls { "DESC" } else { "ASC" };
            format!("{sql} {direction}, id {direction}")
        }
    };
    let mut query = Conditions {
        sql: format!("SELECT * FROM {table} {} ORDER BY {order} ", conditions.sql),
        bound: conditions.bound,
    };
    limit(&mut query, page);
    Ok(query)
}

fn limit(query: &mut Conditions, page: &Page) {
    let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
    query.push("LIMIT ? OFFSET ?", [Bound::Int(i64::from(page.limit) + 1), Bound::Int(offset)]);
}

#[derive(sqlx::FromRow)]
struct SessionRow {
    session_id: String,
    first_at: i64,
    last_at: i64,
    environment: String,
    traces: i64,
    cost_nanos: i64,
    total_tokens: i64,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.session_id,
            created_at: NanoTimestamp::from_nanos(row.first_at),
            last_at: NanoTimestamp::from_nanos(row.last_at),
            environment: row.environment,
            traces: count(row.traces),
            cost: Nanos::new(row.cost_nanos),
            total_tokens: count(row.total_tokens),
        }
    }
}

#[derive(sqlx::FromRow)]
struct ScoreRow {
    id: Vec<u8>,
    trace_id: Option<Vec<u8>>,
    observation_id: Option<Vec<u8>>,
    session_id: Option<String>,
    dataset_run_id: Option<String>,
    name: String,
    #[sqlx(rename = "type")]
    score_type: String,
    value: f64,
    text: Option<String>,
    comment: Option<String>,
    source: String,
    author_user_id: Option<String>,
    config_id: Option<String>,
    environment: String,
    metadata: Option<String>,
    scored_at: i64,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<ScoreRow> for StoredScore {
    type Error = StoreError;

    fn try_from(row: ScoreRow) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(format!("the {what} of a score"));
        let observation = row.observation_id.as_deref().map(stored_id::observation_id).transpose()?;
        let target = match (row.trace_id, row.session_id, row.dataset_run_id) {
            (Some(trace), _, _) => ScoreTarget::Trace(stored_id::trace_id(&trace)?, observation),
            (None, Some(session), _) => ScoreTarget::Session(session),
            (None, None, Some(run)) => ScoreTarget::DatasetRun(run),
            (None, None, None) => return Err(damaged("target")),
        };
        let id = unpack(&row.id).and_then(|id| id.parse().ok()).ok_or_else(|| damaged("id"))?;
        let score = Score {
            id,
            target,
            name: row.name,
            score_type: row.score_type.parse().map_err(|_| damaged("type"))?,
            value: row.value,
            text: row.text,
            comment: row.comment,
            source: row.source.parse().map_err(|_| damaged("source"))?,
            author_user_id: row.author_user_id,
            config_id: row.config_id,
            environment: row.environment,
            metadata: from_json(row.metadata.as_deref())?,
            timestamp: NanoTimestamp::from_nanos(row.scored_at),
        };
        Ok(Self {
            score,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}
