//! Sessions and users: what traces say of them. Neither is written by itself.

use std::collections::{BTreeSet, HashMap};

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;

use super::TraceStore;
use super::columns::TraceColumn;
use super::condition::{Condition, push_all};
use super::metrics::dimension;
use super::page::Count;
use super::sql::Sql;
use crate::error::StoreError;

/// What the traces of a session or of a user add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// How many traces.
    pub traces: u64,
    /// How many observations.
    pub observations: u64,
    /// How many of those failed.
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

/// A session: the traces that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSession {
    /// Its id.
    pub id: String,
    /// When its first trace began.
    pub created_at: NanoTimestamp,
    /// When its last trace began.
    pub last_at: NanoTimestamp,
    /// The environment of one of its traces.
    pub environment: String,
    /// For whom its traces ran.
    pub user_ids: Vec<String>,
    /// What they add up to.
    pub sums: Sums,
}

/// A user: what the traces that name him add up to, since the first day. Traces that expired count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceUser {
    /// His id; of a longer one than 200 characters the beginning.
    pub id: String,
    /// When his first trace began; of one that expired the day is known.
    pub first_at: NanoTimestamp,
    /// When his last trace began.
    pub last_at: NanoTimestamp,
    /// What he did.
    pub sums: Sums,
}

/// Days of users.
#[derive(Clone, Copy, Debug, Default)]
pub struct Days {
    /// The first day, since 1970, UTC.
    pub from: Option<i64>,
    /// The day after the last.
    pub until: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct SumRow {
    name: String,
    environment: String,
    first: i64,
    last: i64,
    traces: i64,
    observations: i64,
    errors: i64,
    input_tokens: i64,
    output_tokens: i64,
    total_tokens: i64,
    cost_nanos: i64,
}

/// Sums of rows of traces.
const TRACE_SUMS: &str = ", MIN(t.environment) AS environment, MIN(t.started_at) AS first, MAX(t.started_at) AS last, \
     COUNT(*) AS traces, CAST(SUM(t.observations) AS BIGINT) AS observations, CAST(SUM(t.errors) AS BIGINT) AS errors, \
     CAST(SUM(t.input_tokens) AS BIGINT) AS input_tokens, CAST(SUM(t.output_tokens) AS BIGINT) AS output_tokens, \
     CAST(SUM(t.total_tokens) AS BIGINT) AS total_tokens, CAST(SUM(t.cost_nanos) AS BIGINT) AS cost_nanos";
/// Sums of rows of days.
const DAY_SUMS: &str = "m.value AS name, MIN(m.environment) AS environment, MIN(m.day) AS first, MAX(m.day) AS last, \
     CAST(SUM(m.traces) AS BIGINT) AS traces, CAST(SUM(m.observations) AS BIGINT) AS observations, \
     CAST(SUM(m.errors) AS BIGINT) AS errors, CAST(SUM(m.input_tokens) AS BIGINT) AS input_tokens, \
     CAST(SUM(m.output_tokens) AS BIGINT) AS output_tokens, CAST(SUM(m.total_tokens) AS BIGINT) AS total_tokens, \
     CAST(SUM(m.cost_nanos) AS BIGINT) AS cost_nanos";
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

impl TraceStore {
    /// Lists sessions, the one that began last first: after so many, at most so many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_sessions(
        &self,
        project: ProjectId,
        conditions: &[Condition<TraceColumn>],
        skip: u64,
        limit: u32,
    ) -> Result<Vec<TraceSession>, StoreError> {
        // Which they are is read off the index alone; what they add up to is read of those that are shown.
        let sql = sessions_sql(self.sql(), project, conditions, skip, limit);
        let shown: Vec<(String, i64)> = self.select(sql).await?;
        let ids: Vec<&str> = shown.iter().map(|(id, _)| id.as_str()).collect();
        let mut sessions = self.sessions_by_id(project, &ids).await?;
        Ok(ids.into_iter().filter_map(|id| sessions.remove(id)).collect())
    }

    /// How many sessions there are for these conditions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_sessions(
        &self,
        project: ProjectId,
        conditions: &[Condition<TraceColumn>],
    ) -> Result<Count, StoreError> {
        let mut sql = self.sql();
        sql.push("SELECT COUNT(*) FROM (SELECT 1");
        push_sessions(&mut sql, project, conditions);
        self.count(sql).await
    }

    /// A session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no trace of the project names it.
    pub async fn session(&self, project: ProjectId, id: &str) -> Result<TraceSession, StoreError> {
        self.sessions_by_id(project, &[id]).await?.remove(id).ok_or(StoreError::NotFound)
    }

    async fn sessions_by_id(
        &self,
        project: ProjectId,
        ids: &[&str],
    ) -> Result<HashMap<String, TraceSession>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = self.sql();
        sql.push("SELECT t.session_id AS name").push(TRACE_SUMS).push(" FROM traces t WHERE t.project_id = ");
        sql.bind(project).push(" AND t.session_id IN ").list(ids.iter().copied()).push(" GROUP BY t.session_id");
        let rows: Vec<SumRow> = self.select(sql).await?;
        let mut sql = self.sql();
        sql.push("SELECT DISTINCT t.session_id, t.user_id FROM traces t WHERE t.project_id = ").bind(project);
        sql.push(" AND t.user_id IS NOT NULL AND t.session_id IN ").list(ids.iter().copied());
        let mut users: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (session, user) in self.select::<(String, String)>(sql).await? {
            users.entry(session).or_default().insert(user);
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let session = TraceSession {
                    id: row.name.clone(),
                    created_at: NanoTimestamp::from_nanos(row.first),
                    last_at: NanoTimestamp::from_nanos(row.last),
                    environment: row.environment.clone(),
                    user_ids: users.remove(&row.name).unwrap_or_default().into_iter().collect(),
                    sums: Sums::from(&row),
                };
                (row.name, session)
            })
            .collect())
    }

    /// Lists users, the one seen last first: after so many, at most so many. From the sums of days, not from traces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_users(
        &self,
        project: ProjectId,
        days: Days,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<TraceUser>, StoreError> {
        let mut sql = self.sql();
        sql.push("SELECT ").push(DAY_SUMS).push(" FROM daily_metrics m WHERE m.project_id = ").bind(project);
        sql.push(" AND m.dimension = ").bind(dimension::USER);
        push_days(&mut sql, days);
        sql.push(" GROUP BY m.value HAVING SUM(m.traces) > 0 ORDER BY last DESC, cost_nanos DESC, name LIMIT ");
        sql.bind(i64::from(limit)).push(" OFFSET ").bind(i64::try_from(skip).unwrap_or(i64::MAX));
        let rows: Vec<SumRow> = self.select(sql).await?;
        self.users_seen(project, rows).await
    }

    /// A user.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no trace of the project ever named him.
    pub async fn user(&self, project: ProjectId, id: &str) -> Result<TraceUser, StoreError> {
        let value: String = id.chars().take(super::metrics::VALUE_CHARS_MAX).collect();
        let mut sql = self.sql();
        sql.push("SELECT ").push(DAY_SUMS).push(" FROM daily_metrics m WHERE m.project_id = ").bind(project);
        sql.push(" AND m.dimension = ").bind(dimension::USER).push(" AND m.value = ").bind(value.as_str());
        sql.push(" GROUP BY m.value HAVING SUM(m.traces) > 0");
        let rows: Vec<SumRow> = self.select(sql).await?;
        self.users_seen(project, rows).await?.into_iter().next().ok_or(StoreError::NotFound)
    }

    /// When they were first and last seen, to the instant where their traces are still there.
    async fn users_seen(&self, project: ProjectId, rows: Vec<SumRow>) -> Result<Vec<TraceUser>, StoreError> {
        let mut seen = HashMap::new();
        if !rows.is_empty() {
            let mut sql = self.sql();
            sql.push("SELECT t.user_id, MIN(t.started_at), MAX(t.started_at) FROM traces t WHERE t.project_id = ");
            sql.bind(project).push(" AND t.user_id IN ").list(rows.iter().map(|row| row.name.as_str()));
            sql.push(" GROUP BY t.user_id");
            for (user, first, last) in self.select::<(String, i64, i64)>(sql).await? {
                seen.insert(user, (first, last));
            }
        }
        let user = |row: SumRow| {
            let day = |day: i64| day.saturating_mul(NANOS_PER_DAY);
            let (first, last) = seen.get(&row.name).copied().unwrap_or((day(row.first), day(row.last)));
            // A first trace of an earlier day has expired.
            let first = if first.div_euclid(NANOS_PER_DAY) > row.first { day(row.first) } else { first };
            TraceUser {
                first_at: NanoTimestamp::from_nanos(first),
                last_at: NanoTimestamp::from_nanos(last),
                sums: Sums::from(&row),
                id: row.name,
            }
        };
        Ok(rows.into_iter().map(user).collect())
    }
}

/// The statement that lists sessions.
pub(crate) fn sessions_sql(
    mut sql: Sql,
    project: ProjectId,
    conditions: &[Condition<TraceColumn>],
    skip: u64,
    limit: u32,
) -> Sql {
    sql.push("SELECT t.session_id, MIN(t.started_at) AS first");
    push_sessions(&mut sql, project, conditions);
    sql.push(" ORDER BY first DESC, t.session_id LIMIT ").bind(i64::from(limit));
    sql.push(" OFFSET ").bind(i64::try_from(skip).unwrap_or(i64::MAX));
    sql
}

fn push_sessions(sql: &mut Sql, project: ProjectId, conditions: &[Condition<TraceColumn>]) {
    sql.push(" FROM traces t WHERE t.project_id = ").bind(project).push(" AND t.session_id IS NOT NULL");
    push_all(sql, conditions);
    sql.push(" GROUP BY t.session_id");
}

pub(crate) fn push_days(sql: &mut Sql, days: Days) {
    if let Some(from) = days.from {
        sql.push(" AND m.day >= ").bind(from);
    }
    if let Some(until) = days.until {
        sql.push(" AND m.day < ").bind(until);
    }
}

impl From<&SumRow> for Sums {
    fn from(row: &SumRow) -> Self {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Self {
            traces: count(row.traces),
            observations: count(row.observations),
            errors: count(row.errors),
            input_tokens: count(row.input_tokens),
            output_tokens: count(row.output_tokens),
            total_tokens: count(row.total_tokens),
            cost: Nanos::new(row.cost_nanos),
        }
    }
}
