//! Who may call: the keys in memory, in step with the store.
//!
//! Checking a key touches no database. A change made in this process holds at once; one made by another process (the command
//! line, another replica) is seen within [`POLL_INTERVAL`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use privet_domain::api_key::{KeyHash, PresentedKey, PublicId};
use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::time::Timestamp;
use privet_store::{Store, StoreError};

/// How often the store is asked whether keys changed.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Who calls: what a valid key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key.
    pub key_id: ApiKeyId,
    /// The project whose data it sees.
    pub project_id: ProjectId,
    /// The user it belongs to.
    pub user_id: Arc<str>,
    pub family_id: ApiKeyId,
    pub project: Arc<str>,
    pub limits: Arc<privet_domain::key_limits::KeyLimits>,
}

struct Entry {
    caller: Caller,
    hash: KeyHash,
    expires_at: Option<Timestamp>,
}

/// The keys that are valid.
pub struct Keyring {
    store: Arc<Store>,
    entries: ArcSwap<HashMap<PublicId, Entry>>,
    revision: AtomicI64,
}

impl Keyring {
    /// Loads the keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(store: Arc<Store>) -> Result<Self, StoreError> {
        let keyring = Self { store, entries: ArcSwap::default(), revision: AtomicI64::new(-1) };
        keyring.reload().await?;
        Ok(keyring)
    }

    /// Who presents this token; `None` if nobody may.
    #[must_use]
    pub fn authenticate(&self, token: &str, now: Timestamp) -> Option<Caller> {
        let presented = PresentedKey::read(token)?;
        let entries = self.entries.load();
        let entry = entries.get(&presented.public_id)?;
        let valid = entry.hash.matches(&presented.hash) && entry.expires_at.is_none_or(|end| now < end);
        valid.then(|| entry.caller.clone())
    }

    /// Reads the keys again if they changed since.
    ///
    /// # Errors
    /// When the database fails; the keys in memory stay.
    pub async fn reload(&self) -> Result<(), StoreError> {
        // The revision is read first: a change in between is read twice rather than never.
        let revision = self.store.keys_revision().await?;
        if self.revision.load(Ordering::Acquire) == revision {
            return Ok(());
        }
        let entries = self.store.keys().await?.into_iter().filter(|secret| secret.key.revoked_at.is_none());
        let entries = entries.map(|secret| {
            let caller = Caller {
                key_id: secret.key.id,
                project_id: secret.key.project_id,
                user_id: Arc::from(secret.key.user_id),
                family_id: secret.key.id,
                project: Arc::from(secret.key.project),
                limits: Arc::default(),
            };
            let entry = Entry { caller, hash: secret.hash, expires_at: secret.key.expires_at };
            (PublicId::from(secret.key.public_id), entry)
        });
        self.entries.store(Arc::new(entries.collect()));
        self.revision.store(revision, Ordering::Release);
        Ok(())
    }

    /// Follows changes by other processes, for ever.
    pub async fn follow(&self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            match self.reload().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(%error, "cannot read the API keys; the known ones stay valid until the database answers");
                }
                Err(_) => {}
            }
        }
    }
}
