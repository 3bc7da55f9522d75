//! The operations of Privet: who calls, which provider answers, what is remembered. No HTTP and no SQL.
//!
//! The page to read first is [`completion`].

pub mod admission;
pub mod alerts;
pub mod api_key;
pub mod audio;
pub mod budget;
mod chance;
pub mod completion;
pub mod conversation;
pub mod count;
pub mod course;
pub mod embedding;
pub mod erasure;
pub mod gates;
pub mod health;
mod hidden_input;
pub mod key_settings;
pub mod keyring;
pub mod limits;
pub mod linked_media;
pub mod memory;
mod message;
pub mod models;
mod owned;
pub mod passed;
mod plain_call;
pub mod prompt;
pub mod refusals;
pub mod rerank;
pub mod response;
pub mod router;
pub mod seed;
mod settlement;
pub mod switchboard;
pub mod thread;
pub mod traces;
pub mod usage;

use std::sync::Arc;

use privet_domain::pricing::PriceBook;
use privet_domain::time::Clock;
use privet_providers::MediaFetcher;
use privet_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budgets;
use crate::completion::CacheSettings;
use crate::course::RetrySettings;
use crate::gates::Gates;
use crate::health::Health;
use crate::hidden_input::HiddenInput;
use crate::keyring::Keyring;
use crate::limits::LimitSettings;
use crate::memory::Memory;
use crate::models::ModelCatalogue;
use crate::prompt::Prompts;
use crate::refusals::RefusalLog;
use crate::router::Router;
use crate::settlement::Unsettled;
use crate::switchboard::Switchboard;
use crate::traces::{RefusalPace, Traces};

/// Which chats are kept as conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecordMode {
    /// Every chat, unless its request says `store: false`.
    #[default]
    All,
    /// Those that continue a conversation or come through `/api/chat`.
    Continued,
    /// None.
    None,
}

/// What an engine is made of.
pub struct EngineParts {
    /// What is kept.
    pub store: Arc<Store>,
    /// Where traces go.
    pub traces: Traces,
    /// Who may call.
    pub keyring: Keyring,
    /// Which provider answers for a model.
    pub router: Router,
    /// Which models fail.
    pub health: Health,
    /// How often a model that fails is called again.
    pub retries: RetrySettings,
    /// What may be spent.
    pub budgets: Arc<Budgets>,
    /// What is switched off.
    pub switchboard: Switchboard,
    /// What tokens cost.
    pub prices: PriceBook,
    /// What is limited besides money.
    pub limits: LimitSettings,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which chats are kept.
    pub record: RecordMode,
    /// What is remembered, if anything is.
    pub memory: Option<Memory>,
    /// How answers are kept for the same question, where that is asked for.
    pub cache: CacheSettings,
    /// How images are fetched for providers that do not.
    pub images: MediaFetcher,
}

/// What everything is done with: the store, the keys, the money, the way to the providers, the clock and the calls under way.
pub struct Engine {
    /// What is kept.
    pub store: Arc<Store>,
    /// Where traces go.
    pub traces: Traces,
    /// The prompts, fetched from memory.
    pub prompts: Prompts,
    /// Who may call.
    pub keyring: Keyring,
    /// Which provider answers for a model.
    pub router: Router,
    /// Which models fail.
    pub health: Arc<Health>,
    /// How often a model that fails is called again.
    pub retries: RetrySettings,
    /// What the providers offer.
    pub models: ModelCatalogue,
    /// What may be spent.
    pub budgets: Arc<Budgets>,
    /// What is switched off.
    pub switchboard: Switchboard,
    /// What tokens cost.
    pub prices: PriceBook,
    /// What is limited besides money.
    pub limits: LimitSettings,
    /// The latest refusals.
    pub refusals: RefusalLog,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which chats are kept.
    pub record: RecordMode,
    /// What is remembered, if anything is.
    pub memory: Option<Memory>,
    /// How answers are kept for the same question, where that is asked for.
    pub cache: CacheSettings,
    images: MediaFetcher,
    gates: Gates,
    hidden_input: HiddenInput,
    unsettled: Unsettled,
    refusal_pace: RefusalPace,
    calls: TaskTracker,
    stop: CancellationToken,
}

impl Engine {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: EngineParts) -> Arc<Self> {
        let EngineParts { store, traces, keyring, router, health, retries, budgets, .. } = parts;
        let EngineParts { switchboard, prices, limits, clock, record, memory, cache, images, .. } = parts;
        Arc::new(Self {
            prompts: Prompts::new(store.clone()),
            store,
            traces,
            keyring,
            router,
            health: Arc::new(health),
            retries,
            models: ModelCatalogue::default(),
            budgets,
            switchboard,
            prices,
            limits,
            refusals: RefusalLog::default(),
            clock,
            record,
            memory,
            cache,
            images,
            gates: Gates::default(),
            hidden_input: HiddenInput::default(),
            unsettled: Unsettled::default(),
            refusal_pace: RefusalPace::default(),
            calls: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// How many calls are under way.
    #[must_use]
    pub fn calls_under_way(&self) -> usize {
        self.calls.len()
    }

    /// Waits until the calls under way are done. New ones should no longer come in.
    pub async fn drain(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    /// Ends the calls under way with an explicit error, keeping what was answered so far, and waits for them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.drain().await;
    }
}
