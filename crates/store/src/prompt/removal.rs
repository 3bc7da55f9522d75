//! Taking away versions and labels, unless a prompt needs them that stays; and which prompts need one.

use privet_domain::id::ProjectId;
use privet_domain::prompt::Selector;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use super::{BUMP, TOUCH_LABELLED, chosen, number};
use crate::db::{Store, reading, writing};
use crate::error::StoreError;

/// A version of a prompt in which another one stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptUse {
    /// The name of the prompt that refers.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The version that it refers to, if it names one.
    pub child_version: Option<u32>,
    /// The label that it refers to, if it names one.
    pub child_label: Option<String>,
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptRemoval {
    /// So many versions, or one label, are gone.
    Removed(u64),
    /// Nothing was removed: these would refer to what is not there.
    Needed(Vec<PromptUse>),
}

type UseRow = (String, i64, Option<i64>, Option<String>);

/// Those that refer to a version or label of a prompt that is not there.
const BROKEN: &str = "SELECT p.name, r.version, r.child_version, r.child_label \
     FROM prompt_references r JOIN prompts p ON p.id = r.prompt_id \
     WHERE r.project_id = $1 AND r.child_name = $2 AND r.prompt_id <> $3 AND NOT EXISTS ( \
     SELECT 1 FROM prompt_versions v WHERE v.prompt_id = $3 AND (v.version = r.child_version OR r.child_label = 'latest' \
     OR EXISTS (SELECT 1 FROM prompt_labels l WHERE l.prompt_id = $3 AND l.label = r.child_label))) \
     ORDER BY p.name, r.version LIMIT 20";

const FIND: &str = "UPDATE prompts SET updated_at = $3 WHERE project_id = $1 AND name = $2 RETURNING id";

impl Store {
    /// Removes a version, the version that a label points to, or all versions of a prompt and the prompt with them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of it.
    pub async fn delete_prompt_versions(
        &self,
        project: ProjectId,
        name: &str,
        which: Option<&Selector>,
        now: Timestamp,
    ) -> Result<PromptRemoval, StoreError> {
        let project = project.as_uuid();
        let (version, label) = which.map_or((None, None), chosen);
        Ok(writing!(self, conn => {
            let prompt: Option<Uuid> = sqlx::query_scalar(FIND)
                .bind(project).bind(name).bind(now.as_micros()).fetch_optional(&mut *conn).await?;
            let Some(prompt) = prompt else { return Err(StoreError::NotFound) };
            let removed = sqlx::query(
                "DELETE FROM prompt_versions WHERE project_id = $1 AND prompt_id = $2 AND ($3 OR version = COALESCE($4, \
                 (SELECT l.version FROM prompt_labels l WHERE l.prompt_id = $2 AND l.label = $5), \
                 CASE WHEN $6 THEN (SELECT MAX(h.version) FROM prompt_versions h WHERE h.prompt_id = $2) END))",
            )
            .bind(project).bind(prompt).bind(which.is_none()).bind(version).bind(label)
            .bind(label == Some(privet_domain::prompt::LATEST)).execute(&mut *conn).await?.rows_affected();
            if removed == 0 {
                return Err(StoreError::NotFound);
            }
            let broken: Vec<UseRow> =
                sqlx::query_as(BROKEN).bind(project).bind(name).bind(prompt).fetch_all(&mut *conn).await?;
            if !broken.is_empty() {
                return Ok(PromptRemoval::Needed(uses(broken)?));
            }
            sqlx::query(
                "DELETE FROM prompts WHERE project_id = $1 AND id = $2 \
                 AND NOT EXISTS (SELECT 1 FROM prompt_versions v WHERE v.prompt_id = $2)",
            )
            .bind(project).bind(prompt).execute(&mut *conn).await?;
            sqlx::query(BUMP).execute(&mut *conn).await?;
            PromptRemoval::Removed(removed)
        }))
    }

    /// Takes a label away from whichever version has it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such prompt or label.
    pub async fn unlabel_prompt(
        &self,
        project: ProjectId,
        name: &str,
        label: &str,
        now: Timestamp,
    ) -> Result<PromptRemoval, StoreError> {
        let project = project.as_uuid();
        Ok(writing!(self, conn => {
            let prompt: Option<Uuid> = sqlx::query_scalar(FIND)
                .bind(project).bind(name).bind(now.as_micros()).fetch_optional(&mut *conn).await?;
            let Some(prompt) = prompt else { return Err(StoreError::NotFound) };
            sqlx::query(TOUCH_LABELLED)
                .bind(project).bind(prompt).bind(label).bind(now.as_micros()).execute(&mut *conn).await?;
            let removed = sqlx::query("DELETE FROM prompt_labels WHERE project_id = $1 AND prompt_id = $2 AND label = $3")
                .bind(project).bind(prompt).bind(label).execute(&mut *conn).await?.rows_affected();
            if removed == 0 {
                return Err(StoreError::NotFound);
            }
            let broken: Vec<UseRow> =
                sqlx::query_as(BROKEN).bind(project).bind(name).bind(prompt).fetch_all(&mut *conn).await?;
            if !broken.is_empty() {
                return Ok(PromptRemoval::Needed(uses(broken)?));
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
            PromptRemoval::Removed(removed)
        }))
    }

    /// The versions of other prompts in which a prompt stands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prompt_uses(&self, project: ProjectId, name: &str) -> Result<Vec<PromptUse>, StoreError> {
        let rows: Vec<UseRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT p.name, r.version, r.child_version, r.child_label \
                 FROM prompt_references r JOIN prompts p ON p.id = r.prompt_id \
                 WHERE r.project_id = $1 AND r.child_name = $2 ORDER BY p.name, r.version DESC",
            )
            .bind(project.as_uuid())
            .bind(name)
            .fetch_all(pool)
            .await
        })?;
        uses(rows)
    }
}

fn uses(rows: Vec<UseRow>) -> Result<Vec<PromptUse>, StoreError> {
    let read = |(name, version, child_version, child_label): UseRow| {
        let child_version = child_version.map(number).transpose()?;
        Ok(PromptUse { name, version: number(version)?, child_version, child_label })
    };
    rows.into_iter().map(read).collect()
}
