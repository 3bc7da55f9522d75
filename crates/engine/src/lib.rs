//! The operations of Privet: who calls, which provider answers, what is remembered. No HTTP and no SQL.
//!
//! The page to read first is [`completion`].

pub mod api_key;
pub mod completion;
pub mod conversation;
pub mod embedding;
pub mod keyring;
pub mod limits;
mod message;
pub mod models;
pub mod router;
pub mod seed;
pub mod thread;

use std::sync::Arc;

use privet_domain::time::Clock;
use privet_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::keyring::Keyring;
use crate::models::ModelCatalogue;
use crate::router::Router;

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

/// What everything is done with: the store, the keys, the way to the providers, the clock and the calls under way.
pub struct Engine {
    /// What is kept.
    pub store: Arc<Store>,
    /// Who may call.
    pub keyring: Keyring,
    /// Which provider answers for a model.
    pub router: Router,
    /// What the providers offer.
    pub models: ModelCatalogue,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which chats are kept.
    pub record: RecordMode,
    calls: TaskTracker,
    stop: CancellationToken,
}

impl Engine {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        keyring: Keyring,
        router: Router,
        clock: Arc<dyn Clock>,
        record: RecordMode,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            keyring,
            router,
            models: ModelCatalogue::default(),
            clock,
            record,
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
