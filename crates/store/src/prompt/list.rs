//! What prompts there are, and which of them say something.

use privet_domain::id::ProjectId;
use sqlx::QueryBuilder;

use super::{HeadRow, PromptHead};
use crate::db::{Store, reading};
use crate::error::StoreError;

impl Store {
    /// All versions of all prompts of the project, or of the one of that name: by name, the highest version first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prompt_heads(&self, project: ProjectId, name: Option<&str>) -> Result<Vec<PromptHead>, StoreError> {
        let rows: Vec<HeadRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT p.name, p.kind, p.tags, v.version, h.highest, v.commit_message, v.author, v.created_at, \
                 v.updated_at, COALESCE(l.labels, '') AS labels \
                 FROM prompts p JOIN prompt_versions v ON v.prompt_id = p.id \
                 JOIN (SELECT prompt_id, MAX(version) AS highest FROM prompt_versions WHERE project_id = $1 \
                 GROUP BY prompt_id) h ON h.prompt_id = p.id \
                 LEFT JOIN (SELECT prompt_id, version, string_agg(label, ' ') AS labels FROM prompt_labels \
                 WHERE project_id = $1 GROUP BY prompt_id, version) l \
                 ON l.prompt_id = v.prompt_id AND l.version = v.version \
                 WHERE p.project_id = $1 AND p.name = COALESCE($2, p.name) ORDER BY p.name, v.version DESC",
            )
            .bind(project.as_uuid())
            .bind(name)
            .fetch_all(pool)
            .await
        })?;
        let mut heads = rows.into_iter().map(PromptHead::try_from).collect::<Result<Vec<_>, _>>()?;
        // The databases order texts by different rules.
        heads.sort_by(|one, other| one.name.cmp(&other.name).then(other.version.cmp(&one.version)));
        Ok(heads)
    }

    /// The configurations of versions of a project, JSON, each with its prompt's name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prompt_configs(
        &self,
        project: ProjectId,
        versions: &[(&str, u32)],
    ) -> Result<Vec<(String, u32, String)>, StoreError> {
        let mut found = Vec::with_capacity(versions.len());
        // So many values fit into one statement of either database.
        for part in versions.chunks(500) {
            let rows: Vec<(String, i64, String)> = reading!(self, pool => {
                let mut query = QueryBuilder::new(
                    "SELECT p.name, v.version, v.config FROM prompts p JOIN prompt_versions v ON v.prompt_id = p.id \
                     WHERE p.project_id = ",
                );
                query.push_bind(project.as_uuid()).push(" AND (");
                for (index, (name, version)) in part.iter().enumerate() {
                    query.push(if index == 0 { "(p.name = " } else { " OR (p.name = " });
                    query.push_bind((*name).to_owned()).push(" AND v.version = ");
                    query.push_bind(i64::from(*version)).push(")");
                }
                query.push(")");
                query.build_query_as().fetch_all(pool).await
            })?;
            for (name, version, config) in rows {
                found.push((name, super::number(version)?, config));
            }
        }
        Ok(found)
    }

    /// The names of the prompts whose highest version says `text`, whatever the case of its letters.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prompts_saying(&self, project: ProjectId, text: &str) -> Result<Vec<String>, StoreError> {
        // Bodies are kept as JSON: the text is sought as it stands there.
        let json = serde_json::Value::from(text).to_string();
        let escaped = json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_lowercase();
        let escaped = escaped.replace('!', "!!").replace('%', "!%").replace('_', "!_");
        Ok(reading!(self, pool => {
            sqlx::query_scalar(
                "SELECT p.name FROM prompts p JOIN prompt_versions v ON v.prompt_id = p.id \
                 WHERE p.project_id = $1 AND lower(v.body) LIKE $2 ESCAPE '!' AND v.version = \
                 (SELECT MAX(h.version) FROM prompt_versions h WHERE h.prompt_id = p.id)",
            )
            .bind(project.as_uuid())
            .bind(format!("%{escaped}%"))
            .fetch_all(pool)
            .await
        })?)
    }
}
