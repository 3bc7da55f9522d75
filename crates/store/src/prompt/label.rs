//! Labels: moving them, and those that only administrators move.

use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use super::{BUMP, MOVE_LABEL, TOUCH_LABELLED};
use crate::db::{Store, reading, writing};
use crate::error::StoreError;

impl Store {
    /// Lets labels point to a version. Those that it has already stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such prompt or version.
    pub async fn label_prompt(
        &self,
        project: ProjectId,
        name: &str,
        version: u32,
        labels: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (project, version) = (project.as_uuid(), i64::from(version));
        writing!(self, conn => {
            let prompt: Option<Uuid> = sqlx::query_scalar(
                "UPDATE prompts SET updated_at = $3 WHERE project_id = $1 AND name = $2 RETURNING id",
            )
            .bind(project).bind(name).bind(now.as_micros()).fetch_optional(&mut *conn).await?;
            let Some(prompt) = prompt else { return Err(StoreError::NotFound) };
            for label in labels {
                sqlx::query(TOUCH_LABELLED)
                    .bind(project).bind(prompt).bind(label).bind(now.as_micros()).execute(&mut *conn).await?;
                sqlx::query(MOVE_LABEL)
                    .bind(project).bind(prompt).bind(label).bind(version).execute(&mut *conn).await?;
            }
            let touched = sqlx::query(
                "UPDATE prompt_versions SET updated_at = $4 WHERE project_id = $1 AND prompt_id = $2 AND version = $3",
            )
            .bind(project).bind(prompt).bind(version).bind(now.as_micros()).execute(&mut *conn).await?.rows_affected();
            if touched != 1 {
                return Err(StoreError::NotFound);
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// Labels of the project that only administrators move, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn protected_labels(&self, project: ProjectId) -> Result<Vec<String>, StoreError> {
        let mut labels: Vec<String> = reading!(self, pool => {
            sqlx::query_scalar("SELECT label FROM protected_labels WHERE project_id = $1")
                .bind(project.as_uuid())
                .fetch_all(pool)
                .await
        })?;
        labels.sort_unstable();
        Ok(labels)
    }

    /// Lets only administrators move a label. Twice is the same as once.
    ///
    /// # Errors
    /// When the project is unknown or the database fails.
    pub async fn protect_label(&self, project: ProjectId, label: &str) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query(
                "INSERT INTO protected_labels (project_id, label) VALUES ($1, $2) ON CONFLICT (project_id, label) DO NOTHING",
            )
            .bind(project.as_uuid())
            .bind(label)
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// Lets everybody who may change prompts move a label again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not protected.
    pub async fn unprotect_label(&self, project: ProjectId, label: &str) -> Result<(), StoreError> {
        writing!(self, conn => {
            let removed = sqlx::query("DELETE FROM protected_labels WHERE project_id = $1 AND label = $2")
                .bind(project.as_uuid())
                .bind(label)
                .execute(&mut *conn)
                .await?
                .rows_affected();
            if removed != 1 {
                return Err(StoreError::NotFound);
            }
        });
        Ok(())
    }
}
