//! Replicas and their slices: grants below the limit, returning, fencing.

use futures_util::future::join_all;
use privet_domain::id::ReplicaId;
use privet_domain::money::Nanos;
use privet_store::{Charge, GrantRequest, Store, StoreError};

use crate::bed::{Bed, at, on_both_databases};
use crate::money::{ask, grant, hold, replica, settlement, window};

on_both_databases!(
    grants_to_twenty_at_once_never_exceed_the_limit,
    a_grant_tells_what_there_is,
    a_part_is_taken_of_what_is_there,
    windows_have_balances_of_their_own,
    what_is_returned_can_be_granted_to_others,
    a_lowered_limit_grants_nothing_more,
    a_fenced_replica_gets_returns_and_renews_nothing,
    a_fenced_replicas_hold_is_refused_while_settlements_beside_it_pass,
    fencing_takes_back_what_is_neither_settled_nor_held,
    a_settlement_after_the_fencing_returns_the_unused_part,
    a_retired_replica_returns_what_it_neither_settled_nor_holds,
    only_the_expired_are_fenced_and_never_oneself,
    a_window_that_came_up_short_is_wanted,
    abandoned_calls_are_those_of_the_fenced,
);

async fn grants_to_twenty_at_once_never_exceed_the_limit(bed: &Bed) {
    let store = bed.open().await;
    let window = window("global/day");
    let replicas = join_all((0..20).map(|_| replica(&store))).await;
    let asking = replicas.iter().map(|&replica| grant(&store, replica, &window, 1_000, 90));
    let granted: i64 = join_all(asking).await.into_iter().sum();
    assert_eq!((granted, total(bed).await), (1_000, 1_000));
}

async fn a_grant_tells_what_there_is(bed: &Bed) {
    let store = bed.open().await;
    let (one, other, window) = (replica(&store).await, replica(&store).await, window("global/day"));
    grant(&store, one, &window, 100, 60).await;
    let held = hold(one, 20, std::slice::from_ref(&window));
    store.begin_call(held.clone(), None).await.unwrap();
    store.end_call(settlement(&held, 15, at(2)), None).await.unwrap();
    let there = store.grant(&ask(other, &window, 100, 50)).await.unwrap();
    assert_eq!((there.granted.as_i64(), there.in_all.as_i64(), there.settled.as_i64()), (40, 40, 0));
    assert_eq!((there.elsewhere.as_i64(), there.elsewhere_open.as_i64()), (60, 45));
    let own = store.grant(&ask(one, &window, 110, 5)).await.unwrap();
    assert_eq!((own.granted.as_i64(), own.in_all.as_i64(), own.settled.as_i64()), (5, 65, 15));
}

async fn a_part_is_taken_of_what_is_there(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    let mut granted = Vec::new();
    for (need, share) in [(10, 4), (10, 4), (70, 4), (1, 1)] {
        let request = GrantRequest { share, ..ask(replica, &window, 100, need) };
        granted.push(store.grant(&request).await.unwrap().granted.as_i64());
    }
    assert_eq!(granted, [25, 18, 57, 0], "a quarter, a quarter of the rest, the rest, nothing");
}

async fn windows_have_balances_of_their_own(bed: &Bed) {
    let store = bed.open().await;
    let replica = replica(&store).await;
    let next_day = Charge { window_start: at(86_400), ..window("global/day") };
    for window in [window("global/day"), next_day, window("user/ola/day")] {
        assert_eq!(grant(&store, replica, &window, 100, 200).await, 100);
        assert_eq!(grant(&store, replica, &window, 100, 200).await, 0);
    }
}

async fn what_is_returned_can_be_granted_to_others(bed: &Bed) {
    let store = bed.open().await;
    let (one, other, window) = (replica(&store).await, replica(&store).await, window("global/day"));
    assert_eq!(grant(&store, one, &window, 100, 100).await, 100);
    assert_eq!(grant(&store, other, &window, 100, 30).await, 0);
    store.return_grant(one, &window, Nanos::new(30)).await.unwrap();
    assert_eq!(grant(&store, other, &window, 100, 40).await, 30);
    assert_eq!(total(bed).await, 100);
}

async fn a_lowered_limit_grants_nothing_more(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    assert_eq!(grant(&store, replica, &window, 100, 60).await, 60);
    assert_eq!(grant(&store, replica, &window, 50, 10).await, 0, "60 of 50 are granted");
    assert_eq!(grant(&store, replica, &window, 61, 10).await, 1);
}

async fn a_fenced_replica_gets_returns_and_renews_nothing(bed: &Bed) {
    let store = bed.open().await;
    let (fenced, window) = (replica(&store).await, window("global/day"));
    grant(&store, fenced, &window, 100, 60).await;
    assert_eq!(fence_all_but(&store, replica(&store).await).await, 1);
    let refused = [
        store.grant(&ask(fenced, &window, 100, 10)).await.map(drop),
        store.return_grant(fenced, &window, Nanos::new(60)).await,
        store.renew_replica(fenced, at(500)).await,
        store.renew_replica(ReplicaId::new(), at(500)).await,
        store.grant(&ask(ReplicaId::new(), &window, 100, 10)).await.map(drop),
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(StoreError::Fenced)), "{outcome:?}");
    }
    assert_eq!(total(bed).await, 0);
}

async fn a_fenced_replicas_hold_is_refused_while_settlements_beside_it_pass(bed: &Bed) {
    let store = bed.open().await;
    let (fenced, window) = (replica(&store).await, window("global/day"));
    grant(&store, fenced, &window, 1_000, 1_000).await;
    let charges = std::slice::from_ref(&window);
    let before: Vec<_> = (0..30).map(|_| hold(fenced, 10, charges)).collect();
    for held in &before {
        store.begin_call(held.clone(), None).await.unwrap();
    }
    let living = replica(&store).await;
    fence_all_but(&store, living).await;
    grant(&store, living, &window, 1_000, 300).await;
    // All are queued at once, so that a batch holds all three kinds.
    let together = before.iter().map(|held| async {
        let (late, good) = (hold(fenced, 10, charges), hold(living, 10, charges));
        tokio::join!(
            store.end_call(settlement(held, 4, at(2)), None),
            store.begin_call(late, None),
            store.begin_call(good, None),
        )
    });
    for (settled, late, good) in join_all(together).await {
        assert!(settled.is_ok() && good.is_ok(), "{settled:?}, {good:?}");
        assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    }
    let open = store.open_calls(None).await.unwrap();
    assert!(open.len() == 30 && open.iter().all(|call| call.replica_id == Some(living)));
    assert_eq!(store.standing(&window).await.unwrap().settled, Nanos::new(120));
    assert_eq!(total(bed).await, 120 + 300);
}

async fn fencing_takes_back_what_is_neither_settled_nor_held(bed: &Bed) {
    let store = bed.open().await;
    let (dead, windows) = (replica(&store).await, [window("global/day"), window("user/ola/day")]);
    for window in &windows {
        grant(&store, dead, window, 100, 90).await;
    }
    let [settled, open, of_one] = [hold(dead, 20, &windows), hold(dead, 15, &windows), hold(dead, 9, &windows[..1])];
    for held in [&settled, &open, &of_one] {
        store.begin_call(held.clone(), None).await.unwrap();
    }
    store.end_call(settlement(&settled, 12, at(2)), None).await.unwrap();
    let next = replica(&store).await;
    assert_eq!(fence_all_but(&store, next).await, 1);
    assert_eq!(grant(&store, next, &windows[0], 100, 100).await, 100 - 12 - 15 - 9);
    assert_eq!(grant(&store, next, &windows[1], 100, 100).await, 100 - 12 - 15);
}

async fn a_settlement_after_the_fencing_returns_the_unused_part(bed: &Bed) {
    let store = bed.open().await;
    let (dead, window) = (replica(&store).await, window("global/day"));
    grant(&store, dead, &window, 100, 100).await;
    let held = hold(dead, 40, std::slice::from_ref(&window));
    store.begin_call(held.clone(), None).await.unwrap();
    let next = replica(&store).await;
    fence_all_but(&store, next).await;
    assert_eq!(grant(&store, next, &window, 100, 100).await, 60);
    store.end_call(settlement(&held, 15, at(2)), None).await.unwrap();
    assert_eq!(grant(&store, next, &window, 100, 100).await, 25);
    assert_eq!(total(bed).await, 100);
}

async fn a_retired_replica_returns_what_it_neither_settled_nor_holds(bed: &Bed) {
    let store = bed.open().await;
    let (retired, window) = (replica(&store).await, window("global/day"));
    grant(&store, retired, &window, 100, 90).await;
    let held = hold(retired, 30, std::slice::from_ref(&window));
    store.begin_call(held.clone(), None).await.unwrap();
    store.retire_replica(retired, at(2)).await.unwrap();
    store.retire_replica(retired, at(3)).await.unwrap();
    let next = replica(&store).await;
    assert_eq!(grant(&store, next, &window, 100, 100).await, 70);
    store.end_call(settlement(&held, 10, at(4)), None).await.unwrap();
    assert_eq!(grant(&store, next, &window, 100, 100).await, 20);
    let refused = store.begin_call(hold(retired, 1, &[window]), None).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
}

async fn only_the_expired_are_fenced_and_never_oneself(bed: &Bed) {
    let store = bed.open().await;
    let (own, other) = (replica(&store).await, replica(&store).await);
    assert_eq!(store.fence_replicas(own, at(100), at(100)).await.unwrap(), 0, "until second 100 they live");
    store.renew_replica(other, at(200)).await.unwrap();
    assert_eq!(store.fence_replicas(own, at(150), at(150)).await.unwrap(), 0, "a sign of life counts");
    assert_eq!(store.fence_replicas(own, at(201), at(201)).await.unwrap(), 1);
    assert_eq!(store.fence_replicas(own, at(300), at(300)).await.unwrap(), 0, "once");
    store.renew_replica(own, at(400)).await.unwrap();
}

async fn a_window_that_came_up_short_is_wanted(bed: &Bed) {
    let store = bed.open().await;
    let (one, other) = (replica(&store).await, replica(&store).await);
    let [wanted, alone] = [window("global/day"), window("user/ola/day")];
    grant(&store, one, &wanted, 100, 100).await;
    grant(&store, one, &alone, 100, 200).await;
    assert_eq!(store.wanted_windows(at(0)).await.unwrap(), [], "nobody else has any of it");
    grant(&store, other, &wanted, 100, 1).await;
    assert_eq!(store.wanted_windows(at(0)).await.unwrap(), [wanted]);
    assert_eq!(store.wanted_windows(at(2)).await.unwrap(), [], "not since then");
}

async fn abandoned_calls_are_those_of_the_fenced(bed: &Bed) {
    let store = bed.open().await;
    let (dead, living) = (replica(&store).await, replica(&store).await);
    let [abandoned, under_way] = [hold(dead, 7, &[]), hold(living, 7, &[])];
    store.begin_call(abandoned.clone(), None).await.unwrap();
    store.begin_call(under_way, None).await.unwrap();
    assert!(store.abandoned_calls().await.unwrap().is_empty());
    fence_all_but(&store, living).await;
    let ids: Vec<_> = store.abandoned_calls().await.unwrap().iter().map(|call| call.id).collect();
    assert_eq!(ids, [abandoned.id]);
}

async fn fence_all_but(store: &Store, but: ReplicaId) -> usize {
    store.fence_replicas(but, at(1_000), at(1)).await.unwrap()
}

/// What is granted of all windows.
async fn total(bed: &Bed) -> i64 {
    bed.number("SELECT CAST(COALESCE(sum(granted_nanos), 0) AS BIGINT) FROM budget_slices").await
}
