//! Usage, refusals and switches: what is read of the ledger and beside it.

use std::sync::Arc;

use privet_domain::id::{ApiKeyId, ProjectId, RequestId};
use privet_domain::money::Nanos;
use privet_store::{Hold, Refusal, Store, StoreError, SwitchedOff, UsageFilter, UsageRow};

use crate::bed::{Bed, at, on_both_databases};
use crate::money::{hold, replica, settlement};

on_both_databases!(
    usage_is_summed_by_key_user_model_and_day,
    usage_is_filtered_by_project_key_user_and_time,
    a_refusal_is_kept_once,
    of_the_refusals_a_hundred_thousand_are_kept,
    switches_are_thrown_and_their_revision_grows,
);

const DAY: i64 = 86_400;

async fn spent(store: &Store, like: &Hold, second: i64, cost: i64) {
    let held = Arc::new(Hold { id: RequestId::new(), at: at(second), ..like.clone() });
    store.begin_call(held.clone(), None).await.unwrap();
    store.end_call(settlement(&held, cost, at(second)), None).await.unwrap();
}

async fn usage(store: &Store, filter: UsageFilter) -> Vec<UsageRow> {
    store.usage(&filter).await.unwrap()
}

async fn usage_is_summed_by_key_user_model_and_day(bed: &Bed) {
    let store = bed.open().await;
    let ola = Hold { ..(*hold(replica(&store).await, 9, &[])).clone() };
    let jan = Hold { user_id: "jan".into(), key_id: ApiKeyId::new(), ..ola.clone() };
    let mini = Hold { model: "gpt-4o-mini".to_owned(), ..ola.clone() };
    for (like, second, cost) in [(&ola, 0, 5), (&ola, 1, 6), (&ola, DAY, 7), (&jan, 0, 8), (&mini, 0, 9)] {
        spent(&store, like, second, cost).await;
    }
    store.begin_call(Arc::new(Hold { id: RequestId::new(), at: at(2), ..ola.clone() }), None).await.unwrap();
    let mut rows: Vec<_> = usage(&store, UsageFilter::default())
        .await
        .into_iter()
        .map(|row| {
            assert_eq!((row.input, row.cached_input), (10 * row.calls, 4 * row.calls));
            assert_eq!((row.output, row.reasoning), (5 * row.calls, 2 * row.calls));
            let day = (row.day.as_micros() - at(0).as_micros()).div_euclid(DAY * 1_000_000);
            (row.user_id, row.model, day, row.calls, row.settled.as_i64(), row.held.as_i64())
        })
        .collect();
    rows.sort();
    let row = |user: &str, model: &str, day, calls, settled, held| {
        (user.to_owned(), model.to_owned(), day, calls, settled, held)
    };
    // The instants of the tests begin in the evening: their day began on what counts as the day before.
    let expected = [
        row("jan", "gpt-4o", -1, 1, 8, 0),
        row("ola", "gpt-4o", -1, 0, 0, 9),
        row("ola", "gpt-4o", -1, 2, 11, 0),
        row("ola", "gpt-4o", 0, 1, 7, 0),
        row("ola", "gpt-4o-mini", -1, 1, 9, 0),
    ];
    assert_eq!(rows, expected);
}

async fn usage_is_filtered_by_project_key_user_and_time(bed: &Bed) {
    let store = bed.open().await;
    let one = (*hold(replica(&store).await, 9, &[])).clone();
    let other = Hold { user_id: "jan".into(), key_id: ApiKeyId::new(), project_id: ProjectId::new(), ..one.clone() };
    for (like, second, cost) in [(&one, 10, 1), (&one, 20, 2), (&other, 30, 4)] {
        spent(&store, like, second, cost).await;
    }
    store.begin_call(Arc::new(Hold { id: RequestId::new(), at: at(30), ..other.clone() }), None).await.unwrap();
    let all = UsageFilter::default;
    for (filter, settled, held) in [
        (all(), 7, 9),
        (UsageFilter { project_id: Some(one.project_id), ..all() }, 3, 0),
        (UsageFilter { key_id: Some(other.key_id), ..all() }, 4, 9),
        (UsageFilter { user_id: Some("ola".to_owned()), ..all() }, 3, 0),
        (UsageFilter { user_id: Some("nobody".to_owned()), ..all() }, 0, 0),
        (UsageFilter { since: Some(at(20)), ..all() }, 6, 9),
        (UsageFilter { until: Some(at(20)), ..all() }, 1, 0),
        (UsageFilter { since: Some(at(20)), until: Some(at(30)), ..all() }, 2, 0),
        (UsageFilter { user_id: Some("jan".to_owned()), project_id: Some(one.project_id), ..all() }, 0, 0),
    ] {
        let rows = usage(&store, filter.clone()).await;
        let sums = (rows.iter().map(|row| row.settled).sum(), rows.iter().map(|row| row.held).sum());
        assert_eq!(sums, (Nanos::new(settled), Nanos::new(held)), "{filter:?}");
    }
}

fn refusal(id: RequestId) -> Refusal {
    Refusal {
        id,
        at: at(1),
        gate: "budget".to_owned(),
        project_id: ProjectId::new(),
        key_id: ApiKeyId::new(),
        model: None,
        reason: "The budget `global/day` has $0.00 left.".to_owned(),
    }
}

async fn a_refusal_is_kept_once(bed: &Bed) {
    let store = bed.open().await;
    let first = Refusal { model: Some("gpt-4o".to_owned()), ..refusal(RequestId::new()) };
    store.keep_refusals(&[first.clone(), refusal(first.id), refusal(RequestId::new())]).await.unwrap();
    store.keep_refusals(&[refusal(first.id)]).await.unwrap();
    let kept = store.refusal(first.id).await.unwrap();
    assert_eq!((kept.at, &kept.gate, kept.key_id), (at(1), &first.gate, first.key_id));
    assert_eq!((kept.project_id, &kept.model, &kept.reason), (first.project_id, &first.model, &first.reason));
    assert!(matches!(store.refusal(RequestId::new()).await, Err(StoreError::NotFound)));
    assert_eq!(bed.number("SELECT count(*) FROM refusals").await, 2);
}

async fn of_the_refusals_a_hundred_thousand_are_kept(bed: &Bed) {
    let store = bed.open().await;
    // Older than all that follow: ids grow with time, and these begin with zeros.
    bed.execute(if bed.is_sqlite() {
        "INSERT INTO refusals (id, at, gate, project_id, key_id, reason) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100010) \
         SELECT unhex(printf('%032x', n)), n, 'budget', zeroblob(16), zeroblob(16), '' FROM numbers"
    } else {
        "INSERT INTO refusals (id, at, gate, project_id, key_id, reason) \
         SELECT lpad(to_hex(n), 32, '0')::uuid, n, 'budget', lpad('', 32, '0')::uuid, lpad('', 32, '0')::uuid, '' \
         FROM generate_series(1, 100010) AS n"
    })
    .await;
    let newest = refusal(RequestId::new());
    store.keep_refusals(std::slice::from_ref(&newest)).await.unwrap();
    store.refusal(newest.id).await.unwrap();
    assert_eq!(bed.number("SELECT count(*) FROM refusals").await, 100_001);
    assert_eq!(bed.number("SELECT min(at) FROM refusals").await, 11, "the oldest went");
}

async fn switches_are_thrown_and_their_revision_grows(bed: &Bed) {
    let store = bed.open().await;
    let off = |scope: &str, reason: &str, second| SwitchedOff {
        scope: scope.to_owned(),
        reason: reason.to_owned(),
        at: at(second),
    };
    assert!(store.switches().await.unwrap().is_empty());
    let before = store.switches_revision().await.unwrap();
    store.switch_off(&off("provider/openai", "too dear", 1)).await.unwrap();
    store.switch_off(&off("global", "alarm", 2)).await.unwrap();
    store.switch_off(&off("provider/openai", "still too dear", 3)).await.unwrap();
    let expected = [off("global", "alarm", 2), off("provider/openai", "still too dear", 3)];
    assert_eq!(store.switches().await.unwrap(), expected);
    store.switch_on("global").await.unwrap();
    assert!(matches!(store.switch_on("global").await, Err(StoreError::NotFound)));
    assert_eq!(store.switches().await.unwrap(), expected[1..]);
    assert_eq!(store.switches_revision().await.unwrap(), before + 4, "a switch that was on already changes nothing");
}
