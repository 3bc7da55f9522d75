//! Windows: texts between their neighbours, made after the commit, for they are no work for whoever waits for an answer.

use std::collections::HashSet;

use privet_domain::id::ProjectId;
use privet_domain::memory::MemoryId;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;
use sqlx::{PgConnection, SqliteConnection};

use super::rows::{MemoryRows, STANDING_OF, Standing, StandingRow, Threads, touch};
use crate::db::{Store, writing};
use crate::error::StoreError;

/// Of so many memories the windows are made in one transaction.
const STEP_WINDOWS: usize = 8;

/// Making windows, on either database.
trait Weave: MemoryRows {
    /// Makes the windows of memories and of those beside them; gives those whose windows are others now.
    async fn weave(&mut self, memories: &[MemoryId]) -> Result<Vec<(MemoryId, ProjectId)>, sqlx::Error>;
}

/// The same for both databases.
macro_rules! define_weave {
    ($connection:ty) => {
        impl Weave for $connection {
            async fn weave(&mut self, memories: &[MemoryId]) -> Result<Vec<(MemoryId, ProjectId)>, sqlx::Error> {
                let mut threads = Threads::new();
                for memory in memories {
                    let standing: Option<StandingRow> =
                        sqlx::query_as(STANDING_OF).bind(memory.as_uuid()).fetch_optional(&mut *self).await?;
                    let Some(standing) = standing.map(Standing::from) else { continue };
                    if let Some(thread) = standing.thread {
                        touch(&mut threads, thread, standing.seq);
                    }
                }
                self.rewindow(&threads).await
            }
        }
    };
}

define_weave!(SqliteConnection);
define_weave!(PgConnection);

impl Store {
    /// Makes the windows of these memories and of those beside them, in small steps: the first thing to be done of a task. What
    /// changes beside them is put into the outbox.
    ///
    /// # Errors
    /// When the database fails: what was made until then is.
    pub async fn weave_windows(&self, memories: &[MemoryId], now: Timestamp) -> Result<(), StoreError> {
        for memories in memories.chunks(STEP_WINDOWS) {
            let under_way: HashSet<MemoryId> = memories.iter().copied().collect();
            writing!(self, conn => {
                let mut changed = conn.weave(memories).await?;
                changed.retain(|(id, _)| !under_way.contains(id));
                conn.enqueue(&changed, now).await?;
            });
        }
        Ok(())
    }

    /// Does tasks of the outbox where no vectors are made and the index is in the database: windows are all that is left to do.
    /// Gives how many tasks were done.
    ///
    /// # Errors
    /// When the database fails; then nothing is done.
    pub async fn weave_outbox(&self, limit: u32, now: Timestamp) -> Result<usize, StoreError> {
        Ok(writing!(self, conn => {
            let tasks: Vec<(i64, Uuid)> = sqlx::query_as(
                "SELECT seq, memory_id FROM memory_outbox WHERE due_at <= $1 ORDER BY due_at, seq LIMIT $2",
            )
            .bind(now.as_micros())
            .bind(i64::from(limit))
            .fetch_all(&mut *conn)
            .await?;
            let memories: Vec<MemoryId> = tasks.iter().map(|(_, memory)| MemoryId::from(*memory)).collect();
            conn.weave(&memories).await?;
            for (seq, _) in &tasks {
                sqlx::query("DELETE FROM memory_outbox WHERE seq = $1").bind(seq).execute(&mut *conn).await?;
            }
            tasks.len()
        }))
    }
}
