//! Scores: read, listed, deleted.

use privet_domain::id::ProjectId;
use privet_domain::time::{NanoTimestamp, Timestamp};
use privet_domain::trace::{Score, ScoreId, ScoreTarget, TraceId};

use super::TraceStore;
use super::columns::{JudgedColumn, ScoreColumn};
use super::condition::{Condition, push_all};
use super::page::{Count, Page, Place, cut, push_after, push_limit};
use super::row::from_json;
use super::sql::Sql;
use super::stored_id::{observation_id, pack, trace_id, unpack};
use crate::db::writing;
use crate::error::StoreError;

/// A score, and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredScore {
    /// The score.
    pub score: Score,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// Some scores, newest first.
#[derive(Clone, Debug)]
pub struct ScoreList {
    /// The scores.
    pub scores: Vec<StoredScore>,
    /// Where the next page begins, if there is one.
    pub next: Option<Place>,
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

impl TraceStore {
    /// A score.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none with this id.
    pub async fn score(&self, project: ProjectId, id: &ScoreId) -> Result<StoredScore, StoreError> {
        let condition = Condition::is(JudgedColumn::Id.into(), id.as_str());
        let list = self.list_scores(project, &[condition], &Page::Skip(0, 1)).await?;
        list.scores.into_iter().next().ok_or(StoreError::NotFound)
    }

    /// Lists scores, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_scores(
        &self,
        project: ProjectId,
        conditions: &[Condition<ScoreColumn>],
        page: &Page,
    ) -> Result<ScoreList, StoreError> {
        let sql = scores_sql(self.sql(), project, conditions, page);
        let mut rows: Vec<ScoreRow> = self.select(sql).await?;
        let next = cut(&mut rows, page, |row| Place::new(NanoTimestamp::from_nanos(row.scored_at), row.id.clone()));
        let scores = rows.into_iter().map(ScoreRow::into_score).collect::<Result<_, _>>()?;
        Ok(ScoreList { scores, next })
    }

    /// How many scores there are for these conditions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_scores(
        &self,
        project: ProjectId,
        conditions: &[Condition<ScoreColumn>],
    ) -> Result<Count, StoreError> {
        let mut sql = self.sql();
        sql.push("SELECT COUNT(*) FROM (SELECT 1");
        push_scores(&mut sql, project, conditions);
        self.count(sql).await
    }

    /// The scores of a trace and of its observations, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scores_of(&self, project: ProjectId, trace: &TraceId) -> Result<Vec<StoredScore>, StoreError> {
        let condition = Condition::is(JudgedColumn::Trace.into(), trace.as_str());
        let mut list = self.list_scores(project, &[condition], &Page::Skip(0, SCORES_MAX)).await?;
        list.scores.reverse();
        Ok(list.scores)
    }

    /// Deletes a score.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none with this id.
    pub async fn delete_score(&self, project: ProjectId, id: &ScoreId) -> Result<(), StoreError> {
        let deleted: u64 = writing!(self, conn => {
            sqlx::query("DELETE FROM scores WHERE project_id = $1 AND id = $2")
                .bind(project.as_uuid())
                .bind(pack(id.as_str()))
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        if deleted == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }
}

/// So many scores of one trace are read.
const SCORES_MAX: u32 = 10_000;

/// The statement that lists scores.
pub(crate) fn scores_sql(mut sql: Sql, project: ProjectId, conditions: &[Condition<ScoreColumn>], page: &Page) -> Sql {
    sql.push("SELECT s.*");
    push_scores(&mut sql, project, conditions);
    push_after(&mut sql, page, "s.scored_at", "s.id");
    sql.push(" ORDER BY s.scored_at DESC, s.id DESC");
    push_limit(&mut sql, page);
    sql
}

/// From scores, joined with what they judge where a condition speaks of that.
pub(crate) fn push_scores(sql: &mut Sql, project: ProjectId, conditions: &[Condition<ScoreColumn>]) {
    let speaks_of = |wanted: fn(ScoreColumn) -> bool| conditions.iter().any(|condition| wanted(condition.column));
    let of_trace = speaks_of(|column| matches!(column, ScoreColumn::OfTrace(_)));
    let of_observation = speaks_of(|column| matches!(column, ScoreColumn::OfObservation(_)));
    push_judged(sql, project, conditions, of_trace, of_observation);
}

pub(crate) fn push_judged(
    sql: &mut Sql,
    project: ProjectId,
    conditions: &[Condition<ScoreColumn>],
    of_trace: bool,
    of_observation: bool,
) {
    let of = |column: JudgedColumn| {
        conditions.iter().any(|condition| condition.is_exact() && condition.column == ScoreColumn::Own(column))
    };
    sql.push(" FROM scores s");
    // SQLite would rather walk through time, past the scores of all others.
    if of(JudgedColumn::Trace) {
        sql.push_for_sqlite(" INDEXED BY scores_by_trace");
    } else if of(JudgedColumn::Session) {
        sql.push_for_sqlite(" INDEXED BY scores_by_session");
    }
    if of_trace {
        sql.push(" LEFT JOIN traces t ON t.project_id = s.project_id AND t.id = s.trace_id");
    }
    if of_observation {
        sql.push(" LEFT JOIN observations o ON o.project_id = s.project_id AND o.id = s.observation_id");
    }
    sql.push(" WHERE s.project_id = ").bind(project);
    push_all(sql, conditions);
}

impl ScoreRow {
    fn into_score(self) -> Result<StoredScore, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(format!("the {what} of a score"));
        let target = match (self.trace_id, self.session_id, self.dataset_run_id) {
            (Some(trace), _, _) => {
                let observation = self.observation_id.as_deref().map(observation_id).transpose()?;
                ScoreTarget::Trace(trace_id(&trace)?, observation)
            }
            (None, Some(session), _) => ScoreTarget::Session(session),
            (None, None, Some(run)) => ScoreTarget::DatasetRun(run),
            (None, None, None) => return Err(damaged("target")),
        };
        let id = unpack(&self.id).and_then(|id| id.parse().ok()).ok_or_else(|| damaged("id"))?;
        let score = Score {
            id,
            target,
            name: self.name,
            score_type: self.score_type.parse().map_err(|_| damaged("type"))?,
            value: self.value,
            text: self.text,
            comment: self.comment,
            source: self.source.parse().map_err(|_| damaged("source"))?,
            author_user_id: self.author_user_id,
            config_id: self.config_id,
            environment: self.environment,
            metadata: from_json(self.metadata.as_deref())?,
            timestamp: NanoTimestamp::from_nanos(self.scored_at),
        };
        let at = Timestamp::from_micros;
        Ok(StoredScore { score, created_at: at(self.created_at), updated_at: at(self.updated_at) })
    }
}
