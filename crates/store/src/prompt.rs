//! Prompts: their versions, which are never changed, their labels and tags, and which of them stand in which.
//!
//! What a name, a label or a body may be is decided above. `latest` is not kept: it is the highest version.

mod label;
mod list;
mod removal;

use privet_domain::id::{ProjectId, PromptId};
use privet_domain::prompt::reference::PromptReference;
use privet_domain::prompt::{LATEST, PromptKind, Selector};
use privet_domain::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;

pub use removal::{PromptRemoval, PromptUse};

/// What may be known of a version without reading its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptHead {
    /// The prompt's name.
    pub name: String,
    /// Whether it is a text or a thread.
    pub kind: PromptKind,
    /// The tags that all its versions share.
    pub tags: Vec<String>,
    /// The version's number, from 1.
    pub version: u32,
    /// The labels that point to it, `latest` last.
    pub labels: Vec<String>,
    /// Why it was made.
    pub commit_message: Option<String>,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was made, or a label last came or went.
    pub updated_at: Timestamp,
}

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPrompt {
    /// All but its text.
    pub head: PromptHead,
    /// What it says, JSON.
    pub body: String,
    /// What goes along with it, JSON.
    pub config: String,
}

/// A prompt that a project gets once, so that a deleted one stays away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Starter {
    /// The one that chats begin with.
    Chat,
    /// The one that memories are described by.
    Describing,
}

impl Starter {
    const fn column(self) -> &'static str {
        match self {
            Self::Chat => "prompts_begun_at",
            Self::Describing => "describing_begun_at",
        }
    }
}

/// A version to make.
#[derive(Clone, Debug)]
pub struct NewPromptVersion<'a> {
    /// The prompt's name.
    pub name: &'a str,
    /// Whether it is a text or a thread: as the versions before it.
    pub kind: PromptKind,
    /// What it says, JSON.
    pub body: &'a str,
    /// What goes along with it, JSON.
    pub config: &'a str,
    /// Why it is made.
    pub commit_message: Option<&'a str>,
    /// Who makes it.
    pub author: &'a str,
    /// Labels that shall point to it; not `latest`.
    pub labels: &'a [String],
    /// The tags of all versions; `None` leaves them.
    pub tags: Option<&'a [String]>,
    /// The prompts that stand in it.
    pub references: &'a [PromptReference],
    /// The version that must be the highest still, 0 where there must be none.
    pub base: Option<u32>,
}

/// What became of a version to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptCreation {
    /// It has this number.
    Created(u32),
    /// Nothing was made: the prompt is of this other kind.
    OtherKind(PromptKind),
    /// Nothing was made: this version is the highest, 0 if there is none.
    Moved(u32),
}

#[derive(sqlx::FromRow)]
struct PromptRow {
    id: Uuid,
    kind: String,
    last_version: i64,
    highest: i64,
}

#[derive(sqlx::FromRow)]
struct HeadRow {
    name: String,
    kind: String,
    tags: String,
    version: i64,
    highest: i64,
    labels: String,
    commit_message: Option<String>,
    author: String,
    created_at: i64,
    updated_at: i64,
}

#[derive(sqlx::FromRow)]
struct VersionRow {
    #[sqlx(flatten)]
    head: HeadRow,
    body: String,
    config: String,
}

const BUMP: &str = "UPDATE revisions SET version = version + 1 WHERE name = 'prompts'";

const INSERT_VERSION: &str = "INSERT INTO prompt_versions (project_id, prompt_id, version, body, config, commit_message, \
     author, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";

/// Tells of a version that a label leaves it.
const TOUCH_LABELLED: &str = "UPDATE prompt_versions SET updated_at = $4 WHERE project_id = $1 AND prompt_id = $2 \
     AND version = (SELECT version FROM prompt_labels WHERE prompt_id = $2 AND label = $3)";

const MOVE_LABEL: &str = "INSERT INTO prompt_labels (project_id, prompt_id, label, version) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (prompt_id, label) DO UPDATE SET version = excluded.version";

impl Store {
    /// Makes a version, and the prompt if it is the first. Its labels leave the versions that had them.
    ///
    /// # Errors
    /// When the project is unknown or the database fails.
    pub async fn create_prompt_version(
        &self,
        project: ProjectId,
        new: &NewPromptVersion<'_>,
        now: Timestamp,
    ) -> Result<PromptCreation, StoreError> {
        let project = project.as_uuid();
        let tags = new.tags.map(json_list);
        Ok(writing!(self, conn => {
            // This locks the prompt, so that two versions made at once have different numbers.
            let row: PromptRow = sqlx::query_as(
                "INSERT INTO prompts (id, project_id, name, kind, tags, last_version, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, COALESCE($5, '[]'), 0, $6, $6) ON CONFLICT (project_id, name) DO UPDATE \
                 SET tags = COALESCE($5, prompts.tags), updated_at = excluded.updated_at \
                 RETURNING id, kind, last_version, \
                 COALESCE((SELECT MAX(v.version) FROM prompt_versions v WHERE v.prompt_id = prompts.id), 0) AS highest",
            )
            .bind(PromptId::new().as_uuid())
            .bind(project)
            .bind(new.name)
            .bind(new.kind.as_str())
            .bind(tags.as_deref())
            .bind(now.as_micros())
            .fetch_one(&mut *conn)
            .await?;
            let (kind, highest) = (kind(&row.kind)?, number(row.highest)?);
            if kind != new.kind {
                return Ok(PromptCreation::OtherKind(kind));
            }
            if new.base.is_some_and(|base| base != highest) {
                return Ok(PromptCreation::Moved(highest));
            }
            let version = row.last_version + 1;
            sqlx::query("UPDATE prompts SET last_version = $3 WHERE project_id = $1 AND id = $2")
                .bind(project).bind(row.id).bind(version).execute(&mut *conn).await?;
            sqlx::query(INSERT_VERSION)
                .bind(project).bind(row.id).bind(version).bind(new.body).bind(new.config)
                .bind(new.commit_message).bind(new.author).bind(now.as_micros()).execute(&mut *conn).await?;
            for label in new.labels {
                sqlx::query(TOUCH_LABELLED)
                    .bind(project).bind(row.id).bind(label).bind(now.as_micros()).execute(&mut *conn).await?;
                sqlx::query(MOVE_LABEL)
                    .bind(project).bind(row.id).bind(label).bind(version).execute(&mut *conn).await?;
            }
            for reference in new.references {
                let (child_version, child_label) = chosen(&reference.selector);
                sqlx::query(
                    "INSERT INTO prompt_references (project_id, prompt_id, version, child_name, child_version, child_label) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(project).bind(row.id).bind(version).bind(reference.name.as_str()).bind(child_version)
                .bind(child_label).execute(&mut *conn).await?;
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
            PromptCreation::Created(number(version)?)
        }))
    }

    /// A version of a prompt of the project; `None` if there is no such prompt, version or label.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prompt_version(
        &self,
        project: ProjectId,
        name: &str,
        selector: &Selector,
    ) -> Result<Option<StoredPrompt>, StoreError> {
        let (version, label) = chosen(selector);
        let row: Option<VersionRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT p.name, p.kind, p.tags, v.version, h.highest, v.commit_message, v.author, v.created_at, \
                 v.updated_at, v.body, v.config, COALESCE((SELECT string_agg(l.label, ' ') FROM prompt_labels l \
                 WHERE l.prompt_id = v.prompt_id AND l.version = v.version), '') AS labels \
                 FROM prompts p JOIN prompt_versions v ON v.prompt_id = p.id \
                 JOIN (SELECT prompt_id, MAX(version) AS highest FROM prompt_versions WHERE project_id = $1 \
                 GROUP BY prompt_id) h ON h.prompt_id = p.id \
                 WHERE p.project_id = $1 AND p.name = $2 AND v.version = COALESCE($3, \
                 (SELECT l.version FROM prompt_labels l WHERE l.prompt_id = p.id AND l.label = $4), \
                 CASE WHEN $5 THEN h.highest END)",
            )
            .bind(project.as_uuid())
            .bind(name)
            .bind(version)
            .bind(label)
            .bind(label == Some(LATEST))
            .fetch_optional(pool)
            .await
        })?;
        row.map(StoredPrompt::try_from).transpose()
    }

    /// Whether the project got a prompt to begin with.
    ///
    /// # Errors
    /// When the project is unknown or the database fails.
    pub async fn has_begun_prompts(&self, project: ProjectId, starter: Starter) -> Result<bool, StoreError> {
        // Only fixed pieces stand in the text.
        let select = format!("SELECT {} FROM projects WHERE id = $1", starter.column());
        let at: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar(AssertSqlSafe(select)).bind(project.as_uuid()).fetch_one(pool).await
        })?;
        Ok(at.is_some())
    }

    /// Notes that the project got a prompt to begin with.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_begun_prompts(
        &self,
        project: ProjectId,
        starter: Starter,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let column = starter.column();
        let update = format!("UPDATE projects SET {column} = COALESCE({column}, $2) WHERE id = $1");
        writing!(self, conn => {
            sqlx::query(AssertSqlSafe(update.as_str()))
                .bind(project.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// A number that grows with each change of a prompt, in any process.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prompts_revision(&self) -> Result<i64, StoreError> {
        Ok(reading!(self, pool => {
            sqlx::query_scalar("SELECT version FROM revisions WHERE name = 'prompts'").fetch_one(pool).await
        })?)
    }
}

/// The columns that a selector is bound to: a version, or a label.
fn chosen(selector: &Selector) -> (Option<i64>, Option<&str>) {
    match selector {
        Selector::Version(version) => (Some(i64::from(*version)), None),
        Selector::Label(label) => (None, Some(label.as_str())),
    }
}

fn kind(text: &str) -> Result<PromptKind, StoreError> {
    let kinds = [PromptKind::Text, PromptKind::Chat];
    let found = kinds.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| StoreError::Damaged(format!("the kind `{text}` of a prompt")))
}

fn number(version: i64) -> Result<u32, StoreError> {
    u32::try_from(version).map_err(|_| StoreError::Damaged(format!("the version {version} of a prompt")))
}

fn json_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

impl TryFrom<HeadRow> for PromptHead {
    type Error = StoreError;

    fn try_from(row: HeadRow) -> Result<Self, StoreError> {
        let mut labels: Vec<String> = row.labels.split_whitespace().map(str::to_owned).collect();
        labels.sort_unstable();
        if row.version == row.highest {
            labels.push(LATEST.to_owned());
        }
        let tags = serde_json::from_str(&row.tags);
        Ok(Self {
            kind: kind(&row.kind)?,
            tags: tags.map_err(|_| StoreError::Damaged(format!("the tags of the prompt {}", row.name)))?,
            name: row.name,
            version: number(row.version)?,
            labels,
            commit_message: row.commit_message,
            author: row.author,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}

impl TryFrom<VersionRow> for StoredPrompt {
    type Error = StoreError;

    fn try_from(row: VersionRow) -> Result<Self, StoreError> {
        Ok(Self { head: row.head.try_into()?, body: row.body, config: row.config })
    }
}
