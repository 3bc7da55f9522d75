//! What tests of traces that expire, are erased or exported stand on: a clock that is set by hand, and short ways to write traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use privet_domain::id::ProjectId;
use privet_domain::time::{Clock, NanoTimestamp, Timestamp};
use privet_domain::trace::{JsonText, ObservationPatch, PatchKind, TraceBatch, TracePatch};
use privet_store::{TraceStore, Unpriced, WriteSettings};

use crate::bed::Bed;

const MICROS_PER_MINUTE: i64 = 60_000_000;
/// The minute 0 of these tests.
const BEGIN: i64 = 29_000_000;

/// A clock in minutes.
#[derive(Default)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn set(&self, minute: i64) {
        self.0.store(minute, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        at_minute(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn at_minute(minute: i64) -> Timestamp {
    Timestamp::from_micros((BEGIN + minute) * MICROS_PER_MINUTE)
}

pub(crate) async fn open(bed: &Bed, exports: bool) -> (TraceStore, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let settings = WriteSettings { exports };
    let store = TraceStore::open(&bed.location, settings, Arc::new(Unpriced), clock.clone()).await.unwrap();
    (store, clock)
}

/// A trace of a user with one step that ended: its input is this thread, its output what comes next.
pub(crate) fn run(id: &str, user: &str, thread: &[String], minute: i64) -> TraceBatch {
    let at = NanoTimestamp::from(at_minute(minute));
    let (last, before) = thread.split_last().unwrap();
    let input = JsonText::from_json_or_text(&format!("[{}]", before.join(",")));
    let mut trace = TracePatch::new(id.parse().unwrap(), at);
    trace.user_id = Some(user.to_owned());
    trace.name = Some(format!("name of {user}"));
    trace.session_id = Some(format!("session of {user}"));
    trace.input = Some(input.clone());
    let step_id = format!("step of {id}").parse().unwrap();
    let mut step = ObservationPatch::new(id.parse().unwrap(), step_id, PatchKind::Create, at);
    step.start = Some(at);
    step.end = Some(at);
    step.input = Some(input);
    step.output = Some(JsonText::from_json_or_text(last));
    TraceBatch { traces: vec![trace], observations: vec![step], scores: Vec::new() }
}

/// Messages of a thread, each with these words and its number.
pub(crate) fn thread(words: &str, messages: usize) -> Vec<String> {
    (0..messages).map(|number| format!(r#"{{"role":"user","content":"{words} {number}"}}"#)).collect()
}

/// The input and output of a trace's step, as one text.
pub(crate) async fn said(store: &TraceStore, project: ProjectId, id: &str) -> String {
    let step = store.observation(project, &format!("step of {id}").parse().unwrap()).await.unwrap();
    format!("{} {}", step.input.unwrap().as_str(), step.output.unwrap().as_str())
}
