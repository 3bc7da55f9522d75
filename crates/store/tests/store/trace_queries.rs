//! Traces, observations, scores, sessions and users: found, paged, counted and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::{NanoTimestamp, SystemClock};
use privet_domain::trace::{
    JsonText, Level, ObservationPatch, ObservationType, PatchKind, PromptLink, Score, ScoreSource, ScoreTarget,
    ScoreType, TraceBatch, TraceId, TracePatch,
};
use privet_store::{
    Comparison, Condition, Count, DailyQuery, Days, DeletedTraces, Dimension, JudgedColumn, ObservationColumn,
    ObservationQuery, OwnColumn, Page, Scan, Scanned, ScoreColumn, StoreError, Test, TextTest, TraceColumn, TraceOrder,
    TraceQuery, TraceStore, Unpriced, WriteSettings,
};
use serde_json::{Value, json};

use crate::bed::{Bed, on_both_databases};

on_both_databases!(
    traces_are_found_by_what_is_known_of_them,
    pages_by_number_and_by_place_are_the_same_traces,
    observations_are_found_by_their_own_and_by_their_trace,
    scores_are_found_paged_and_deleted,
    sessions_and_users_are_what_their_traces_say,
    deleted_traces_take_all_they_have_along_and_leave_the_sums_of_days,
    a_scan_reads_what_was_asked_of_a_range,
    nothing_of_another_project_is_found,
);

const DAY: i64 = 86_400_000_000_000;
/// Midnight.
const BEGIN: i64 = 20_700 * DAY;

async fn open(bed: &Bed) -> TraceStore {
    let settings = WriteSettings { exports: false };
    TraceStore::open(&bed.location, settings, Arc::new(Unpriced), Arc::new(SystemClock)).await.unwrap()
}

fn at(seconds: i64) -> NanoTimestamp {
    NanoTimestamp::from_nanos(BEGIN + seconds * 1_000_000_000)
}

fn trace(id: &str, seconds: i64) -> TracePatch {
    TracePatch { timestamp: Some(at(seconds)), ..TracePatch::new(id.parse().unwrap(), at(seconds)) }
}

fn step(trace: &str, id: &str, seconds: i64, end: i64) -> ObservationPatch {
    let (trace, id) = (trace.parse().unwrap(), id.parse().unwrap());
    let patch = ObservationPatch::new(trace, id, PatchKind::Create, at(seconds));
    ObservationPatch { start: Some(at(seconds)), end: Some(at(end)), ..patch }
}

fn generation(trace: &str, id: &str, seconds: i64, end: i64, tokens: u64) -> ObservationPatch {
    ObservationPatch {
        observation_type: Some(ObservationType::Generation),
        model: Some("gpt-4o".to_owned()),
        usage: Some(BTreeMap::from([("input".to_owned(), tokens), ("output".to_owned(), tokens / 2)])),
        cost: Some(BTreeMap::from([("total".to_owned(), Nanos::new(i64::try_from(tokens).unwrap() * 1_000_000))])),
        prompt: Some(PromptLink { name: "Answer".to_owned(), version: 2 }),
        input: Some(JsonText::string("a question")),
        ..step(trace, id, seconds, end)
    }
}

fn judged(id: &str, target: ScoreTarget, name: &str, value: f64, seconds: i64) -> Score {
    Score {
        id: id.parse().unwrap(),
        target,
        name: name.to_owned(),
        score_type: ScoreType::Numeric,
        value,
        text: None,
        comment: Some("why".to_owned()),
        source: ScoreSource::Api,
        author_user_id: None,
        config_id: None,
        environment: "default".to_owned(),
        metadata: serde_json::Map::new(),
        timestamp: at(seconds),
    }
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

/// Four traces of two users and two sessions, on two days.
async fn fill(store: &TraceStore, project: ProjectId) {
    let some = |text: &str| Some(text.to_owned());
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
    let traces = vec![
        TracePatch {
            name: some("ask"),
            user_id: some("ada"),
            session_id: some("s1"),
            tags: tags(&["a", "b"]),
            release: some("r1"),
            metadata: object(json!({"plan": "pro", "n": 3, "$odd": "x", "nul": "\0"})),
            input: Some(JsonText::string("hey")),
            ..trace("t1", 1)
        },
        TracePatch {
            name: some("ask again"),
            user_id: some("ada"),
            session_id: some("s1"),
            tags: tags(&["b", "x\"a"]),
            version: some("v2"),
            ..trace("t2", 2)
        },
        TracePatch {
            name: some("ASK"),
            user_id: some("bob"),
            session_id: some("s2"),
            environment: some("prod"),
            metadata: object(json!({"n": "3", "plan": "free"})),
            ..trace("t3", 3)
        },
        trace("t4", 86_400 + 4),
    ];
    let observations = vec![
        generation("t1", "o1", 1, 3, 10),
        ObservationPatch {
            level: Some(Level::Error),
            parent_id: Some("o1".parse().unwrap()),
            status_message: some("broken"),
            ..step("t1", "o2", 2, 5)
        },
        ObservationPatch { level: Some(Level::Warning), ..generation("t2", "o3", 2, 3, 100) },
        ObservationPatch { end: None, environment: some("prod"), ..step("t3", "o4", 3, 3) },
    ];
    let scores = vec![
        judged("c1", ScoreTarget::Trace("t1".parse().unwrap(), None), "quality", 0.5, 10),
        judged("c2", ScoreTarget::Trace("t1".parse().unwrap(), Some("o1".parse().unwrap())), "quality", 0.9, 11),
        judged("c3", ScoreTarget::Session("s2".to_owned()), "mood", 3.0, 12),
    ];
    store.write(project, TraceBatch { traces, observations, scores }).await.unwrap();
}

fn query(conditions: Vec<Condition<TraceColumn>>) -> TraceQuery {
    TraceQuery {
        conditions,
        order: TraceOrder::Timestamp,
        is_descending: true,
        page: Page::Skip(0, 50),
        has_contents: false,
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

async fn ids(store: &TraceStore, project: ProjectId, query: &TraceQuery) -> Vec<String> {
    let list = store.list_traces(project, query).await.unwrap();
    list.traces.into_iter().map(|trace| trace.trace.id.to_string()).collect()
}

async fn traces_are_found_by_what_is_known_of_them(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    use TextTest::{Begins, Contains, ContainsNot, Ends, Is, IsNot};
    use TraceColumn as C;
    let text = |test, value: &str| Test::Text(test, value.to_owned());
    let member = |key: &str, test, value: &str| Test::Member(key.to_owned(), test, value.to_owned());
    let member_number = |key: &str, comparison, value| Test::MemberNumber(key.to_owned(), comparison, value);
    let number = Test::Number;
    for (column, test, found) in [
        (C::Id, text(Is, "t2"), "t2"),
        (C::Id, Test::AnyOf(texts(&["t1", "t3", "t9"])), "t3 t1"),
        (C::Id, Test::NoneOf(texts(&["t1", "t3"])), "t4 t2"),
        (C::User, text(Is, "ada"), "t2 t1"),
        (C::Session, text(Is, "s2"), "t3"),
        (C::Name, text(Is, "ask"), "t1"),
        (C::Name, text(IsNot, "ask"), "t4 t3 t2"),
        (C::Name, text(Contains, "sk a"), "t2"),
        (C::Name, text(Contains, "%"), ""),
        (C::Name, text(ContainsNot, "ask"), "t4 t3"),
        (C::Name, text(Begins, "ask"), "t2 t1"),
        (C::Name, text(Ends, "sk"), "t1"),
        (C::Name, text(Ends, "a longer one than any: ask"), ""),
        (C::Name, Test::AnyOf(texts(&["ask", "ASK"])), "t3 t1"),
        (C::Name, Test::NoneOf(texts(&["ask", "ASK"])), "t4 t2"),
        (C::Name, Test::AnyOf(vec![]), ""),
        (C::Name, Test::NoneOf(vec![]), "t4 t3 t2 t1"),
        (C::Id, Test::AnyOf(vec![]), ""),
        (C::Tags, Test::AllOf(vec![]), "t4 t3 t2 t1"),
        (C::Name, Test::IsSet(false), "t4"),
        (C::Environment, text(Is, "prod"), "t3"),
        (C::Release, text(Is, "r1"), "t1"),
        (C::Version, text(Is, "v2"), "t2"),
        (C::Tags, Test::AnyOf(texts(&["a", "nothing"])), "t1"),
        (C::Tags, Test::AllOf(texts(&["b"])), "t2 t1"),
        (C::Tags, Test::AllOf(texts(&["a", "b"])), "t1"),
        (C::Tags, Test::AllOf(texts(&["x\"a"])), "t2"),
        (C::Tags, Test::NoneOf(texts(&["a"])), "t4 t3 t2"),
        (C::Timestamp, Test::Time(Comparison::AtLeast, at(2)), "t4 t3 t2"),
        (C::Timestamp, Test::Time(Comparison::Less, at(2)), "t1"),
        (C::Metadata, member("plan", Is, "free"), "t3"),
        (C::Metadata, member("plan", Contains, "re"), "t3"),
        (C::Metadata, member("nothing", Is, "x"), ""),
        (C::Metadata, Test::MemberIsSet("plan".to_owned(), false), if bed.is_sqlite() { "t4 t2" } else { "t4 t2 t1" }),
        (C::Metadata, member_number("n", Comparison::More, 1.0), if bed.is_sqlite() { "t1" } else { "" }),
        (C::Latency, number(Comparison::AtLeast, 4.0), "t1"),
        (C::Latency, number(Comparison::Less, 0.5), "t3"),
        (C::Cost, number(Comparison::Equal, 0.1), "t2"),
        (C::TotalTokens, number(Comparison::More, 15.0), "t2"),
        (C::Observations, number(Comparison::Equal, 2.0), "t1"),
        (C::Errors, number(Comparison::More, 0.0), "t1"),
        (C::Level, Test::AnyOf(texts(&["WARNING", "ERROR"])), "t2 t1"),
        (C::Level, Test::NoneOf(texts(&["ERROR"])), "t4 t3 t2"),
        (C::Public, Test::Flag(true), ""),
        (C::Public, Test::Flag(false), "t4 t3 t2 t1"),
        (C::Public, text(Is, "no text"), ""),
    ] {
        let conditions = vec![Condition { column, test: test.clone() }];
        let count = store.count_traces(project, &conditions).await.unwrap();
        let listed = ids(&store, project, &query(conditions)).await;
        assert_eq!(listed.join(" "), found, "{column:?} {test:?}");
        let items = u64::try_from(listed.len()).unwrap();
        assert_eq!(count, Count { items, is_more: false }, "{column:?} {test:?}");
    }
    let both = vec![Condition::is(C::User, "ada"), Condition::since(C::Timestamp, at(2))];
    assert_eq!(ids(&store, project, &query(both)).await, ["t2"]);
    store.close().await;
}

async fn pages_by_number_and_by_place_are_the_same_traces(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    let same: Vec<TracePatch> = (0..5).map(|number| trace(&format!("same {number}"), 2)).collect();
    store.write(project, TraceBatch { traces: same, ..TraceBatch::default() }).await.unwrap();
    let all = ids(&store, project, &query(vec![])).await;
    assert_eq!(all.len(), 9);
    let (mut by_number, mut by_place, mut place) = (Vec::new(), Vec::new(), None);
    for skip in (0..10).step_by(2) {
        by_number.extend(ids(&store, project, &TraceQuery { page: Page::Skip(skip, 2), ..query(vec![]) }).await);
    }
    loop {
        let page = Page::After(place, 2);
        let list = store.list_traces(project, &TraceQuery { page, ..query(vec![]) }).await.unwrap();
        by_place.extend(list.traces.into_iter().map(|trace| trace.trace.id.to_string()));
        // A cursor travels as text.
        place = list.next.map(|place| place.to_string().parse().unwrap());
        if place.is_none() {
            break;
        }
    }
    assert_eq!((&by_number, &by_place), (&all, &all));
    for (order, is_descending, first) in [
        (TraceOrder::Timestamp, false, "t1"),
        (TraceOrder::Cost, true, "t2"),
        (TraceOrder::Latency, true, "t1"),
        (TraceOrder::Name, true, "t2"),
        (TraceOrder::Tokens, true, "t2"),
        (TraceOrder::User, true, "t3"),
        (TraceOrder::Id, true, "t4"),
    ] {
        let listed = ids(&store, project, &TraceQuery { order, is_descending, ..query(vec![]) }).await;
        assert_eq!(listed[0], first, "{order:?}");
    }
    let with = store.list_traces(project, &TraceQuery { has_contents: true, ..query(vec![]) }).await.unwrap();
    let with: Vec<_> = with.traces.into_iter().filter(|trace| trace.trace.id.as_str() == "t1").collect();
    assert_eq!((&with[0].trace.input, with[0].trace.metadata.len()), (&Some(JsonText::string("hey")), 4));
    let without = store.list_traces(project, &query(vec![Condition::is(TraceColumn::Id, "t1")])).await.unwrap();
    assert_eq!((&without.traces[0].trace.input, without.traces[0].totals.errors), (&None, 1));
    store.close().await;
}

async fn observations_are_found_by_their_own_and_by_their_trace(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    let text = |value: &str| Test::Text(TextTest::Is, value.to_owned());
    let own = ObservationColumn::Own;
    for (column, test, found) in [
        (own(OwnColumn::Trace), text("t1"), "o2 o1"),
        (own(OwnColumn::Type), text("GENERATION"), "o3 o1"),
        (own(OwnColumn::Parent), text("o1"), "o2"),
        (own(OwnColumn::Parent), Test::IsSet(false), "o4 o3 o1"),
        (own(OwnColumn::IsRoot), Test::Flag(true), "o4 o3 o1"),
        (own(OwnColumn::Level), Test::AnyOf(texts(&["ERROR", "WARNING"])), "o3 o2"),
        (own(OwnColumn::StatusMessage), text("broken"), "o2"),
        (own(OwnColumn::Environment), text("prod"), "o4"),
        (own(OwnColumn::Model), text("gpt-4o"), "o3 o1"),
        (own(OwnColumn::PromptName), text("Answer"), "o3 o1"),
        (own(OwnColumn::PromptVersion), Test::Number(Comparison::Equal, 2.0), "o3 o1"),
        (own(OwnColumn::Latency), Test::Number(Comparison::AtLeast, 2.0), "o2 o1"),
        (own(OwnColumn::TokensPerSecond), Test::Number(Comparison::More, 10.0), "o3"),
        (own(OwnColumn::Cost), Test::Number(Comparison::Less, 0.05), "o4 o2 o1"),
        (own(OwnColumn::Start), Test::Time(Comparison::AtLeast, at(3)), "o4"),
        (own(OwnColumn::End), Test::IsSet(false), "o4"),
        (ObservationColumn::OfTrace(TraceColumn::User), text("ada"), "o3 o2 o1"),
        (ObservationColumn::OfTrace(TraceColumn::Tags), Test::AllOf(texts(&["a"])), "o2 o1"),
    ] {
        let conditions = vec![Condition { column, test: test.clone() }];
        let count = store.count_observations(project, &conditions).await.unwrap();
        let query = ObservationQuery { conditions, page: Page::After(None, 50), has_contents: false };
        let list = store.list_observations(project, &query).await.unwrap();
        let listed: Vec<_> = list.observations.iter().map(|one| one.id.as_str()).collect();
        let mut sorted = listed.clone();
        sorted.sort_unstable_by(|one, other| other.cmp(one));
        // Two begin at the same instant: the order of ids decides.
        assert_eq!(listed, sorted);
        assert_eq!(listed.join(" "), found, "{column:?} {test:?}");
        assert_eq!(count.items, u64::try_from(listed.len()).unwrap());
    }
    let query = ObservationQuery { conditions: vec![], page: Page::After(None, 3), has_contents: true };
    let first = store.list_observations(project, &query).await.unwrap();
    let rest = ObservationQuery { page: Page::After(first.next.clone(), 3), ..query };
    let rest = store.list_observations(project, &rest).await.unwrap();
    assert_eq!((first.observations.len(), rest.observations.len(), rest.next), (3, 1, None));
    assert_eq!(rest.observations[0].input, Some(JsonText::string("a question")));
    let traces = store.traces_by_id(project, first.observations.iter().map(|one| one.trace_id.clone())).await.unwrap();
    assert_eq!(traces[&"t1".parse::<TraceId>().unwrap()].trace.user_id.as_deref(), Some("ada"));
    let within = store.ids_within(project, &["t1".parse().unwrap(), "t9".parse().unwrap()]).await.unwrap();
    let within = &within[&"t1".parse::<TraceId>().unwrap()];
    assert_eq!((within.observations.len(), within.scores.len()), (2, 2));
    store.close().await;
}

async fn scores_are_found_paged_and_deleted(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    let found = async |conditions: Vec<Condition<ScoreColumn>>| {
        let list = store.list_scores(project, &conditions, &Page::Skip(0, 50)).await.unwrap();
        assert_eq!(
            store.count_scores(project, &conditions).await.unwrap().items,
            u64::try_from(list.scores.len()).unwrap()
        );
        list.scores.iter().map(|stored| stored.score.id.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found(vec![]).await, "c3 c2 c1");
    assert_eq!(found(vec![Condition::is(JudgedColumn::Name.into(), "quality")]).await, "c2 c1");
    assert_eq!(found(vec![Condition::is(JudgedColumn::Observation.into(), "o1")]).await, "c2");
    assert_eq!(found(vec![Condition::is(ScoreColumn::OfTrace(TraceColumn::User), "ada")]).await, "c2 c1");
    assert_eq!(found(vec![Condition::is(ScoreColumn::OfObservation(OwnColumn::Model), "gpt-4o")]).await, "c2");
    let more = Test::Number(Comparison::More, 0.7);
    assert_eq!(found(vec![Condition { column: JudgedColumn::Value.into(), test: more }]).await, "c3 c2");
    let first = store.list_scores(project, &[], &Page::After(None, 2)).await.unwrap();
    let rest = store.list_scores(project, &[], &Page::After(first.next, 2)).await.unwrap();
    assert_eq!((rest.scores[0].score.id.as_str(), rest.scores.len(), rest.next), ("c1", 1, None));
    let of_trace = store.scores_of(project, &"t1".parse().unwrap()).await.unwrap();
    assert_eq!(of_trace.iter().map(|stored| stored.score.value).collect::<Vec<_>>(), [0.5, 0.9]);
    let id = "c3".parse().unwrap();
    assert_eq!(store.score(project, &id).await.unwrap().score.target, ScoreTarget::Session("s2".to_owned()));
    store.delete_score(project, &id).await.unwrap();
    assert!(matches!(store.score(project, &id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delete_score(project, &id).await, Err(StoreError::NotFound)));
    store.close().await;
}

async fn sessions_and_users_are_what_their_traces_say(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    let sessions = store.list_sessions(project, &[], 0, 10).await.unwrap();
    assert_eq!(sessions.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), ["s2", "s1"]);
    assert_eq!(store.count_sessions(project, &[]).await.unwrap().items, 2);
    let s1 = store.session(project, "s1").await.unwrap();
    assert_eq!((s1.created_at, s1.last_at, s1.user_ids.as_slice()), (at(1), at(2), ["ada".to_owned()].as_slice()));
    assert_eq!((s1.sums.traces, s1.sums.observations, s1.sums.errors, s1.sums.total_tokens), (2, 3, 1, 165));
    assert_eq!(sessions[1], s1);
    let prod = [Condition::is(TraceColumn::Environment, "prod")];
    assert_eq!(store.list_sessions(project, &prod, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.list_sessions(project, &[], 1, 10).await.unwrap().len(), 1);
    assert!(matches!(store.session(project, "s3").await, Err(StoreError::NotFound)));

    let users = store.list_users(project, Days::default(), 0, 10).await.unwrap();
    assert_eq!(users.iter().map(|user| user.id.as_str()).collect::<Vec<_>>(), ["ada", "bob"]);
    let ada = store.user(project, "ada").await.unwrap();
    assert_eq!(ada, users[0]);
    assert_eq!((ada.first_at, ada.last_at, ada.sums.cost), (at(1), at(2), Nanos::new(110_000_000)));
    assert!(matches!(store.user(project, "eve").await, Err(StoreError::NotFound)));
    let later = Days { from: Some(20_701), until: None };
    assert_eq!(store.list_users(project, later, 0, 10).await.unwrap(), []);
    store.close().await;
}

async fn deleted_traces_take_all_they_have_along_and_leave_the_sums_of_days(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    let ids: Vec<TraceId> = ["t1", "t2", "t9"].map(|id| id.parse().unwrap()).to_vec();
    assert_eq!(store.delete_traces(ProjectId::new(), &ids).await.unwrap(), DeletedTraces::default());
    let deleted = store.delete_traces(project, &ids).await.unwrap();
    assert_eq!(deleted, DeletedTraces { traces: 2, observations: 3, scores: 2 });
    assert_eq!(self::ids(&store, project, &query(vec![])).await, ["t4", "t3"]);
    assert!(matches!(store.observation(project, &"o1".parse().unwrap()).await, Err(StoreError::NotFound)));
    assert_eq!(store.list_scores(project, &[], &Page::Skip(0, 9)).await.unwrap().scores.len(), 1);
    let sums = DailyQuery {
        by: Dimension::Model,
        values: texts(&["gpt-4o"]),
        environments: vec![],
        days: Days { from: Some(20_700), until: Some(20_701) },
        limit: 10,
    };
    let [day] = store.daily_sums(project, &sums).await.unwrap().try_into().unwrap();
    assert_eq!((day.day, day.value.as_str(), day.observations, day.total_tokens), (20_700, "gpt-4o", 2, 165));
    let user = store.user(project, "ada").await.unwrap();
    assert_eq!((user.first_at, user.sums.traces), (at(0), 2), "of what is gone the day is known");
    let prompts = DailyQuery { by: Dimension::Prompt, values: texts(&["Answer"]), ..sums };
    let [day] = store.daily_sums(project, &prompts).await.unwrap().try_into().unwrap();
    assert_eq!((day.value.as_str(), day.prompt_version, day.latency_ms, day.ended), ("Answer", Some(2), 3_000, 2));
    // Nothing remembers it: what comes late begins a trace anew.
    store.write(project, TraceBatch { traces: vec![trace("t1", 7)], ..TraceBatch::default() }).await.unwrap();
    assert_eq!(store.trace(project, &"t1".parse().unwrap()).await.unwrap().trace.timestamp, at(7));
    store.close().await;
}

async fn a_scan_reads_what_was_asked_of_a_range(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    fill(&store, project).await;
    let scan = Scan {
        conditions: vec![Condition::is(ObservationColumn::OfTrace(TraceColumn::User), "ada")],
        texts: vec![OwnColumn::Model.into(), TraceColumn::Tags.into(), OwnColumn::PromptVersion.into()],
        numbers: vec![OwnColumn::Latency.into(), OwnColumn::Cost.into(), OwnColumn::TotalTokens.into()],
        from: at(0),
        until: at(2),
    };
    let mut rows = Vec::new();
    assert_eq!(store.scan_observations(project, &scan, |row| rows.push(row)).await.unwrap(), Scanned::Whole);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(row.texts, [Some("gpt-4o".to_owned()), Some(r#"["a","b"]"#.to_owned()), Some("2".to_owned())]);
    assert_eq!(row.numbers, [Some(2_000.0), Some(0.01), Some(15.0)]);
    let scan = Scan { conditions: vec![], texts: vec![TraceColumn::Name], numbers: vec![], from: at(0), until: at(99) };
    let mut names = Vec::new();
    store.scan_traces(project, &scan, |mut row| names.extend(row.texts.pop())).await.unwrap();
    assert_eq!(names.len(), 3);
    let scan = Scan {
        conditions: vec![],
        texts: vec![JudgedColumn::Name.into(), ScoreColumn::OfTrace(TraceColumn::Name)],
        numbers: vec![JudgedColumn::Value.into()],
        from: at(0),
        until: at(99),
    };
    let mut sum = 0.0;
    store.scan_scores(project, &scan, |row| sum += row.numbers[0].unwrap()).await.unwrap();
    assert!((sum - 4.4).abs() < 1e-9, "{sum}");
    store.close().await;
}

async fn nothing_of_another_project_is_found(bed: &Bed) {
    let (store, mine, theirs) = (open(bed).await, ProjectId::new(), ProjectId::new());
    fill(&store, mine).await;
    assert_eq!(ids(&store, theirs, &query(vec![])).await, [""; 0]);
    let any = ObservationQuery { conditions: vec![], page: Page::After(None, 9), has_contents: true };
    assert_eq!(store.list_observations(theirs, &any).await.unwrap().observations, []);
    let by_user = Condition::is(ObservationColumn::OfTrace(TraceColumn::User), "ada");
    assert_eq!(store.count_observations(theirs, &[by_user]).await.unwrap().items, 0);
    assert_eq!(store.list_scores(theirs, &[], &Page::Skip(0, 9)).await.unwrap().scores, []);
    assert_eq!(store.list_sessions(theirs, &[], 0, 9).await.unwrap(), []);
    assert_eq!(store.list_users(theirs, Days::default(), 0, 9).await.unwrap(), []);
    assert!(store.traces_by_id(theirs, ["t1".parse().unwrap()]).await.unwrap().is_empty());
    assert!(store.ids_within(theirs, &["t1".parse().unwrap()]).await.unwrap().is_empty());
    assert!(matches!(store.delete_score(theirs, &"c1".parse().unwrap()).await, Err(StoreError::NotFound)));
    let all = DailyQuery { by: Dimension::All, values: vec![], environments: vec![], days: Days::default(), limit: 9 };
    assert_eq!(store.daily_sums(theirs, &all).await.unwrap(), []);
    assert!(!store.daily_sums(mine, &all).await.unwrap().is_empty());
    store.close().await;
}
