//! Recall: the legs search side by side, what they found is joined and packed. An embedder that fails costs the meaning, never the
//! answer: then the words alone are searched, and the recollection says why.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use privet_domain::id::EmbedderId;
use privet_domain::memory::embedder::Purpose;
use privet_domain::memory::fusion::{Candidate, Hit, Leg, LegHits, Method, fuse, rank_by_age};
use privet_domain::memory::pack::{LiveThread, Offer, PackBudget, Reason, Verdict, pack};
use privet_domain::memory::{
    ContentHash, DenseQuery, Embedding, IndexError, Memory as Record, MemoryFilter, MemoryId, MemoryScope,
    Representation, SparseQuery, VectorIndex as _,
};
use privet_domain::time::Timestamp;
use privet_domain::trace::TraceParent;
use privet_store::{Embedder, StoreError};
use tokio::time::timeout;

use super::Memory;
use super::embedding::ToEmbed;
use super::quote::{QuoteFormat, Recalled, label_bytes, quote};
use super::second_look::Ranked;
use crate::Engine;
use crate::keyring::Caller;
use crate::traces::RequestTrace;

/// Of a question so much is searched, from its end: what is asked stands last.
const QUESTION_BYTES_MAX: usize = 4_096;

/// What is sought.
pub struct RecallRequest<'a> {
    /// Who asks; pays for the question's embedding.
    pub caller: &'a Caller,
    /// Whose memories.
    pub scope: MemoryScope,
    /// What is asked.
    pub question: &'a str,
    /// Which memories may answer.
    pub filter: MemoryFilter,
    /// What the thread holds already.
    pub thread: &'a [&'a str],
    /// What is wanted at most.
    pub budget: PackBudget,
    /// Where the step stands in a trace.
    pub parent: Option<TraceParent>,
}

/// A memory that was considered.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The memory.
    pub memory: Record,
    /// How it was found and how well.
    pub scores: Candidate<MemoryId, Representation>,
    /// Why it is in or out.
    pub reason: Reason<MemoryId>,
}

/// What was recalled.
#[derive(Clone, Debug)]
pub struct Recollection {
    /// What was asked.
    pub question: String,
    /// All candidates, best first.
    pub considered: Vec<Considered>,
    /// What was chosen, in order of time: places in `considered`, with the text or the beginning of it.
    told: Vec<(usize, String, bool)>,
    /// Why the words alone were searched where meaning was to be searched too, or why the reranker did not judge.
    pub degraded: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When it was done.
    pub ended: Timestamp,
}

impl Recollection {
    /// What was chosen, as a block of data for a prompt; empty when nothing was.
    #[must_use]
    pub fn quoted(&self, format: QuoteFormat<'_>) -> String {
        let recalled: Vec<Recalled<'_>> = self
            .told
            .iter()
            .filter_map(|(place, text, shortened)| {
                let memory = &self.considered.get(*place)?.memory;
                Some(Recalled { text, shortened: *shortened, ..labelled(memory) })
            })
            .collect();
        quote(&recalled, format)
    }
}

fn labelled(memory: &Record) -> Recalled<'_> {
    Recalled {
        source: memory.kind.as_str(),
        author: memory.name.as_deref().or(memory.role.as_deref()),
        title: memory.title.as_deref().or(memory.source.as_deref()),
        at: memory.created_at,
        text: &memory.text,
        shortened: false,
    }
}

/// Why nothing could be recalled.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Recalls what fits the question.
    ///
    /// # Errors
    /// When the index or the database fails. An embedder that fails is no error.
    pub async fn recall(
        self: &Arc<Self>,
        memory: &Memory,
        request: RecallRequest<'_>,
    ) -> Result<Recollection, RecallError> {
        let began = self.clock.now();
        let question = ending(request.question.trim(), QUESTION_BYTES_MAX);
        let (vector, degraded) = match memory.active() {
            None => (None, None),
            Some(embedder) => match self.embed_question(memory, &embedder, question, &request).await {
                Ok(vector) => (Some((embedder.id, vector)), None),
                Err(reason) => (None, Some(format!("by words alone: {reason}"))),
            },
        };
        let (found, dense_fault) = legs(memory, question, vector, &request.scope, &request.filter).await?;
        let mut candidates = fuse(&found, &memory.settings.weights);
        let ids: Vec<MemoryId> = candidates.iter().map(|candidate| candidate.id).collect();
        let records = memory.store.memories_of(&request.scope, &ids, began).await?;
        let mut records: HashMap<MemoryId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
        candidates.retain(|candidate| records.contains_key(&candidate.id));
        if let Some(recency) = &memory.settings.recency {
            rank_by_age(&mut candidates, recency, began, |id| records.get(id).map(|record| record.created_at));
        }
        let mut ranked: Vec<Ranked> = candidates
            .into_iter()
            .filter_map(|candidate| records.remove(&candidate.id).map(|record| (candidate, record)))
            .collect();
        let unordered = self.look_again(memory, &mut ranked, question, &request).await;
        let degraded = degraded.or(dense_fault).or(unordered);
        Ok(choose(ranked, &request, question, degraded, (began, self.clock.now())))
    }

    async fn embed_question(
        self: &Arc<Self>,
        memory: &Memory,
        embedder: &Embedder,
        question: &str,
        request: &RecallRequest<'_>,
    ) -> Result<Embedding, String> {
        let key = ContentHash::of(request.scope.project, &format!("{}\n{question}", embedder.id));
        if let Some(known) = memory.known_question(key) {
            return Ok(known);
        }
        if let Some(pause) = memory.patience.pause(Instant::now()) {
            return Err(format!("the embedder was too slow for the last questions; it is asked again in {pause:.1?}"));
        }
        let to_embed = ToEmbed {
            caller: request.caller,
            embedder,
            purpose: Purpose::Query,
            texts: &[question],
            trace: RequestTrace::new(request.parent.clone()),
        };
        let mut embedded = Vec::with_capacity(1);
        let embedding = self.embed_texts(&memory.settings, to_embed, &mut embedded);
        match timeout(memory.settings.question_timeout, embedding).await {
            Ok(done) => {
                memory.patience.answered();
                done.map_err(|error| error.to_string())?;
            }
            Err(_) => {
                memory.patience.was_late(Instant::now());
                return Err(format!("the embedder took longer than {:?}", memory.settings.question_timeout));
            }
        }
        let embedding = embedded.into_iter().next().ok_or_else(|| "the embedder gave no vector".to_owned())?;
        memory.keep_question(key, embedding.clone());
        Ok(embedding)
    }
}

/// What each leg found, before it is joined.
pub type Found = Vec<LegHits<MemoryId, Representation>>;

/// What each leg that has a weight finds, and anything to find. The words must be searched; a search by meaning that fails is told.
///
/// # Errors
/// When the search by words fails.
pub async fn legs(
    memory: &Memory,
    question: &str,
    vector: Option<(EmbedderId, Embedding)>,
    scope: &MemoryScope,
    filter: &MemoryFilter,
) -> Result<(Found, Option<String>), RecallError> {
    let mut found: Found = Vec::new();
    let mut add = |method, candidates: Vec<privet_domain::memory::Candidate>| {
        for candidate in candidates {
            let leg = Leg { method, representation: candidate.representation };
            let hit = Hit { id: candidate.memory, score: candidate.score };
            match found.iter_mut().find(|hits| hits.leg == leg) {
                Some(hits) => hits.hits.push(hit),
                None => found.push(LegHits { leg, hits: vec![hit] }),
            }
        }
    };
    let described_by = memory.store.described_by(scope).await?;
    let has_weight = |method: Method, representation: Representation| {
        let leg = Leg { method, representation };
        let is_there =
            !Representation::DESCRIPTIONS.contains(&representation) || described_by.contains(&representation);
        is_there && memory.settings.weights.legs().iter().any(|weight| weight.leg == leg && weight.weight > 0.0)
    };
    let limit = memory.settings.leg_candidates;
    let sparse = Representation::ALL.into_iter().filter(|representation| has_weight(Method::Sparse, *representation));
    let sparse = sparse.map(|representation| {
        let (words, representation) = (question.to_owned(), Some(representation));
        memory.index.sparse(SparseQuery { words, representation, scope: scope.clone(), filter: filter.clone(), limit })
    });
    let dense = vector.iter().flat_map(|(embedder, vector)| {
        let of = Representation::ALL.into_iter().filter(|representation| has_weight(Method::Dense, *representation));
        of.map(|representation| {
            let (embedder, vector, representation) = (*embedder, vector.clone(), Some(representation));
            let (scope, filter) = (scope.clone(), filter.clone());
            memory.index.dense(DenseQuery { embedder, vector, representation, scope, filter, limit })
        })
    });
    // Side by side: who waits for an answer waits for the slowest leg.
    let (sparse, dense) = tokio::join!(join_all(sparse), join_all(dense));
    for candidates in sparse {
        add(Method::Sparse, candidates?);
    }
    let mut fault = None;
    for candidates in dense {
        match candidates {
            Ok(candidates) => add(Method::Dense, candidates),
            Err(error) => fault = Some(format!("by words alone: {error}")),
        }
    }
    Ok((found, fault))
}

fn choose(
    ranked: Vec<Ranked>,
    request: &RecallRequest<'_>,
    question: &str,
    degraded: Option<String>,
    (began, ended): (Timestamp, Timestamp),
) -> Recollection {
    let offers: Vec<Offer<'_, MemoryId>> = ranked
        .iter()
        .map(|(candidate, record)| Offer {
            id: record.id,
            text: &record.text,
            content_hash: None,
            score: candidate.score,
            created_at: record.created_at,
            expires_at: record.expires_at,
        })
        .collect();
    let label = ranked.iter().map(|(_, record)| label_bytes(&labelled(record))).max().unwrap_or_default();
    let budget = PackBudget { label_bytes: label, ..request.budget };
    let thread = LiveThread::new(Vec::<MemoryId>::new(), request.thread.iter().copied());
    let packed = pack(&offers, &thread, &budget, began);
    let place = |id: MemoryId| ranked.iter().position(|(_, record)| record.id == id);
    let told: Vec<_> =
        packed.told.iter().filter_map(|told| Some((place(told.id)?, told.text.to_owned(), told.shortened))).collect();
    let reasons: HashMap<MemoryId, Reason<MemoryId>> =
        packed.verdicts.into_iter().map(|Verdict { id, reason }| (id, reason)).collect();
    drop(offers);
    let considered = ranked.into_iter().map(|(scores, memory)| {
        let reason = reasons.get(&memory.id).cloned().unwrap_or(Reason::Enough);
        Considered { memory, scores, reason }
    });
    Recollection { question: question.to_owned(), considered: considered.collect(), told, degraded, began, ended }
}

/// The end of a text, from the beginning of a character on.
fn ending(text: &str, bytes_max: usize) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    text.get(from..).unwrap_or(text)
}
