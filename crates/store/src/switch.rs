//! Switches: what is switched off, for all servers of a database.

use privet_domain::time::Timestamp;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;

/// Something that is switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchedOff {
    /// `global`, `key/ID` or `provider/NAME`.
    pub scope: String,
    /// Why, in the words of whoever did it.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

const BUMP: &str = "UPDATE revisions SET version = version + 1 WHERE name = 'switches'";

impl Store {
    /// Switches something off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn switch_off(&self, switch: &SwitchedOff) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query(
                "INSERT INTO switches (scope, reason, at) VALUES ($1, $2, $3) \
                 ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason, at = excluded.at",
            )
            .bind(switch.scope.as_str())
            .bind(switch.reason.as_str())
            .bind(switch.at.as_micros())
            .execute(&mut *conn)
            .await?;
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// Switches something on again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not off.
    pub async fn switch_on(&self, scope: &str) -> Result<(), StoreError> {
        writing!(self, conn => {
            let deleted =
                sqlx::query("DELETE FROM switches WHERE scope = $1").bind(scope).execute(&mut *conn).await?.rows_affected();
            if deleted != 1 {
                return Err(StoreError::NotFound);
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// All that is switched off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn switches(&self) -> Result<Vec<SwitchedOff>, StoreError> {
        let rows: Vec<(String, String, i64)> = reading!(self, pool => {
            sqlx::query_as("SELECT scope, reason, at FROM switches ORDER BY scope").fetch_all(pool).await
        })?;
        let switch = |(scope, reason, at)| SwitchedOff { scope, reason, at: Timestamp::from_micros(at) };
        Ok(rows.into_iter().map(switch).collect())
    }

    /// A number that grows with each change of a switch, in any process.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn switches_revision(&self) -> Result<i64, StoreError> {
        Ok(reading!(self, pool => {
            sqlx::query_scalar("SELECT version FROM revisions WHERE name = 'switches'").fetch_one(pool).await
        })?)
    }
}
