//! Traces: written in pieces and read back whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::{NanoTimestamp, SystemClock};
use privet_domain::trace::{
    JsonText, Level, ObservationPatch, ObservationType, PatchKind, PromptLink, TraceBatch, TracePatch,
};
use privet_store::{Expiry, Pricing, StoreError, TraceStore, WriteSettings};
use serde_json::{Value, json};

use crate::bed::{Bed, on_both_databases};

on_both_databases!(
    what_was_sent_is_read_back,
    pieces_in_any_order_make_the_same_trace,
    a_piece_sent_again_counts_once,
    a_bad_batch_harms_no_other,
    projects_do_not_see_each_other,
    spans_of_two_traces_may_have_the_same_id,
    a_process_that_begins_again_finds_what_was_written,
    what_expired_goes_with_its_contents_and_what_is_in_use_stays,
);

/// A token in costs 1 nano-dollar, a token out 2.
struct Flat;

impl Pricing for Flat {
    fn cost(&self, model: &str, usage: &BTreeMap<String, u64>, _: NanoTimestamp) -> Option<BTreeMap<String, Nanos>> {
        let price = |kind: &str| i64::from(1 + u8::from(kind == "output"));
        let cost =
            |(kind, tokens): (&String, &u64)| (kind.clone(), Nanos::new(price(kind) * i64::try_from(*tokens).unwrap()));
        (model == "flat").then(|| usage.iter().map(cost).collect())
    }
}

async fn open(bed: &Bed) -> TraceStore {
    let settings = WriteSettings { exports: true };
    TraceStore::open(&bed.location, settings, Arc::new(Flat), Arc::new(SystemClock)).await.unwrap()
}

fn at(nanos: i64) -> NanoTimestamp {
    NanoTimestamp::from_nanos(1_790_000_000_000_000_000 + nanos)
}

fn trace(id: &str, nanos: i64) -> TracePatch {
    TracePatch { timestamp: Some(at(nanos)), ..TracePatch::new(id.parse().unwrap(), at(nanos)) }
}

fn observation(trace: &str, id: &str, nanos: i64) -> ObservationPatch {
    let (trace, id) = (trace.parse().unwrap(), id.parse().unwrap());
    ObservationPatch { start: Some(at(nanos)), ..ObservationPatch::new(trace, id, PatchKind::Create, at(nanos)) }
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

async fn what_was_sent_is_read_back(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    let long = JsonText::string(&"long ".repeat(2_000));
    let thread = JsonText::from_json_or_text(r#"[{"role":"user","content":"hi"}]"#);
    let answer = JsonText::from_json_or_text(r#"{"role":"assistant","content":"hello"}"#);
    let mut patch = trace("0123456789abcdef0123456789abcdef", 5);
    patch.name = Some("a na\0me".to_owned());
    patch.user_id = Some("ada".to_owned());
    patch.session_id = Some("s1".to_owned());
    patch.tags = vec!["b".to_owned(), "a".to_owned()];
    patch.metadata = object(json!({"k": {"deep": [1, null]}}));
    patch.input = Some(thread.clone());
    patch.output = Some(answer.clone());
    patch.public = Some(true);
    let mut step = observation("0123456789abcdef0123456789abcdef", "0123456789abcdef", 6);
    step.observation_type = Some(ObservationType::Generation);
    step.input = Some(thread.clone());
    step.output = Some(answer.clone());
    step.metadata = object(json!({"attributes": {"x": 1}, "resourceAttributes": {"service.name": "s"}}));
    step.model = Some("flat".to_owned());
    step.model_parameters = Some(object(json!({"temperature": 0})));
    step.usage = Some(BTreeMap::from([("input".to_owned(), 10), ("output".to_owned(), 5)]));
    step.prompt = Some(PromptLink { name: "Answer".to_owned(), version: 3 });
    step.end = Some(at(1_000_006));
    step.level = Some(Level::Error);
    let mut other = observation("0123456789abcdef0123456789abcdef", "not-hex", 7);
    other.parent_id = Some("0123456789abcdef".parse().unwrap());
    other.input = Some(long.clone());
    let batch = TraceBatch { traces: vec![patch], observations: vec![step, other], scores: Vec::new() };
    store.write(project, batch).await.unwrap();

    let id = "0123456789abcdef0123456789abcdef".parse().unwrap();
    let read = store.trace(project, &id).await.unwrap();
    assert_eq!(read.trace.id, id);
    assert_eq!(read.trace.name.as_deref(), Some("a na\u{fffd}me"));
    assert_eq!((read.trace.user_id.as_deref(), read.trace.session_id.as_deref()), (Some("ada"), Some("s1")));
    assert_eq!((read.trace.tags.as_slice(), read.trace.public), (["a".to_owned(), "b".to_owned()].as_slice(), true));
    assert_eq!(Value::from(read.trace.metadata), json!({"k": {"deep": [1, null]}}));
    assert_eq!((read.trace.input, read.trace.output), (Some(thread.clone()), Some(answer.clone())));
    assert_eq!((read.totals.observations, read.totals.errors, read.totals.total_tokens), (2, 1, 15));
    assert_eq!((read.totals.cost, read.totals.ended_at), (Nanos::new(20), Some(at(1_000_006))));

    let steps = store.observations_of(project, &id).await.unwrap();
    let [step, other] = steps.as_slice() else { panic!("two observations: {steps:?}") };
    assert_eq!((step.input.as_ref(), step.output.as_ref()), (Some(&thread), Some(&answer)));
    let metadata = json!({"attributes": {"x": 1}, "resourceAttributes": {"service.name": "s"}});
    assert_eq!(Value::from(step.metadata.clone()), metadata);
    assert_eq!(step.prompt, Some(PromptLink { name: "Answer".to_owned(), version: 3 }));
    assert_eq!(step.cost.get("output"), Some(&Nanos::new(10)));
    assert_eq!((step.start, step.end), (at(6), Some(at(1_000_006))));
    assert_eq!(other.input, Some(long));
    assert_eq!(store.observation(project, &step.id).await.unwrap(), *step);
    assert_eq!(other.parent_id, Some(step.id.clone()));
    store.close().await;
}

async fn pieces_in_any_order_make_the_same_trace(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    let usage = |tokens| Some(BTreeMap::from([("input".to_owned(), tokens)]));
    let pieces = |id: &str| {
        let root = TracePatch { name: Some("root".to_owned()), ..trace(id, 1) };
        let child = TracePatch { name: Some("child".to_owned()), user_id: Some("ada".to_owned()), ..trace(id, 2) };
        let begin = ObservationPatch { model: Some("flat".to_owned()), ..observation(id, &format!("{id}-step"), 2) };
        let end = ObservationPatch {
            kind: PatchKind::Update,
            start: None,
            end: Some(at(9)),
            usage: usage(7),
            ..begin.clone()
        };
        [
            TraceBatch { traces: vec![root], ..TraceBatch::default() },
            TraceBatch { traces: vec![child], ..TraceBatch::default() },
            TraceBatch { observations: vec![begin], ..TraceBatch::default() },
            TraceBatch { observations: vec![end], ..TraceBatch::default() },
        ]
    };
    for (number, order) in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]].into_iter().enumerate() {
        let id = format!("trace {number}");
        for piece in order {
            store.write(project, pieces(&id)[piece].clone()).await.unwrap();
        }
        let read = store.trace(project, &id.parse().unwrap()).await.unwrap();
        assert_eq!((read.trace.name.as_deref(), read.trace.user_id.as_deref()), (Some("child"), Some("ada")));
        assert_eq!(read.trace.timestamp, at(1), "{order:?}");
        assert_eq!((read.totals.observations, read.totals.input_tokens), (1, 7), "{order:?}");
        assert_eq!(read.totals.cost, Nanos::new(7), "the model came apart from the tokens: {order:?}");
        assert_eq!(read.totals.ended_at, Some(at(9)));
    }
    store.close().await;
}

async fn a_piece_sent_again_counts_once(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    let mut step = observation("t", "o", 3);
    step.usage = Some(BTreeMap::from([("input".to_owned(), 7)]));
    let batch = TraceBatch { traces: vec![trace("t", 3)], observations: vec![step], scores: Vec::new() };
    let (first, second) = tokio::join!(store.write(project, batch.clone()), store.write(project, batch.clone()));
    first.unwrap();
    second.unwrap();
    store.write(project, batch).await.unwrap();
    let read = store.trace(project, &"t".parse().unwrap()).await.unwrap();
    assert_eq!((read.totals.observations, read.totals.input_tokens), (1, 7));
    store.close().await;
}

async fn a_bad_batch_harms_no_other(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    let mut batches = Vec::new();
    for number in 0..20 {
        let mut step = observation("t", &format!("o{number}"), number);
        step.input = Some(JsonText::string("\0"));
        step.metadata = object(json!({"nul": "\0"}));
        step.status_message = Some("\0".to_owned());
        batches.push(store.write(project, TraceBatch { observations: vec![step], ..TraceBatch::default() }));
    }
    for outcome in futures_util::future::join_all(batches).await {
        outcome.unwrap();
    }
    assert_eq!(store.observations_of(project, &"t".parse().unwrap()).await.unwrap().len(), 20);
    store.close().await;
}

async fn spans_of_two_traces_may_have_the_same_id(bed: &Bed) {
    let (store, project) = (open(bed).await, ProjectId::new());
    let run = |id: &str, name: &str| {
        let mut step = observation(id, "00f067aa0ba902b7", 1);
        step.name = Some(name.to_owned());
        let patch = TracePatch { name: Some(name.to_owned()), ..trace(id, 1) };
        TraceBatch { traces: vec![patch], observations: vec![step], scores: Vec::new() }
    };
    for _ in 0..2 {
        store.write(project, run("a", "one")).await.unwrap();
        store.write(project, run("b", "other")).await.unwrap();
    }
    let at_once = TraceBatch { observations: vec![run("c", "c").observations.remove(0)], ..run("d", "d") };
    store.write(project, at_once).await.unwrap();
    for (id, name) in [("a", "one"), ("b", "other")] {
        let read = store.trace(project, &id.parse().unwrap()).await.unwrap();
        let found = store.observations_of(project, &id.parse().unwrap()).await.unwrap();
        let steps: Vec<_> = found.iter().map(|step| step.name.as_deref()).collect();
        assert_eq!((read.trace.name.as_deref(), steps, read.totals.observations), (Some(name), vec![Some(name)], 1));
    }
    let erased = store.delete_traces(project, &["a".parse().unwrap()]).await.unwrap();
    assert_eq!((erased.traces, erased.observations), (1, 1));
    assert_eq!(store.observations_of(project, &"b".parse().unwrap()).await.unwrap().len(), 1);
    store.close().await;
}

async fn projects_do_not_see_each_other(bed: &Bed) {
    let (store, mine, theirs) = (open(bed).await, ProjectId::new(), ProjectId::new());
    let batch = TraceBatch { traces: vec![trace("t", 1)], ..TraceBatch::default() };
    store.write(mine, batch).await.unwrap();
    assert!(matches!(store.trace(theirs, &"t".parse().unwrap()).await, Err(StoreError::NotFound)));
    store.close().await;
}

async fn a_process_that_begins_again_finds_what_was_written(bed: &Bed) {
    let project = ProjectId::new();
    let thread = |turns: usize| {
        let messages: Vec<Value> = (0..turns).map(|turn| json!({"role": "user", "content": turn})).collect();
        Some(JsonText::of(&Value::Array(messages)))
    };
    for turn in 1..4 {
        let store = open(bed).await;
        let patch = TracePatch { input: thread(turn), ..trace(&format!("t{turn}"), 1) };
        store.write(project, TraceBatch { traces: vec![patch], ..TraceBatch::default() }).await.unwrap();
        store.close().await;
    }
    let store = open(bed).await;
    for turn in 1..4 {
        let read = store.trace(project, &format!("t{turn}").parse().unwrap()).await.unwrap();
        assert_eq!(read.trace.input, thread(turn));
    }
    store.close().await;
}

/// A clock that tests set, in minutes.
struct Minutes(std::sync::atomic::AtomicI64);

impl privet_domain::time::Clock for Minutes {
    fn now(&self) -> privet_domain::time::Timestamp {
        privet_domain::time::Timestamp::from_micros(self.0.load(std::sync::atomic::Ordering::Relaxed) * 60_000_000)
    }
}

async fn what_expired_goes_with_its_contents_and_what_is_in_use_stays(bed: &Bed) {
    let clock = Arc::new(Minutes(1_000.into()));
    let settings = WriteSettings::default();
    let store = TraceStore::open(&bed.location, settings, Arc::new(Flat), clock.clone()).await.unwrap();
    let project = ProjectId::new();
    let shared = JsonText::of(&json!([{"role": "system", "content": "shared by both"}]));
    let write = async |minute: i64, id: &str| {
        clock.0.store(minute, std::sync::atomic::Ordering::Relaxed);
        let own = JsonText::of(&json!([{"role": "user", "content": format!("of {id} alone")}]));
        let patch = TracePatch { input: Some(shared.clone()), output: Some(own), ..trace(id, minute) };
        let batch = TraceBatch {
            traces: vec![patch],
            observations: vec![observation(id, &format!("{id}-o"), 1)],
            scores: vec![],
        };
        store.write(project, batch).await.unwrap();
    };
    write(1_000, "old").await;
    write(2_000, "new").await;
    let before = privet_domain::time::Timestamp::from_micros(1_500 * 60_000_000);
    assert_eq!(store.oldest().await.unwrap().unwrap().as_micros(), 1_000 * 60_000_000);
    let expiry = Expiry { before, waits_for_export: false };
    let expire = async || store.expire_step(expiry, before).await.unwrap();
    assert_eq!(expire().await.traces, 1);
    assert_eq!(expire().await.bodies, 1, "what it alone had");
    assert!(expire().await.is_nothing());
    assert!(matches!(store.trace(project, &"old".parse().unwrap()).await, Err(StoreError::NotFound)));
    assert!(store.observations_of(project, &"old".parse().unwrap()).await.unwrap().is_empty());
    assert_eq!(store.trace(project, &"new".parse().unwrap()).await.unwrap().trace.input, Some(shared));
    assert!(store.used_bytes().await.unwrap() > 0);
    store.close().await;
}
