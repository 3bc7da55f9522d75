//! Replicas and their slices of the budgets.
//!
//! What makes a ceiling hard: in each window of a budget the grants of all replicas together never exceed the budget, and a
//! replica never holds and settles more than it was granted. Grants are given and returned under the lock of the window's
//! row; holds and settlements touch only the replica's own rows.
//!
//! A replica that shows no sign of life is fenced: it may hold no more, and what it was granted shrinks to what it has settled
//! and holds. Whoever fences waits for its commit under way, and its next one is refused, so it does not matter whose clock
//! is right.

use privet_domain::id::ReplicaId;
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use crate::ledger::{Charge, read_charges};

/// A replica asks for more of a window.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    /// Who asks.
    pub replica_id: ReplicaId,
    /// Of which window.
    pub charge: Charge,
    /// The whole budget.
    pub limit: Nanos,
    /// How much is needed at least.
    pub need: Nanos,
    /// How much is taken if there is more: this part of what is there, as its denominator (1 takes all).
    pub share: i64,
    /// Now.
    pub at: Timestamp,
}

/// What a replica got, and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How much more it may spend.
    pub granted: Nanos,
    /// What other replicas were granted.
    pub elsewhere: Nanos,
    /// What of that live ones have not settled: it may come back by itself.
    pub elsewhere_open: Nanos,
}

const GIVE: &str = "INSERT INTO budget_slices (budget, window_start, replica_id, granted_nanos) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (budget, window_start, replica_id) \
                    DO UPDATE SET granted_nanos = budget_slices.granted_nanos + excluded.granted_nanos";
/// Locks the window's row, made if missing.
const LOCK_WINDOW: &str = "INSERT INTO budget_windows (budget, window_start) VALUES ($1, $2) \
                           ON CONFLICT (budget, window_start) DO UPDATE SET wanted_at = budget_windows.wanted_at";
/// Locks the replica's row against fencing, and tells whether it was.
const LIVES: &str = "UPDATE replicas SET started_at = started_at WHERE id = $1 AND fenced_at IS NULL";

impl Store {
    /// Makes a replica known, which from then on may be granted money until it is fenced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register_replica(
        &self,
        id: ReplicaId,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("INSERT INTO replicas (id, started_at, expires_at) VALUES ($1, $2, $3)")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .bind(expires_at.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Gives a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it comes too late.
    pub async fn renew_replica(&self, id: ReplicaId, expires_at: Timestamp) -> Result<(), StoreError> {
        let renewed = writing!(self, conn => {
            sqlx::query("UPDATE replicas SET expires_at = $2 WHERE id = $1 AND fenced_at IS NULL")
                .bind(id.as_uuid())
                .bind(expires_at.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        if renewed == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }

    /// Ends a replica that has settled all its calls and returned what it did not use.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_replica(&self, id: ReplicaId, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            let open: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM holds WHERE replica_id = $1")
                .bind(id.as_uuid())
                .fetch_one(&mut *conn)
                .await?;
            // One that leaves calls open is fenced by its successor, which takes them into account.
            if open == 0 {
                sqlx::query("UPDATE replicas SET fenced_at = $2 WHERE id = $1 AND fenced_at IS NULL")
                    .bind(id.as_uuid())
                    .bind(now.as_micros())
                    .execute(&mut *conn)
                    .await?;
            }
        });
        Ok(())
    }

    /// Fences all other replicas whose sign of life is older than `expired_before`, and takes back what they did not use.
    /// Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fence_replicas(
        &self,
        but: ReplicaId,
        expired_before: Timestamp,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let fenced = writing!(self, conn => {
            let fenced: Vec<Uuid> = sqlx::query_scalar(
                "UPDATE replicas SET fenced_at = $3 WHERE fenced_at IS NULL AND id <> $1 AND expires_at < $2 RETURNING id",
            )
            .bind(but.as_uuid())
            .bind(expired_before.as_micros())
            .bind(now.as_micros())
            .fetch_all(&mut *conn)
            .await?;
            for replica in &fenced {
                sqlx::query("UPDATE budget_slices SET granted_nanos = settled_nanos WHERE replica_id = $1")
                    .bind(replica)
                    .execute(&mut *conn)
                    .await?;
                let open: Vec<(i64, String)> =
                    sqlx::query_as("SELECT hold_nanos, charges FROM holds WHERE replica_id = $1")
                        .bind(replica)
                        .fetch_all(&mut *conn)
                        .await?;
                for (nanos, charges) in open {
                    for charge in read_charges(&charges)? {
                        sqlx::query(
                            "UPDATE budget_slices SET granted_nanos = granted_nanos + $4 \
                             WHERE budget = $1 AND window_start = $2 AND replica_id = $3",
                        )
                        .bind(&*charge.budget)
                        .bind(charge.window_start.as_micros())
                        .bind(replica)
                        .bind(nanos)
                        .execute(&mut *conn)
                        .await?;
                    }
                }
            }
            fenced.len()
        });
        Ok(fenced)
    }

    /// Grants a replica more of a window, as far as there is more. One that gets less than it needs is noted, so that others
    /// return what they do not use.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the replica is.
    pub async fn grant(&self, request: &GrantRequest) -> Result<Grant, StoreError> {
        let (budget, start) = (&*request.charge.budget, request.charge.window_start.as_micros());
        let grant = writing!(self, conn => {
            sqlx::query(LOCK_WINDOW).bind(budget).bind(start).execute(&mut *conn).await?;
            let lives = sqlx::query(LIVES).bind(request.replica_id.as_uuid()).execute(&mut *conn).await?.rows_affected();
            if lives != 1 {
                return Err(StoreError::Fenced);
            }
            let (all, others, open): (i64, i64, i64) = sqlx::query_as(
                "SELECT CAST(COALESCE(SUM(granted_nanos), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(CASE WHEN replica_id <> $3 THEN granted_nanos ELSE 0 END), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(CASE WHEN replica_id <> $3 AND replica_id IN (SELECT id FROM replicas WHERE fenced_at IS NULL) \
                 THEN granted_nanos - settled_nanos ELSE 0 END), 0) AS BIGINT) \
                 FROM budget_slices WHERE budget = $1 AND window_start = $2",
            )
            .bind(budget)
            .bind(start)
            .bind(request.replica_id.as_uuid())
            .fetch_one(&mut *conn)
            .await?;
            let there = request.limit.as_i64().saturating_sub(all).max(0);
            let given = request.need.as_i64().max(there / request.share.max(1)).min(there);
            // A row of nothing still says that this replica was here, which settlements rely on.
            sqlx::query(GIVE)
                .bind(budget)
                .bind(start)
                .bind(request.replica_id.as_uuid())
                .bind(given)
                .execute(&mut *conn)
                .await?;
            if given < request.need.as_i64() && others > 0 {
                sqlx::query("UPDATE budget_windows SET wanted_at = $3 WHERE budget = $1 AND window_start = $2")
                    .bind(budget)
                    .bind(start)
                    .bind(request.at.as_micros())
                    .execute(&mut *conn)
                    .await?;
            }
            Grant { granted: Nanos::new(given), elsewhere: Nanos::new(others), elsewhere_open: Nanos::new(open) }
        });
        Ok(grant)
    }

    /// Returns a part of what a replica was granted. The caller must not spend it any more.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the replica is: then it has been taken back already.
    pub async fn return_grant(&self, replica: ReplicaId, charge: &Charge, amount: Nanos) -> Result<(), StoreError> {
        writing!(self, conn => {
            let lives = sqlx::query(LIVES).bind(replica.as_uuid()).execute(&mut *conn).await?.rows_affected();
            if lives != 1 {
                return Err(StoreError::Fenced);
            }
            sqlx::query(
                "UPDATE budget_slices SET granted_nanos = granted_nanos - $4 \
                 WHERE budget = $1 AND window_start = $2 AND replica_id = $3",
            )
            .bind(&*charge.budget)
            .bind(charge.window_start.as_micros())
            .bind(replica.as_uuid())
            .bind(amount.as_i64())
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// The windows in which a replica came up short since then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wanted_windows(&self, since: Timestamp) -> Result<Vec<Charge>, StoreError> {
        let rows: Vec<(String, i64)> = reading!(self, pool => {
            sqlx::query_as("SELECT budget, window_start FROM budget_windows WHERE wanted_at >= $1")
                .bind(since.as_micros())
                .fetch_all(pool)
                .await
        })?;
        let charge = |(budget, start): (String, i64)| Charge {
            budget: budget.into(),
            window_start: Timestamp::from_micros(start),
        };
        Ok(rows.into_iter().map(charge).collect())
    }
}
