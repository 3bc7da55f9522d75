//! `privet serve`: from the configuration to a listening server, and to its calm end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use privet_domain::memory::IndexError;
use privet_domain::time::{Clock as _, SystemClock, Timestamp};
use privet_engine::alerts::Alerts;
use privet_engine::budget::{BudgetParts, BudgetRules, Budgets, Sharing};
use privet_engine::health::Health;
use privet_engine::keyring::Keyring;
use privet_engine::memory::{Memory, MemoryIndex, MemorySettings, PrepareError, Vectors};
use privet_engine::router::Router;
use privet_engine::switchboard::Switchboard;
use privet_engine::traces::{BookPricing, Export, MaskKind, Masks, Retention, Traces};
use privet_engine::{Engine, EngineParts};
use privet_index::QdrantIndex;
use privet_providers::{
    Collector, HttpClients, HttpProvider, LocalProvider, MediaFetcher, Provider, ProviderKind, Webhook,
};
use privet_store::{Store, TraceStore, WriteSettings};
use rustix::fs::Mode;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::beside::{Beside, Duties};
use crate::config::{AlertSettings, Config, ExportSettings};
use crate::first_run;
use crate::http::accept;
use crate::http::door::Door;
use crate::http::router::{BodyLimits, Http, router};

/// After the calls were ended, so long for their connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// From a hit in memory to a long answer.
const SECONDS_BUCKETS: [f64; 11] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Beside PostgreSQL there is no index but a server's.
const NO_INDEX: &str = "with PostgreSQL, memory needs a Qdrant server for its index: set memory.qdrant_url, for example to \
     \"http://127.0.0.1:6334\" (PRIVET_MEMORY_QDRANT_URL), or memory.enabled = \"false\" \
     (PRIVET_MEMORY_ENABLED=false) to remember nothing";

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the server cannot start.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let has_index = config.qdrant.is_some() || config.database.sqlite_file().is_some();
    anyhow::ensure!(config.memory.is_none() || has_index, NO_INDEX);
    let _folder = claim_folder(&config)?;
    let store = Arc::new(Store::open(&config.database, config.durability).await?);
    let first_key = first_run::first_key(&store, &config).await?;
    let traces = open_traces(&config).await?;
    let engine = engine(store.clone(), traces.clone(), &config).await?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; is another server there? choose another with --listen ADDRESS:PORT",
            config.listen
        )
    })?;
    // Whoever is told that the server listens may end it the next moment.
    let mut signals = Signals::listen()?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    first_run::greet(&listener, &config, &first_key)?;

    let draining = CancellationToken::new();
    let background = TaskTracker::new();
    let metrics = start_metrics()?;
    let beside = Beside::start(&engine, metrics.clone(), duties(&config)?);
    let connections = TaskTracker::new();
    let http = Http {
        engine: engine.clone(),
        door: Arc::new(Door::new(&config.door)),
        body_limits: BodyLimits { bytes_max: config.server.body_bytes_max, timeout: config.server.body_timeout },
        metrics: metrics.clone(),
        connections: connections.clone(),
        draining: draining.clone(),
    };
    let accepting =
        background.spawn(accept::serve(listener, router(http), config.server, draining.clone(), connections.clone()));

    signals.next().await;
    tracing::info!("finishing what is under way; a second signal ends it now");
    draining.cancel();
    tokio::select! {
        () = drain(&engine, &connections, config.server.drain_timeout) => {}
        () = signals.next() => drain(&engine, &connections, Duration::ZERO).await,
    }
    accepting.abort();
    beside.stop(&engine).await;
    store.close().await;
    traces.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The data folder, made if missing and claimed by this process until the file is dropped.
pub(crate) fn claim_folder(config: &Config) -> anyhow::Result<std::fs::File> {
    let data = &config.data;
    make_private_folder(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let path = data.join("server.lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.try_lock().map_err(|_| {
        anyhow::anyhow!(
            "another privet serves the data folder {}; stop it, or choose another with --data",
            data.display()
        )
    })?;
    Ok(file)
}

/// Only its owner may read what was said: the folder if it is made now, and whatever this process writes in any.
pub(crate) fn make_private_folder(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) async fn open_traces(config: &Config) -> anyhow::Result<Arc<TraceStore>> {
    let pricing = Arc::new(BookPricing::new(config.prices.clone()));
    let settings = WriteSettings { exports: config.traces.export.is_some() };
    let store = TraceStore::open(&config.database, settings, pricing, Arc::new(SystemClock)).await?;
    Ok(Arc::new(store))
}

/// Everything that answers. It takes the budgets of the database: with SQLite only who has claimed the folder may make one.
pub(crate) async fn engine(store: Arc<Store>, traces: Arc<TraceStore>, config: &Config) -> anyhow::Result<Arc<Engine>> {
    let mut providers = Vec::with_capacity(config.providers.len());
    let mut clients = HttpClients::default();
    for settings in &config.providers {
        providers.push(match settings.kind {
            ProviderKind::Offline => Provider::Offline,
            ProviderKind::Local => {
                let folder = settings.folder.clone().unwrap_or_default();
                Provider::Local(
                    LocalProvider::load(&settings.name, &folder)
                        .with_context(|| format!("the provider `{}`", settings.name))?,
                )
            }
            _ => Provider::Http(Box::new(HttpProvider::new(settings.clone(), &mut clients)?)),
        });
    }
    let keyring = Keyring::load(store.clone()).await?;
    let router = Router::new(providers, config.aliases.clone(), config.default_model.name.clone());
    if let Some(memory) = &config.memory {
        let answers = |model: &str, setting: &str| {
            router.resolve(Some(model)).map(drop).with_context(|| format!("{setting} names no model that answers here"))
        };
        if let Some(embedder) = &memory.embedder {
            answers(&format!("{}/{}", embedder.provider, embedder.model), "memory.embedder")?;
        }
        if let Some(reranker) = &memory.reranker {
            answers(reranker, "memory.reranker")?;
        }
        if let Some(describer) = &memory.describer {
            answers(&describer.model, "memory.describer")?;
        }
    }
    let masks = Masks::new(&MaskKind::ALL, &[]).context("the masks of errors are wrong")?;
    let clock = Arc::new(SystemClock);
    let limits = config.limits.clone();
    let traces = Traces::new(traces, config.traces.requests, config.traces.privacy.clone(), store.clone());
    let rules = BudgetRules::new(config.budgets.clone(), limits.time_zone.clone());
    let budgets = BudgetParts {
        store: store.clone(),
        clock: clock.clone(),
        rules,
        wait: limits.budget_wait,
        sharing: Sharing::of(&store),
    };
    let budgets = Budgets::start(budgets).await?;
    let switchboard = Switchboard::load(store.clone()).await?;
    let memory = match config.memory.clone() {
        Some(settings) => Some(memory(store.clone(), settings, config, clock.now()).await?),
        None => None,
    };
    Ok(Engine::new(EngineParts {
        store,
        traces,
        keyring,
        router,
        health: Health::new(config.routing.breaker, masks),
        retries: config.routing.retries,
        budgets,
        switchboard,
        prices: config.prices.clone(),
        limits,
        clock,
        record: config.record,
        memory,
        cache: config.cache,
        images: MediaFetcher::new(config.images.clone()).context("the HTTP client of `images` cannot start")?,
    }))
}

async fn memory(
    store: Arc<Store>,
    settings: MemorySettings,
    config: &Config,
    now: Timestamp,
) -> anyhow::Result<Memory> {
    if !store.is_shared() {
        // Whoever claimed tasks before is dead.
        store.release_outbox(now).await?;
        store.release_descriptions(now).await?;
    }
    let memory = Memory::new(store.clone(), memory_index(&store, config)?, settings);
    greet_memory(memory.begin(now).await?);
    match memory.prepare_index().await {
        Err(PrepareError::Index(error @ IndexError::Unavailable(_))) => {
            tracing::warn!(%error, "until it does, nothing is recalled, and what is said waits for the index");
        }
        prepared => prepared.context("memory's index cannot be used")?,
    }
    Ok(memory)
}

/// Inside SQLite, or on a server: beside PostgreSQL there is no other.
pub(crate) fn memory_index(store: &Store, config: &Config) -> anyhow::Result<MemoryIndex> {
    match (&config.qdrant, store.embedded_index()) {
        (Some(qdrant), _) => Ok(MemoryIndex::Server(QdrantIndex::new(qdrant)?)),
        (None, Some(index)) => Ok(MemoryIndex::Embedded(index)),
        (None, None) => anyhow::bail!(NO_INDEX),
    }
}

/// How memories are found.
fn greet_memory(vectors: Vectors) {
    match vectors {
        Vectors::Off => tracing::info!(
            "memory is found by its words alone; for its meaning too set memory.embedder, for example to \
             \"openai/text-embedding-3-large\""
        ),
        Vectors::Of(embedder) => tracing::info!(embedder = embedder.name, "memory is found by words and meaning"),
        Vectors::Other(embedder) => tracing::warn!(
            embedder = embedder.name,
            "memory is still found by the embedder that its vectors are of; run: privet memory reindex"
        ),
    }
}

fn duties(config: &Config) -> anyhow::Result<Duties> {
    let traces = &config.traces;
    let retention = Retention { keep: traces.keep, bytes_max: traces.disk_bytes_max, exports: traces.export.is_some() };
    Ok(Duties { alerts: alerts(config)?, retention, export: export(config)? })
}

fn export(config: &Config) -> anyhow::Result<Option<Export>> {
    let Some(ExportSettings { url, headers, projects }) = config.traces.export.clone() else { return Ok(None) };
    let collector = Collector::new(url, headers).context("the HTTP client of `traces.export` cannot start")?;
    Ok(Some(Export { collector, projects }))
}

fn alerts(config: &Config) -> anyhow::Result<Option<Alerts>> {
    let Some(AlertSettings { webhook, secret, percents }) = config.alerts.clone() else { return Ok(None) };
    let webhook = Webhook::new(webhook, secret).context("the HTTP client of `alerts.webhook` cannot start")?;
    Ok(Some(Alerts { webhook, percents }))
}

/// Counters and histograms with fixed buckets: a summary would keep every sample until somebody asks.
fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS_BUCKETS).context("the metrics' buckets are wrong")?;
    builder.install_recorder().context("the metrics cannot start")
}

/// SIGTERM and SIGINT, as they come.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets calls finish; ends those that take too long with an explicit event.
async fn drain(engine: &Engine, connections: &TaskTracker, patience: Duration) {
    connections.close();
    let finished = async {
        engine.drain().await;
        connections.wait().await;
    };
    if tokio::time::timeout(patience, finished).await.is_ok() {
        return;
    }
    tracing::warn!(calls = engine.calls_under_way(), "ending the calls that did not finish in time");
    // Turns that cannot be written any more must not keep the process: what is durable is sound without them.
    if tokio::time::timeout(CLOSE_TIMEOUT, engine.stop()).await.is_err() {
        tracing::warn!(calls = engine.calls_under_way(), "some calls did not end in time");
    }
    if tokio::time::timeout(CLOSE_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!("some connections did not close in time");
    }
}
