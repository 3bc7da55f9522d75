//! Fills a database, as the server does: texts in transactions of their own, then the outbox in the steps of its worker.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use privet_domain::id::{ConversationId, EmbedderId};
use privet_domain::memory::{MemoryId, MemoryKind, MemoryScope, NewMemory, Representation, VectorIndex as _};
use privet_domain::time::Timestamp;
use privet_store::{Durability, EmbedderState, Location, NewEmbedder, Store};
use uuid::Uuid;

use super::corpus::{self, DIMENSIONS, Vectors};
use super::{Data, Filled};

/// The provider and the model whose vectors the upstream gives.
pub(crate) const PROVIDER: &str = "openai";
pub(crate) const MODEL: &str = "bench";
const PROJECT: &str = "default";
/// So many are written in one transaction.
const WRITTEN_AT_ONCE: u64 = 500;
/// So many the worker takes at once.
const STEP: u32 = 64;
const LEASE: Duration = Duration::from_secs(600);
const MESSAGES_OF_CONVERSATION: u64 = 20;

/// An open memory.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) index: privet_store::EmbeddedIndex,
    pub(super) embedder: EmbedderId,
    pub(super) scopes: Vec<MemoryScope>,
}

/// Opens it, made if missing.
pub(super) async fn open(folder: &Path, data: Data) -> Result<Opened> {
    std::fs::create_dir_all(folder).context("the data folder cannot be made")?;
    let store = Store::open(&Location::Folder(folder.to_owned()), Durability::Full).await?;
    let now = now();
    let project = store.ensure_project(PROJECT, now).await?.id;
    let known = store.embedders().await?;
    let embedder = match known.first() {
        Some(known) => known.id,
        None => {
            let new = NewEmbedder {
                name: format!("{PROVIDER}/{MODEL}"),
                provider: PROVIDER.to_owned(),
                model: MODEL.to_owned(),
                dimensions: DIMENSIONS,
                state: EmbedderState::Active,
            };
            store.create_embedder(&new, now).await?.id
        }
    };
    let index = store.embedded_index().context("SQLite has an index of its own")?;
    let scopes = (0..data.users()).map(|user| MemoryScope::new(project, user_name(user))).collect();
    Ok(Opened { store, index, embedder, scopes })
}

/// The name of a user.
pub(super) fn user_name(user: u64) -> String {
    format!("user-{user}")
}

/// A memory's number, of which it was made.
pub(super) fn number_of(id: MemoryId) -> u64 {
    id.as_uuid().as_u64_pair().1 & !(3 << 62)
}

fn id_of(number: u64) -> MemoryId {
    Uuid::from_u64_pair(0x8000, number | (2 << 62)).into()
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Fills it with so many memories.
pub(super) async fn fill(folder: &Path, data: Data, memories: u64) -> Result<Filled> {
    let opened = open(folder, data).await?;
    let begun = Instant::now();
    let mut next = 0;
    while next < memories {
        let until = memories.min(next + WRITTEN_AT_ONCE);
        let new: Vec<NewMemory> =
            (next..until).map(|number| memory(number, data, &opened.scopes)).collect::<Result<_>>()?;
        opened.store.add_memories(&new, now()).await?;
        next = until;
    }
    let written = begun.elapsed();
    let begun = Instant::now();
    let vectors = Vectors::new(data.lie(), memories);
    let mut made = Duration::ZERO;
    loop {
        let tasks = opened.store.claim_outbox(STEP, LEASE, now()).await?;
        if tasks.is_empty() {
            break;
        }
        let ids: Vec<MemoryId> = tasks.iter().map(|task| task.memory).collect();
        opened.store.weave_windows(&ids, now()).await?;
        let mut indexed = opened.store.memories_to_index(&ids).await?;
        let making = Instant::now();
        for memory in &mut indexed {
            let number = number_of(memory.id);
            for part in &mut memory.parts {
                let vector = match part.representation {
                    Representation::Window => vectors.of_window(number)?,
                    _ => vectors.of_text(number)?,
                };
                part.vectors = vec![(opened.embedder, vector)];
            }
        }
        made += making.elapsed();
        opened.index.put(indexed).await?;
        opened.store.acknowledge_outbox(&tasks).await?;
    }
    let indexed = begun.elapsed().saturating_sub(made);
    let coverage = opened.store.coverage(opened.embedder).await?;
    opened.store.close().await;
    Ok(Filled {
        vectors: coverage.map_or(0, |coverage| coverage.with_vector),
        written_per_second: memories as f64 / written.as_secs_f64(),
        indexed_per_second: memories as f64 / indexed.as_secs_f64(),
    })
}

fn memory(number: u64, data: Data, scopes: &[MemoryScope]) -> Result<NewMemory> {
    let scope = scopes.get(usize::try_from(number % data.users())?).context("there is no user")?;
    let at = Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(number)? * 60_000_000);
    let kind = if data.is_talk() { MemoryKind::Message } else { MemoryKind::Note };
    let mut memory = NewMemory::new(id_of(number), scope.clone(), kind, corpus::text(number), at);
    if data.is_talk() {
        let conversation = Uuid::from_u64_pair(0x8001, (2 << 62) | (number / MESSAGES_OF_CONVERSATION));
        memory.conversation = Some(ConversationId::from(conversation));
        memory.role = Some(if number.is_multiple_of(2) { "user" } else { "assistant" }.to_owned());
        memory.seq = i64::try_from(number % MESSAGES_OF_CONVERSATION)?;
    }
    Ok(memory)
}
