//! Vectors of memories, made or known already. What fails in one project holds up no other's, and one bad text no others: where a
//! batch fails for its texts, or again and again, each is tried alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::memory::embedder::{EmbedError, Purpose};
use privet_domain::memory::{ContentHash, Embedding, IndexedMemory, IndexedPart};
use privet_store::Embedder;

use super::Memory;
use super::embedding::ToEmbed;
use super::worker::StepError;
use crate::Engine;
use crate::keyring::Caller;
use crate::traces::RequestTrace;

/// A text that no embedder refuses: whether the texts are at fault or the embedder.
const HARMLESS: &str = "privet";

/// What stayed without vectors.
pub(super) struct Unembedded {
    /// Whose texts: other projects' have their vectors.
    pub(super) projects: HashSet<ProjectId>,
    /// The last reason.
    pub(super) error: EmbedError,
}

impl Unembedded {
    pub(super) fn joined(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(mut one), Some(other)) => {
                one.projects.extend(other.projects);
                Some(Self { error: other.error, ..one })
            }
            (one, other) => one.or(other),
        }
    }
}

/// How texts are tried that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// Together; each alone where the embedder refuses them.
    Together,
    /// Each alone where they fail for whatever passes: they have failed before.
    Alone,
}

impl Memory {
    /// Gives the memories the embedder's vectors, made or known already. What fails in one project holds up no other's, and what was
    /// made before it is kept.
    pub(super) async fn embed_memories(
        &self,
        engine: &Arc<Engine>,
        embedder: &Embedder,
        memories: &mut [IndexedMemory],
        trial: Trial,
    ) -> Result<Option<Unembedded>, StepError> {
        let mut known: HashMap<ContentHash, Embedding> = self.known_vectors(embedder, memories).await?;
        let parts = memories.iter().flat_map(|memory| &memory.parts);
        let unknown: Vec<i64> = parts.filter(|part| !known.contains_key(&part.hash)).map(|part| part.number).collect();
        let refused = self.store.refusals(embedder.id, &unknown).await?;
        let mut missing: HashMap<ProjectId, HashMap<ContentHash, String>> = HashMap::new();
        for memory in memories.iter() {
            let is_missing = |part: &&IndexedPart| !known.contains_key(&part.hash) && !refused.contains(&part.number);
            for part in memory.parts.iter().filter(is_missing) {
                let of_project = missing.entry(memory.scope.project).or_default();
                of_project.entry(part.hash).or_insert_with(|| part.text.clone());
            }
        }
        let (mut unembedded, mut refusing) = (None, HashSet::new());
        for (project, texts) in missing {
            let caller = self.payer(project).await?;
            let (hashes, texts): (Vec<ContentHash>, Vec<String>) = texts.into_iter().unzip();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (embedded, failure) = self.embed_or_skip(engine, &caller, embedder, (&texts, trial)).await;
            for (hash, embedding) in hashes.into_iter().zip(embedded) {
                match embedding {
                    Some(embedding) => drop(known.insert(hash, embedding)),
                    None => drop(refusing.insert(hash)),
                }
            }
            let left = failure.map(|error| Unembedded { projects: HashSet::from([project]), error });
            unembedded = Unembedded::joined(unembedded, left);
        }
        let parts = memories.iter().flat_map(|memory| &memory.parts);
        let refusing: Vec<i64> = parts.filter(|part| refusing.contains(&part.hash)).map(|part| part.number).collect();
        self.store.note_refusals(embedder.id, &refusing).await?;
        for part in memories.iter_mut().flat_map(|memory| &mut memory.parts) {
            if let Some(embedding) = known.get(&part.hash) {
                part.vectors.push((embedder.id, embedding.clone()));
            }
        }
        Ok(unembedded)
    }

    /// The vectors of texts, up to the first that could not be made, and why. A text that is at fault by itself stays without one.
    async fn embed_or_skip(
        &self,
        engine: &Arc<Engine>,
        caller: &Caller,
        embedder: &Embedder,
        (texts, trial): (&[&str], Trial),
    ) -> (Vec<Option<Embedding>>, Option<EmbedError>) {
        let embed = async |texts: &[&str], made: &mut Vec<Embedding>| {
            let purpose = Purpose::Memory;
            let to_embed = ToEmbed { caller, embedder, purpose, texts, trace: RequestTrace::default() };
            engine.embed_texts(&self.settings, to_embed, made).await
        };
        let is_of_text = |error: &EmbedError| match error {
            EmbedError::Refused { .. } => true,
            // Some servers answer 500 for a text that breaks their model.
            EmbedError::Transient { .. } => trial == Trial::Alone,
            _ => false,
        };
        let mut made = Vec::with_capacity(texts.len());
        let done = embed(texts, &mut made).await;
        let mut embeddings: Vec<Option<Embedding>> = made.into_iter().map(Some).collect();
        match done {
            Ok(()) => return (embeddings, None),
            Err(error) if is_of_text(&error) => tracing::debug!(%error, "each text is embedded alone"),
            Err(error) => return (embeddings, Some(error)),
        }
        let together = embeddings.len();
        let mut at_fault = None;
        for text in texts.get(together..).unwrap_or_default() {
            let mut alone = Vec::with_capacity(1);
            match embed(&[*text], &mut alone).await {
                Ok(()) => embeddings.push(alone.pop()),
                Err(error) if is_of_text(&error) => {
                    embeddings.push(None);
                    at_fault = Some(error);
                }
                Err(error) => return (embeddings, Some(error)),
            }
        }
        let Some(error) = at_fault else { return (embeddings, None) };
        // Where none of them passes the embedder may be at fault: some answer 400 for a wrong key.
        if embeddings.iter().all(Option::is_none) && embed(&[HARMLESS], &mut Vec::new()).await.is_err() {
            embeddings.truncate(together);
            return (embeddings, Some(error));
        }
        tracing::warn!(%error, "texts stay without a vector: their words alone find them; privet memory check counts them");
        (embeddings, None)
    }
}
