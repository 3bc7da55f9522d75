//! Reading the ledger: what was spent by whom, what is held, and single calls with their reasons.

use privet_domain::id::{ApiKeyId, ProjectId, ReplicaId, RequestId};
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use privet_domain::usage::Usage;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use crate::ledger::{Charge, read_charges};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Which calls are counted.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Those of a project.
    pub project_id: Option<ProjectId>,
    /// Those of a key.
    pub key_id: Option<ApiKeyId>,
    /// Those of a user.
    pub user_id: Option<String>,
    /// Those made at this instant or later.
    pub since: Option<Timestamp>,
    /// Those made before this instant.
    pub until: Option<Timestamp>,
}

/// The calls of one key, user, model and day (UTC) together.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// The key.
    pub key_id: ApiKeyId,
    /// The user.
    pub user_id: String,
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// The day's first instant.
    pub day: Timestamp,
    /// How many calls; those under way are not among them.
    pub calls: i64,
    /// What they did cost.
    pub settled: Nanos,
    /// What calls under way hold.
    pub held: Nanos,
    /// All input tokens.
    pub input: i64,
    /// Of them, read from the provider's cache.
    pub cached_input: i64,
    /// All output tokens.
    pub output: i64,
    /// Of them, reasoning.
    pub reasoning: i64,
}

/// A call that is settled.
#[derive(Clone, Debug)]
pub struct SettledCall {
    /// What is known of it since it began.
    pub begun: OpenCall,
    /// How it ended, by name.
    pub outcome: String,
    /// What it cost.
    pub cost: Nanos,
    /// Its tokens.
    pub usage: Usage,
    /// Who counted them, by name.
    pub source: String,
    /// The service tier that the provider named.
    pub tier: Option<String>,
    /// The lines of the bill, as JSON: `[kind, tokens, nano-dollars for a million]`.
    pub bill: Option<String>,
    /// When it was settled.
    pub settled_at: Timestamp,
}

/// A call that is under way, or whose process died.
#[derive(Clone, Debug)]
pub struct OpenCall {
    /// The call, by the id of its request.
    pub id: RequestId,
    /// Who held; unknown of a settled call.
    pub replica_id: Option<ReplicaId>,
    /// The project.
    pub project_id: ProjectId,
    /// The key.
    pub key_id: ApiKeyId,
    /// The user.
    pub user_id: String,
    /// What it is for, by name.
    pub kind: String,
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// The hold.
    pub hold: Nanos,
    /// Names the row of the price book.
    pub price: Option<String>,
    /// The windows that it is charged to.
    pub charges: Vec<Charge>,
    /// When it began.
    pub created_at: Timestamp,
}

/// A request that a limit refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The request.
    pub id: RequestId,
    /// When.
    pub at: Timestamp,
    /// Which gate, by name.
    pub gate: String,
    /// The project of its key.
    pub project_id: ProjectId,
    /// The key.
    pub key_id: ApiKeyId,
    /// The model that it asked for.
    pub model: Option<String>,
    /// Why, as the client was told.
    pub reason: String,
}

/// What of a budget's window is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Settled.
    pub settled: Nanos,
    /// Held by calls under way, or by calls whose process died.
    pub held: Nanos,
}

/// So many refusals are kept.
const REFUSALS_MAX: i64 = 100_000;

#[derive(sqlx::FromRow)]
struct GroupRow {
    key_id: Uuid,
    user_id: String,
    provider: String,
    model: String,
    day: i64,
    calls: i64,
    settled: i64,
    held: i64,
    input: i64,
    cached_input: i64,
    output: i64,
    reasoning: i64,
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    id: Uuid,
    replica_id: Uuid,
    project_id: Uuid,
    key_id: Uuid,
    user_id: String,
    kind: String,
    provider: String,
    model: String,
    hold_nanos: i64,
    price: Option<String>,
    charges: String,
    created_at: i64,
}

#[derive(sqlx::FromRow)]
struct CallRow {
    id: Uuid,
    project_id: Uuid,
    key_id: Uuid,
    user_id: String,
    kind: String,
    provider: String,
    model: String,
    outcome: String,
    hold_nanos: i64,
    cost_nanos: i64,
    input: i64,
    cached_input: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    audio_input: i64,
    image_input: i64,
    output: i64,
    reasoning: i64,
    audio_output: i64,
    image_output: i64,
    usage_source: String,
    tier: Option<String>,
    price: Option<String>,
    bill: Option<String>,
    charges: String,
    created_at: i64,
    settled_at: i64,
}

#[derive(sqlx::FromRow)]
struct RefusalRow {
    id: Uuid,
    at: i64,
    gate: String,
    project_id: Uuid,
    key_id: Uuid,
    model: Option<String>,
    reason: String,
}

/// Conditions of a filter; each is switched off by the boolean after its value.
macro_rules! filtered {
    () => {
        "(project_id = $1 OR $2) AND (key_id = $3 OR $4) AND (user_id = $5 OR $6) AND created_at >= $7 AND created_at < $8"
    };
}

const SETTLED: &str = concat!(
    "SELECT key_id, user_id, provider, model, created_at / $9 AS day, COUNT(*) AS calls, \
     CAST(SUM(cost_nanos) AS BIGINT) AS settled, CAST(0 AS BIGINT) AS held, CAST(SUM(input) AS BIGINT) AS input, \
     CAST(SUM(cached_input) AS BIGINT) AS cached_input, CAST(SUM(output) AS BIGINT) AS output, \
     CAST(SUM(reasoning) AS BIGINT) AS reasoning FROM calls WHERE ",
    filtered!(),
    " GROUP BY key_id, user_id, provider, model, created_at / $9"
);
const HELD: &str = concat!(
    "SELECT key_id, user_id, provider, model, created_at / $9 AS day, CAST(0 AS BIGINT) AS calls, \
     CAST(0 AS BIGINT) AS settled, CAST(SUM(hold_nanos) AS BIGINT) AS held, CAST(0 AS BIGINT) AS input, \
     CAST(0 AS BIGINT) AS cached_input, CAST(0 AS BIGINT) AS output, CAST(0 AS BIGINT) AS reasoning \
     FROM holds WHERE ",
    filtered!(),
    " GROUP BY key_id, user_id, provider, model, created_at / $9"
);

impl Store {
    /// What was settled and is held, by key, user, model and day.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
        let mut rows = self.usage_groups(SETTLED, filter).await?;
        rows.extend(self.usage_groups(HELD, filter).await?);
        Ok(rows.into_iter().map(UsageRow::from).collect())
    }

    async fn usage_groups(&self, sql: &'static str, filter: &UsageFilter) -> Result<Vec<GroupRow>, StoreError> {
        let bounds =
            (filter.since.map_or(i64::MIN, Timestamp::as_micros), filter.until.map_or(i64::MAX, Timestamp::as_micros));
        Ok(reading!(self, pool => {
            sqlx::query_as(sql)
                .bind(filter.project_id.map_or(Uuid::nil(), ProjectId::as_uuid))
                .bind(filter.project_id.is_none())
                .bind(filter.key_id.map_or(Uuid::nil(), ApiKeyId::as_uuid))
                .bind(filter.key_id.is_none())
                .bind(filter.user_id.as_deref().unwrap_or_default())
                .bind(filter.user_id.is_none())
                .bind(bounds.0)
                .bind(bounds.1)
                .bind(MICROS_PER_DAY)
                .fetch_all(pool)
                .await
        })?)
    }

    /// A settled call.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of that id.
    pub async fn settled_call(&self, id: RequestId) -> Result<SettledCall, StoreError> {
        let row: CallRow = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM calls WHERE id = $1").bind(id.as_uuid()).fetch_one(pool).await
        })?;
        row.try_into()
    }

    /// The settled calls that a request made, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settled_calls(&self, request: RequestId) -> Result<Vec<SettledCall>, StoreError> {
        let (first, last) = request.of_calls();
        let rows: Vec<CallRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM calls WHERE id >= $1 AND id <= $2 ORDER BY created_at, id")
                .bind(first.as_uuid())
                .bind(last.as_uuid())
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(SettledCall::try_from).collect()
    }

    /// Calls of a request that are under way or whose process died, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_calls_of(&self, request: RequestId) -> Result<Vec<OpenCall>, StoreError> {
        let (first, last) = request.of_calls();
        let rows: Vec<HoldRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM holds WHERE id >= $1 AND id <= $2 ORDER BY created_at, id")
                .bind(first.as_uuid())
                .bind(last.as_uuid())
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(OpenCall::try_from).collect()
    }

    /// Calls that are under way or whose process died: all, or the one of that id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_calls(&self, id: Option<RequestId>) -> Result<Vec<OpenCall>, StoreError> {
        let rows: Vec<HoldRow> = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM holds WHERE (id = $1 OR $2) ORDER BY id")
                .bind(id.map_or(Uuid::nil(), RequestId::as_uuid))
                .bind(id.is_none())
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(OpenCall::try_from).collect()
    }

    /// Calls whose process died: their holds stay charged until somebody settles them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn abandoned_calls(&self) -> Result<Vec<OpenCall>, StoreError> {
        let rows: Vec<HoldRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT h.* FROM holds h JOIN replicas r ON r.id = h.replica_id WHERE r.fenced_at IS NOT NULL ORDER BY h.id",
            )
            .fetch_all(pool)
            .await
        })?;
        rows.into_iter().map(OpenCall::try_from).collect()
    }

    /// What of a budget's window all replicas together settled and hold.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing(&self, charge: &Charge) -> Result<Standing, StoreError> {
        let settled = self.settled(charge).await?;
        let open = self.open_calls(None).await?;
        let held = open.iter().filter(|call| call.charges.contains(charge)).map(|call| call.hold).sum();
        Ok(Standing { settled, held })
    }

    /// Keeps refusals; the oldest beyond a hundred thousand are dropped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_refusals(&self, refusals: &[Refusal]) -> Result<(), StoreError> {
        writing!(self, conn => {
            for refusal in refusals {
                sqlx::query(
                    "INSERT INTO refusals (id, at, gate, project_id, key_id, model, reason) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
                )
                .bind(refusal.id.as_uuid())
                .bind(refusal.at.as_micros())
                .bind(refusal.gate.as_str())
                .bind(refusal.project_id.as_uuid())
                .bind(refusal.key_id.as_uuid())
                .bind(refusal.model.as_deref())
                .bind(refusal.reason.as_str())
                .execute(&mut *conn)
                .await?;
            }
            // Ids grow with time: those before the hundred-thousandth from the end go.
            sqlx::query("DELETE FROM refusals WHERE id < (SELECT id FROM refusals ORDER BY id DESC LIMIT 1 OFFSET $1)")
                .bind(REFUSALS_MAX)
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// A kept refusal.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of that id.
    pub async fn refusal(&self, id: RequestId) -> Result<Refusal, StoreError> {
        let row: RefusalRow = reading!(self, pool => {
            sqlx::query_as("SELECT * FROM refusals WHERE id = $1").bind(id.as_uuid()).fetch_one(pool).await
        })?;
        Ok(Refusal {
            id: row.id.into(),
            at: Timestamp::from_micros(row.at),
            gate: row.gate,
            project_id: row.project_id.into(),
            key_id: row.key_id.into(),
            model: row.model,
            reason: row.reason,
        })
    }
}

impl From<GroupRow> for UsageRow {
    fn from(row: GroupRow) -> Self {
        Self {
            key_id: row.key_id.into(),
            user_id: row.user_id,
            provider: row.provider,
            model: row.model,
            day: Timestamp::from_micros(row.day.saturating_mul(MICROS_PER_DAY)),
            calls: row.calls,
            settled: Nanos::new(row.settled),
            held: Nanos::new(row.held),
            input: row.input,
            cached_input: row.cached_input,
            output: row.output,
            reasoning: row.reasoning,
        }
    }
}

impl TryFrom<HoldRow> for OpenCall {
    type Error = StoreError;

    fn try_from(row: HoldRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            replica_id: Some(row.replica_id.into()),
            project_id: row.project_id.into(),
            key_id: row.key_id.into(),
            user_id: row.user_id,
            kind: row.kind,
            provider: row.provider,
            model: row.model,
            hold: Nanos::new(row.hold_nanos),
            price: row.price,
            charges: read_charges(&row.charges)?,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl TryFrom<CallRow> for SettledCall {
    type Error = StoreError;

    fn try_from(row: CallRow) -> Result<Self, StoreError> {
        let tokens = |count: i64| u64::try_from(count).unwrap_or(0);
        let usage = Usage {
            input: tokens(row.input),
            cached_input: tokens(row.cached_input),
            cache_write_5m: tokens(row.cache_write_5m),
            cache_write_1h: tokens(row.cache_write_1h),
            audio_input: tokens(row.audio_input),
            image_input: tokens(row.image_input),
            output: tokens(row.output),
            reasoning: tokens(row.reasoning),
            audio_output: tokens(row.audio_output),
            image_output: tokens(row.image_output),
        };
        let begun = OpenCall {
            id: row.id.into(),
            replica_id: None,
            project_id: row.project_id.into(),
            key_id: row.key_id.into(),
            user_id: row.user_id,
            kind: row.kind,
            provider: row.provider,
            model: row.model,
            hold: Nanos::new(row.hold_nanos),
            price: row.price,
            charges: read_charges(&row.charges)?,
            created_at: Timestamp::from_micros(row.created_at),
        };
        Ok(Self {
            begun,
            outcome: row.outcome,
            cost: Nanos::new(row.cost_nanos),
            usage,
            source: row.usage_source,
            tier: row.tier,
            bill: row.bill,
            settled_at: Timestamp::from_micros(row.settled_at),
        })
    }
}
