//! Searches a filled memory in this process: each leg alone, all of them as recall does, and the scan by codes against an exact one.

use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use privet_domain::id::EmbedderId;
use privet_domain::memory::fusion::fuse;
use privet_domain::memory::{
    DenseQuery, Embedding, MemoryFilter, MemoryId, MemoryScope, Representation, SparseQuery, VectorIndex as _,
};
use privet_engine::memory::{Memory, MemoryIndex, MemorySettings, legs};
use privet_store::{EmbeddedIndex, Store};

use super::corpus::{self, Vectors};
use super::fill::{Opened, now, open, user_name};
use super::{Data, Searched, Spread};
use crate::measure::percentile;
use crate::proc_stat;

/// Fewer where a few memories are searched to try it out.
const TIMED_MAX: u64 = 1_000;
const TIMED_MIN: u64 = 100;
const COMPARED: u64 = 100;
const FIRST: usize = 10;
/// What each leg gives, as recall asks for it.
const LEG_CANDIDATES: usize = 50;
/// Before anything is timed.
const WARM_UP: u64 = 20;
/// Scores that differ by less are the same: sums in another order differ in their last bits.
const SAME_SCORE: f64 = 1e-6;

/// Measures all of it.
pub(super) async fn search(folder: &Path, data: Data, memories: u64) -> Result<Searched> {
    let Opened { store, index, embedder, scopes } = open(folder, data).await?;
    let vectors = Vectors::new(data.lie(), memories);
    let begun = Instant::now();
    index.prepare(embedder, corpus::DIMENSIONS).await?;
    let loaded = begun.elapsed();
    let store = Arc::new(store);
    let memory = Memory::new(store.clone(), MemoryIndex::Embedded(index.clone()), MemorySettings::default());
    let scope_of = |number: u64| {
        let user = usize::try_from(number.wrapping_mul(7_919) % data.users())?;
        scopes.get(user).cloned().context("there is no user")
    };
    let (mut dense, mut sparse, mut together) = (Vec::new(), Vec::new(), Vec::new());
    let timed = (memories / 20).clamp(TIMED_MIN, TIMED_MAX);
    for number in 0..WARM_UP + timed {
        let (scope, words, vector) = (scope_of(number)?, corpus::question(number), vectors.of_question(number)?);
        let query = dense_query(embedder, &scope, vector.clone(), Representation::Text, LEG_CANDIDATES);
        let begun = Instant::now();
        index.dense(query).await?;
        dense.push(begun.elapsed());
        let query = SparseQuery {
            words: words.clone(),
            representation: Some(Representation::Text),
            scope: scope.clone(),
            filter: MemoryFilter::default(),
            limit: LEG_CANDIDATES,
        };
        let begun = Instant::now();
        index.sparse(query).await?;
        sparse.push(begun.elapsed());
        let begun = Instant::now();
        recall(&store, &memory, embedder, &scope, &words, vector).await?;
        together.push(begun.elapsed());
    }
    let mut recalls = Vec::new();
    for representation in data.representations() {
        recalls.push(recall_of_scan(&index, embedder, &vectors, memories, data, &scopes, *representation).await?);
    }
    let lowest = recalls.iter().copied().fold(1.0, f64::min);
    Ok(Searched {
        dense: spread(dense),
        sparse: spread(sparse),
        together: spread(together),
        loaded_ms: loaded.as_secs_f64() * 1e3,
        recall: lowest,
        rss_bytes: proc_stat::resident_bytes(std::process::id()),
    })
}

/// What the engine does of a question whose vector it has: all legs, joined, and the memories read.
async fn recall(
    store: &Store,
    memory: &Memory,
    embedder: EmbedderId,
    scope: &MemoryScope,
    words: &str,
    vector: Embedding,
) -> Result<()> {
    let (found, fault) = legs(memory, words, Some((embedder, vector)), scope, &MemoryFilter::default()).await?;
    anyhow::ensure!(fault.is_none(), "the dense leg failed: {fault:?}");
    let candidates = fuse(&found, &MemorySettings::default().weights);
    let ids: Vec<MemoryId> = candidates.iter().map(|candidate| candidate.id).collect();
    store.memories_of(scope, &ids, now()).await?;
    Ok(())
}

fn dense_query(
    embedder: EmbedderId,
    scope: &MemoryScope,
    vector: Embedding,
    representation: Representation,
    limit: usize,
) -> DenseQuery {
    let (scope, filter, representation) = (scope.clone(), MemoryFilter::default(), Some(representation));
    DenseQuery { embedder, vector, representation, scope, filter, limit }
}

fn spread(mut times: Vec<Duration>) -> Spread {
    times.drain(..usize::try_from(WARM_UP).unwrap_or_default().min(times.len()));
    times.sort_unstable();
    let millis = |percent| percentile(&times, percent).as_secs_f64() * 1e3;
    Spread { p50_ms: millis(50), p99_ms: millis(99) }
}

/// The share of the ten nearest that the scan by codes finds. Of equally near ones any will do.
async fn recall_of_scan(
    index: &EmbeddedIndex,
    embedder: EmbedderId,
    vectors: &Vectors,
    memories: u64,
    data: Data,
    scopes: &[MemoryScope],
    representation: Representation,
) -> Result<f64> {
    let mut asked = Vec::new();
    for number in 0..COMPARED {
        let user = number.wrapping_mul(7_919) % data.users();
        asked.push((user, vectors.of_question(number)?, BinaryHeap::<Nearest>::new()));
    }
    for number in 0..memories {
        let vector = match representation {
            Representation::Window => vectors.of_window(number)?,
            _ => vectors.of_text(number)?,
        };
        for (user, question, nearest) in &mut asked {
            if number % data.users() == *user {
                nearest.push(Nearest(f64::from(question.cosine(&vector))));
                if nearest.len() > FIRST {
                    nearest.pop();
                }
            }
        }
    }
    let (mut found, mut all) = (0_usize, 0_usize);
    for (user, question, nearest) in asked {
        let scope = scopes.iter().find(|scope| scope.user == user_name(user)).context("there is no user")?;
        let query = dense_query(embedder, scope, question, representation, FIRST);
        let least = nearest.peek().map_or(0.0, |nearest| nearest.0) - SAME_SCORE;
        all += nearest.len();
        found += index.dense(query).await?.iter().filter(|candidate| candidate.score >= least).count();
    }
    Ok(found as f64 / all.max(1) as f64)
}

/// The least near is the greatest, so that a heap gives it away first.
#[derive(PartialEq)]
struct Nearest(f64);

impl Eq for Nearest {}

impl Ord for Nearest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

impl PartialOrd for Nearest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
