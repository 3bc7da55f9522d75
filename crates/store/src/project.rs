//! Projects: the boundary of data.

use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique.
    pub name: String,
}

/// A project as the Langfuse surface shows it: as it was called where it came from, or as it is called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownProject {
    /// Its id there, or here.
    pub id: String,
    /// Its name there, or here.
    pub name: String,
}

impl Store {
    /// The project of that name, made if missing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_project(&self, name: &str, now: Timestamp) -> Result<Project, StoreError> {
        writing!(self, conn => {
            sqlx::query("INSERT INTO projects (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
                .bind(ProjectId::new().as_uuid())
                .bind(name)
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        self.find_project(name).await?.ok_or(StoreError::NotFound)
    }

    /// The project of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_project(&self, name: &str) -> Result<Option<Project>, StoreError> {
        let id: Option<Uuid> = reading!(self, pool => {
            sqlx::query_scalar("SELECT id FROM projects WHERE name = $1").bind(name).fetch_optional(pool).await
        })?;
        Ok(id.map(|id| Project { id: id.into(), name: name.to_owned() }))
    }
}
