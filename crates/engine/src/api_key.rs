//! Making, listing, revoking and rotating API keys.

use std::time::Duration;

use privet_domain::api_key::NewApiKey;
use privet_domain::id::ApiKeyId;
use privet_domain::time::Timestamp;
use privet_store::{ApiKey, NewKeyRow, Store, StoreError};
use secrecy::SecretString;

/// The project of keys that name none.
pub const DEFAULT_PROJECT: &str = "default";
/// The user of keys that name none.
pub const DEFAULT_USER: &str = "owner";

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
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just made. The token is shown once.
pub struct CreatedKey {
    /// The key's id.
    pub id: ApiKeyId,
    /// Its whole text.
    pub token: SecretString,
}

/// Makes a key.
///
/// # Errors
/// When the store fails.
pub async fn create(store: &Store, request: &KeyRequest, now: Timestamp) -> Result<CreatedKey, ApiKeyError> {
    let key = NewApiKey::generate().map_err(|error| ApiKeyError::NoRandomness(error.to_string()))?;
    let id = insert(store, request, &key, now).await?;
    let id = id.ok_or_else(|| StoreError::Exists("the API key".to_owned()))?;
    Ok(CreatedKey { id, token: key.token })
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
    insert(store, request, &key, now).await
}

async fn insert(
    store: &Store,
    request: &KeyRequest,
    key: &NewApiKey,
    now: Timestamp,
) -> Result<Option<ApiKeyId>, ApiKeyError> {
    let project = store.ensure_project(&request.project, now).await?;
    let row = NewKeyRow {
        project_id: project.id,
        public_id: &key.public_id,
        hash: &key.hash,
        name: &request.name,
        user_id: &request.user_id,
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

/// Makes a successor with the same rights; the old key ends after `overlap`.
///
/// # Errors
/// When it is unknown or revoked, or the store fails.
pub async fn rotate(store: &Store, id: &str, overlap: Duration, now: Timestamp) -> Result<CreatedKey, ApiKeyError> {
    let old = find(store, id).await?;
    let key = NewApiKey::generate().map_err(|error| ApiKeyError::NoRandomness(error.to_string()))?;
    let successor = NewKeyRow {
        project_id: old.project_id,
        public_id: &key.public_id,
        hash: &key.hash,
        name: &old.name,
        user_id: &old.user_id,
        expires_at: old.expires_at,
    };
    let overlap_micros = i64::try_from(overlap.as_micros()).unwrap_or(i64::MAX);
    let end = Timestamp::from_micros(now.as_micros().saturating_add(overlap_micros));
    match store.replace_key(old.id, &successor, end, now).await {
        Ok(id) => Ok(CreatedKey { id, token: key.token }),
        Err(StoreError::NotFound) => Err(ApiKeyError::Unknown(id.to_owned())),
        Err(error) => Err(error.into()),
    }
}

async fn find(store: &Store, id: &str) -> Result<ApiKey, ApiKeyError> {
    let keys = list(store).await?;
    let found = keys.into_iter().find(|key| key.public_id == id || key.id.to_string() == id);
    found.ok_or_else(|| ApiKeyError::Unknown(id.to_owned()))
}
