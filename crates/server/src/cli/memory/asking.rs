//! How questions are searched from the command line: words from the database alone; meaning by the configured embedder, through the
//! server that serves the folder, or through an engine of this process where none does. So the ledger has each call.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::id::{EmbedderId, ProjectId};
use privet_domain::memory::embedder::Purpose;
use privet_domain::memory::fusion::Weights;
use privet_domain::memory::{Embedding, MemoryFilter, MemoryScope, Representation};
use privet_domain::scope::Scope;
use privet_domain::time::{Clock as _, SystemClock};
use privet_engine::Engine;
use privet_engine::api_key::DEFAULT_PROJECT;
use privet_engine::memory::{Found, Memory, MemorySettings, legs};
use privet_providers::HttpProvider;
use privet_providers::embedder::read_batch;
use privet_store::{Embedder, EmbedderState, NewEmbedder, Store};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::net::TcpStream;

use super::browse::find_project;
use crate::cli::{Common, Exit, FAILURE, UNAVAILABLE, chat, load, open_known_store};
use crate::config::Config;
use crate::serve;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What each question is searched with.
pub(super) struct Asking {
    pub(super) store: Arc<Store>,
    /// As configured.
    pub(super) settings: MemorySettings,
    /// Searches every leg that there is.
    memory: Memory,
    meaning: Result<(Embedder, Source), String>,
}

enum Source {
    /// No server serves the folder, which is held as long as this lives.
    Own { engine: Arc<Engine>, _held: std::fs::File },
    /// The server that serves it.
    Server { config: Box<Config> },
}

/// All legs that a setting may weigh.
pub(super) fn all_legs() -> Weights<Representation> {
    Weights::measured(Representation::Text, Representation::Window, Representation::DESCRIPTIONS)
}

impl Asking {
    pub(super) async fn begin(common: &Common, has_meaning: bool) -> Result<Self, Exit> {
        let config = load(common, None)?;
        let store = Arc::new(open_known_store(&config).await?);
        let off = || Exit::new(FAILURE, "nothing is remembered here: memory.enabled is false");
        let settings = config.memory.clone().ok_or_else(off)?;
        let index = serve::memory_index(&store, &config)?;
        let every = MemorySettings { weights: all_legs(), ..settings.clone() };
        let memory = Memory::new(store.clone(), index, every);
        let meaning = match has_meaning {
            true => meaning(config, &store, &memory).await?,
            false => Err("the words alone were asked for".to_owned()),
        };
        Ok(Self { store, settings, memory, meaning })
    }

    /// Why the words alone are searched, if they are.
    pub(super) fn words_alone(&self) -> Option<&str> {
        self.meaning.as_ref().err().map(String::as_str)
    }

    /// The vectors of questions; none where the words alone are searched. Asked once: after it the engine of this process has ended.
    pub(super) async fn vectors(&self, project: ProjectId, questions: &[&str]) -> Result<Vec<Option<Embedding>>, Exit> {
        let Ok((embedder, source)) = &self.meaning else { return Ok(vec![None; questions.len()]) };
        let vectors = match source {
            Source::Own { engine, .. } => {
                let memory = engine.memory.as_ref().ok_or_else(|| Exit::new(FAILURE, "nothing is remembered here"))?;
                let caller = memory.payer(project).await?;
                let embedded = engine.embed_questions(memory, &caller, questions).await;
                end(engine).await?;
                embedded.map_err(|error| Exit::new(UNAVAILABLE, error.to_string()))?
            }
            Source::Server { config } => through_server(config, embedder, &self.settings, questions).await?,
        };
        Ok(vectors.into_iter().map(Some).collect())
    }

    /// What every leg finds.
    pub(super) async fn legs(
        &self,
        question: &str,
        vector: Option<Embedding>,
        scope: &MemoryScope,
        filter: &MemoryFilter,
    ) -> Result<Found, Exit> {
        let vector = self.meaning.as_ref().ok().zip(vector).map(|((embedder, _), vector)| (embedder.id, vector));
        let unavailable = |error: String| Exit::new(UNAVAILABLE, error);
        let (found, fault) = legs(&self.memory, question, vector, scope, filter)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        match fault {
            None => Ok(found),
            Some(fault) => Err(unavailable(fault)),
        }
    }
}

/// As a server ends: calls are settled, and what was taken of the budgets is returned.
pub(super) async fn end(engine: &Engine) -> Result<(), Exit> {
    engine.drain().await;
    engine.settle_last().await;
    Ok(engine.budgets.retire().await?)
}

/// Whether an embedder that is to be used answers, and with vectors of its dimensions: one word is embedded.
pub(super) async fn tried(config: &Config, store: &Arc<Store>, new: &NewEmbedder) -> Result<(), Exit> {
    let now = SystemClock.now();
    let embedder = Embedder {
        id: EmbedderId::new(),
        name: new.name.clone(),
        provider: new.provider.clone(),
        model: new.model.clone(),
        dimensions: new.dimensions,
        state: new.state,
        progress: 0,
        created_at: now,
        updated_at: now,
    };
    let off = || Exit::new(FAILURE, "nothing is remembered here: memory.enabled is false");
    let settings = config.memory.as_ref().ok_or_else(off)?;
    let tried = match serve::claim_folder(config) {
        Ok(_held) => {
            let traces = serve::open_traces(config).await?;
            let engine = serve::engine(store.clone(), traces, config).await?;
            let memory = engine.memory.as_ref().ok_or_else(off)?;
            let project = find_project(store, DEFAULT_PROJECT).await?;
            let tried = engine.try_embedder(memory, &memory.payer(project).await?, &embedder).await;
            end(&engine).await?;
            tried.map_err(|error| Exit::new(UNAVAILABLE, error.to_string()))
        }
        Err(_) if TcpStream::connect(config.listen).await.is_err() => {
            eprintln!("the embedder is not tried first: no server answers at {}", config.listen);
            Ok(())
        }
        Err(_) => through_server(config, &embedder, settings, &["privet"]).await.map(drop),
    };
    tried.map_err(|error| {
        Exit::new(error.code, format!("`{}` was tried, and nothing was begun: {}", new.name, error.message))
    })
}

/// How meaning is searched, or why it is not.
async fn meaning(
    config: Config,
    store: &Arc<Store>,
    memory: &Memory,
) -> Result<Result<(Embedder, Source), String>, Exit> {
    if config.memory.as_ref().is_none_or(|settings| settings.embedder.is_none()) {
        return Ok(Err("no embedder is named in memory.embedder".to_owned()));
    }
    let known = store.embedders().await?;
    let Some(active) = known.into_iter().find(|embedder| embedder.state == EmbedderState::Active) else {
        return Ok(Err("no vector was made yet; a running server makes them".to_owned()));
    };
    memory.begin(SystemClock.now()).await?;
    // Beside a running server there is no engine: it would take its budgets.
    let source = match serve::claim_folder(&config) {
        Ok(held) => {
            let traces = serve::open_traces(&config).await?;
            Source::Own { engine: serve::engine(store.clone(), traces, &config).await?, _held: held }
        }
        Err(_) => Source::Server { config: Box::new(config) },
    };
    Ok(Ok((active, source)))
}

async fn through_server(
    config: &Config,
    embedder: &Embedder,
    settings: &MemorySettings,
    questions: &[&str],
) -> Result<Vec<Embedding>, Exit> {
    let url = format!("http://{}/v1/embeddings", config.listen);
    let (key, temporary) = chat::key(None, config, Scope::Embeddings).await?;
    let embedded = post_batches(&url, &key, embedder, settings, questions).await;
    chat::revoke(config, temporary).await?;
    embedded.map_err(|error| Exit::new(UNAVAILABLE, format!("the server at {} embeds nothing: {error}", config.listen)))
}

async fn post_batches(
    url: &str,
    key: &SecretString,
    embedder: &Embedder,
    settings: &MemorySettings,
    questions: &[&str],
) -> Result<Vec<Embedding>, String> {
    let client = HttpProvider::client(CONNECT_TIMEOUT).map_err(|error| error.to_string())?;
    let prefix = settings.prefixes.of(Purpose::Query);
    let prepared: Vec<_> = questions.iter().map(|question| settings.limits.prepare(prefix, question)).collect();
    let mut vectors = Vec::with_capacity(questions.len());
    for batch in settings.limits.batches(&prepared) {
        let batch = prepared.get(batch).unwrap_or_default();
        let body = json!({"model": format!("{}/{}", embedder.provider, embedder.model), "input": batch});
        let request = client.post(url).bearer_auth(key.expose_secret()).body(body.to_string());
        let answer =
            request.header("content-type", "application/json").send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        let embedded = read_batch(&body, batch.len(), embedder.dimensions).map_err(|error| error.to_string())?;
        for vector in embedded.vectors {
            vectors.push(Embedding::new(&vector, embedder.dimensions).map_err(|error| error.to_string())?);
        }
    }
    Ok(vectors)
}
