//! Projects: the boundary of data.

use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::api_key::BUMP;
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

    /// Notes what a project is called on the Langfuse surface; `None` leaves it. Servers read it with their keys.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when another project has that id, or when the database fails.
    pub async fn name_project(
        &self,
        project: ProjectId,
        given_id: Option<&str>,
        given_name: Option<&str>,
    ) -> Result<(), StoreError> {
        writing!(self, conn => {
            let other: Option<i64> =
                sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM projects WHERE given_id = $2 AND id <> $1")
                    .bind(project.as_uuid())
                    .bind(given_id)
                    .fetch_optional(&mut *conn)
                    .await?;
            if other.is_some() {
                return Err(StoreError::Exists("project with that given id".to_owned()));
            }
            sqlx::query(
                "UPDATE projects SET given_id = COALESCE($2, given_id), given_name = COALESCE($3, given_name) \
                 WHERE id = $1",
            )
            .bind(project.as_uuid())
            .bind(given_id)
            .bind(given_name)
            .execute(&mut *conn)
            .await?;
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(())
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

    /// The name of a project; `None` if it is unknown.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn project_name(&self, id: ProjectId) -> Result<Option<String>, StoreError> {
        let name = reading!(self, pool => {
            sqlx::query_scalar("SELECT name FROM projects WHERE id = $1").bind(id.as_uuid()).fetch_optional(pool).await
        })?;
        Ok(name)
    }
}
