//! Budget alerts: one for each window and percentage, and what became of its delivery.

use privet_domain::id::AlertId;
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use crate::ledger::Charge;

/// An alert to deliver.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// Its id, the same in all attempts.
    pub id: AlertId,
    /// The window.
    pub charge: Charge,
    /// The percentage that was reached.
    pub percent: u8,
    /// What is sent.
    pub body: String,
    /// When it was noticed.
    pub at: Timestamp,
}

/// An alert whose delivery is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAlert {
    /// Its id.
    pub id: AlertId,
    /// The budget.
    pub budget: String,
    /// The percentage.
    pub percent: i64,
    /// What is sent.
    pub body: String,
    /// When it was noticed.
    pub created_at: Timestamp,
    /// The attempt's number, from 1.
    pub attempt: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    budget: String,
    percent: i64,
    body: String,
    created_at: i64,
    attempts: i64,
}

const DUE: &str =
    "SELECT COUNT(*) FROM budget_alerts WHERE next_at <= $1 AND delivered_at IS NULL AND given_up_at IS NULL";
/// The outer condition holds for whoever waited for another server's update of the same row.
const TAKE: &str = "UPDATE budget_alerts SET attempts = attempts + 1, next_at = $2 \
    WHERE next_at <= $1 AND id IN (SELECT id FROM budget_alerts \
    WHERE next_at <= $1 AND delivered_at IS NULL AND given_up_at IS NULL ORDER BY next_at LIMIT $3) \
    RETURNING id, budget, percent, body, created_at, attempts";

impl Store {
    /// What all servers together settled in a window.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settled(&self, charge: &Charge) -> Result<Nanos, StoreError> {
        let settled: i64 = reading!(self, pool => {
            sqlx::query_scalar(
                "SELECT CAST(COALESCE(SUM(settled_nanos), 0) AS BIGINT) FROM budget_slices \
                 WHERE budget = $1 AND window_start = $2",
            )
            .bind(&*charge.budget)
            .bind(charge.window_start.as_micros())
            .fetch_one(pool)
            .await
        })?;
        Ok(Nanos::new(settled))
    }

    /// Adds alerts that are due at once. One for the same window and percentage stays as it is.
    ///
    /// # Errors
    /// When the database fails; then none of them is added.
    pub async fn add_alerts(&self, alerts: &[NewAlert]) -> Result<(), StoreError> {
        writing!(self, conn => {
            for alert in alerts {
                sqlx::query(
                    "INSERT INTO budget_alerts (id, budget, window_start, percent, body, created_at, next_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (budget, window_start, percent) DO NOTHING",
                )
                .bind(alert.id.as_uuid())
                .bind(&*alert.charge.budget)
                .bind(alert.charge.window_start.as_micros())
                .bind(i64::from(alert.percent))
                .bind(alert.body.as_str())
                .bind(alert.at.as_micros())
                .execute(&mut *conn)
                .await?;
            }
        });
        Ok(())
    }

    /// Takes alerts that are due for an attempt: nobody else takes them before `until`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_due_alerts(
        &self,
        now: Timestamp,
        until: Timestamp,
        most: u32,
    ) -> Result<Vec<DueAlert>, StoreError> {
        // Mostly there is none, and looking needs no place in the queue of writers.
        let due: i64 = reading!(self, pool => sqlx::query_scalar(DUE).bind(now.as_micros()).fetch_one(pool).await)?;
        if due == 0 {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = writing!(self, conn => {
            sqlx::query_as(TAKE)
                .bind(now.as_micros())
                .bind(until.as_micros())
                .bind(i64::from(most))
                .fetch_all(&mut *conn)
                .await?
        });
        let alert = |row: Row| DueAlert {
            id: row.id.into(),
            budget: row.budget,
            percent: row.percent,
            body: row.body,
            created_at: Timestamp::from_micros(row.created_at),
            attempt: row.attempts,
        };
        Ok(rows.into_iter().map(alert).collect())
    }

    /// Notes that an alert was delivered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_delivered(&self, id: AlertId, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("UPDATE budget_alerts SET delivered_at = $2 WHERE id = $1")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Notes that an attempt failed, and when the next one is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_failed(&self, id: AlertId, next_at: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("UPDATE budget_alerts SET next_at = $2 WHERE id = $1 AND delivered_at IS NULL")
                .bind(id.as_uuid())
                .bind(next_at.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Notes that nobody tries to deliver an alert any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_given_up(&self, id: AlertId, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("UPDATE budget_alerts SET given_up_at = $2 WHERE id = $1 AND delivered_at IS NULL")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }
}
