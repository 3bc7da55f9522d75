//! Changing a memory inside a transaction.

use privet_domain::id::ProjectId;
use privet_domain::memory::{Memory, MemoryId};
use privet_domain::time::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::MemoryUpdate;
use super::description::DescriptionRows as _;
use super::record::{COLUMNS, MemoryRow};
use super::rows::{MemoryRows as _, Thread, Threads};
use crate::error::StoreError;

const KEEP: &str =
    "INSERT INTO memory_history (memory_id, version, project_id, text, changed_at) VALUES ($1, $2, $3, $4, $5)";
const UPDATE: &str = "UPDATE memories SET text = $3, title = $4, metadata = $5, expires_at = $6, version = $7, \
     updated_at = $8 WHERE project_id = $1 AND id = $2";

/// What becomes of a text in whose place another comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Former {
    /// It stays in the memory's history.
    Kept,
    /// It is gone, as that of an edited message is.
    Gone,
}

/// Changing memories, on either database.
pub(crate) trait MemoryChange {
    /// Changes a memory of the project and all that is searched of it.
    async fn change(
        &mut self,
        project: ProjectId,
        id: MemoryId,
        update: &MemoryUpdate,
        former: Former,
        now: Timestamp,
    ) -> Result<Memory, StoreError>;
}

/// The same for both databases.
macro_rules! define_change {
    ($connection:ty) => {
        impl MemoryChange for $connection {
            async fn change(
                &mut self,
                project: ProjectId,
                id: MemoryId,
                update: &MemoryUpdate,
                former: Former,
                now: Timestamp,
            ) -> Result<Memory, StoreError> {
                // Writing the row locks it: two changes come one after the other.
                let select = AssertSqlSafe(format!(
                    "UPDATE memories SET version = version WHERE project_id = $1 AND id = $2 RETURNING {COLUMNS}"
                ));
                let row: MemoryRow =
                    sqlx::query_as(select).bind(project.as_uuid()).bind(id.as_uuid()).fetch_one(&mut *self).await?;
                let old = row.read()?;
                let new = changed(&old, update, now);
                let is_new_text = new.version != old.version;
                if is_new_text && former == Former::Kept {
                    sqlx::query(KEEP)
                        .bind(id.as_uuid())
                        .bind(old.version)
                        .bind(project.as_uuid())
                        .bind(&old.text)
                        .bind(now.as_micros())
                        .execute(&mut *self)
                        .await?;
                }
                sqlx::query(UPDATE)
                    .bind(project.as_uuid())
                    .bind(id.as_uuid())
                    .bind(&new.text)
                    .bind(&new.title)
                    .bind(&new.metadata)
                    .bind(new.expires_at.map(Timestamp::as_micros))
                    .bind(new.version)
                    .bind(now.as_micros())
                    .execute(&mut *self)
                    .await?;
                if is_new_text {
                    self.represent(id, &new.scope, new.line(), &update.representations).await?;
                    self.renew_description(id, &update.representations, now).await?;
                } else if !update.representations.is_empty() {
                    self.describe(id, &new.scope, &update.representations).await?;
                } else {
                    return Ok(new);
                }
                self.revise(&[id]).await?;
                self.enqueue(&[(id, project)], now).await?;
                if let Some(thread) = Thread::of(new.kind, new.conversation, &new.scope).filter(|_| is_new_text) {
                    let changed = self.rewindow(&Threads::from([(thread, (new.seq, new.seq))])).await?;
                    self.enqueue(&changed, now).await?;
                }
                Ok(new)
            }
        }
    };
}

define_change!(SqliteConnection);
define_change!(PgConnection);

/// A memory after its update.
fn changed(old: &Memory, update: &MemoryUpdate, now: Timestamp) -> Memory {
    let mut new = Memory { updated_at: now, ..old.clone() };
    if let Some(text) = update.text.as_ref().filter(|text| **text != old.text) {
        new.text.clone_from(text);
        new.version += 1;
    }
    if let Some(title) = &update.title {
        new.title.clone_from(title);
    }
    if let Some(metadata) = &update.metadata {
        new.metadata.clone_from(metadata);
    }
    if let Some(expires_at) = update.expires_at {
        new.expires_at = expires_at;
    }
    new
}
