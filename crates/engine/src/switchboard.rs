//! The kill switch: everything, a key or a provider is off, for new calls and for those under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use privet_domain::id::ApiKeyId;
use privet_domain::time::Timestamp;
use privet_store::{Store, StoreError, SwitchedOff};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::api_key::{self, ApiKeyError};
use crate::keyring::POLL_INTERVAL;

/// What can be switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchScope {
    /// All calls.
    Global,
    /// The calls of a key.
    Key(ApiKeyId),
    /// The calls to a provider.
    Provider(String),
}

impl std::fmt::Display for SwitchScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Key(id) => write!(f, "key/{id}"),
            Self::Provider(name) => write!(f, "provider/{name}"),
        }
    }
}

/// Why a switch could not be thrown.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// It has another form.
    #[error("`{0}` is no switch; write `global`, `key/ID` or `provider/NAME`")]
    Form(String),
    /// No such key.
    #[error("no API key has the id `{0}`; `privet keys list` shows them")]
    UnknownKey(String),
    /// No such provider.
    #[error("no provider is called `{name}`; configured: {known}")]
    UnknownProvider {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// It is not off.
    #[error("`{0}` is not switched off")]
    NotOff(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SwitchScope {
    /// Reads a scope whose key or provider exists; a key is named by its id or public id.
    ///
    /// # Errors
    /// When it has another form or does not exist.
    pub async fn read(text: &str, store: &Store, providers: &[&str]) -> Result<Self, SwitchError> {
        match text.split_once('/') {
            None if text == "global" => Ok(Self::Global),
            Some(("key", id)) => match api_key::find(store, id).await {
                Ok(key) => Ok(Self::Key(key.id)),
                Err(ApiKeyError::Store(error)) => Err(error.into()),
                Err(_) => Err(SwitchError::UnknownKey(id.to_owned())),
            },
            Some(("provider", name)) if providers.contains(&name) => Ok(Self::Provider(name.to_owned())),
            Some(("provider", name)) => {
                Err(SwitchError::UnknownProvider { name: name.to_owned(), known: providers.join(", ") })
            }
            _ => Err(SwitchError::Form(text.to_owned())),
        }
    }
}

/// A switch to throw, with its reason or a plain one.
#[must_use]
pub fn switched_off(scope: &SwitchScope, reason: Option<String>, now: Timestamp) -> SwitchedOff {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    SwitchedOff {
        scope: scope.to_string(),
        reason: reason.unwrap_or_else(|| "an administrator stopped it".to_owned()),
        at: now,
    }
}

/// Switches something on again.
///
/// # Errors
/// When it is not off.
pub async fn switch_on(store: &Store, scope: &str) -> Result<(), SwitchError> {
    match store.switch_on(scope).await {
        Err(StoreError::NotFound) => Err(SwitchError::NotOff(scope.to_owned())),
        switched => Ok(switched?),
    }
}

/// The switches, in step with the store, and the calls under way that they can stop.
pub struct Switchboard {
    store: Arc<Store>,
    off: ArcSwap<HashMap<String, SwitchedOff>>,
    revision: AtomicI64,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    next: AtomicU64,
    under_way: Mutex<HashMap<u64, UnderWay>>,
}

struct UnderWay {
    key: ApiKeyId,
    provider: String,
    stop: CancellationToken,
}

/// A call that a switch can stop; dropped when it has ended.
pub struct Stoppable {
    number: u64,
    calls: Arc<Calls>,
    /// Cancelled when the call must end.
    pub stop: CancellationToken,
}

impl Switchboard {
    /// Loads the switches.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(store: Arc<Store>) -> Result<Self, StoreError> {
        let board =
            Self { store, off: ArcSwap::default(), revision: AtomicI64::new(-1), calls: Arc::new(Calls::default()) };
        board.reload().await?;
        Ok(board)
    }

    /// Lets a call begin, if nothing is off that it needs.
    ///
    /// # Errors
    /// With what is off.
    pub fn begin(&self, key: ApiKeyId, provider: &str) -> Result<Stoppable, SwitchedOff> {
        let stop = CancellationToken::new();
        let number = self.calls.next.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay { key, provider: provider.to_owned(), stop: stop.clone() };
        // Registered before looking: a switch that is thrown in between stops it.
        self.calls.lock().insert(number, under_way);
        let call = Stoppable { number, calls: self.calls.clone(), stop };
        match self.find(key, provider) {
            Some(off) => Err(off),
            None => Ok(call),
        }
    }

    /// Reads the switches again if they changed since, and stops the calls under way that may not go on.
    ///
    /// # Errors
    /// When the database fails; the known ones stay.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let revision = self.store.switches_revision().await?;
        if self.revision.load(Ordering::Acquire) == revision {
            return Ok(());
        }
        let off = self.store.switches().await?.into_iter().map(|switch| (switch.scope.clone(), switch));
        self.off.store(Arc::new(off.collect()));
        self.revision.store(revision, Ordering::Release);
        self.stop_calls(|call| self.find(call.key, &call.provider).is_some());
        Ok(())
    }

    /// Stops the calls under way of keys that are no longer valid.
    pub fn stop_keys(&self, is_valid: impl Fn(ApiKeyId) -> bool) {
        self.stop_calls(|call| !is_valid(call.key));
    }

    fn find(&self, key: ApiKeyId, provider: &str) -> Option<SwitchedOff> {
        let off = self.off.load();
        if off.is_empty() {
            return None;
        }
        let scopes = [SwitchScope::Global, SwitchScope::Key(key), SwitchScope::Provider(provider.to_owned())];
        scopes.iter().find_map(|scope| off.get(&scope.to_string()).cloned())
    }

    fn stop_calls(&self, must_stop: impl Fn(&UnderWay) -> bool) {
        for call in self.calls.lock().values().filter(|call| must_stop(call)) {
            call.stop.cancel();
        }
    }
}

impl Engine {
    /// Follows the switches and the keys, for ever: what was switched off or revoked, also by another process, stops within
    /// [`POLL_INTERVAL`].
    pub async fn follow_switches(&self) {
        let mut keys = self.keyring.changes();
        let mut failing = false;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            match self.switchboard.reload().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(%error, "cannot read the switches; the known ones hold until the database answers");
                }
                Err(_) => {}
            }
            // The sender lives as long as the keyring.
            if keys.has_changed().unwrap_or(false) {
                keys.mark_unchanged();
                self.stop_revoked();
            }
        }
    }

    /// Stops the calls under way of revoked keys. A key that has expired finishes what it began.
    pub fn stop_revoked(&self) {
        let before_any_expiry = Timestamp::from_micros(i64::MIN);
        self.switchboard.stop_keys(|id| self.keyring.is_valid(id, before_any_expiry));
    }
}

impl Calls {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.number);
    }
}
