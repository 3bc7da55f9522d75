//! Servers that take each other for dead while all of them spend: the races between fencing, granting, holding and settling.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::budget::{Budget, BudgetScope, ZoneName};
use privet_domain::id::ReplicaId;
use privet_domain::time::{Clock, SystemClock, Timestamp};
use privet_engine::budget::{Budgets, Rule};
use privet_store::Store;
use tokio::task::JoinSet;

use crate::bed::Bed;
use crate::chance::Chance;
use crate::ledger::Reader;
use crate::together::{DOLLAR, call, servers, tend_fenced};
use crate::world::rule;

const SERVERS: usize = 3;
const CALLS: usize = 400;
/// Of each server. For ever would be too long: on a slow machine nobody would live long enough to spend.
const FENCINGS: usize = 15;
const SEEDS: std::ops::Range<u64> = 0..6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_fence_each_other_while_they_spend_stay_below_the_dollar() {
    let bed = Bed::postgres().await;
    let store = bed.open().await;
    let mut reader = bed.reader().await;
    for seed in SEEDS {
        reader.clear().await;
        fence_each_other(&store, seed, &mut reader).await;
    }
    store.close().await;
}

async fn fence_each_other(store: &Arc<Store>, seed: u64, reader: &mut Reader) {
    let budget = Budget::new(BudgetScope::Global, &"1.00/total".parse().unwrap(), &ZoneName::utc());
    let rules: Arc<[Arc<Rule>]> = Arc::from([rule(budget)]);
    let all = servers(store, SERVERS, Duration::from_millis(200)).await;
    let mut chance = Chance(seed);
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let held = 1 + i64::try_from(chance.below(20_000_000)).unwrap();
        let cost = chance.up_to(held / 2);
        let (store, budgets, rules) = (store.clone(), all[number % SERVERS].clone(), rules.clone());
        calls.spawn(async move { call(&store, &budgets, &rules, held, cost).await });
    }
    let mut fencing = JoinSet::new();
    for budgets in &all {
        fencing.spawn(fence_others(store.clone(), budgets.clone()));
    }
    let mut spent = 0;
    while let Some(cost) = calls.join_next().await {
        spent += cost.unwrap().unwrap_or(0);
        if chance.is(20) {
            assert_eq!(reader.overdrawn_slices().await, 0, "seed {seed}: a slice spends more than was granted");
            let granted = reader.granted_in_all().await;
            assert!(granted <= DOLLAR, "seed {seed}: {granted} granted");
        }
    }
    fencing.join_all().await;
    // What they did not use comes back from all of them.
    let now = SystemClock.now();
    store.fence_replicas(ReplicaId::new(), Timestamp::from_micros(i64::MAX), now).await.unwrap();
    let ledger = reader.ledger().await;
    assert!(ledger.open.is_empty(), "seed {seed}: {:?}", ledger.open);
    for slice in &ledger.slices {
        assert_eq!(slice.granted, slice.settled, "seed {seed}: money is missing: {slice:?}");
    }
    let settled: i64 = ledger.settled().values().sum();
    assert_eq!((settled, ledger.paid().values().sum()), (spent, spent), "seed {seed}");
    assert!(settled <= DOLLAR, "seed {seed}: {settled} spent");
    assert!(ledger.fenced.len() > 2 * SERVERS, "seed {seed}: hardly anybody was fenced");
}

/// Takes all others for dead; fenced itself, it goes on as a new one.
async fn fence_others(store: Arc<Store>, budgets: Arc<Budgets>) {
    for _ in 0..FENCINGS {
        let now = SystemClock.now();
        store.fence_replicas(budgets.replica_id(), Timestamp::from_micros(i64::MAX), now).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        tend_fenced(&budgets).await;
    }
}
