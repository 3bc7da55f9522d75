//! What all connections share: scripts, recorded requests, the ledger, behind one short lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use super::behaviour::{Behaviour, Usage};
use super::ledger::{Ledger, Outcome};
use super::request::Dialect;

/// How many requests are kept.
const RECORDS_MAX: usize = 256;

/// A request as the mock received it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case; of a repeated one the last.
    pub headers: BTreeMap<String, String>,
    /// The body; null when it is not JSON.
    pub body: Value,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Told of each call that begins or ends.
    pub(super) changed: Notify,
}

pub(super) struct State {
    pub(super) ledger: Ledger,
    default: Option<Arc<Behaviour>>,
    once: VecDeque<Arc<Behaviour>>,
    by_model: HashMap<String, ModelScript>,
    records: VecDeque<RawRecord>,
    serial: u64,
}

#[derive(Default)]
struct ModelScript {
    once: VecDeque<Arc<Behaviour>>,
    default: Option<Arc<Behaviour>>,
}

/// Kept as received; made readable when somebody asks.
pub(super) struct RawRecord {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A call that was let in: how to answer it, and its number.
pub(super) struct Admission {
    pub(super) behaviour: Option<Arc<Behaviour>>,
    pub(super) epoch: u64,
    pub(super) serial: u64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::new()), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call in. A `plain` call without a script is billed at once, as answering it cannot be interrupted.
    pub(super) fn admit(&self, dialect: Dialect, model: &str, plain: Option<Usage>) -> Admission {
        let mut state = self.lock();
        state.serial += 1;
        let serial = state.serial;
        let behaviour = state.pick(model);
        let epoch = state.ledger.begin(dialect, model);
        if let (None, Some(used)) = (&behaviour, plain) {
            state.ledger.end(epoch, model, used, Outcome::Completed);
        }
        drop(state);
        self.changed.notify_waiters();
        Admission { behaviour, epoch, serial }
    }

    pub(super) fn end(&self, epoch: u64, model: &str, used: Usage, outcome: Outcome) {
        self.lock().ledger.end(epoch, model, used, outcome);
        self.changed.notify_waiters();
    }
}

impl State {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(),
            default: None,
            once: VecDeque::new(),
            by_model: HashMap::new(),
            records: VecDeque::with_capacity(RECORDS_MAX),
            serial: 0,
        }
    }

    /// Scripts all calls, or those of one model; from now on, or the next one alone.
    pub(super) fn script(&mut self, model: Option<String>, once: bool, behaviour: Behaviour) {
        let behaviour = Arc::new(behaviour);
        let (queue, default) = match model {
            Some(model) => {
                let script = self.by_model.entry(model).or_default();
                (&mut script.once, &mut script.default)
            }
            None => (&mut self.once, &mut self.default),
        };
        if once {
            queue.push_back(behaviour);
        } else {
            *default = Some(behaviour);
        }
    }

    /// The narrower script wins, and one for the next call alone before a lasting one.
    fn pick(&mut self, model: &str) -> Option<Arc<Behaviour>> {
        let own = self.by_model.get_mut(model);
        let (own_once, own_default) = match own {
            Some(script) => (script.once.pop_front(), script.default.clone()),
            None => (None, None),
        };
        own_once.or_else(|| self.once.pop_front()).or(own_default).or_else(|| self.default.clone())
    }

    pub(super) fn record(&mut self, record: RawRecord) {
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.records.iter().map(RawRecord::readable).collect()
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn reset(&mut self) {
        self.ledger.reset();
        self.default = None;
        self.once.clear();
        self.by_model.clear();
        self.records.clear();
    }
}

impl RawRecord {
    fn readable(&self) -> RecordedRequest {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        RecordedRequest {
            method: self.method.to_string(),
            path: self.path.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: serde_json::from_slice(&self.body).unwrap_or(Value::Null),
        }
    }
}
