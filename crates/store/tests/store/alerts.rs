//! Budget alerts: one for each window and percentage, taken by one server at a time, tried until delivered or given up.

use privet_domain::id::AlertId;
use privet_store::{Charge, DueAlert, NewAlert, Store};

use crate::bed::{Bed, at, on_both_databases};

on_both_databases!(
    one_alert_is_kept_for_each_window_and_percentage,
    a_due_alert_is_taken_by_one_of_many_servers,
    an_attempt_without_an_outcome_is_due_again_and_a_settled_one_is_not,
);

fn alert(percent: u8, window_second: i64) -> NewAlert {
    let charge = Charge { budget: "global/day".into(), window_start: at(window_second) };
    NewAlert { id: AlertId::new(), charge, percent, body: format!("{percent} of {window_second}"), at: at(10) }
}

async fn due(store: &Store, second: i64) -> Vec<DueAlert> {
    let mut due = store.take_due_alerts(at(second), at(second + 30), 16).await.unwrap();
    due.sort_by_key(|alert| alert.percent);
    due
}

async fn one_alert_is_kept_for_each_window_and_percentage(bed: &Bed) {
    let store = bed.open().await;
    let first = alert(50, 0);
    store.add_alerts(std::slice::from_ref(&first)).await.unwrap();
    store.add_alerts(&[alert(50, 0), alert(80, 0)]).await.unwrap();
    store.add_alerts(&[alert(50, 86_400), alert(80, 0)]).await.unwrap();
    assert_eq!(bed.number("SELECT count(*) FROM budget_alerts").await, 3);
    let of_window = due(&store, 10).await.into_iter().find(|alert| alert.body == "50 of 0").unwrap();
    assert_eq!((of_window.id, of_window.attempt, of_window.created_at), (first.id, 1, at(10)));
}

async fn a_due_alert_is_taken_by_one_of_many_servers(bed: &Bed) {
    let stores = [bed.open().await, bed.open().await, bed.open().await];
    let alerts: Vec<NewAlert> = (1..=50).map(|percent| alert(percent, 0)).collect();
    stores[0].add_alerts(&alerts).await.unwrap();
    let mut percents = Vec::new();
    while percents.len() < alerts.len() {
        let takes = stores.iter().map(|store| store.take_due_alerts(at(10), at(40), 7));
        for taken in futures_util::future::join_all(takes).await {
            percents.extend(taken.unwrap().into_iter().map(|alert| alert.percent));
        }
    }
    percents.sort_unstable();
    assert_eq!(percents, (1..=50).collect::<Vec<_>>());
}

async fn an_attempt_without_an_outcome_is_due_again_and_a_settled_one_is_not(bed: &Bed) {
    let store = bed.open().await;
    store.add_alerts(&[alert(50, 0), alert(80, 0), alert(90, 0), alert(100, 0)]).await.unwrap();
    let first = due(&store, 10).await;
    assert_eq!(first.len(), 4);
    assert!(due(&store, 11).await.is_empty(), "the attempts are under way");
    store.alert_delivered(first[0].id, at(12)).await.unwrap();
    store.alert_failed(first[1].id, at(15)).await.unwrap();
    store.alert_given_up(first[2].id, at(12)).await.unwrap();
    assert!(due(&store, 14).await.is_empty());
    let again = due(&store, 15).await;
    assert_eq!(again.iter().map(|alert| (alert.percent, alert.attempt)).collect::<Vec<_>>(), [(80, 2)]);
    // Of the last one nobody said how it ended: its server may be dead.
    let again = due(&store, 40).await;
    assert_eq!(again.iter().map(|alert| (alert.percent, alert.attempt)).collect::<Vec<_>>(), [(100, 2)]);
}
