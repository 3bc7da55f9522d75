//! The first minutes: a key to begin with, and a line that works when pasted.

use std::io::Write as _;

use privet_domain::api_key::PresentedKey;
use privet_domain::scope::{Scope, Scopes};
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_engine::api_key::{self, DEFAULT_PROJECT, KeyRequest};
use privet_store::{ApiKey, Store};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;

use crate::config::{Config, LangfuseSettings};

/// A key that somebody chose should not be guessable.
const SHORT_KEY_CHARS: usize = 16;
const PERSONAL_KEY_NAME: &str = "PERSONAL_API_KEY";
const PAIR_NAME: &str = "LANGFUSE_SECRET_KEY";
/// What a pair of Langfuse's may do: as much as it may there. It spends nothing.
const PAIR_SCOPES: [Scope; 3] = [Scope::Read, Scope::Prompts, Scope::Traces];
/// The name of the keys that `privet chat` makes for itself.
pub(crate) const CHAT_KEY_NAME: &str = "privet chat";

/// What to tell of the first key.
pub(crate) enum FirstKey {
    /// It was made now, and is shown this once.
    Made(SecretString),
    /// It is `PERSONAL_API_KEY`.
    Personal,
    /// There were keys before.
    Known,
}

/// Sees to it that there is a key to begin with.
///
/// # Errors
/// When the store fails.
pub(crate) async fn first_key(store: &Store, config: &Config) -> anyhow::Result<FirstKey> {
    let now = SystemClock.now();
    let first_key = personal_or_made(store, config, now).await?;
    // Afterwards: a text that is `PERSONAL_API_KEY` too stays that.
    take_over_langfuse(store, &config.langfuse, now).await?;
    Ok(first_key)
}

async fn personal_or_made(store: &Store, config: &Config, now: Timestamp) -> anyhow::Result<FirstKey> {
    if let Some(personal) = &config.personal_api_key {
        take_over_personal_key(store, personal, now).await?;
        return Ok(FirstKey::Personal);
    }
    let keys = api_key::list(store).await?;
    if keys.iter().any(|key| ![CHAT_KEY_NAME, PAIR_NAME].contains(&key.name.as_str()) && is_valid(key, now)) {
        return Ok(FirstKey::Known);
    }
    Ok(FirstKey::Made(api_key::create(store, &KeyRequest::named("first key"), now).await?.token))
}

/// Imports `PERSONAL_API_KEY`. There is one at a time: a changed one ends the one before.
async fn take_over_personal_key(store: &Store, personal: &SecretString, now: Timestamp) -> anyhow::Result<()> {
    if personal.expose_secret().chars().count() < SHORT_KEY_CHARS {
        tracing::warn!(
            "PERSONAL_API_KEY is short enough to be guessed; take at least {SHORT_KEY_CHARS} random characters"
        );
    }
    api_key::import(store, &KeyRequest::named(PERSONAL_KEY_NAME), personal, now).await?;
    let public_id = PresentedKey::read(personal.expose_secret()).map(|key| key.public_id.to_string());
    for key in api_key::list(store).await? {
        let is_present_one = Some(&key.public_id) == public_id.as_ref();
        if is_present_one && !is_valid(&key, now) {
            tracing::warn!("PERSONAL_API_KEY is a key that was revoked; it stays refused: choose another text");
        }
        if !is_present_one && key.name == PERSONAL_KEY_NAME && is_valid(&key, now) {
            api_key::revoke(store, &key.public_id, now).await?;
            tracing::info!(public_id = key.public_id, "PERSONAL_API_KEY changed; the one before is revoked");
        }
    }
    Ok(())
}

/// Imports the pair of an installation of Langfuse, or of an application beside this server, and what its project was called.
async fn take_over_langfuse(store: &Store, settings: &LangfuseSettings, now: Timestamp) -> anyhow::Result<()> {
    let (id, name) = (settings.project_id.as_deref(), settings.project_name.as_deref());
    if id.is_some() || name.is_some() {
        let project = store.ensure_project(DEFAULT_PROJECT, now).await?;
        store.name_project(project.id, id, name).await?;
    }
    match (&settings.public_key, &settings.secret_key) {
        (Some(public_key), Some(secret)) => take_over_pair(store, public_key, secret, now).await,
        (None, None) => Ok(()),
        (Some(_), None) => {
            tracing::warn!("LANGFUSE_PUBLIC_KEY stands without LANGFUSE_SECRET_KEY; no pair is imported");
            Ok(())
        }
        (None, Some(_)) => {
            tracing::warn!("LANGFUSE_SECRET_KEY stands without LANGFUSE_PUBLIC_KEY; no pair is imported");
            Ok(())
        }
    }
}

/// There is one imported pair at a time: a changed one ends the one before.
async fn take_over_pair(store: &Store, public_key: &str, secret: &SecretString, now: Timestamp) -> anyhow::Result<()> {
    if secret.expose_secret().chars().count() < SHORT_KEY_CHARS {
        tracing::warn!(
            "LANGFUSE_SECRET_KEY is short enough to be guessed; take at least {SHORT_KEY_CHARS} random characters"
        );
    }
    let request = KeyRequest { scopes: Scopes::of(&PAIR_SCOPES), ..KeyRequest::named(PAIR_NAME) };
    let present = api_key::import_pair(store, &request, public_key, secret, now).await?;
    if !is_valid(&present, now) {
        tracing::warn!("LANGFUSE_SECRET_KEY is a key that was revoked or has expired; it stays refused: take another");
    } else if present.public_key != public_key {
        tracing::warn!(
            key = present.name,
            "LANGFUSE_SECRET_KEY is a key that has another public key; no pair is imported: write {} as \
             LANGFUSE_PUBLIC_KEY, or take another secret",
            present.public_key
        );
    }
    for key in api_key::list(store).await? {
        if key.id != present.id && key.name == PAIR_NAME && is_valid(&key, now) {
            api_key::revoke(store, &key.public_id, now).await?;
            tracing::info!(public_key = key.public_key, "LANGFUSE_SECRET_KEY changed; the pair before is revoked");
        }
    }
    Ok(())
}

fn is_valid(key: &ApiKey, now: Timestamp) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end)
}

/// Tells where the server is and gives a line that works when pasted.
///
/// # Errors
/// When nobody can be told.
pub(crate) fn greet(listener: &TcpListener, config: &Config, first_key: &FirstKey) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let mut out = std::io::stderr().lock();
    writeln!(out, "privet {} listening on http://{address}", env!("CARGO_PKG_VERSION"))?;
    let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    writeln!(out, "  data      {}", config.data.display())?;
    writeln!(out, "  providers {} (default model {})", names.join(", "), config.default_model.model)?;
    writeln!(out, "  reference http://{address}/docs/\n")?;
    let key = match first_key {
        FirstKey::Made(token) => {
            writeln!(out, "Your API key, shown this once:\n\n  {}\n\nTry it:\n", token.expose_secret())?;
            token.expose_secret()
        }
        FirstKey::Personal if config.personal_api_key_in_dot_env => {
            writeln!(out, "Try it:\n\n  set -a; . ./.env; set +a")?;
            "$PERSONAL_API_KEY"
        }
        FirstKey::Personal => {
            writeln!(out, "Try it:\n")?;
            "$PERSONAL_API_KEY"
        }
        FirstKey::Known => {
            writeln!(out, "Try it with your key (`privet keys create --name NAME` makes another):\n")?;
            writeln!(out, "  PRIVET_API_KEY=YOUR_KEY")?;
            "$PRIVET_API_KEY"
        }
    };
    writeln!(out, "  curl http://{address}/api/chat -H \"Authorization: Bearer {key}\" \\")?;
    writeln!(
        out,
        "    -H \"Content-Type: application/json\" -d '{{\"messages\":[{{\"role\":\"user\",\"content\":\"hey\"}}]}}'\n"
    )?;
    out.flush()?;
    Ok(())
}
