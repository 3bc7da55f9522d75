//! Answers kept for the same question, for whoever asks for that: by the key, or by the request.
//!
//! Two questions are the same when their requests are equal, in all that they say and in what they mean: prompt, memories, earlier messages
//! and parameters included, and the same models may answer. Whether a stream is asked for makes no difference. An answer from here is a
//! turn of its conversation like any other, and stands in the ledger with a cost of nothing.

use std::str::FromStr;
use std::time::Duration;

use privet_dialects::canonical::{ChatRequest, FinishReason, Message};
use privet_dialects::translate::Answer;
use privet_domain::id::ConversationId;
use privet_domain::time::{Timestamp, parse_duration};
use privet_store::{CachedAnswer, Hold, NewCachedAnswer};
use serde_json::Value;

use super::ChatCommand;
use super::compose::Gathered;
use crate::Engine;
use crate::router::{Route, Target};

/// How the cache is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// So long an answer counts where neither key nor request says how long.
    pub ttl: Duration,
    /// Of more bytes than this the oldest go.
    pub bytes_max: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { ttl: Duration::from_hours(1), bytes_max: 256_000_000 }
    }
}

/// What a request says of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheWish {
    /// It is answered anew, and the answer is not kept.
    Off,
    /// It may be answered by what is kept.
    On,
    /// The same, and its answer is kept so long.
    For(Duration),
    /// It is answered anew, and the answer is kept.
    Refresh,
}

impl FromStr for CacheWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            "refresh" => Ok(Self::Refresh),
            time => parse_duration(time)
                .map(Self::For)
                .ok_or_else(|| "write `on`, `off`, `refresh`, or for how long, such as `10m` or `7d`".to_owned()),
        }
    }
}

/// What the cache did for a request that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheTold {
    /// The answer was kept for so long.
    Hit {
        /// Since it was given.
        age: Duration,
    },
    /// None was kept.
    Miss,
    /// It was answered anew because it wished that.
    Refresh,
    /// The request, or its answer, is of a kind that is not kept.
    Bypass,
}

impl CacheTold {
    /// Its name in the header and in the trace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Miss => "miss",
            Self::Refresh => "refresh",
            Self::Bypass => "bypass",
        }
    }
}

/// What the cache has for a request that asks for it.
pub(super) struct Asked {
    pub(super) told: CacheTold,
    /// The answer that was kept, and who gave it.
    pub(super) found: Option<(Answer, Target)>,
    /// Where a new one is kept.
    keep: Option<Keep>,
}

/// Where and for how long an answer is kept.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    request_hash: [u8; 32],
    ttl: Duration,
    user_id: String,
}

impl Asked {
    /// Where an answer of the provider is kept.
    pub(super) fn keep(&self) -> Option<Keep> {
        self.keep.clone().filter(|_| self.found.is_none())
    }
}

/// Looks for an answer. `None` where nobody asks for it. A cache that fails is one without an answer.
pub(super) async fn ask(
    engine: &Engine,
    command: &ChatCommand,
    gathered: &Gathered<'_>,
    route: &Route,
) -> Option<Asked> {
    let (ttl, refreshes) = wish(engine, command)?;
    let Some(request_hash) = hash(command, gathered, route) else {
        return Some(Asked { told: CacheTold::Bypass, found: None, keep: None });
    };
    let keep = Some(Keep { request_hash, ttl, user_id: command.user() });
    if refreshes {
        return Some(Asked { told: CacheTold::Refresh, found: None, keep });
    }
    let now = engine.clock.now();
    let kept = match engine.store.cached_answer(command.caller.project_id, &request_hash, now).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(%error, request_id = %command.request_id, "the cache cannot be read");
            None
        }
    };
    let found = kept.and_then(|kept| read(kept, route));
    let told = match &found {
        Some((.., since)) => CacheTold::Hit { age: now.since(*since) },
        None => CacheTold::Miss,
    };
    metrics::counter!("privet_cache_lookups_total", "outcome" => told.as_str()).increment(1);
    Some(Asked { told, found: found.map(|(answer, target, _)| (answer, target)), keep })
}

/// Keeps an answer that is whole. That it cannot be kept harms nobody.
pub(super) async fn keep(
    engine: &Engine,
    keep: Keep,
    hold: &Hold,
    conversation_id: Option<ConversationId>,
    answer: &Answer,
) {
    let ended = |finish: &Option<FinishReason>| matches!(finish, Some(FinishReason::Stop | FinishReason::ToolCalls));
    // One that was cut by its limit may have had a smaller one than was asked for.
    if answer.messages.is_empty() || !answer.finishes.iter().all(ended) {
        return;
    }
    // It is written anew for whoever gets it.
    let mut answer = answer.clone();
    answer.messages.iter_mut().for_each(Message::forget_wire);
    let Some(json) = serde_json::to_string(&answer).ok().filter(|json| json.len() <= ANSWER_BYTES_MAX) else { return };
    let at = engine.clock.now();
    let new = NewCachedAnswer {
        project_id: hold.project_id,
        request_hash: keep.request_hash,
        user_id: keep.user_id,
        conversation_id,
        provider: hold.provider.clone(),
        model: hold.model.clone(),
        answer: json,
        at,
        expires_at: at.after(keep.ttl),
    };
    if let Err(error) = engine.store.cache_answer(&new).await {
        tracing::warn!(%error, call = %hold.id, "an answer is not kept for the same question");
    }
}

impl Engine {
    /// Deletes answers that count no more, a little at a time, for ever.
    pub async fn expire_cached_answers(&self) {
        loop {
            tokio::time::sleep(EXPIRY_INTERVAL).await;
            loop {
                let now = self.clock.now();
                match self.store.purge_cached_answers(now, self.cache.bytes_max, EXPIRY_ROWS).await {
                    Ok(0) => break,
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => {
                        tracing::warn!(%error, "cached answers that count no more are not deleted");
                        break;
                    }
                }
            }
        }
    }
}

const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
const EXPIRY_ROWS: u32 = 200;
/// A larger answer is not kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A question cannot be the same as one of another form of this module.
const HASH_CONTEXT: &str = "privet 2026-11-30 the question of a cached answer";

/// For how long the answer is kept, and whether it is asked for anew; `None` where the cache is not asked for.
fn wish(engine: &Engine, command: &ChatCommand) -> Option<(Duration, bool)> {
    let of_key = command.caller.limits.cache.map(|time| time.0);
    let default = of_key.unwrap_or(engine.cache.ttl);
    // What must not be kept is not kept here either.
    if command.incoming.store() == Some(false) {
        return None;
    }
    match command.cache {
        Some(CacheWish::Off) => None,
        Some(CacheWish::On) => Some((default, false)),
        Some(CacheWish::For(time)) => Some((time, false)),
        Some(CacheWish::Refresh) => Some((default, true)),
        None => of_key.map(|time| (time, false)),
    }
}

/// What tells a question from others; `None` of one whose answer could not be given again as it was.
fn hash(command: &ChatCommand, gathered: &Gathered<'_>, route: &Route) -> Option<[u8; 32]> {
    let request = command.incoming.to_canonical("", &gathered.history).ok()?;
    if request.logprobs.is_some() || request.extra.keys().any(|name| !SAME_ANSWER.contains(&name.as_str())) {
        return None;
    }
    let mut extra = request.extra.clone();
    // It describes the trace; the answer does not depend on it.
    extra.shift_remove("metadata");
    let mut question = serde_json::to_value(ChatRequest { stream: false, extra, ..request }).ok()?;
    question.sort_all_objects();
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for target in route.targets() {
        part(target.name().as_bytes());
    }
    // What only some of the targets are told counts for all: any of them may answer.
    if let Some(passed) = route.targets().find_map(|target| command.passed_to(target)) {
        for (name, value) in &passed.headers {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
        if let Some(query) = passed.query {
            part(query.as_bytes());
        }
    }
    // A provider of the client's dialect gets what the canonical form does not know, too: all that was asked counts.
    let mut asked = Value::Object(command.incoming.asked());
    asked.sort_all_objects();
    part(format!("{:?}", command.incoming.dialect()).as_bytes());
    part(&Value::to_string(&asked).into_bytes());
    part(&Value::to_string(&question).into_bytes());
    Some(*hasher.finalize().as_bytes())
}

/// Fields beyond the canonical ones with which an answer has nothing that the canonical form lacks.
const SAME_ANSWER: [&str; 10] = [
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "logit_bias",
    "prediction",
    "min_p",
    "repetition_penalty",
];

/// An answer as it was kept, if who gave it may still answer here.
fn read(kept: CachedAnswer, route: &Route) -> Option<(Answer, Target, Timestamp)> {
    let CachedAnswer { provider, model, answer, created_at } = kept;
    let target = route.targets().find(|target| target.provider.name() == provider && target.model == model)?.clone();
    let answer = serde_json::from_str(&answer)
        .inspect_err(|error| tracing::warn!(%error, "a cached answer cannot be read"))
        .ok()?;
    Some((answer, target, created_at))
}
