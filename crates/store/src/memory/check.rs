//! Whether the index inside SQLite has what the database has, and how to mend it: in small steps, so that other writes come between.
//! With PostgreSQL the index is another system; there [`Store::memory_versions`] is compared with what it lists.

use privet_domain::id::{EmbedderId, ProjectId};
use privet_domain::memory::{MemoryId, MemoryScope, line};
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::types::Uuid;

use super::outbox::OutboxDepth;
use super::rows::MemoryRows as _;
use crate::db::{Db, Store, reading, writing};
use crate::error::StoreError;

/// So many representations or vectors are mended in one transaction.
const STEP_ROWS: i64 = 250;

/// What is still waiting in the outbox is no drift, nor what the embedder refuses.
const WITHOUT_VECTOR: &str = "memory_representations r WHERE NOT EXISTS ( \
     SELECT 1 FROM memory_vectors v WHERE v.content_hash = r.content_hash AND v.embedder_id = $1 \
     AND length(v.vector) = 4 * (SELECT dimensions FROM embedders WHERE id = $1)) \
     AND NOT EXISTS (SELECT 1 FROM memory_outbox o WHERE o.memory_id = r.memory_id) \
     AND NOT EXISTS (SELECT 1 FROM memory_refusals x WHERE x.number = r.number AND x.embedder_id = $1)";
const WITHOUT_WORDS: &str =
    "memory_representations r WHERE NOT EXISTS (SELECT 1 FROM memory_terms_docsize d WHERE d.id = r.number)";
const WORDS_OF_NOTHING: &str = "SELECT COUNT(*) FROM memory_terms_docsize d WHERE NOT EXISTS ( \
     SELECT 1 FROM memory_representations r WHERE r.number = d.id)";
const VECTORS_OF_NOTHING: &str = "memory_vectors v WHERE NOT EXISTS ( \
     SELECT 1 FROM memory_representations r WHERE r.content_hash = v.content_hash)";
const WITHOUT_TEXT: &str = "memories m WHERE NOT EXISTS ( \
     SELECT 1 FROM memory_representations r WHERE r.memory_id = m.id AND r.kind = 'text' AND r.part = 0)";

type TextRow = (Uuid, Uuid, String, Option<String>, Option<String>, String);

/// What differs between the memories and their index. All are rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryDrift {
    /// Memories whose text is not among their representations.
    pub without_text: u64,
    /// Representations whose words are not in the index.
    pub without_words: u64,
    /// Words in the index that belong to nothing.
    pub words_of_nothing: u64,
    /// Representations without a whole vector of the embedder, while nothing in the outbox will make it.
    pub without_vector: u64,
    /// Vectors that belong to nothing.
    pub vectors_of_nothing: u64,
}

impl MemoryDrift {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.without_text + self.without_words + self.words_of_nothing + self.without_vector + self.vectors_of_nothing
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCheck {
    /// How many memories there are.
    pub memories: u64,
    /// How many representations they have.
    pub representations: u64,
    /// What differs.
    pub drift: MemoryDrift,
    /// Representations that the embedder refuses: their words alone find them.
    pub refused: u64,
    /// What waits in the outbox.
    pub outbox: OutboxDepth,
}

impl Store {
    /// Compares the memories with their index. Without an embedder no vector is missed. With PostgreSQL what is in the database
    /// alone is compared.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check_memory(&self, embedder: Option<EmbedderId>) -> Result<MemoryCheck, StoreError> {
        let count = "SELECT (SELECT COUNT(*) FROM memories), (SELECT COUNT(*) FROM memory_representations)";
        let without_text = format!("SELECT COUNT(*) FROM {WITHOUT_TEXT}");
        let ((memories, representations), without_text): ((i64, i64), i64) = reading!(self, pool => (
            sqlx::query_as(count).fetch_one(pool).await?,
            sqlx::query_scalar(sqlx::AssertSqlSafe(without_text)).fetch_one(pool).await?
        ));
        let mut drift = MemoryDrift { without_text: without_text.unsigned_abs(), ..MemoryDrift::default() };
        if let Db::Sqlite(sqlite) = &*self.db {
            let mut reader = sqlite.readers.acquire().await?;
            drift.without_words = number(&mut reader, &format!("SELECT COUNT(*) FROM {WITHOUT_WORDS}"), None).await?;
            drift.words_of_nothing = number(&mut reader, WORDS_OF_NOTHING, None).await?;
            drift.vectors_of_nothing =
                number(&mut reader, &format!("SELECT COUNT(*) FROM {VECTORS_OF_NOTHING}"), None).await?;
            if embedder.is_some() {
                let missing = format!("SELECT COUNT(*) FROM {WITHOUT_VECTOR}");
                drift.without_vector = number(&mut reader, &missing, embedder).await?;
            }
        }
        Ok(MemoryCheck {
            memories: memories.unsigned_abs(),
            representations: representations.unsigned_abs(),
            drift,
            refused: match embedder {
                Some(embedder) => self.count_refusals(embedder).await?,
                None => 0,
            },
            outbox: self.outbox_depth().await?,
        })
    }

    /// Mends some of what a check finds: words are written, what belongs to nothing is deleted, missing vectors are put into the
    /// outbox. Gives how many rows; there may be more while it is not 0.
    ///
    /// # Errors
    /// When the database fails: what was mended until then is.
    pub async fn repair_memory(&self, embedder: Option<EmbedderId>, now: Timestamp) -> Result<u64, StoreError> {
        let mut mended = self.repair_texts(now).await?;
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(mended) };
        let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
        let conn = &mut *transaction;
        if number(conn, WORDS_OF_NOTHING, None).await? > 0 {
            // Words cannot be taken out without knowing them: all go, and come again below.
            mended += 1;
            empty(conn).await?;
        }
        for statement in [
            format!(
                "INSERT INTO memory_terms (rowid, owner, text) SELECT number, owner, text FROM {WITHOUT_WORDS} LIMIT {STEP_ROWS}"
            ),
            format!(
                "DELETE FROM memory_vectors WHERE rowid IN (SELECT v.rowid FROM {VECTORS_OF_NOTHING} LIMIT {STEP_ROWS})"
            ),
        ] {
            // Only fixed pieces stand in the text.
            mended += sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *conn).await?.rows_affected();
        }
        if let Some(embedder) = embedder {
            let missing = format!("SELECT DISTINCT r.memory_id, r.project_id FROM {WITHOUT_VECTOR} LIMIT {STEP_ROWS}");
            let missing: Vec<(Uuid, Uuid)> =
                sqlx::query_as(sqlx::AssertSqlSafe(missing)).bind(embedder.as_uuid()).fetch_all(&mut *conn).await?;
            let missing: Vec<(MemoryId, ProjectId)> =
                missing.into_iter().map(|(id, project)| (id.into(), project.into())).collect();
            conn.enqueue(&missing, now).await?;
            mended += missing.len() as u64;
        }
        transaction.commit().await?;
        Ok(mended)
    }

    /// Takes all words out of the keyword index; [`Store::repair_memory`] writes them again, step by step, also after a crash.
    /// With PostgreSQL there are none.
    ///
    /// # Errors
    /// When the database fails; then the index is as it was.
    pub async fn empty_keyword_index(&self) -> Result<(), StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(()) };
        let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
        empty(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Memories without their text among the representations get it.
    async fn repair_texts(&self, now: Timestamp) -> Result<u64, StoreError> {
        let select = format!(
            "SELECT m.id, m.project_id, m.user_id, m.name, m.role, m.text FROM {WITHOUT_TEXT} ORDER BY m.id LIMIT {STEP_ROWS}"
        );
        Ok(writing!(self, conn => {
            let rows: Vec<TextRow> =
                sqlx::query_as(sqlx::AssertSqlSafe(select.as_str())).fetch_all(&mut *conn).await?;
            let mut mended = Vec::with_capacity(rows.len());
            for (id, project, user, name, role, text) in rows {
                let scope = MemoryScope::new(project.into(), user);
                let line = line(name.as_deref(), role.as_deref(), &text);
                conn.represent(id.into(), &scope, line, &[]).await?;
                mended.push((MemoryId::from(id), ProjectId::from(project)));
            }
            let ids: Vec<MemoryId> = mended.iter().map(|(id, _)| *id).collect();
            conn.revise(&ids).await?;
            conn.enqueue(&mended, now).await?;
            mended.len() as u64
        }))
    }
}

async fn empty(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO memory_terms (memory_terms) VALUES ('delete-all')").execute(&mut *conn).await?;
    Ok(())
}

/// One number; only fixed pieces stand in the text.
async fn number(conn: &mut SqliteConnection, sql: &str, bound: Option<EmbedderId>) -> Result<u64, sqlx::Error> {
    let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql.to_owned()));
    let query = match bound {
        Some(id) => query.bind(id.as_uuid()),
        None => query,
    };
    Ok(query.fetch_one(conn).await?.unsigned_abs())
}
