//! A thousand calls at once against a dollar: never more is spent, and hardly less.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::budget::{Budget, BudgetScope, ZoneName};
use privet_domain::id::{ApiKeyId, ProjectId, RequestId};
use privet_domain::money::Nanos;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::budget::{BudgetParts, BudgetRules, Budgets, ReserveError, Rule, Sharing};
use privet_store::{CallKind, Hold, Store, StoreError};
use tokio::task::JoinSet;

use crate::bed::Bed;
use crate::chance::Chance;
use crate::ledger::{Ledger, Reader};
use crate::step::settlement;
use crate::world::rule;

pub(crate) const DOLLAR: i64 = 1_000_000_000;
const CALLS: usize = 1_000;
const SEEDS: std::ops::Range<u64> = 0..20;
/// A call holds at most so much: what is left of the budget in the end is less.
const HOLD_MAX: u64 = 40_000_000;
/// Holding too much is a fault as well.
const SPENT_MIN: i64 = DOLLAR / 100 * 95;
/// Longer than any of it takes: money that comes back must reach those who wait.
const WAIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_03_a_thousand_calls_at_once_spend_a_dollar_and_no_more_on_sqlite() {
    spend_a_dollar_again_and_again(&Bed::sqlite(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_03_a_thousand_calls_at_once_spend_a_dollar_and_no_more_on_postgres() {
    spend_a_dollar_again_and_again(&Bed::postgres().await, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_03_three_servers_spend_a_dollar_together_and_no_more() {
    spend_a_dollar_again_and_again(&Bed::postgres().await, 3).await;
}

async fn spend_a_dollar_again_and_again(bed: &Bed, servers: usize) {
    let store = bed.open().await;
    let mut reader = bed.reader().await;
    for seed in SEEDS {
        reader.clear().await;
        spend_a_dollar(&store, servers, seed, &mut reader).await;
    }
    store.close().await;
}

async fn spend_a_dollar(store: &Arc<Store>, servers: usize, seed: u64, reader: &mut Reader) {
    let budget = Budget::new(BudgetScope::Global, &"1.00/total".parse().unwrap(), &ZoneName::utc());
    let rules: Arc<[Arc<Rule>]> = Arc::from([rule(budget)]);
    let all = self::servers(store, servers, WAIT).await;
    let mut tending = JoinSet::new();
    for budgets in &all {
        tending.spawn(tend(budgets.clone()));
    }
    let mut chance = Chance(seed);
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let held = 1 + i64::try_from(chance.below(HOLD_MAX)).unwrap();
        // It uses a part of what it holds.
        let cost = chance.up_to(held / 4);
        let (store, budgets, rules) = (store.clone(), all[number % servers].clone(), rules.clone());
        calls.spawn(async move { call(&store, &budgets, &rules, held, cost).await });
    }
    let spent: i64 = calls.join_all().await.into_iter().flatten().sum();
    tending.shutdown().await;
    judge(&reader.ledger().await, spent, seed);
}

/// So many servers of one database.
pub(crate) async fn servers(store: &Arc<Store>, count: usize, wait: Duration) -> Vec<Arc<Budgets>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let parts = BudgetParts {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            rules: BudgetRules::new(Vec::new(), ZoneName::utc()),
            wait,
            sharing: if count == 1 { Sharing::of(store) } else { Sharing::Shared },
        };
        all.push(Budgets::start(parts).await.unwrap());
    }
    all
}

/// One server's upkeep, as often as it can be: those who wait on the others depend on it.
async fn tend(budgets: Arc<Budgets>) {
    let mut looked_at = SystemClock.now();
    loop {
        let now = SystemClock.now();
        budgets.tend_once(looked_at).await.unwrap();
        looked_at = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What it cost, if there was money for it.
pub(crate) async fn call(
    store: &Store,
    budgets: &Arc<Budgets>,
    rules: &Arc<[Arc<Rule>]>,
    held: i64,
    cost: i64,
) -> Option<i64> {
    loop {
        let reservation = match budgets.reserve(rules, Nanos::new(held), Nanos::new(held)).await {
            Ok(reservation) => reservation,
            Err(ReserveError::NoMoney(_) | ReserveError::Store(StoreError::Fenced)) => return None,
            Err(ReserveError::Store(error)) => panic!("{error}"),
        };
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
            at: SystemClock.now(),
        });
        match store.begin_call(hold.clone(), None).await {
            Ok(()) => reservation.keep(),
            // Taken for dead: the money must be had anew.
            Err(StoreError::Fenced) => {
                drop(reservation);
                tend_fenced(budgets).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
        store.end_call(settlement(&hold, cost), None).await.unwrap();
        budgets.settled(&hold, Nanos::new(cost));
        return Some(cost);
    }
}

/// Begins anew if it was fenced. That may happen in the middle of it; then the next time does.
pub(crate) async fn tend_fenced(budgets: &Budgets) {
    match budgets.tend_once(SystemClock.now()).await {
        Ok(()) | Err(StoreError::Fenced) => {}
        Err(error) => panic!("{error}"),
    }
}

fn judge(ledger: &Ledger, spent: i64, seed: u64) {
    let settled: i64 = ledger.settled().values().sum();
    let granted: i64 = ledger.granted().values().sum();
    assert!(ledger.open.is_empty(), "seed {seed}: {:?}", ledger.open);
    assert_eq!((settled, ledger.paid().values().sum()), (spent, spent), "seed {seed}");
    assert!(granted <= DOLLAR, "seed {seed}: {granted} granted");
    assert!(settled <= DOLLAR, "seed {seed}: {settled} spent");
    assert!(settled >= SPENT_MIN, "seed {seed}: only {settled} spent in {} calls", ledger.paid.len());
}
