//! `privet keys`.

use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, Subcommand};
use privet_domain::key_limits::KeyLimits;
use privet_domain::scope::Scopes;
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_engine::api_key::{self, CreatedKey, DEFAULT_PROJECT, DEFAULT_USER, KeyChange, KeyRequest};
use privet_engine::key_settings::{KeyField, KeySettings, WrongSetting, end_at, read_life, read_name};
use privet_store::{ApiKey, Store};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Common, Exit, USAGE, load, open_known_store, open_store, print_json};
use crate::config::Config;
use crate::key_view::{CreatedKeyView, KeyView};

/// The word that takes a limit away.
const NONE: &str = "none";

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key; it is shown once
    #[command(
        after_help = "Without --scopes a key may chat, embed, read and write traces. The first key and PERSONAL_API_KEY are such keys.\n\
                      A key that may make others through the API: privet keys create --name admin --scopes admin"
    )]
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
        #[command(flatten)]
        rights: RightsFlags,
    },
    /// List the keys with their limits and last use, without their secrets
    List,
    /// Change a key's name, scopes, limits or end; `none` takes a limit away
    Update {
        /// Its id, as `privet keys list` shows it
        id: String,
        /// What you call it
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        rights: RightsFlags,
    },
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
        #[arg(long, default_value = "24h", allow_hyphen_values = true)]
        overlap: String,
    },
}

/// What a key may do, and how much.
#[derive(Args)]
pub(super) struct RightsFlags {
    /// What it may do: chat, embeddings, read, prompts, traces, admin
    #[arg(long, value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// The models it may use, such as `openai/gpt-4o,anthropic/*`
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// How much it may spend, such as `1.00/day`; once for each of day, week, month, total
    #[arg(long, allow_hyphen_values = true)]
    budget: Option<Vec<String>>,
    /// How many requests it may make, such as `60/1m`
    #[arg(long, allow_hyphen_values = true)]
    rate: Option<Vec<String>>,
    /// How many tokens it may use, such as `100000/1m`
    #[arg(long, allow_hyphen_values = true)]
    token_rate: Option<Vec<String>>,
    /// How many calls it may have under way
    #[arg(long, allow_hyphen_values = true)]
    concurrency: Option<String>,
    /// How many requests may come from one address, such as `1/10s`
    #[arg(long, allow_hyphen_values = true)]
    address_rate: Option<String>,
    /// For how long its answers are kept for the same question, such as `10m`
    #[arg(long, allow_hyphen_values = true)]
    cache: Option<String>,
    /// When it ends: a time from now (`30d`, `12h`), RFC 3339, or `none`
    #[arg(long, allow_hyphen_values = true)]
    expires: Option<String>,
}

impl RightsFlags {
    fn settings(self) -> Result<KeySettings, Exit> {
        let list =
            |values: Option<Vec<String>>| values.map(|values| if values == [NONE] { Vec::new() } else { values });
        let one = |value: Option<String>| value.map(|value| (value != NONE).then_some(value));
        let concurrency = one(self.concurrency).map(|number| number.as_deref().map(concurrency).transpose());
        Ok(KeySettings {
            scopes: self.scopes,
            models: list(self.models),
            budgets: list(self.budget),
            rates: list(self.rate),
            token_rates: list(self.token_rate),
            concurrency: concurrency.transpose()?,
            address_rate: one(self.address_rate),
            cache: one(self.cache),
        })
    }

    fn end(&self, now: Timestamp) -> Result<Option<Option<Timestamp>>, Exit> {
        match self.expires.as_deref() {
            None => Ok(None),
            Some(NONE) => Ok(Some(None)),
            Some(text) => {
                let end = read_life(text).map(|life| now.after(life)).or_else(|| end_at(text, now));
                let remedy = "write a time from now such as `30d`, or a later RFC 3339 instant";
                end.map(|end| Some(Some(end))).ok_or_else(|| Exit::new(USAGE, format!("--expires `{text}`: {remedy}")))
            }
        }
    }
}

fn concurrency(text: &str) -> Result<u32, Exit> {
    text.parse().map_err(|_| Exit::new(USAGE, format!("--concurrency `{text}`: write a number of calls such as `10`")))
}

impl From<WrongSetting> for Exit {
    fn from(error: WrongSetting) -> Self {
        let flag = match error.field {
            KeyField::Name => "--name",
            KeyField::User => "--user",
            KeyField::Project => "--project",
            KeyField::Scopes => "--scopes",
            KeyField::Models => "--models",
            KeyField::Budgets => "--budget",
            KeyField::Rates => "--rate",
            KeyField::TokenRates => "--token-rate",
            KeyField::Concurrency => "--concurrency",
            KeyField::AddressRate => "--address-rate",
            KeyField::Cache => "--cache",
        };
        Self::new(USAGE, format!("{flag}: {}", error.reason))
    }
}

pub(super) async fn run(common: &Common, command: KeysCommand) -> Result<(), Exit> {
    let config = load(common, None)?;
    let now = SystemClock.now();
    match command {
        KeysCommand::Create { name, user, project, rights } => {
            let expires_at = rights.end(now)?.flatten();
            let (mut scopes, mut limits) = (Scopes::default(), KeyLimits::default());
            rights.settings()?.apply(&mut scopes, &mut limits)?;
            warn_of_models(&config, &limits);
            let name = read_name(KeyField::Name, &name)?;
            let user_id = read_name(KeyField::User, &user)?;
            let project = read_name(KeyField::Project, &project)?;
            let request = KeyRequest { name, user_id, project, scopes, limits, expires_at };
            let created = api_key::create(&open_store(&config).await?, &request, now).await?;
            super::until_servers_know().await;
            show_created(common, &config, &created)
        }
        KeysCommand::List => list(common, &open_known_store(&config).await?, now).await,
        KeysCommand::Update { id, name, rights } => {
            let name = name.map(|name| read_name(KeyField::Name, &name)).transpose()?;
            let change = KeyChange { name, expires_at: rights.end(now)?, settings: rights.settings()? };
            let key = api_key::update(&open_known_store(&config).await?, &id, &change).await?;
            super::until_servers_know().await;
            warn_of_models(&config, &api_key::rights(&key)?.1);
            let view = KeyView::read(&key)?;
            if common.json {
                return print_json(&view);
            }
            println!("Changed {} ({}): {}", view.public_id, view.name, view.rights());
            Ok(())
        }
        KeysCommand::Revoke { id } => {
            let key = api_key::revoke(&open_known_store(&config).await?, &id, now).await?;
            super::until_servers_know().await;
            if common.json {
                return print_json(&json!({"id": key.id, "public_id": key.public_id, "revoked": true}));
            }
            println!("Revoked {} ({}).", key.public_id, key.name);
            Ok(())
        }
        KeysCommand::Rotate { id, overlap } => {
            let overlap = read_life(&overlap)
                .ok_or_else(|| Exit::new(USAGE, format!("--overlap `{overlap}`: write a time such as `24h`")))?;
            let created = api_key::rotate(&open_known_store(&config).await?, &id, overlap, now).await?;
            super::until_servers_know().await;
            show_created(common, &config, &created)
        }
    }
}

/// Says which models of a key no provider of the configuration answers for; the server may have another one.
fn warn_of_models(config: &Config, limits: &KeyLimits) {
    for model in limits.models.iter().map(ToString::to_string).filter(|model| !config.may_answer(model)) {
        eprintln!(
            "No provider of this configuration ({}) answers for `{model}`: the key cannot use it until one does.",
            config.provider_names()
        );
    }
}

async fn list(common: &Common, store: &Store, now: Timestamp) -> Result<(), Exit> {
    let keys = api_key::list(store).await?;
    let views = keys.iter().map(KeyView::read).collect::<Result<Vec<_>, _>>()?;
    if common.json {
        return print_json(&views);
    }
    for (key, view) in keys.iter().zip(&views) {
        let (id, name, user, project) = (&key.public_id, &key.name, &key.user_id, &key.project);
        let (state, rights) = (state(key, now), view.rights());
        println!("{id}  {name}  user {user}  project {project}  {state}  {rights}");
    }
    Ok(())
}

fn state(key: &ApiKey, now: Timestamp) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if at <= now => format!("expired {at}"),
        (None, Some(at)) => format!("valid until {at}"),
        (None, None) => "valid".to_owned(),
    }
}

fn show_created(common: &Common, config: &Config, created: &CreatedKey) -> Result<(), Exit> {
    if common.json {
        return print_json(&CreatedKeyView::reveal(created)?);
    }
    eprintln!("Shown this once:");
    println!("{}", created.token.expose_secret());
    eprintln!("\nFor Langfuse's SDKs:");
    eprintln!("LANGFUSE_BASE_URL={}", base_url(config));
    eprintln!("LANGFUSE_PUBLIC_KEY={}", created.key.public_key);
    eprintln!("LANGFUSE_SECRET_KEY={}", created.token.expose_secret());
    Ok(())
}

/// Where a client on this machine finds the server, by its configuration.
fn base_url(config: &Config) -> String {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}
