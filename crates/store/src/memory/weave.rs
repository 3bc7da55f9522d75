//! Windows: texts between their neighbours, made after the commit, for they are no work for whoever waits for an answer.

use std::collections::HashSet;

use privet_domain::id::ProjectId;
use privet_domain::memory::MemoryId;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;
use sqlx::{PgConnection, SqliteConnection};

use super::description::DescriptionRows;
use super::rows::{MemoryRows, Standing, StandingRow, Threads, touch};
use super::statements;
use crate::db::{Store, writing};
use crate::error::StoreError;
use crate::statements::chunks;

/// Of so many memories the windows are made in one transaction.
const STEP_WINDOWS: usize = 8;

/// Making windows, on either database.
trait Weave: DescriptionRows {
    /// Makes the windows of memories and of those beside them; gives those whose windows are others now.
    async fn weave(&mut self, memories: &[MemoryId]) -> Result<Vec<(MemoryId, ProjectId)>, sqlx::Error>;

    /// Takes tasks out of the outbox, and those of memories whose windows were made in the same transaction.
    async fn done(&mut self, tasks: &[(i64, Uuid)], woven: &[(MemoryId, ProjectId)]) -> Result<(), sqlx::Error>;
}

/// The same for both databases.
macro_rules! define_weave {
    ($connection:ty, $statements:expr) => {
        impl Weave for $connection {
            async fn weave(&mut self, memories: &[MemoryId]) -> Result<Vec<(MemoryId, ProjectId)>, sqlx::Error> {
                let mut threads = Threads::new();
                for memories in chunks(memories) {
                    let mut select = sqlx::query_as::<_, StandingRow>($statements.standings(memories.len()));
                    for memory in memories {
                        select = select.bind(memory.as_uuid());
                    }
                    for standing in select.fetch_all(&mut *self).await?.into_iter().map(Standing::from) {
                        if let Some(thread) = standing.thread {
                            touch(&mut threads, thread, standing.seq);
                        }
                    }
                }
                self.rewindow(&threads).await
            }

            async fn done(
                &mut self,
                tasks: &[(i64, Uuid)],
                woven: &[(MemoryId, ProjectId)],
            ) -> Result<(), sqlx::Error> {
                let ids: HashSet<Uuid> =
                    tasks.iter().map(|(_, id)| *id).chain(woven.iter().map(|(id, _)| id.as_uuid())).collect();
                let ids: Vec<Uuid> = ids.into_iter().collect();
                for ids in chunks(&ids) {
                    let mut delete = sqlx::query($statements.acknowledge(ids.len()));
                    for id in ids {
                        delete = delete.bind(*id);
                    }
                    delete.execute(&mut *self).await?;
                }
                Ok(())
            }
        }
    };
}

define_weave!(SqliteConnection, statements::SQLITE);
define_weave!(PgConnection, statements::POSTGRES);

impl Store {
    /// Makes the windows of these memories and of those beside them, in small steps: the first thing to be done of a task. What
    /// changes beside them is put into the outbox; gives whether anything was.
    ///
    /// # Errors
    /// When the database fails: what was made until then is.
    pub async fn weave_windows(&self, memories: &[MemoryId], now: Timestamp) -> Result<bool, StoreError> {
        let mut is_more = false;
        for memories in memories.chunks(STEP_WINDOWS) {
            let under_way: HashSet<MemoryId> = memories.iter().copied().collect();
            writing!(self, conn => {
                let mut changed = conn.weave(memories).await?;
                changed.retain(|(id, _)| !under_way.contains(id));
                conn.enqueue(&changed, now).await?;
                is_more |= !changed.is_empty();
            });
        }
        Ok(is_more)
    }

    /// Does tasks of the outbox where no vectors are made and the index is in the database: windows are all that is left to do.
    /// Gives how many tasks were done. Where descriptions are made, those of texts of at least so many bytes are what comes next.
    ///
    /// # Errors
    /// When the database fails; then nothing is done.
    pub async fn weave_outbox(
        &self,
        limit: u32,
        describes_from: Option<usize>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        Ok(writing!(self, conn => {
            let tasks: Vec<(i64, Uuid)> = sqlx::query_as(
                "SELECT seq, memory_id FROM memory_outbox WHERE due_at <= $1 ORDER BY due_at, seq LIMIT $2",
            )
            .bind(now.as_micros())
            .bind(i64::from(limit))
            .fetch_all(&mut *conn)
            .await?;
            let memories: Vec<MemoryId> = tasks.iter().map(|(_, memory)| MemoryId::from(*memory)).collect();
            // A question has its window when its answer has: its own task is done too.
            let woven = conn.weave(&memories).await?;
            conn.done(&tasks, &woven).await?;
            if let Some(bytes_min) = describes_from {
                let done: Vec<MemoryId> = memories.into_iter().chain(woven.into_iter().map(|(id, _)| id)).collect();
                conn.queue_descriptions(&done, i64::try_from(bytes_min).unwrap_or(i64::MAX), now).await?;
            }
            tasks.len()
        }))
    }
}
