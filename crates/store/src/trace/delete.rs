//! Deleting traces with all that belongs to them. The sums of days stay; contents that nothing refers to any more expire.

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceId;

use super::TraceStore;
use super::list::IDS_MAX;
use super::lock::lock;
use super::sql::{Sql, with_values};
use super::stored_id::pack;
use crate::db::Db;
use crate::error::StoreError;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedTraces {
    /// How many traces.
    pub traces: u64,
    /// How many observations.
    pub observations: u64,
    /// How many scores, of the traces and of their observations.
    pub scores: u64,
}

impl TraceStore {
    /// Deletes traces with their observations and scores. Those that are not there are left out.
    ///
    /// # Errors
    /// When the database fails; then some of them may be deleted.
    pub async fn delete_traces(&self, project: ProjectId, ids: &[TraceId]) -> Result<DeletedTraces, StoreError> {
        let mut deleted = DeletedTraces::default();
        for ids in ids.chunks(IDS_MAX) {
            let statement = |piece: &'static str, end: &'static str| {
                let mut sql = self.sql();
                sql.push(piece).bind(project).push(end).list(ids.iter().map(|id| pack(id.as_str())));
                sql
            };
            let observations = statement("DELETE FROM observations WHERE project_id = ", " AND trace_id IN ");
            let scores = statement("DELETE FROM scores WHERE project_id = ", " AND trace_id IN ");
            let traces = statement("DELETE FROM traces WHERE project_id = ", " AND id IN ");
            let [observations, scores, traces] = self.delete([observations, scores, traces]).await?;
            deleted.traces += traces;
            deleted.observations += observations;
            deleted.scores += scores;
        }
        Ok(deleted)
    }

    /// Runs statements in one transaction, between two of the writer's.
    async fn delete(&self, statements: [Sql; 3]) -> Result<[u64; 3], StoreError> {
        let mut counts = [0; 3];
        match &*self.db {
            Db::Sqlite(sqlite) => {
                let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                for (count, Sql { text, values, .. }) in counts.iter_mut().zip(statements) {
                    let delete = with_values!(sqlx::query(sqlx::AssertSqlSafe(text)), values);
                    *count = delete.execute(&mut *transaction).await?.rows_affected();
                }
                transaction.commit().await?;
            }
            Db::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                lock(&mut transaction).await?;
                for (count, Sql { text, values, .. }) in counts.iter_mut().zip(statements) {
                    let delete = with_values!(sqlx::query(sqlx::AssertSqlSafe(text)), values);
                    *count = delete.execute(&mut *transaction).await?.rows_affected();
                }
                transaction.commit().await?;
            }
        }
        Ok(counts)
    }
}
