//! `privet keys`.

use std::time::Duration;

use clap::Subcommand;
use privet_domain::time::{Clock as _, SystemClock, Timestamp, parse_duration};
use privet_engine::api_key::{self, CreatedKey, DEFAULT_PROJECT, DEFAULT_USER, KeyRequest};
use privet_engine::keyring;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Common, Exit, USAGE, load, open_store, print_json};

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key; it is shown once
    Create {
        /// What you call it
        #[arg(long)]
        name: String,
        /// The user it belongs to
        #[arg(long, default_value = DEFAULT_USER)]
        user: String,
        /// The project whose data it sees, made if missing
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// When it ends: a time from now (`30d`, `12h`) or RFC 3339
        #[arg(long)]
        expires: Option<String>,
    },
    /// List the keys, without their secrets
    List,
    /// Revoke a key at once
    Revoke {
        /// Its id, as `privet keys list` shows it
        id: String,
    },
    /// Replace a key by a new one with the same rights
    Rotate {
        /// Its id, as `privet keys list` shows it
        id: String,
        /// So long both are valid
        #[arg(long, default_value = "24h")]
        overlap: String,
    },
}

pub(super) async fn run(common: &Common, command: KeysCommand) -> Result<(), Exit> {
    let config = load(common, None)?;
    let now = SystemClock.now();
    match command {
        KeysCommand::Create { name, user, project, expires } => {
            let expires_at = expires.as_deref().map(|text| expiry(text, now)).transpose()?;
            let store = open_store(&config).await?;
            let request = KeyRequest { name, user_id: user, project, expires_at };
            let created = api_key::create(&store, &request, now).await?;
            until_servers_know().await;
            show_created(common, &created)
        }
        KeysCommand::List => {
            let keys = api_key::list(&open_store(&config).await?).await?;
            if common.json {
                return print_json(&keys);
            }
            for key in keys {
                let state = match (key.revoked_at, key.expires_at) {
                    (Some(at), _) => format!("revoked {at}"),
                    (None, Some(at)) if at <= now => format!("expired {at}"),
                    (None, Some(at)) => format!("valid until {at}"),
                    (None, None) => "valid".to_owned(),
                };
                println!("{}  {}  user {}  project {}  {state}", key.public_id, key.name, key.user_id, key.project);
            }
            Ok(())
        }
        KeysCommand::Revoke { id } => {
            let key = api_key::revoke(&open_store(&config).await?, &id, now).await?;
            until_servers_know().await;
            if common.json {
                return print_json(&json!({"id": key.id, "public_id": key.public_id, "revoked": true}));
            }
            println!("Revoked {} ({}).", key.public_id, key.name);
            Ok(())
        }
        KeysCommand::Rotate { id, overlap } => {
            let overlap = parse_duration(&overlap)
                .ok_or_else(|| Exit::new(USAGE, format!("--overlap `{overlap}`: write a time such as `24h`")))?;
            let created = api_key::rotate(&open_store(&config).await?, &id, overlap, now).await?;
            until_servers_know().await;
            show_created(common, &created)
        }
    }
}

/// When the command ends, a running server knows of the change.
async fn until_servers_know() {
    tokio::time::sleep(keyring::POLL_INTERVAL + Duration::from_millis(50)).await;
}

fn show_created(common: &Common, created: &CreatedKey) -> Result<(), Exit> {
    let token = created.token.expose_secret();
    if common.json {
        return print_json(&json!({"id": created.id, "key": token}));
    }
    eprintln!("Shown this once:");
    println!("{token}");
    Ok(())
}

fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, Exit> {
    let from_now = parse_duration(text).and_then(|duration| {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        Some(Timestamp::from_micros(now.as_micros().checked_add(micros)?))
    });
    let end = from_now.or_else(|| Timestamp::parse(text)).filter(|end| *end > now);
    end.ok_or_else(|| {
        Exit::new(
            USAGE,
            format!("--expires `{text}`: write a time from now such as `30d`, or a later RFC 3339 instant"),
        )
    })
}
