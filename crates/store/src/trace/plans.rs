//! How SQLite answers the queries that everybody asks: from an index, without looking at everything and without sorting it.

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::time::{NanoTimestamp, SystemClock};
use sqlx::AssertSqlSafe;

use super::columns::{JudgedColumn, OwnColumn, ScoreColumn, TraceColumn};
use super::condition::Condition;
use super::daily::{DailyQuery, Dimension, daily_sql};
use super::list::{ObservationQuery, TraceOrder, TraceQuery, observations_sql, traces_sql};
use super::page::{Page, Place};
use super::score::scores_sql;
use super::session::{Days, sessions_sql};
use super::sql::{Sql, with_values};
use super::{TraceStore, Unpriced, WriteSettings};
use crate::db::{Db, Location};

async fn plan(store: &TraceStore, Sql { text, values, .. }: Sql) -> String {
    let Db::Sqlite(sqlite) = &*store.db else { panic!("SQLite") };
    let explained = with_values!(sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"))), values);
    let steps: Vec<(i64, i64, i64, String)> = explained.fetch_all(&sqlite.readers).await.unwrap();
    steps.into_iter().map(|(.., step)| step).collect::<Vec<_>>().join("; ")
}

fn traces(conditions: Vec<Condition<TraceColumn>>, page: Page) -> TraceQuery {
    TraceQuery { conditions, order: TraceOrder::Timestamp, is_descending: true, page, has_contents: false }
}

#[tokio::test]
async fn the_usual_questions_are_answered_from_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Folder(folder.path().to_owned());
    let store = TraceStore::open(&location, WriteSettings::default(), Arc::new(Unpriced), Arc::new(SystemClock));
    let store = store.await.unwrap();
    let project = ProjectId::new();
    let at = NanoTimestamp::from_nanos(5);
    let after = || Page::After(Some(Place::new(at, vec![1])), 50);
    let observations = |conditions, page| ObservationQuery { conditions, page, has_contents: false };
    let user = || Condition::is(TraceColumn::User, "ada");
    let days = DailyQuery {
        by: Dimension::Model,
        values: vec![],
        environments: vec![],
        days: Days { from: Some(1), until: Some(9) },
        limit: 100,
    };
    // Those with `true` come in the order of the index: at most ids of one instant are sorted.
    for (sql, index, is_sorted) in [
        (traces_sql(store.sql(), project, &traces(vec![], Page::Skip(0, 50))), "traces_by_time (project_id=?)", true),
        (
            traces_sql(store.sql(), project, &traces(vec![], after())),
            "traces_by_time (project_id=? AND started_at<?)",
            true,
        ),
        (
            traces_sql(store.sql(), project, &traces(vec![user()], after())),
            "traces_by_user (project_id=? AND user_id=? AND started_at<?)",
            true,
        ),
        (
            traces_sql(
                store.sql(),
                project,
                &traces(vec![Condition::is(TraceColumn::Session, "s")], Page::Skip(0, 50)),
            ),
            "traces_by_session (project_id=? AND session_id=?)",
            true,
        ),
        (
            traces_sql(
                store.sql(),
                project,
                &traces(vec![Condition::since(TraceColumn::Timestamp, at)], Page::Skip(0, 50)),
            ),
            "traces_by_time (project_id=? AND started_at>?)",
            true,
        ),
        (
            observations_sql(store.sql(), project, &observations(vec![], Page::Skip(0, 50))),
            "observations_by_time (project_id=?)",
            true,
        ),
        (
            observations_sql(store.sql(), project, &observations(vec![], after())),
            "observations_by_time (project_id=? AND started_at<?)",
            true,
        ),
        (
            observations_sql(
                store.sql(),
                project,
                &observations(vec![Condition::is(OwnColumn::Trace.into(), "t")], after()),
            ),
            "observations_by_trace (project_id=? AND trace_id=? AND started_at<?)",
            false,
        ),
        (scores_sql(store.sql(), project, &[], &after()), "scores_by_time (project_id=? AND scored_at<?)", true),
        (
            scores_sql(
                store.sql(),
                project,
                &[Condition::is(ScoreColumn::Own(JudgedColumn::Trace), "t")],
                &Page::Skip(0, 50),
            ),
            "scores_by_trace (project_id=? AND trace_id=?)",
            false,
        ),
        (
            sessions_sql(store.sql(), project, &[], 0, 50),
            "COVERING INDEX traces_by_session (project_id=? AND session_id>?)",
            false,
        ),
        (
            daily_sql(store.sql(), project, &days),
            "PRIMARY KEY (project_id=? AND dimension=? AND day>? AND day<?)",
            false,
        ),
    ] {
        let text = sql.text.clone();
        let plan = plan(&store, sql).await;
        assert!(plan.contains(index), "{plan} for {text}");
        assert!(!plan.contains("SCAN"), "{plan} for {text}");
        let sorts_all = plan.replace("FOR LAST TERM OF ORDER BY", "").contains("ORDER BY");
        assert!(!(is_sorted && sorts_all), "{plan} for {text}");
    }
    let of_user = observations(vec![Condition::is(TraceColumn::User.into(), "ada")], after());
    let plan = plan(&store, observations_sql(store.sql(), project, &of_user)).await;
    assert!(plan.contains("SEARCH t USING INDEX traces_by_user (project_id=? AND user_id=?)"), "{plan}");
    assert!(plan.contains("SEARCH o USING INDEX observations_by_trace (project_id=? AND trace_id=?"), "{plan}");
    store.close().await;
}
