//! A window of a budget is filled once, whatever the clock does.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::budget::{Budget, BudgetScope, ZoneName};
use privet_domain::id::{ApiKeyId, ProjectId, RequestId};
use privet_domain::money::Nanos;
use privet_domain::time::Clock as _;
use privet_engine::budget::{BudgetParts, BudgetRules, Budgets, Reservation, ReserveError, Rule, Sharing};
use privet_store::{CallKind, Hold, Store};

use crate::bed::{Bed, HandClock, with_time_by_hand};
use crate::step::settlement;
use crate::world::rule;

/// One server with one budget.
struct Spender {
    store: Arc<Store>,
    clock: HandClock,
    budgets: Arc<Budgets>,
    rules: Arc<[Arc<Rule>]>,
}

impl Spender {
    async fn new(bed: &Bed, allowance: &str, now: &str) -> Self {
        let (store, clock) = (bed.open().await, HandClock::at(now));
        let budget = Budget::new(BudgetScope::Global, &allowance.parse().unwrap(), &ZoneName::utc());
        let budgets = start(&store, &clock).await;
        Self { store, clock, budgets, rules: Arc::from([rule(budget)]) }
    }

    async fn reserve(&self, amount: i64) -> Result<Reservation, ReserveError> {
        // The store is not asked again at once after it had too little.
        tokio::time::advance(Duration::from_secs(1)).await;
        self.budgets.reserve(&self.rules, Nanos::new(amount), Nanos::new(amount)).await
    }

    async fn spend(&self, amount: i64) {
        let reservation = self.reserve(amount).await.unwrap();
        let hold = Arc::new(Hold {
            id: RequestId::new(),
            replica_id: reservation.replica_id,
            project_id: ProjectId::new(),
            key_id: ApiKeyId::new(),
            user_id: "ola".into(),
            kind: CallKind::Chat,
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            amount: reservation.amount,
            price: None,
            charges: reservation.charges.clone(),
            at: self.clock.now(),
        });
        self.store.begin_call(hold.clone(), None).await.unwrap();
        reservation.keep();
        self.store.end_call(settlement(&hold, amount), None).await.unwrap();
        self.budgets.settled(&hold, Nanos::new(amount));
    }

    /// There is exactly so much.
    async fn has_left(&self, amount: i64, when: &str) {
        if amount > 0 {
            let all = self.reserve(amount).await;
            assert!(all.is_ok(), "{when}: {amount} are left, but {:?}", all.err());
        }
        let more = self.reserve(amount + 1).await;
        assert!(matches!(more, Err(ReserveError::NoMoney(_))), "{when}: more than {amount} are left");
    }
}

async fn start(store: &Arc<Store>, clock: &HandClock) -> Arc<Budgets> {
    let parts = BudgetParts {
        store: store.clone(),
        clock: Arc::new(clock.clone()),
        rules: BudgetRules::new(Vec::new(), ZoneName::utc()),
        wait: Duration::ZERO,
        sharing: Sharing::of(store),
    };
    Budgets::start(parts).await.unwrap()
}

#[test]
fn fault_13_a_window_is_filled_once_whatever_the_clock_does_on_sqlite() {
    with_time_by_hand(async { a_window_is_filled_once(&Bed::sqlite()).await });
}

#[test]
fn fault_13_a_window_is_filled_once_whatever_the_clock_does_on_postgres() {
    with_time_by_hand(async { a_window_is_filled_once(&Bed::postgres().await).await });
}

async fn a_window_is_filled_once(bed: &Bed) {
    // In Warsaw this day has 23 hours, and the clock goes from 2 to 3.
    let mut spender = Spender::new(bed, "0.000001/day Europe/Warsaw", "2026-03-29T00:59:00Z").await;
    spender.spend(600).await;
    spender.has_left(400, "at first").await;
    let same_day = ["2026-03-29T01:01:00Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T00:59:00Z"];
    for now in same_day {
        spender.clock.set(now);
        spender.has_left(400, now).await;
    }
    for (now, left) in [
        ("2026-03-28T22:59:59Z", 1_000),
        ("2026-03-29T22:00:00Z", 1_000),
        ("2026-04-29T12:00:00Z", 1_000),
        ("2030-01-01T00:00:00Z", 1_000),
    ] {
        spender.clock.set(now);
        spender.has_left(left, now).await;
        spender.spend(left - 1).await;
        spender.has_left(1, now).await;
    }
    // Back on the first day nothing is refilled, and nothing of it is lost.
    spender.clock.set("2026-03-29T12:00:00Z");
    spender.has_left(400, "back on the day").await;
    spender.spend(300).await;
    spender.clock.set("2026-03-29T22:00:00Z");
    spender.has_left(1, "back on the day after").await;
    spender.clock.set("2026-03-29T12:00:00Z");
    spender.budgets.retire().await.unwrap();
    spender.budgets = start(&spender.store, &spender.clock).await;
    spender.has_left(100, "after a restart").await;
}

#[test]
fn fault_13_the_day_that_the_clock_goes_back_has_one_budget() {
    with_time_by_hand(async {
        let spender = Spender::new(&Bed::sqlite(), "0.000001/day Asia/Beirut", "2026-10-24T20:30:00Z").await;
        // In Beirut the clock goes from midnight back to 23 o'clock: that hour comes twice, on the same day.
        spender.spend(700).await;
        for now in ["2026-10-24T20:59:59Z", "2026-10-24T21:00:00Z", "2026-10-24T21:59:59Z"] {
            spender.clock.set(now);
            spender.has_left(300, now).await;
        }
        spender.clock.set("2026-10-24T22:00:00Z");
        spender.has_left(1_000, "the next day").await;
    });
}
