//! Erasing a user from what must not be lost: conversations go, money stays under another name.
//!
//! The ledger must add up, so its rows keep their amounts; who it was becomes a pseudonym. Calls under way keep their name until
//! they are settled: their key is revoked first.

use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::api_key::BUMP;
use crate::db::{Store, reading, truncate_log, writing};
use crate::error::StoreError;
use crate::memory::Forgotten;
use crate::memory::rows::{MemoryRows as _, OF_USER, StandingRow};

/// What was erased of a user, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErasedRows {
    /// Conversations.
    pub conversations: u64,
    /// Their messages.
    pub messages: u64,
    /// Memories: the user's, and those of its conversations.
    pub memories: u64,
    /// Answers kept for requests with an Idempotency-Key.
    pub idempotency: u64,
    /// Answers kept for the same question.
    pub cached_answers: u64,
    /// Requests that a limit refused.
    pub refusals: u64,
    /// Keys, which are revoked and nameless now.
    pub keys: u64,
    /// Calls of the ledger, which keep their amounts under a pseudonym.
    pub calls_renamed: u64,
}

/// What a receipt says, and where to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: Uuid,
    /// The project.
    pub project_id: ProjectId,
    /// When.
    pub at: Timestamp,
    /// All that it says, as JSON.
    pub receipt: String,
}

impl Store {
    /// Revokes all keys of a user. Gives how many were not revoked before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_keys_of(&self, project: ProjectId, user: &str, now: Timestamp) -> Result<u64, StoreError> {
        let revoked = writing!(self, conn => {
            let revoked = sqlx::query(
                "UPDATE api_keys SET revoked_at = $3 WHERE project_id = $1 AND user_id = $2 AND revoked_at IS NULL",
            )
            .bind(project.as_uuid())
            .bind(user)
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            sqlx::query(BUMP).execute(&mut *conn).await?;
            revoked
        });
        Ok(revoked)
    }

    /// Erases what a user left and gives its keys and its calls the pseudonym: memories first, the rest in one transaction.
    ///
    /// # Errors
    /// When the database fails; then nothing but memories is erased.
    pub async fn erase_user(
        &self,
        project: ProjectId,
        user: &str,
        pseudonym: &str,
        now: Timestamp,
    ) -> Result<ErasedRows, StoreError> {
        // In small steps, so that other writes come between; what is left goes with the rest.
        let forgotten = self.forget(project, &Forgotten::User(user.to_owned()), now).await?;
        let own_keys = "(SELECT id FROM api_keys WHERE project_id = $1 AND user_id = $2)";
        let families = "(SELECT COALESCE(family_id, id) FROM api_keys WHERE project_id = $1 AND user_id = $2)";
        let idempotency = format!("DELETE FROM idempotency WHERE key_id IN {families}");
        let refusals = format!("DELETE FROM refusals WHERE key_id IN {own_keys}");
        let (budgets, renamed) = (budget_prefix(user), budget_prefix(pseudonym));
        let erased = writing!(self, conn => {
            let memories: Vec<StandingRow> =
                sqlx::query_as(OF_USER).bind(project.as_uuid()).bind(user).fetch_all(&mut *conn).await?;
            let memories = forgotten + conn.drop_standings(memories, now).await?;
            let mut erased = ErasedRows { memories, ..ErasedRows::default() };
            for (statement, count) in [
                (
                    "DELETE FROM cached_answers WHERE project_id = $1 AND (user_id = $2 OR conversation_id IN (\
                     SELECT id FROM conversations WHERE project_id = $1 AND user_id = $2))",
                    &mut erased.cached_answers,
                ),
                (
                    "DELETE FROM messages WHERE project_id = $1 AND conversation_id IN (\
                     SELECT id FROM conversations WHERE project_id = $1 AND user_id = $2)",
                    &mut erased.messages,
                ),
                ("DELETE FROM conversations WHERE project_id = $1 AND user_id = $2", &mut erased.conversations),
                (idempotency.as_str(), &mut erased.idempotency),
                (refusals.as_str(), &mut erased.refusals),
            ] {
                *count = sqlx::query(sqlx::AssertSqlSafe(statement))
                    .bind(project.as_uuid())
                    .bind(user)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
            }
            // Of calls that are settled nobody needs the budgets' names but who reads; those that are open settle by them.
            erased.calls_renamed = sqlx::query(
                "UPDATE calls SET user_id = $3, charges = REPLACE(charges, $4, $5) WHERE project_id = $1 AND user_id = $2",
            )
            .bind(project.as_uuid())
            .bind(user)
            .bind(pseudonym)
            .bind(&budgets)
            .bind(&renamed)
            .execute(&mut *conn)
            .await?
            .rows_affected();
            sqlx::query("UPDATE holds SET user_id = $3 WHERE project_id = $1 AND user_id = $2")
                .bind(project.as_uuid())
                .bind(user)
                .bind(pseudonym)
                .execute(&mut *conn)
                .await?;
            erased.keys = sqlx::query(
                "UPDATE api_keys SET user_id = $3, name = $3, public_key = NULL, limits = '{}', \
                 revoked_at = COALESCE(revoked_at, $4) WHERE project_id = $1 AND user_id = $2",
            )
            .bind(project.as_uuid())
            .bind(user)
            .bind(pseudonym)
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            sqlx::query(BUMP).execute(&mut *conn).await?;
            erased
        });
        Ok(erased)
    }

    /// Keeps a receipt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_receipt(&self, receipt: &Receipt) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("INSERT INTO erasures (id, project_id, at, receipt) VALUES ($1, $2, $3, $4)")
                .bind(receipt.id)
                .bind(receipt.project_id.as_uuid())
                .bind(receipt.at.as_micros())
                .bind(&receipt.receipt)
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// The receipts of a project, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn receipts(&self, project: ProjectId, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        let rows: Vec<(Uuid, i64, String)> = reading!(self, pool => {
            sqlx::query_as("SELECT id, at, receipt FROM erasures WHERE project_id = $1 ORDER BY at DESC, id DESC LIMIT $2")
                .bind(project.as_uuid())
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
        })?;
        let receipt = |(id, at, receipt)| Receipt { id, project_id: project, at: Timestamp::from_micros(at), receipt };
        Ok(rows.into_iter().map(receipt).collect())
    }

    /// Copies the log of SQLite into the database and empties it, so that nothing deleted is left in it. `false` when readers
    /// were in the way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn truncate_log(&self) -> Result<bool, StoreError> {
        truncate_log(&self.db).await
    }
}

/// How the ids of a user's budgets begin in the JSON of charges.
fn budget_prefix(user: &str) -> String {
    let quoted = serde_json::Value::from(format!("user/{user}/")).to_string();
    quoted.trim_end_matches('"').to_owned()
}
