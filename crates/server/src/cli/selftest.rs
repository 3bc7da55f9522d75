//! `privet selftest`: what a provider and its model can do through Privet, shown as a table.
//!
//! It asks as a client would: over HTTP, of the server that runs, or of one that it starts on the same data for the moment. So every
//! call is admitted, held for, settled and in the ledger like any other. The key that is made for it may use this model alone and,
//! where a price is known, spend no more than what is said beforehand; it is revoked at the end. Nothing is kept as a conversation
//! or remembered.

mod checks;
mod cost;
mod edges;
mod gateway;
mod report;
mod shapes;
mod stream;
mod talk;
mod tools;

use std::time::{Duration, Instant};

use clap::Args;
use privet_domain::ability::Ability;
use privet_domain::budget::{Allowance, Period};
use privet_domain::key_limits::{KeyLimits, ModelPattern};
use privet_domain::model::is_openai_reasoning;
use privet_domain::money::Nanos;
use privet_domain::pricing::Price;
use privet_domain::scope::{Scope, Scopes};
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::api_key::{self, CreatedKey, KeyRequest};
use privet_engine::usage;
use privet_providers::HttpProvider;
use privet_store::{Store, UsageFilter};
use tokio::process::Command;

use self::checks::{CHECKS, Check};
use self::gateway::{Finding, Gateway, Outcome, Subject};
use self::report::{Report, Row, Spent};
use super::server_process::ServerProcess;
use super::{Common, Exit, FAILURE, UNAVAILABLE, USAGE, chat, load, open_store, until_servers_know};
use crate::config::Config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The key ends by itself if the process is killed.
const KEY_LIFE: Duration = Duration::from_secs(3600);
/// So long a call that was left may take to be settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// A model that does not exist anywhere.
const NO_MODEL: &str = "privet-selftest-no-such-model";

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all works or is degraded, 1 something fails, 69 the provider cannot be used at all."
)]
pub(super) struct SelftestArgs {
    #[command(flatten)]
    common: Common,
    /// The provider, by its name in the configuration
    provider: String,
    /// Its model [default: the configured one of this provider, its best-known one, or its only one]
    #[arg(long)]
    model: Option<String>,
    /// Also check embeddings, with this model of the provider
    #[arg(long, value_name = "MODEL")]
    embedding_model: Option<String>,
    /// Also check an image by its URL, which the provider must be able to reach
    #[arg(long, value_name = "URL")]
    image_url: Option<String>,
    /// The server [default: the one at the configured listen address; if none runs, one for the moment]
    #[arg(long)]
    url: Option<String>,
}

pub(super) async fn run(args: SelftestArgs) -> Result<(), Exit> {
    let config = load(&args.common, None)?;
    if !config.providers.iter().any(|provider| provider.name == args.provider) {
        let message = format!("no provider `{}` is configured; there are: {}", args.provider, config.provider_names());
        return Err(Exit::new(USAGE, message));
    }
    let store = open_store(&config).await?;
    let (url, own) = server(&args, &config).await?;
    let tested = test(&args, &config, &store, url).await;
    if let Some(own) = own {
        own.stop().await;
    }
    let report = tested?;
    report.print(args.common.json)?;
    match report.verdict() {
        _ if report.is_hopeless() => Err(Exit::new(UNAVAILABLE, report.why_hopeless())),
        Outcome::Fails => Err(Exit::new(FAILURE, "something fails; see the table")),
        _ => Ok(()),
    }
}

/// The server that is asked: the one that runs, or one for the moment on the same data and configuration.
async fn server(args: &SelftestArgs, config: &Config) -> Result<(String, Option<ServerProcess>), Exit> {
    let url = args.url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let client = HttpProvider::client(CONNECT_TIMEOUT).map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    match client.get(format!("{url}/healthz")).send().await {
        Ok(_) => return Ok((url, None)),
        Err(error) if args.url.is_some() => return Err(chat::unreachable(&url, &error)),
        Err(_) => {}
    }
    let binary = std::env::current_exe().map_err(|error| Exit::new(FAILURE, error.to_string()))?;
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", "127.0.0.1:0"]).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.arg("--data").arg(&config.data);
    if let Some(file) = &args.common.config {
        command.arg("--config").arg(file);
    }
    let mut process = ServerProcess::start(command)?;
    let address = process.listening().await?;
    Ok((format!("http://{address}"), Some(process)))
}

async fn test(args: &SelftestArgs, config: &Config, store: &Store, url: String) -> Result<Report, Exit> {
    let model = model(args, config, &url, store).await?;
    let price = config.prices.find(&args.provider, &model, SystemClock.now());
    let subject = subject(args, config, model, price.map(AsRef::as_ref));
    let planned: Vec<(&Check, Option<Finding>)> = CHECKS.iter().map(|check| (check, check.why_not(&subject))).collect();
    let most = price.and_then(|price| {
        cost::most(price, &subject, planned.iter().filter(|(_, why)| why.is_none()).map(|(check, _)| *check))
    });
    if !args.common.json {
        report::announce(&subject, &url, most);
    }
    let key = make_key(store, &subject, most).await?;
    let stray = make_stray_key(store, &subject).await?;
    until_servers_know().await;
    let gateway = Gateway::new(url, &key.token, &stray.token, subject)?;
    let mut rows = Vec::new();
    // The check after which nothing else could work, and why.
    let mut hopeless: Option<(&str, String)> = None;
    for (check, why_not) in planned {
        let started = Instant::now();
        let finding = match (&hopeless, why_not) {
            (Some((first, _)), _) => Finding::skipped(format!("not tried; see `{first}`")),
            (None, Some(why_not)) => why_not,
            (None, None) if check.name == checks::CLIENT_LEAVES => client_leaves(&gateway, store, &key).await?,
            (None, None) => (check.run)(&gateway).await,
        };
        if finding.is_hopeless && hopeless.is_none() {
            hopeless = Some((check.name, finding.note.clone()));
        }
        rows.push(Row { name: check.name, finding, took: started.elapsed() });
    }
    settled(store, &key).await?;
    let spent = spent(store, &key).await?;
    for id in [&key.key.id, &stray.key.id] {
        api_key::revoke(store, &id.to_string(), SystemClock.now()).await?;
    }
    Ok(Report { model: gateway.subject.name(), rows, most, spent, hopeless: hopeless.map(|(_, why)| why) })
}

fn subject(args: &SelftestArgs, config: &Config, model: String, price: Option<&Price>) -> Subject {
    let abilities = price.and_then(|price| price.profile.abilities.clone());
    let of_memory = config.memory.as_ref().and_then(|memory| memory.embedder.as_ref());
    let of_memory =
        of_memory.filter(|embedder| embedder.provider == args.provider).map(|embedder| embedder.model.clone());
    Subject {
        thinks: abilities.as_ref().is_some_and(|known| known.contains(&Ability::Thinking))
            || is_openai_reasoning(&model),
        provider: args.provider.clone(),
        model,
        abilities,
        embedding_model: args.embedding_model.clone().or(of_memory),
        image_url: args.image_url.clone(),
    }
}

/// The model that is asked: as named, the configured one, the best-known one, or the provider's only one.
async fn model(args: &SelftestArgs, config: &Config, url: &str, store: &Store) -> Result<String, Exit> {
    if let Some(model) = &args.model {
        let prefix = format!("{}/", args.provider);
        return Ok(model.strip_prefix(&prefix).unwrap_or(model).to_owned());
    }
    if config.default_model.model.provider() == args.provider {
        return Ok(config.default_model.model.model().to_owned());
    }
    if let Some(model) = crate::config::best_known_model_of(&args.provider) {
        return Ok(model.to_owned());
    }
    let key = api_key::create(store, &key_request(KeyLimits::default()), SystemClock.now()).await?;
    until_servers_know().await;
    let offered = gateway::models(url, &key.token, &args.provider).await;
    api_key::revoke(store, &key.key.id.to_string(), SystemClock.now()).await?;
    let offered = offered?;
    match offered.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Exit::new(
            UNAVAILABLE,
            format!("`{}` lists no models; name one with --model, or see `privet providers`", args.provider),
        )),
        several => {
            let some: Vec<&str> = several.iter().take(8).map(String::as_str).collect();
            let message = format!("name a model with --model; `{}` has: {}", args.provider, some.join(", "));
            Err(Exit::new(USAGE, message))
        }
    }
}

fn key_request(limits: KeyLimits) -> KeyRequest {
    KeyRequest {
        scopes: Scopes::of(&[Scope::Chat, Scope::Embeddings, Scope::Read]),
        limits,
        expires_at: Some(SystemClock.now().after(KEY_LIFE)),
        ..KeyRequest::named("selftest")
    }
}

/// A key for this model, and for no more money than was said.
async fn make_key(store: &Store, subject: &Subject, most: Option<Nanos>) -> Result<CreatedKey, Exit> {
    let mut models = vec![pattern(&subject.name())?];
    if let Some(model) = &subject.embedding_model {
        models.push(pattern(&format!("{}/{model}", subject.provider))?);
    }
    let budgets = most.map(|amount| Allowance { amount, period: Period::Total, zone: None }).into_iter().collect();
    let limits = KeyLimits { models, budgets, ..KeyLimits::default() };
    Ok(api_key::create(store, &key_request(limits), SystemClock.now()).await?)
}

/// A key for a model that does not exist: it has no price, so no budget could let it pass.
async fn make_stray_key(store: &Store, subject: &Subject) -> Result<CreatedKey, Exit> {
    let models = vec![pattern(&format!("{}/{NO_MODEL}", subject.provider))?];
    let limits = KeyLimits { models, ..KeyLimits::default() };
    Ok(api_key::create(store, &key_request(limits), SystemClock.now()).await?)
}

fn pattern(name: &str) -> Result<ModelPattern, Exit> {
    name.parse().map_err(|error| Exit::new(USAGE, format!("`{name}`: {error}")))
}

async fn client_leaves(gateway: &Gateway, store: &Store, key: &CreatedKey) -> Result<Finding, Exit> {
    let began = match edges::leave_a_stream(gateway).await {
        Ok(()) => Instant::now(),
        Err(finding) => return Ok(finding),
    };
    if settled(store, key).await? {
        return Ok(Finding::works_with(format!("settled {} ms after the client left", began.elapsed().as_millis())));
    }
    Ok(Finding::fails(format!(
        "the call still holds money {} s after its client left; see the server's log and `privet reconcile`",
        SETTLED_WITHIN.as_secs()
    )))
}

/// Waits until no call of the key is under way, and says whether that came.
async fn settled(store: &Store, key: &CreatedKey) -> Result<bool, Exit> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        if store.open_calls(None).await?.iter().all(|call| call.key_id != key.key.id) {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn spent(store: &Store, key: &CreatedKey) -> Result<Spent, Exit> {
    let filter = UsageFilter { key_id: Some(key.key.id), ..UsageFilter::default() };
    let totals = usage::report(store, &filter).await?.totals;
    Ok(Spent {
        settled: Nanos::new(totals.settled_nanos),
        calls: totals.calls,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
    })
}
