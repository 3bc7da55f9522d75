//! The ledger: a hold before each call, and a settlement in its place, once.

use futures_util::future::join_all;
use privet_domain::id::{ConversationId, ReplicaId, RequestId};
use privet_domain::money::Nanos;
use privet_store::{Hold, OpenCall, Outcome, Settlement, Standing, StoreError, TurnEnd, UsageSource};

use crate::bed::{Bed, at, begin, finish, go_on, on_both_databases, project, texts, withdrawal};
use crate::money::{grant, hold, replica, settlement, window};

on_both_databases!(
    a_hold_and_its_turn_are_written_together,
    a_hold_whose_conversation_is_unknown_is_not_written,
    a_settlement_and_the_end_of_its_turn_are_written_together,
    a_settlement_whose_conversation_was_deleted_is_not_written_with_its_turn,
    a_settlement_takes_the_place_of_its_hold,
    a_second_settlement_changes_nothing,
    settlements_of_one_call_at_once_count_once,
    the_calls_of_a_request_are_found_together,
    a_settlement_without_a_hold_changes_nothing,
    a_hold_is_not_written_twice,
    a_hold_of_an_unknown_replica_is_refused,
    a_call_that_no_budget_bounds_is_in_the_ledger,
    a_call_that_costs_nothing_holds_nothing_and_is_in_the_ledger_once,
    what_a_call_cost_is_durable_when_it_is_settled_though_nothing_was_held,
    three_hundred_calls_at_once_are_each_settled_once,
    a_damaged_charge_is_an_error,
);

async fn a_hold_and_its_turn_are_written_together(bed: &Bed) {
    let store = bed.open().await;
    let (home, replica) = (project(&store, "home").await, replica(&store).await);
    let turn = begin(&store, home, &["hey"]);
    let (id, held) = (turn.conversation_id, hold(replica, 7, &[]));
    store.begin_call(held.clone(), Some(turn)).await.unwrap();
    assert_eq!(texts(&store, home, id).await, ["hey"]);
    let [open] = &store.open_calls(Some(held.id)).await.unwrap()[..] else { panic!("one call is open") };
    assert_eq!((open.id, open.replica_id, open.hold), (held.id, Some(replica), Nanos::new(7)));
    assert_eq!((&*open.user_id, &*open.provider, &*open.model, &*open.kind), ("ola", "openai", "gpt-4o", "chat"));
    assert_eq!((open.project_id, open.key_id, open.created_at), (held.project_id, held.key_id, at(1)));
    assert_eq!(open.price.as_deref(), Some("gpt-4o of 2024-10-02"));
}

async fn a_hold_whose_conversation_is_unknown_is_not_written(bed: &Bed) {
    let store = bed.open().await;
    let (home, replica) = (project(&store, "home").await, replica(&store).await);
    let turn = go_on(&store, home, ConversationId::new(), &["hey"]);
    let refused = store.begin_call(hold(replica, 7, &[]), Some(turn)).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    assert_eq!(bed.number("SELECT count(*) FROM holds").await, 0);
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 0);
}

async fn a_settlement_and_the_end_of_its_turn_are_written_together(bed: &Bed) {
    let store = bed.open().await;
    let (home, replica) = (project(&store, "home").await, replica(&store).await);
    let [answered, failed] = ["answered", "failed"].map(|text| begin(&store, home, &[text]));
    let (kept, gone, taken_back) = (answered.conversation_id, failed.conversation_id, withdrawal(&failed));
    let [first, second] = [hold(replica, 7, &[]), hold(replica, 8, &[])];
    store.begin_call(first.clone(), Some(answered)).await.unwrap();
    store.begin_call(second.clone(), Some(failed)).await.unwrap();

    let end = TurnEnd::Finish(finish(&store, home, kept, "answer", 2));
    store.end_call(settlement(&first, 3, at(2)), Some(end)).await.unwrap();
    let failure = Settlement { outcome: Outcome::Failed, ..settlement(&second, 0, at(2)) };
    store.end_call(failure, Some(TurnEnd::Withdraw(taken_back))).await.unwrap();
    assert_eq!(texts(&store, home, kept).await, ["answered", "answer"]);
    assert!(matches!(store.conversation(home, gone).await, Err(StoreError::NotFound)));
    assert_eq!(store.settled_call(second.id).await.unwrap().outcome, "failed");
    assert!(store.open_calls(None).await.unwrap().is_empty());
}

async fn a_settlement_whose_conversation_was_deleted_is_not_written_with_its_turn(bed: &Bed) {
    let store = bed.open().await;
    let (home, replica) = (project(&store, "home").await, replica(&store).await);
    let turn = begin(&store, home, &["hey"]);
    let (id, held) = (turn.conversation_id, hold(replica, 7, &[]));
    store.begin_call(held.clone(), Some(turn)).await.unwrap();
    store.delete_conversation(home, id, at(100)).await.unwrap();
    let end = TurnEnd::Finish(finish(&store, home, id, "late", 2));
    let refused = store.end_call(settlement(&held, 3, at(2)), Some(end)).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    assert_eq!(store.open_calls(None).await.unwrap().len(), 1, "the hold stays until the settlement comes alone");
    store.end_call(settlement(&held, 3, at(3)), None).await.unwrap();
    assert_eq!(store.settled_call(held.id).await.unwrap().cost, Nanos::new(3));
}

async fn a_settlement_takes_the_place_of_its_hold(bed: &Bed) {
    let store = bed.open().await;
    let (replica, windows) = (replica(&store).await, [window("global/day"), window("user/ola/total")]);
    for window in &windows {
        grant(&store, replica, window, 100, 40).await;
    }
    let held = hold(replica, 40, &windows);
    store.begin_call(held.clone(), None).await.unwrap();
    for window in &windows {
        assert_eq!(standing(&store, window).await, (0, 40));
    }
    store.end_call(settlement(&held, 25, at(9)), None).await.unwrap();
    for window in &windows {
        assert_eq!(standing(&store, window).await, (25, 0));
    }
    let call = store.settled_call(held.id).await.unwrap();
    assert_eq!((call.cost, call.begun.hold, call.begun.charges), (Nanos::new(25), Nanos::new(40), windows.to_vec()));
    assert_eq!((call.begun.created_at, call.settled_at), (at(1), at(9)));
    assert_eq!((call.usage.input, call.usage.cached_input, call.usage.output, call.usage.reasoning), (10, 4, 5, 2));
    assert_eq!((&*call.outcome, &*call.source), ("complete", "reported"));
    assert_eq!((call.tier.as_deref(), call.bill.as_deref()), (Some("default"), Some("[]")));
}

async fn a_second_settlement_changes_nothing(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    grant(&store, replica, &window, 100, 40).await;
    let held = hold(replica, 40, std::slice::from_ref(&window));
    store.begin_call(held.clone(), None).await.unwrap();
    store.end_call(settlement(&held, 25, at(2)), None).await.unwrap();
    store.end_call(settlement(&held, 40, at(3)), None).await.unwrap();
    store.fence_replicas(crate::money::replica(&store).await, at(200), at(4)).await.unwrap();
    store.end_call(settlement(&held, 0, at(5)), None).await.unwrap();
    let call = store.settled_call(held.id).await.unwrap();
    assert_eq!((call.cost, call.settled_at), (Nanos::new(25), at(2)));
    assert_eq!(standing(&store, &window).await, (25, 0));
    assert_eq!(bed.number("SELECT CAST(sum(granted_nanos) AS BIGINT) FROM budget_slices").await, 25);
}

async fn settlements_of_one_call_at_once_count_once(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    grant(&store, replica, &window, 100, 40).await;
    let held = hold(replica, 40, std::slice::from_ref(&window));
    store.begin_call(held.clone(), None).await.unwrap();
    let settling = (0..20).map(|_| store.end_call(settlement(&held, 25, at(2)), None));
    for outcome in join_all(settling).await {
        outcome.unwrap();
    }
    assert_eq!(standing(&store, &window).await, (25, 0));
}

async fn the_calls_of_a_request_are_found_together(bed: &Bed) {
    let store = bed.open().await;
    let replica = replica(&store).await;
    let other = hold(replica, 9, &[]);
    store.begin_call(other.clone(), None).await.unwrap();
    let request = RequestId::new();
    let calls = [0, 1, 31].map(|number| {
        let made = hold(replica, 7, &[]);
        std::sync::Arc::new(Hold { id: request.of_call(number), at: at(i64::from(number) + 1), ..(*made).clone() })
    });
    for call in &calls {
        store.begin_call(call.clone(), None).await.unwrap();
    }
    let ids = |calls: &[OpenCall]| calls.iter().map(|call| call.id).collect::<Vec<_>>();
    assert_eq!(ids(&store.open_calls_of(request).await.unwrap()), calls.each_ref().map(|call| call.id));
    for (call, cost) in calls.iter().take(2).zip([0, 5]) {
        store.end_call(settlement(call, cost, at(40)), None).await.unwrap();
    }
    assert_eq!(ids(&store.open_calls_of(request).await.unwrap()), [calls[2].id]);
    let settled = store.settled_calls(request).await.unwrap();
    let costs: Vec<_> = settled.iter().map(|call| (call.begun.id, call.cost)).collect();
    assert_eq!(costs, [(calls[0].id, Nanos::ZERO), (calls[1].id, Nanos::new(5))]);
    assert!(store.settled_calls(other.id).await.unwrap().is_empty());
}

async fn a_settlement_without_a_hold_changes_nothing(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    grant(&store, replica, &window, 100, 40).await;
    let never_held = hold(replica, 40, std::slice::from_ref(&window));
    store.end_call(settlement(&never_held, 25, at(2)), None).await.unwrap();
    assert_eq!(standing(&store, &window).await, (0, 0));
    assert!(matches!(store.settled_call(never_held.id).await, Err(StoreError::NotFound)));
}

async fn a_hold_is_not_written_twice(bed: &Bed) {
    let store = bed.open().await;
    let held = hold(replica(&store).await, 7, &[]);
    store.begin_call(held.clone(), None).await.unwrap();
    let again = store.begin_call(held, None).await;
    assert!(again.is_err(), "one request has one hold");
    assert_eq!(bed.number("SELECT count(*) FROM holds").await, 1);
}

async fn a_hold_of_an_unknown_replica_is_refused(bed: &Bed) {
    let store = bed.open().await;
    let refused = store.begin_call(hold(ReplicaId::new(), 7, &[window("global/day")]), None).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
}

async fn a_call_that_no_budget_bounds_is_in_the_ledger(bed: &Bed) {
    let store = bed.open().await;
    let held = hold(replica(&store).await, 7, &[]);
    store.begin_call(held.clone(), None).await.unwrap();
    let bounded = Settlement { source: UsageSource::Bounded, tier: None, bill: None, ..settlement(&held, 7, at(2)) };
    store.end_call(bounded, None).await.unwrap();
    let call = store.settled_call(held.id).await.unwrap();
    assert_eq!((&*call.source, call.tier, call.bill), ("bounded", None, None));
    assert!(matches!(store.settled_call(RequestId::new()).await, Err(StoreError::NotFound)));
}

async fn a_call_that_costs_nothing_holds_nothing_and_is_in_the_ledger_once(bed: &Bed) {
    let store = bed.open().await;
    let held = hold(replica(&store).await, 0, &[]);
    store.begin_call(held.clone(), None).await.unwrap();
    assert!(store.open_calls(None).await.unwrap().is_empty());
    store.end_call(settlement(&held, 0, at(2)), None).await.unwrap();
    store.end_call(settlement(&held, 0, at(3)), None).await.unwrap();
    store.close().await;
    let call = bed.open().await.settled_call(held.id).await.unwrap();
    assert_eq!((call.cost, call.settled_at), (Nanos::ZERO, at(2)));
}

async fn what_a_call_cost_is_durable_when_it_is_settled_though_nothing_was_held(bed: &Bed) {
    let store = bed.open().await;
    let held = hold(replica(&store).await, 0, &[]);
    store.end_call(settlement(&held, 5, at(2)), None).await.unwrap();
    assert_eq!(store.settled_call(held.id).await.unwrap().cost, Nanos::new(5));
}

async fn three_hundred_calls_at_once_are_each_settled_once(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    assert_eq!(grant(&store, replica, &window, 3_000, 3_000).await, 3_000);
    let calls = (0..300).map(|_| async {
        let held = hold(replica, 10, std::slice::from_ref(&window));
        store.begin_call(held.clone(), None).await.unwrap();
        store.end_call(settlement(&held, 3, at(2)), None).await.unwrap();
    });
    join_all(calls).await;
    assert_eq!(standing(&store, &window).await, (900, 0));
    assert_eq!(bed.number("SELECT count(*) FROM calls WHERE cost_nanos = 3").await, 300);
}

async fn a_damaged_charge_is_an_error(bed: &Bed) {
    let store = bed.open().await;
    let (replica, window) = (replica(&store).await, window("global/day"));
    grant(&store, replica, &window, 100, 40).await;
    let [open, settled] = [0, 1].map(|_| hold(replica, 7, std::slice::from_ref(&window)));
    store.begin_call(open.clone(), None).await.unwrap();
    store.begin_call(settled.clone(), None).await.unwrap();
    store.end_call(settlement(&settled, 7, at(2)), None).await.unwrap();
    for damage in ["'[[\"global/day\"]]'", "'{'", "''"] {
        let holds = format!("UPDATE holds SET charges = {damage}");
        let calls = format!("UPDATE calls SET charges = {damage}");
        bed.execute(Box::leak(format!("{holds}; {calls}").into_boxed_str())).await;
        let damaged = [
            store.open_calls(None).await.map(drop),
            store.settled_call(settled.id).await.map(drop),
            store.standing(&window).await.map(drop),
            store.fence_replicas(crate::money::replica(&store).await, at(200), at(3)).await.map(drop),
        ];
        for outcome in damaged {
            assert!(matches!(outcome, Err(StoreError::Damaged(_))), "{damage}: {outcome:?}");
        }
    }
    // The settlement goes by what its own process knows.
    store.end_call(settlement(&open, 5, at(3)), None).await.unwrap();
    assert_eq!(bed.number("SELECT CAST(sum(settled_nanos) AS BIGINT) FROM budget_slices").await, 12);
}

async fn standing(store: &privet_store::Store, window: &privet_store::Charge) -> (i64, i64) {
    let Standing { settled, held } = store.standing(window).await.unwrap();
    (settled.as_i64(), held.as_i64())
}
