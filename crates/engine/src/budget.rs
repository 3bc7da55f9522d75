//! Budgets: money is reserved before a call and given back after it. The ceiling is hard.
//!
//! A process spends from slices of the budgets that the store granted it, and decides in memory; what it reserved is written
//! as a hold before the provider is called. On SQLite a slice is all that is left of the budget, as there is one server; on
//! PostgreSQL it is a part, fetched in ever smaller portions and returned when others come up short. What can be spent at
//! all is decided by the store: the grants of a window never exceed its budget (`store/replica.rs`).
//!
//! A request for which there is no money now, but may be once calls under way are settled, waits a while.

mod rules;
mod slices;
mod tending;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use privet_domain::id::ReplicaId;
use privet_domain::money::Nanos;
use privet_domain::time::{Clock, Timestamp};
use privet_store::{Charge, GrantRequest, Hold, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use rules::{BudgetRules, Rule, Spender};
use slices::{Attempt, Slices};
pub use slices::{SettledWindow, SettledWindows};
pub use tending::LEASE;

/// So many requests may wait for money at once; one more is refused at once.
const WAITING_MAX: usize = 1024;
/// Money that another server returns is noticed this often.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Of what is left of a budget a server takes this part, as the denominator, where others share it.
const SHARE_OF_MANY: i64 = 4;
/// So often an admission begins anew after the server was fenced.
const FENCED_TRIES: usize = 3;

/// Why there is no money for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMoney {
    /// The budget that lacks it.
    pub budget: Arc<str>,
    /// The whole budget.
    pub limit: Nanos,
    /// What of it is neither settled nor held.
    pub left: Nanos,
    /// What the request may cost at most.
    pub needed: Nanos,
    /// When the budget is full again; `None` for one that lasts for ever.
    pub resets_at: Option<Timestamp>,
    /// What helps.
    pub remedy: Remedy,
}

/// What helps against a lack of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing but a larger budget or a smaller request: it is more than the whole budget.
    NeverFits,
    /// The next window of the budget.
    NextWindow,
    /// The end of calls under way, which hold money.
    CallsUnderWay,
}

/// Why money could not be reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// There is none.
    #[error("no money")]
    NoMoney(Box<NoMoney>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether other servers spend from the same budgets at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// None does: whoever did before is dead, and this one takes all that is left of a budget at once.
    Alone,
    /// Others may: each takes a part and returns it, and one that gives no sign of life is fenced.
    Shared,
}

impl Sharing {
    /// As the database allows it: the one server of a SQLite file is alone.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        if store.is_shared() { Self::Shared } else { Self::Alone }
    }

    /// Until when a replica is taken for alive without another sign.
    fn expiry(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Alone => Timestamp::from_micros(i64::MAX - 1),
            Self::Shared => now.after(tending::LEASE),
        }
    }

    /// At the start of a replica, those are dead that gave no sign since then.
    fn dead_before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Alone => Timestamp::from_micros(i64::MAX),
            Self::Shared => now,
        }
    }

    /// The part that is taken of what is left of a budget, as its denominator.
    const fn share(self) -> i64 {
        match self {
            Self::Alone => 1,
            Self::Shared => SHARE_OF_MANY,
        }
    }
}

/// What the budgets of a server are made of.
pub struct BudgetParts {
    /// Where they are kept.
    pub store: Arc<Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which budgets bound whom.
    pub rules: BudgetRules,
    /// So long a request waits for money that calls under way hold.
    pub wait: Duration,
    /// Who else spends from them.
    pub sharing: Sharing,
}

/// The budgets of a server.
pub struct Budgets {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    rules: BudgetRules,
    wait: Duration,
    sharing: Sharing,
    slices: Mutex<Slices>,
    /// Told whenever money comes back.
    returned: Notify,
    waiting: AtomicUsize,
    /// One at a time asks the store for more: the others then find it there.
    growing: tokio::sync::Mutex<()>,
}

/// Money that is reserved in memory. Dropped, it is free again; once a hold of it is durable, it is kept.
pub struct Reservation {
    budgets: Arc<Budgets>,
    /// How much.
    pub amount: Nanos,
    /// From which windows.
    pub charges: Vec<Charge>,
    /// By whom.
    pub replica_id: ReplicaId,
    is_kept: bool,
}

impl Budgets {
    /// Begins to spend as a new replica, and fences those that are dead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start(parts: BudgetParts) -> Result<Arc<Self>, StoreError> {
        let BudgetParts { store, clock, rules, wait, sharing } = parts;
        let replica_id = ReplicaId::new();
        let now = clock.now();
        store.register_replica(replica_id, sharing.expiry(now), now).await?;
        let fenced = store.fence_replicas(replica_id, sharing.dead_before(now), now).await?;
        if fenced > 0 {
            tracing::info!(fenced, "took back what servers before this one had not spent");
        }
        Ok(Arc::new(Self {
            store,
            clock,
            rules,
            wait,
            sharing,
            slices: Mutex::new(Slices::new(replica_id)),
            returned: Notify::new(),
            waiting: AtomicUsize::new(0),
            growing: tokio::sync::Mutex::new(()),
        }))
    }

    /// The budgets that bound a spender.
    #[must_use]
    pub fn rules_for(&self, spender: &Spender<'_>) -> Arc<[Arc<Rule>]> {
        self.rules.of(spender)
    }

    /// The budgets of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.configured()
    }

    /// Who this server is to the ledger.
    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        self.lock().replica_id
    }

    /// Reserves `most`, or what is left but no less than `least`, from all budgets at once.
    ///
    /// Less than `most` is given only when no call under way could bring more.
    ///
    /// # Errors
    /// When one of them lacks it, also after waiting for calls under way; or when the store fails.
    pub async fn reserve(
        self: &Arc<Self>,
        rules: &Arc<[Arc<Rule>]>,
        most: Nanos,
        least: Nanos,
    ) -> Result<Reservation, ReserveError> {
        self.reserve_within(rules, most, least, self.wait).await
    }

    /// The same, where no more than so long may be waited for calls under way.
    ///
    /// # Errors
    /// When a budget lacks it, also after waiting; or when the store fails.
    pub async fn reserve_within(
        self: &Arc<Self>,
        rules: &Arc<[Arc<Rule>]>,
        most: Nanos,
        least: Nanos,
        patience: Duration,
    ) -> Result<Reservation, ReserveError> {
        let deadline = Instant::now() + self.wait.min(patience);
        let mut place = None;
        let mut fenced = 0;
        loop {
            let may_wait = Instant::now() < deadline;
            let no_money = match self.attempt(rules, most, least, may_wait) {
                Attempt::Reserved { amount, charges, replica_id } => {
                    return Ok(Reservation { budgets: self.clone(), amount, charges, replica_id, is_kept: false });
                }
                Attempt::Grow => {
                    match self.grow(rules, most).await {
                        Err(StoreError::Fenced) if fenced < FENCED_TRIES => {
                            fenced += 1;
                            self.begin_anew(self.replica_id()).await?;
                        }
                        grown => grown?,
                    }
                    continue;
                }
                Attempt::Refused(no_money) => return Err(ReserveError::NoMoney(no_money)),
                Attempt::Wait(no_money) => no_money,
            };
            if !may_wait || !self.take_place(&mut place) {
                return Err(ReserveError::NoMoney(no_money));
            }
            let returned = self.returned.notified();
            tokio::pin!(returned);
            // Registered before looking once more, so that no return falls between the look and the wait.
            returned.as_mut().enable();
            if matches!(self.probe(rules, most), slices::Probe::Waits) {
                let look_again = (Instant::now() + LOOK_AGAIN_AFTER).min(deadline);
                let _ = tokio::time::timeout_at(look_again, returned).await;
            }
        }
    }

    /// Says that a hold is settled, once that is durable: what it did not need is free at once.
    pub fn settled(&self, hold: &Hold, cost: Nanos) {
        if hold.charges.is_empty() {
            return;
        }
        self.lock().settle(hold, cost);
        self.returned.notify_waiters();
    }

    /// The windows in which this server settled something since it was last asked.
    #[must_use]
    pub fn take_settled(&self) -> SettledWindows {
        self.lock().take_settled()
    }

    fn attempt(&self, rules: &[Arc<Rule>], most: Nanos, least: Nanos, may_wait: bool) -> Attempt {
        self.lock().attempt(rules, most, least, may_wait, self.clock.now())
    }

    fn probe(&self, rules: &[Arc<Rule>], most: Nanos) -> slices::Probe {
        self.lock().probe(rules, most, self.clock.now())
    }

    /// Asks the store for more of what is short.
    async fn grow(&self, rules: &[Arc<Rule>], most: Nanos) -> Result<(), StoreError> {
        let _one_at_a_time = self.growing.lock().await;
        for rule in rules {
            let now = self.clock.now();
            let (replica_id, wish) = {
                let mut slices = self.lock();
                (slices.replica_id, slices.wish(rule, most, now))
            };
            let Some(wish) = wish else { continue };
            if wish.excess > Nanos::ZERO {
                // The budget was lowered: all that is free goes back before anything is granted under the new one.
                self.store.return_grant(replica_id, &wish.charge, wish.excess).await?;
            }
            let request = GrantRequest {
                replica_id,
                charge: wish.charge.clone(),
                limit: rule.budget.amount,
                need: wish.need,
                share: self.sharing.share(),
                at: now,
            };
            let grant = self.store.grant(&request).await?;
            self.lock().granted(&request, &grant);
        }
        Ok(())
    }

    /// After another server fenced this one: a new replica without any grant. Holds under way settle under the old one.
    pub(crate) async fn begin_anew(&self, fenced: ReplicaId) -> Result<(), StoreError> {
        let _one_at_a_time = self.growing.lock().await;
        if self.replica_id() != fenced {
            return Ok(());
        }
        let now = self.clock.now();
        let replica_id = ReplicaId::new();
        self.store.register_replica(replica_id, self.sharing.expiry(now), now).await?;
        *self.lock() = Slices::new(replica_id);
        tracing::warn!(%replica_id, "another server took this one for dead; it goes on as a new one");
        Ok(())
    }

    fn take_place(self: &Arc<Self>, place: &mut Option<Place>) -> bool {
        if place.is_none() {
            if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            *place = Some(Place(self.clone()));
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Slices> {
        self.slices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait.
struct Place(Arc<Budgets>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Leaves the money reserved: a durable hold stands for it, which will be settled.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_kept || self.charges.is_empty() {
            return;
        }
        self.budgets.lock().release(self.replica_id, &self.charges, self.amount);
        self.budgets.returned.notify_waiters();
    }
}
