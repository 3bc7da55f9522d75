//! Making, listing, changing, revoking and rotating API keys.

use std::time::Duration;

use privet_domain::api_key::NewApiKey;
use privet_domain::id::ApiKeyId;
use privet_domain::key_limits::KeyLimits;
use privet_domain::scope::{Scopes, UnknownScope};
use privet_domain::time::Timestamp;
use privet_store::{ApiKey, KeyUpdate, NewKeyRow, Store, StoreError, Successor};
use secrecy::SecretString;

use crate::key_settings::{KeySettings, WrongSetting};

/// The project of keys that name none.
pub const DEFAULT_PROJECT: &str = "default";
/// The user of keys that name none.
pub const DEFAULT_USER: &str = "owner";

/// A change of limits is tried again so often when others change the same key.
const UPDATE_ATTEMPTS: usize = 8;

/// Why a key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness: {0}")]
    NoRandomness(String),
    /// The text given for a key is one of Privet's own with a mistyped character.
    #[error(
        "the key looks like one of Privet's own, but its checksum is wrong; copy it again, or choose a text that does not begin with `privet_`"
    )]
    Mistyped,
    /// No such key.
    #[error("no API key has the id `{0}`; `privet keys list` shows them")]
    Unknown(String),
    /// The key is over.
    #[error("the API key `{0}` is revoked or expired; make another with `privet keys create`")]
    Ended(String),
    /// A value is wrong.
    #[error(transparent)]
    Wrong(#[from] WrongSetting),
}

/// What a new key is for.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// What its owner calls it.
    pub name: String,
    /// The user it belongs to.
    pub user_id: String,
    /// The project, made if missing.
    pub project: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What bounds it.
    pub limits: KeyLimits,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl KeyRequest {
    /// A key for this, of the user and in the project of those that name none, with the scopes of those that name none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            user_id: DEFAULT_USER.to_owned(),
            project: DEFAULT_PROJECT.to_owned(),
            scopes: Scopes::default(),
            limits: KeyLimits::default(),
            expires_at: None,
        }
    }
}

/// What to change of a key; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// What its owner calls it.
    pub name: Option<String>,
    /// Its scopes and limits.
    pub settings: KeySettings,
    /// When it ends; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
}

/// A key that was just made. The token is shown once.
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// Its whole text.
    pub token: SecretString,
}

/// What a key may do, read from its row.
///
/// # Errors
/// When the row is damaged. Such a key is good for nothing.
pub fn rights(key: &ApiKey) -> Result<(Scopes, KeyLimits), StoreError> {
    let damaged =
        |reason: String| StoreError::Damaged(format!("the rights of the API key {}: {reason}", key.public_id));
    let scopes = key.scopes.parse().map_err(|error: UnknownScope| damaged(error.to_string()))?;
    let limits: KeyLimits = serde_json::from_str(&key.limits).map_err(|error| damaged(error.to_string()))?;
    limits.check().map_err(|error| damaged(error.to_string()))?;
    Ok((scopes, limits))
}

fn written(limits: &KeyLimits) -> Result<String, StoreError> {
    serde_json::to_string(limits).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Makes a key.
///
/// # Errors
/// When the store fails.
pub async fn create(store: &Store, request: &KeyRequest, now: Timestamp) -> Result<CreatedKey, ApiKeyError> {
    let key = NewApiKey::generate().map_err(|error| ApiKeyError::NoRandomness(error.to_string()))?;
    let id = insert(store, request, &key, None, now).await?;
    let id = id.ok_or_else(|| StoreError::Exists("the API key".to_owned()))?;
    Ok(CreatedKey { key: find(store, &id.to_string()).await?, token: key.token })
}

/// Takes over a key that somebody chose. `None` if it was taken over before.
///
/// # Errors
/// When the text is a mistyped key of Privet's own, or the store fails.
pub async fn import(
    store: &Store,
    request: &KeyRequest,
    token: &SecretString,
    now: Timestamp,
) -> Result<Option<ApiKeyId>, ApiKeyError> {
    let key = NewApiKey::import(token).ok_or(ApiKeyError::Mistyped)?;
    insert(store, request, &key, None, now).await
}

/// Takes over a pair that somebody chose, and gives the key that has its secret: the one that is there already where the secret
/// was taken over before, under that name or another.
///
/// # Errors
/// When the secret is a mistyped key of Privet's own, or the store fails.
pub async fn import_pair(
    store: &Store,
    request: &KeyRequest,
    public_key: &str,
    secret: &SecretString,
    now: Timestamp,
) -> Result<ApiKey, ApiKeyError> {
    let key = NewApiKey::import(secret).ok_or(ApiKeyError::Mistyped)?;
    insert(store, request, &key, Some(public_key), now).await?;
    let found = find(store, key.public_id.as_str()).await?;
    if found.name != request.name || found.public_key == public_key || found.revoked_at.is_some() {
        return Ok(found);
    }
    let update = KeyUpdate { public_key: Some(public_key), ..KeyUpdate::default() };
    store.update_key(found.id, &update).await?;
    find(store, key.public_id.as_str()).await
}

async fn insert(
    store: &Store,
    request: &KeyRequest,
    key: &NewApiKey,
    public_key: Option<&str>,
    now: Timestamp,
) -> Result<Option<ApiKeyId>, ApiKeyError> {
    let project = store.ensure_project(&request.project, now).await?;
    let row = NewKeyRow {
        project_id: project.id,
        public_id: &key.public_id,
        public_key,
        hash: &key.hash,
        name: &request.name,
        user_id: &request.user_id,
        scopes: &request.scopes.to_string(),
        limits: &written(&request.limits)?,
        expires_at: request.expires_at,
    };
    Ok(store.insert_key(&row, now).await?)
}

/// All keys, oldest first, without secrets.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &Store) -> Result<Vec<ApiKey>, ApiKeyError> {
    Ok(store.keys().await?.into_iter().map(|secret| secret.key).collect())
}

/// Revokes a key by its id or its public id.
///
/// # Errors
/// When it is unknown or the store fails.
pub async fn revoke(store: &Store, id: &str, now: Timestamp) -> Result<ApiKey, ApiKeyError> {
    let key = find(store, id).await?;
    store.revoke_key(key.id, now).await?;
    Ok(key)
}

/// Changes a key's name, rights or end, and gives it as it is then.
///
/// # Errors
/// When a value is wrong, the key is unknown or revoked, or the store fails.
pub async fn update(store: &Store, id: &str, change: &KeyChange) -> Result<ApiKey, ApiKeyError> {
    for _ in 0..UPDATE_ATTEMPTS {
        let key = find(store, id).await?;
        if key.revoked_at.is_some() {
            break;
        }
        let (mut scopes, mut limits) = rights(&key)?;
        change.settings.apply(&mut scopes, &mut limits)?;
        let (scopes, limits) = (scopes.to_string(), written(&limits)?);
        let update = KeyUpdate {
            name: change.name.as_deref(),
            scopes: change.settings.scopes.as_ref().map(|_| scopes.as_str()),
            public_key: None,
            limits: Some((&key.limits, &limits)),
            expires_at: change.expires_at,
        };
        match store.update_key(key.id, &update).await {
            Ok(()) => return find(store, id).await,
            // Revoked, or its limits changed since they were read.
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiKeyError::Ended(id.to_owned()))
}

/// Makes a successor with the same rights and of the same family; the old key ends after `overlap`.
///
/// # Errors
/// When it is unknown, revoked or expired, or the store fails.
pub async fn rotate(store: &Store, id: &str, overlap: Duration, now: Timestamp) -> Result<CreatedKey, ApiKeyError> {
    let old = find(store, id).await?;
    if old.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiKeyError::Ended(id.to_owned()));
    }
    let key = NewApiKey::generate().map_err(|error| ApiKeyError::NoRandomness(error.to_string()))?;
    let successor = Successor { public_id: &key.public_id, hash: &key.hash };
    match store.replace_key(old.id, &successor, now.after(overlap), now).await {
        Ok(id) => Ok(CreatedKey { key: find(store, &id.to_string()).await?, token: key.token }),
        Err(StoreError::NotFound) => Err(ApiKeyError::Ended(id.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// A key by its id or its public id.
///
/// # Errors
/// When it is unknown or the store fails.
pub async fn find(store: &Store, id: &str) -> Result<ApiKey, ApiKeyError> {
    let keys = list(store).await?;
    let found = keys.into_iter().find(|key| key.public_id == id || key.id.to_string() == id);
    found.ok_or_else(|| ApiKeyError::Unknown(id.to_owned()))
}
