//! The ledger: the hold that is written before a call, and the settlement that takes its place.
//!
//! A call is settled once: its hold is deleted and its row added in one transaction, and a settlement without a hold changes
//! nothing. What a replica settles is added to its slices of the budgets in the same transaction.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use privet_domain::id::{ApiKeyId, ProjectId, ReplicaId, RequestId};
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use privet_domain::usage::Usage;
use sqlx::types::Uuid;
use sqlx::{PgConnection, SqliteConnection};

use crate::error::StoreError;
use crate::statements::{self, chunks};
use crate::writer::Write;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A chat.
    Chat,
    /// Embeddings.
    Embeddings,
    /// Judging how well texts fit a question.
    Rerank,
    /// Pictures.
    Images,
    /// Whether something is harmful.
    Moderation,
    /// A text, spoken.
    Speech,
    /// The words of a recording.
    Transcription,
}

impl CallKind {
    /// Its name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::Moderation => "moderation",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
        }
    }

    /// By its name; `None` if there is no such kind.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Chat,
            Self::Embeddings,
            Self::Rerank,
            Self::Images,
            Self::Moderation,
            Self::Speech,
            Self::Transcription,
        ];
        all.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How a call ended, for the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered to the end.
    Complete,
    /// Cut in the middle, by the provider or a time limit.
    Cut,
    /// The client left.
    Left,
    /// Stopped by a switch, a revoked key or the server's end.
    Stopped,
    /// Failed before there was anything to pay.
    Failed,
    /// Its process died; settled by hand.
    Abandoned,
}

impl Outcome {
    /// Its name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Left => "left",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Who counted the tokens of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageSource {
    /// The provider.
    Reported,
    /// Privet, at the most that they can be: the provider did not say.
    Bounded,
    /// Nobody: nothing was used.
    Nothing,
}

impl UsageSource {
    /// Its name in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Bounded => "bounded",
            Self::Nothing => "nothing",
        }
    }
}

/// A budget's window that a call is charged to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Charge {
    /// The budget's id.
    pub budget: Arc<str>,
    /// The window's start.
    pub window_start: Timestamp,
}

/// The most that a call can cost, held before it is made.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The call, by the id of its request.
    pub id: RequestId,
    /// Who holds.
    pub replica_id: ReplicaId,
    /// The project.
    pub project_id: ProjectId,
    /// The key.
    pub key_id: ApiKeyId,
    /// The user.
    pub user_id: Arc<str>,
    /// What the call is for.
    pub kind: CallKind,
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// How much.
    pub amount: Nanos,
    /// Names the row of the price book; `None` if no price is known.
    pub price: Option<Arc<str>>,
    /// The windows that it is charged to.
    pub charges: Vec<Charge>,
    /// Now.
    pub at: Timestamp,
}

impl Hold {
    /// Whether it is written at all: a call that costs nothing and that no budget bounds holds nothing.
    #[must_use]
    pub fn holds_money(&self) -> bool {
        self.amount > Nanos::ZERO || !self.charges.is_empty()
    }
}

/// What a call did cost.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Its hold.
    pub hold: Arc<Hold>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it cost.
    pub cost: Nanos,
    /// Its tokens.
    pub usage: Usage,
    /// Who counted them.
    pub source: UsageSource,
    /// The service tier that the provider named.
    pub tier: Option<String>,
    /// The lines of the bill, as JSON: `[kind, tokens, nano-dollars for a million]`.
    pub bill: Option<String>,
    /// Now.
    pub at: Timestamp,
}

#[derive(Debug)]
pub(crate) enum LedgerWrite {
    Hold(Arc<Hold>),
    Settle(Box<Settlement>),
}

/// Adds to what a replica settled in a window. Once it is fenced, what its settled calls did not need goes back at once.
const SETTLE_SLICE: &str = "UPDATE budget_slices SET settled_nanos = settled_nanos + $4, granted_nanos = granted_nanos - $5 \
                            WHERE budget = $1 AND window_start = $2 AND replica_id = $3";

/// The same function for both databases; a generic one would need a page of bounds.
macro_rules! define_apply {
    ($name:ident, $connection:ty, $statements:expr, $fenced:expr) => {
        pub(crate) async fn $name(conn: &mut $connection, writes: &[Write]) -> Result<(), StoreError> {
            let holds = holds(writes);
            let settlements = settlements(writes);
            if holds.is_empty() && settlements.is_empty() {
                return Ok(());
            }
            let mut fenced = HashSet::new();
            for replica in replicas(&holds, &settlements) {
                let fenced_at: Option<Option<i64>> =
                    sqlx::query_scalar($fenced).bind(replica.as_uuid()).fetch_optional(&mut *conn).await?;
                if fenced_at.is_none_or(|fenced_at| fenced_at.is_some()) {
                    fenced.insert(replica);
                }
            }
            if holds.iter().any(|hold| fenced.contains(&hold.replica_id)) {
                return Err(StoreError::Fenced);
            }
            for rows in chunks(&holds) {
                let mut insert = sqlx::query($statements.holds(rows.len()));
                for hold in rows {
                    insert = insert
                        .bind(hold.id.as_uuid())
                        .bind(hold.replica_id.as_uuid())
                        .bind(hold.project_id.as_uuid())
                        .bind(hold.key_id.as_uuid())
                        .bind(&*hold.user_id)
                        .bind(hold.kind.as_str())
                        .bind(hold.provider.as_str())
                        .bind(hold.model.as_str())
                        .bind(hold.amount.as_i64())
                        .bind(hold.price.as_deref())
                        .bind(charges_json(&hold.charges))
                        .bind(hold.at.as_micros());
                }
                insert.execute(&mut *conn).await?;
            }
            let mut open: HashSet<Uuid> = HashSet::with_capacity(settlements.len());
            let held: Vec<&Settlement> =
                settlements.iter().copied().filter(|settlement| settlement.hold.holds_money()).collect();
            for rows in chunks(&held) {
                let mut delete = sqlx::query_scalar::<_, Uuid>($statements.settled_holds(rows.len()));
                for settlement in rows {
                    delete = delete.bind(settlement.hold.id.as_uuid());
                }
                open.extend(delete.fetch_all(&mut *conn).await?);
            }
            let was_open =
                |settlement: &&Settlement| !settlement.hold.holds_money() || open.remove(&settlement.hold.id.as_uuid());
            let settled: Vec<&Settlement> = settlements.into_iter().filter(was_open).collect();
            for rows in chunks(&settled) {
                let mut insert = sqlx::query($statements.calls(rows.len()));
                for Settlement { hold, outcome, cost, usage, source, tier, bill, at } in rows {
                    insert = insert
                        .bind(hold.id.as_uuid())
                        .bind(hold.project_id.as_uuid())
                        .bind(hold.key_id.as_uuid())
                        .bind(&*hold.user_id)
                        .bind(hold.kind.as_str())
                        .bind(hold.provider.as_str())
                        .bind(hold.model.as_str())
                        .bind(outcome.as_str())
                        .bind(hold.amount.as_i64())
                        .bind(cost.as_i64());
                    for tokens in columns(usage) {
                        insert = insert.bind(tokens);
                    }
                    insert = insert
                        .bind(source.as_str())
                        .bind(tier.as_deref())
                        .bind(hold.price.as_deref())
                        .bind(bill.as_deref())
                        .bind(charges_json(&hold.charges))
                        .bind(hold.at.as_micros())
                        .bind(at.as_micros());
                }
                insert.execute(&mut *conn).await?;
            }
            for ((charge, replica), (cost, back)) in by_slice(&settled, &fenced) {
                sqlx::query(SETTLE_SLICE)
                    .bind(&*charge.budget)
                    .bind(charge.window_start.as_micros())
                    .bind(replica.as_uuid())
                    .bind(cost.as_i64())
                    .bind(back.as_i64())
                    .execute(&mut *conn)
                    .await?;
            }
            Ok(())
        }
    };
}

define_apply!(apply_sqlite, SqliteConnection, statements::SQLITE, "SELECT fenced_at FROM replicas WHERE id = ?");
// The row is locked against fencing until the commit: a hold is either counted by whoever fences, or refused.
define_apply!(
    apply_postgres,
    PgConnection,
    statements::POSTGRES,
    "SELECT fenced_at FROM replicas WHERE id = $1 FOR SHARE"
);

fn holds(writes: &[Write]) -> Vec<&Hold> {
    let holds = writes.iter().filter_map(|write| match &write.ledger {
        Some(LedgerWrite::Hold(hold)) => Some(&**hold),
        _ => None,
    });
    holds.collect()
}

fn settlements(writes: &[Write]) -> Vec<&Settlement> {
    let settlements = writes.iter().filter_map(|write| match &write.ledger {
        Some(LedgerWrite::Settle(settlement)) => Some(&**settlement),
        _ => None,
    });
    settlements.collect()
}

fn replicas(holds: &[&Hold], settlements: &[&Settlement]) -> BTreeSet<ReplicaId> {
    let all = holds.iter().copied().chain(settlements.iter().map(|settlement| &*settlement.hold));
    // What is charged to no budget is nobody's share.
    all.filter(|hold| !hold.charges.is_empty()).map(|hold| hold.replica_id).collect()
}

/// What each slice settles, and what of it goes back because its replica is fenced.
fn by_slice(settled: &[&Settlement], fenced: &HashSet<ReplicaId>) -> BTreeMap<(Charge, ReplicaId), (Nanos, Nanos)> {
    let mut slices: BTreeMap<(Charge, ReplicaId), (Nanos, Nanos)> = BTreeMap::new();
    for settlement in settled {
        let replica = settlement.hold.replica_id;
        let unused = settlement.hold.amount.saturating_sub(settlement.cost);
        let back = if fenced.contains(&replica) { unused } else { Nanos::ZERO };
        for charge in &settlement.hold.charges {
            let (cost, returned) = slices.entry((charge.clone(), replica)).or_default();
            *cost = cost.saturating_add(settlement.cost);
            *returned = returned.saturating_add(back);
        }
    }
    slices
}

/// The tokens in the order of the table's columns.
fn columns(usage: &Usage) -> [i64; 10] {
    [
        usage.input,
        usage.cached_input,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.audio_input,
        usage.image_input,
        usage.output,
        usage.reasoning,
        usage.audio_output,
        usage.image_output,
    ]
    .map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX))
}

fn charges_json(charges: &[Charge]) -> String {
    let pairs: Vec<(&str, i64)> =
        charges.iter().map(|charge| (&*charge.budget, charge.window_start.as_micros())).collect();
    // Texts and numbers always serialise.
    serde_json::to_string(&pairs).unwrap_or_default()
}

/// Reads what [`charges_json`] wrote.
pub(crate) fn read_charges(json: &str) -> Result<Vec<Charge>, StoreError> {
    let pairs: Vec<(String, i64)> =
        serde_json::from_str(json).map_err(|error| StoreError::Damaged(format!("the charges of a call: {error}")))?;
    let charge =
        |(budget, start): (String, i64)| Charge { budget: budget.into(), window_start: Timestamp::from_micros(start) };
    Ok(pairs.into_iter().map(charge).collect())
}
