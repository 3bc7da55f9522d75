//! What was spent, by whom and on what, and why a call cost what it cost or was refused.

use std::collections::BTreeMap;

use privet_domain::budget::Budget;
use privet_domain::id::RequestId;
use privet_domain::money::Nanos;
use privet_domain::time::Timestamp;
use privet_store::{
    CallKind, Charge, Hold, OpenCall, Outcome, Refusal, SettledCall, Settlement, Store, StoreError, UsageFilter,
    UsageRow, UsageSource,
};
use serde::Serialize;

/// Sums over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// What settled calls did cost, in nano-dollars.
    pub settled_nanos: i64,
    /// What calls under way hold, in nano-dollars.
    pub held_nanos: i64,
    /// How many settled calls.
    pub calls: i64,
    /// Their input tokens.
    pub input_tokens: i64,
    /// Of them, read from the provider's cache.
    pub cached_input_tokens: i64,
    /// Their output tokens.
    pub output_tokens: i64,
    /// Of them, reasoning.
    pub reasoning_tokens: i64,
}

impl Totals {
    fn add(&mut self, row: &UsageRow) {
        self.settled_nanos = self.settled_nanos.saturating_add(row.settled.as_i64());
        self.held_nanos = self.held_nanos.saturating_add(row.held.as_i64());
        self.calls = self.calls.saturating_add(row.calls);
        self.input_tokens = self.input_tokens.saturating_add(row.input);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(row.cached_input);
        self.output_tokens = self.output_tokens.saturating_add(row.output);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(row.reasoning);
    }
}

/// Usage in all its sums. The maps are ordered by name.
#[derive(Clone, Debug, Default)]
pub struct UsageReport {
    /// Of everything.
    pub totals: Totals,
    /// By key id.
    pub by_key: BTreeMap<String, Totals>,
    /// By user.
    pub by_user: BTreeMap<String, Totals>,
    /// By `provider/model`.
    pub by_model: BTreeMap<String, Totals>,
    /// By day (UTC), as `2026-11-25`.
    pub by_day: BTreeMap<String, Totals>,
}

/// Sums up what was spent.
///
/// # Errors
/// When the store fails.
pub async fn report(store: &Store, filter: &UsageFilter) -> Result<UsageReport, StoreError> {
    let mut report = UsageReport::default();
    for row in store.usage(filter).await? {
        report.totals.add(&row);
        let day = row.day.to_string();
        let day = day.get(..10).unwrap_or(&day).to_owned();
        report.by_key.entry(row.key_id.to_string()).or_default().add(&row);
        report.by_user.entry(row.user_id.clone()).or_default().add(&row);
        report.by_model.entry(format!("{}/{}", row.provider, row.model)).or_default().add(&row);
        report.by_day.entry(day).or_default().add(&row);
    }
    Ok(report)
}

/// Where a budget stands.
#[derive(Clone, Debug)]
pub struct BudgetStanding {
    /// The budget's id.
    pub budget: String,
    /// The whole of it.
    pub limit: Nanos,
    /// What is settled in its present window.
    pub settled: Nanos,
    /// What calls under way hold of it, and calls whose process died.
    pub held: Nanos,
    /// The present window's start.
    pub window_start: Timestamp,
    /// When it is full again; `None` for one that lasts for ever.
    pub resets_at: Option<Timestamp>,
}

/// Where budgets stand now.
///
/// # Errors
/// When the store fails.
pub async fn standings(
    store: &Store,
    budgets: impl IntoIterator<Item = &Budget>,
    now: Timestamp,
) -> Result<Vec<BudgetStanding>, StoreError> {
    let mut standings = Vec::new();
    for budget in budgets {
        let (id, window) = (budget.id(), budget.window(now));
        let standing = store.standing(&Charge { budget: id.as_str().into(), window_start: window.start }).await?;
        standings.push(BudgetStanding {
            budget: id,
            limit: budget.amount,
            settled: standing.settled,
            held: standing.held,
            window_start: window.start,
            resets_at: window.end,
        });
    }
    Ok(standings)
}

/// What is known of a request.
#[derive(Clone, Debug)]
pub enum Explanation {
    /// It made calls.
    Calls(CallsOfRequest),
    /// A limit refused it.
    Refused(Box<Refusal>),
}

/// The calls of a request: one, or several where one failed or took its time.
#[derive(Clone, Debug)]
pub struct CallsOfRequest {
    /// Those that were answered, or failed, and are paid, in their order.
    pub settled: Vec<SettledCall>,
    /// Those under way; or their process died, and their holds wait for `privet reconcile`.
    pub open: Vec<OpenCall>,
}

impl CallsOfRequest {
    /// What all of them have in common: the first that there is.
    #[must_use]
    pub fn first(&self) -> Option<&OpenCall> {
        self.settled.first().map(|call| &call.begun).or(self.open.first())
    }
}

/// Why a request cost what it cost, or was refused; `None` if nothing is known of it.
///
/// # Errors
/// When the store fails.
pub async fn explain(store: &Store, id: RequestId) -> Result<Option<Explanation>, StoreError> {
    // Those that are open are read first: one that is settled meanwhile is then seen twice rather than never.
    let mut open = store.open_calls_of(id).await?;
    let settled = store.settled_calls(id).await?;
    open.retain(|call| settled.iter().all(|other| other.begun.id != call.id));
    if !settled.is_empty() || !open.is_empty() {
        return Ok(Some(Explanation::Calls(CallsOfRequest { settled, open })));
    }
    match store.refusal(id).await {
        Err(StoreError::NotFound) => Ok(None),
        refusal => Ok(Some(Explanation::Refused(Box::new(refusal?)))),
    }
}

/// What to do with the holds of calls whose process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciliation {
    /// They did cost what was held: the provider may have answered.
    Charge,
    /// They cost nothing: the provider's own bill says so.
    Release,
}

/// Settles a call whose process died.
///
/// # Errors
/// When the store fails.
pub async fn reconcile(store: &Store, call: &OpenCall, how: Reconciliation, now: Timestamp) -> Result<(), StoreError> {
    let Some(replica_id) = call.replica_id else { return Ok(()) };
    let kind = CallKind::parse(&call.kind)
        .ok_or_else(|| StoreError::Damaged(format!("the call {} is of no known kind: `{}`", call.id, call.kind)))?;
    let hold = Hold {
        id: call.id,
        replica_id,
        project_id: call.project_id,
        key_id: call.key_id,
        user_id: call.user_id.as_str().into(),
        kind,
        provider: call.provider.clone(),
        model: call.model.clone(),
        amount: call.hold,
        price: call.price.as_deref().map(Into::into),
        charges: call.charges.clone(),
        at: call.created_at,
    };
    let (cost, source) = match how {
        Reconciliation::Charge => (call.hold, UsageSource::Bounded),
        Reconciliation::Release => (Nanos::ZERO, UsageSource::Nothing),
    };
    let settlement = Settlement {
        hold: hold.into(),
        outcome: Outcome::Abandoned,
        cost,
        usage: privet_domain::usage::Usage::default(),
        source,
        tier: None,
        bill: None,
        at: now,
    };
    store.end_call(settlement, None).await
}
