//! Score configurations.

use privet_domain::id::{ProjectId, ScoreConfigId};
use privet_domain::time::Timestamp;
use privet_domain::trace::ScoreConfig;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    score_type: String,
    categories: String,
    minimum: Option<f64>,
    maximum: Option<f64>,
    description: Option<String>,
    is_archived: bool,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for ScoreConfig {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let damaged = |error: String| StoreError::Damaged(format!("the score configuration {}: {error}", row.id));
        Ok(Self {
            id: row.id.into(),
            name: row.name,
            score_type: row.score_type.parse().map_err(|error| damaged(format!("{error}")))?,
            categories: serde_json::from_str(&row.categories).map_err(|error| damaged(error.to_string()))?,
            minimum: row.minimum,
            maximum: row.maximum,
            description: row.description,
            is_archived: row.is_archived,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}

impl Store {
    /// Keeps a configuration, new or changed. When it was made stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project is unknown or the id is another project's.
    pub async fn keep_score_config(&self, project: ProjectId, config: &ScoreConfig) -> Result<(), StoreError> {
        let categories = serde_json::to_string(&config.categories)
            .map_err(|error| StoreError::Damaged(format!("categories that are no JSON: {error}")))?;
        writing!(self, conn => {
            let kept = sqlx::query(
                "INSERT INTO score_configs (id, project_id, name, score_type, categories, minimum, maximum, description, \
                 is_archived, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, score_type = excluded.score_type, \
                 categories = excluded.categories, minimum = excluded.minimum, maximum = excluded.maximum, \
                 description = excluded.description, is_archived = excluded.is_archived, updated_at = excluded.updated_at \
                 WHERE score_configs.project_id = excluded.project_id",
            )
            .bind(config.id.as_uuid())
            .bind(project.as_uuid())
            .bind(config.name.as_str())
            .bind(config.score_type.as_str())
            .bind(categories.as_str())
            .bind(config.minimum)
            .bind(config.maximum)
            .bind(config.description.as_deref())
            .bind(config.is_archived)
            .bind(config.created_at.as_micros())
            .bind(config.updated_at.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            if kept != 1 {
                return Err(StoreError::NotFound);
            }
        });
        Ok(())
    }

    /// A configuration of the project.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it has none of this id.
    pub async fn score_config(&self, project: ProjectId, id: ScoreConfigId) -> Result<ScoreConfig, StoreError> {
        let row: Row = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM score_configs WHERE project_id = $1 AND id = $2")
                .bind(project.as_uuid())
                .bind(id.as_uuid())
                .fetch_one(pool)
                .await
        })?;
        row.try_into()
    }

    /// The configurations of the project, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn score_configs(&self, project: ProjectId) -> Result<Vec<ScoreConfig>, StoreError> {
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM score_configs WHERE project_id = $1 ORDER BY created_at DESC, id DESC")
                .bind(project.as_uuid())
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(ScoreConfig::try_from).collect()
    }
}
