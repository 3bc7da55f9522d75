//! Answers kept for requests with an Idempotency-Key, so that a repeated request is answered without a second call.
//!
//! A row belongs to one attempt: it has no status while the attempt is in flight, and the answer once there is one. An attempt
//! whose process died, or a row that is too old, is taken over by the next one. Which answers are kept is decided above.

use privet_domain::id::{ApiKeyId, ReplicaId, RequestId};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::db::{Store, writing};
use crate::error::StoreError;

/// An attempt at a request that carries an Idempotency-Key.
#[derive(Clone, Debug)]
pub struct IdempotencyClaim {
    /// The line of keys that it belongs to: each has Idempotency-Keys of its own.
    pub family_id: ApiKeyId,
    /// The Idempotency-Key.
    pub key: String,
    /// What tells the request from another one.
    pub request_hash: [u8; 32],
    /// The attempt.
    pub request_id: RequestId,
    /// The server that makes it.
    pub replica_id: ReplicaId,
    /// Now.
    pub at: Timestamp,
    /// Rows as old as this count no more.
    pub expired_at: Timestamp,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to the answer itself, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body; `None` for one that was too large.
    pub body: Option<Vec<u8>>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The row is this attempt's: it must be finished by [`Store::keep_answer`] or [`Store::forget_claim`].
    First,
    /// An attempt before this one was answered.
    Answered {
        /// That attempt.
        by: RequestId,
        /// Its answer.
        answer: KeptAnswer,
    },
    /// An attempt before this one is not answered yet.
    InFlight,
    /// The key was used for another request.
    Mismatch,
}

#[derive(sqlx::FromRow)]
struct Row {
    request_hash: Vec<u8>,
    request_id: Uuid,
    status: Option<i64>,
    headers: Option<String>,
    body: Option<Vec<u8>>,
}

/// One statement decides who is first. A server that was fenced itself claims nothing: its rows would be taken over at once.
const CLAIM: &str = "INSERT INTO idempotency (key_id, idempotency_key, request_hash, request_id, replica_id, created_at) \
    SELECT $1, $2, $3, $4, $5, $6 WHERE EXISTS (SELECT 1 FROM replicas WHERE id = $5 AND fenced_at IS NULL) \
    ON CONFLICT (key_id, idempotency_key) DO UPDATE SET request_hash = excluded.request_hash, \
    request_id = excluded.request_id, replica_id = excluded.replica_id, created_at = excluded.created_at, \
    status = NULL, headers = NULL, body = NULL \
    WHERE idempotency.created_at <= $7 OR (idempotency.status IS NULL \
    AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.id = idempotency.replica_id AND r.fenced_at IS NULL))";

impl Store {
    /// Claims an Idempotency-Key for an attempt, or says what there is.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the server was taken for dead.
    pub async fn claim_idempotency_key(&self, claim: &IdempotencyClaim) -> Result<Claimed, StoreError> {
        let found: Option<Row> = writing!(self, conn => {
            let claimed = sqlx::query(CLAIM)
                .bind(claim.family_id.as_uuid())
                .bind(claim.key.as_str())
                .bind(claim.request_hash.as_slice())
                .bind(claim.request_id.as_uuid())
                .bind(claim.replica_id.as_uuid())
                .bind(claim.at.as_micros())
                .bind(claim.expired_at.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected();
            if claimed == 1 {
                None
            } else {
                let row = sqlx::query_as(
                    "SELECT request_hash, request_id, status, headers, body FROM idempotency \
                     WHERE key_id = $1 AND idempotency_key = $2",
                )
                .bind(claim.family_id.as_uuid())
                .bind(claim.key.as_str())
                .fetch_optional(&mut *conn)
                .await?;
                Some(row.ok_or(StoreError::Fenced)?)
            }
        });
        found.map_or(Ok(Claimed::First), |row| claimed(row, claim))
    }

    /// Keeps the answer of an attempt, unless the row has become another one's. When this returns, it is durable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_answer(&self, claim: &IdempotencyClaim, answer: &KeptAnswer) -> Result<(), StoreError> {
        let headers = serde_json::to_string(&answer.headers).map_err(|error| StoreError::Damaged(error.to_string()))?;
        writing!(self, conn => {
            sqlx::query(
                "UPDATE idempotency SET status = $4, headers = $5, body = $6 \
                 WHERE key_id = $1 AND idempotency_key = $2 AND request_id = $3",
            )
            .bind(claim.family_id.as_uuid())
            .bind(claim.key.as_str())
            .bind(claim.request_id.as_uuid())
            .bind(i64::from(answer.status))
            .bind(headers.as_str())
            .bind(answer.body.as_deref())
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// Forgets an attempt that got no answer worth keeping, unless the row has become another one's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_claim(&self, claim: &IdempotencyClaim) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("DELETE FROM idempotency WHERE key_id = $1 AND idempotency_key = $2 AND request_id = $3")
                .bind(claim.family_id.as_uuid())
                .bind(claim.key.as_str())
                .bind(claim.request_id.as_uuid())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Deletes rows as old as `expired_at`, at most `rows_max` of them. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_idempotency(&self, expired_at: Timestamp, rows_max: u32) -> Result<u64, StoreError> {
        Ok(writing!(self, conn => {
            sqlx::query(
                "DELETE FROM idempotency WHERE (key_id, idempotency_key) IN \
                 (SELECT key_id, idempotency_key FROM idempotency WHERE created_at <= $1 ORDER BY created_at LIMIT $2)",
            )
            .bind(expired_at.as_micros())
            .bind(i64::from(rows_max))
            .execute(&mut *conn)
            .await?
            .rows_affected()
        }))
    }
}

fn claimed(row: Row, claim: &IdempotencyClaim) -> Result<Claimed, StoreError> {
    if row.request_hash != claim.request_hash {
        return Ok(Claimed::Mismatch);
    }
    let Some(status) = row.status else { return Ok(Claimed::InFlight) };
    let damaged = || StoreError::Damaged("a kept answer".to_owned());
    let headers = serde_json::from_str(&row.headers.unwrap_or_default()).map_err(|_| damaged())?;
    let answer = KeptAnswer { status: u16::try_from(status).map_err(|_| damaged())?, headers, body: row.body };
    Ok(Claimed::Answered { by: row.request_id.into(), answer })
}
