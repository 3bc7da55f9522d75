//! The first minutes: a key to begin with, and a line that works when pasted.

use std::io::Write as _;

use privet_domain::api_key::PresentedKey;
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_engine::api_key::{self, KeyRequest};
use privet_store::{ApiKey, Store};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;

use crate::config::Config;

/// A key that somebody chose should not be guessable.
const SHORT_KEY_CHARS: usize = 16;
const PERSONAL_KEY_NAME: &str = "PERSONAL_API_KEY";
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
    if let Some(personal) = &config.personal_api_key {
        take_over_personal_key(store, personal, now).await?;
        return Ok(FirstKey::Personal);
    }
    let keys = api_key::list(store).await?;
    if keys.iter().any(|key| key.name != CHAT_KEY_NAME && is_valid(key, now)) {
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
    writeln!(out, "  providers {} (default model {})", names.join(", "), config.default_model)?;
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
