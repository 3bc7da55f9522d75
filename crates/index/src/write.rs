//! Writing memories so that a late writer undoes nothing, and a writer that ends in the middle leaves a difference that is seen.
//!
//! A memory's head says which revision is whole. A step writes, in one request that the server applies in order: a head of revision 0
//! where there is none, the parts, the end of parts that are no more, the head of the new revision. Whatever has a newer revision is
//! passed over by the server itself. Afterwards it is looked whether somebody newer came between, whose parts then stay alone.

use std::collections::{BTreeSet, HashMap};

use privet_domain::id::EmbedderId;
use privet_domain::memory::{ContentHash, Embedding, IndexError, IndexedMemory, MemoryId};
use qdrant_client::qdrant::points_update_operation::{DeletePoints, Operation, PointStructList};
use qdrant_client::qdrant::{
    Condition, Filter, GetPoints, PointStruct, PointsSelector, PointsUpdateOperation, Range, RetrievedPoint,
    ScrollPoints, UpdateBatchPoints, UpdateMode, VectorsSelector, WithPayloadSelector, WithVectorsSelector,
    WriteOrdering, WriteOrderingType, points_selector, with_vectors_selector,
};
use uuid::Uuid;

use crate::QdrantIndex;
use crate::call::{READ_TIMEOUT, WRITE_TIMEOUT};
use crate::collection::vector_name;
use crate::point::{self, field};
use crate::search::{dense_vectors, is_head};

/// One request writes so many memories.
const STEP_MEMORIES: usize = 64;
/// And about so many points, where memories have many parts.
const STEP_POINTS: usize = 256;
/// So many points are read at once; fewer with their vectors.
const PAGE_POINTS: u32 = 1_000;
const PAGE_VECTORS: u32 = 100;
/// One request removes so many memories.
const STEP_REMOVED: usize = 256;

/// What the index has of a part.
struct Held {
    hash: String,
    vectors: HashMap<String, Vec<f32>>,
}

/// What the index has of some memories.
#[derive(Default)]
struct Standing {
    revisions: HashMap<MemoryId, i64>,
    parts: HashMap<Uuid, Held>,
}

impl QdrantIndex {
    pub(crate) async fn write(&self, memories: Vec<IndexedMemory>) -> Result<(), IndexError> {
        if memories.is_empty() {
            return Ok(());
        }
        self.ensure().await?;
        // Before anything is written: then nothing of what does not fit is kept.
        for (embedder, vector) in memories.iter().flat_map(|memory| &memory.parts).flat_map(|part| &part.vectors) {
            let (expected, found) = (self.dimensions(*embedder).await?, vector.dimensions());
            if expected != found {
                return Err(IndexError::Dimensions { expected, found });
            }
        }
        let mut step = Vec::new();
        for memory in newest(memories) {
            let points: usize = step.iter().map(|memory: &IndexedMemory| memory.parts.len()).sum();
            if step.len() == STEP_MEMORIES || (!step.is_empty() && points + memory.parts.len() > STEP_POINTS) {
                self.write_step(std::mem::take(&mut step)).await?;
            }
            step.push(memory);
        }
        self.write_step(step).await
    }

    async fn write_step(&self, mut memories: Vec<IndexedMemory>) -> Result<(), IndexError> {
        let ids: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        // Vectors are read of those embedders only whose vectors do not come anew.
        let kept = self.embedders().into_iter().filter(|embedder| !point::comes_with_all(&memories, *embedder));
        let kept: Vec<String> = kept.map(vector_name).collect();
        let mut standing = self.standing(&ids, &kept).await?;
        memories.retain(|memory| standing.revisions.get(&memory.id).is_none_or(|held| *held <= memory.revision));
        if memories.is_empty() {
            return Ok(());
        }
        let parts = memories.iter().flat_map(|memory| memory.parts.iter().map(move |part| (memory, part)));
        let parts: Vec<PointStruct> = parts
            .map(|(memory, part)| {
                let id = point::uuid_of(Some(&point::part_id(memory.id, part)));
                let held = id.and_then(|id| standing.parts.remove(&id));
                let kept = held.filter(|held| held.hash == point::hash(part)).map(|held| held.vectors);
                point::part(memory, part, kept.unwrap_or_default())
            })
            .collect();
        let heads = |revision: &dyn Fn(&IndexedMemory) -> i64| -> Vec<PointStruct> {
            memories.iter().map(|memory| point::head(memory.id, revision(memory))).collect()
        };
        let ids: Vec<(MemoryId, i64)> = memories.iter().map(|memory| (memory.id, memory.revision)).collect();
        let not_newer = any(&ids, |id, revision| Filter::must([is_of(id), up_to(revision)]));
        self.update(vec![
            upsert(heads(&|_| 0), None, UpdateMode::InsertOnly),
            upsert(parts, Some(not_newer.clone()), UpdateMode::Upsert),
            delete(any(&ids, parts_before)),
            upsert(heads(&|memory| memory.revision), Some(not_newer), UpdateMode::Upsert),
        ])
        .await?;
        self.yield_to_newer(&ids).await
    }

    /// Where somebody newer came between, no parts of an older revision stay.
    async fn yield_to_newer(&self, written: &[(MemoryId, i64)]) -> Result<(), IndexError> {
        let heads = GetPoints {
            collection_name: self.collection.to_string(),
            ids: written.iter().map(|(id, _)| point::head_id(*id)).collect(),
            with_payload: Some(WithPayloadSelector::from(vec![field::REVISION])),
            timeout: Some(READ_TIMEOUT.as_secs()),
            ..GetPoints::default()
        };
        let heads = self.call(READ_TIMEOUT, self.client.get_points(heads)).await?.result;
        let held: HashMap<MemoryId, i64> = heads.iter().filter_map(revision_of_head).collect();
        let newer: Vec<(MemoryId, i64)> = written
            .iter()
            .filter_map(|(id, revision)| held.get(id).filter(|held| *held > revision).map(|held| (*id, *held)))
            .collect();
        if newer.is_empty() {
            return Ok(());
        }
        self.update(vec![delete(any(&newer, parts_before))]).await
    }

    /// The vectors of an embedder that it holds of these memories, by the hash of their text: what is there need not be bought again.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn known_vectors(
        &self,
        embedder: EmbedderId,
        memories: &[MemoryId],
    ) -> Result<HashMap<ContentHash, Embedding>, IndexError> {
        let dimensions = self.dimensions(embedder).await?;
        let name = vector_name(embedder);
        let mut known = HashMap::new();
        for memories in memories.chunks(STEP_MEMORIES) {
            let standing = self.standing(memories, std::slice::from_ref(&name)).await?;
            for held in standing.parts.into_values() {
                let values = held.vectors.get(&name);
                let embedding = values.and_then(|values| Embedding::new(values, dimensions).ok());
                known.extend(point::read_hash(&held.hash).zip(embedding));
            }
        }
        Ok(known)
    }

    pub(crate) async fn erase(&self, memories: &[MemoryId]) -> Result<(), IndexError> {
        if memories.is_empty() {
            return Ok(());
        }
        self.ensure().await?;
        for memories in memories.chunks(STEP_REMOVED) {
            self.update(vec![delete(Filter::must([is_of_any(memories)]))]).await?;
        }
        Ok(())
    }

    async fn update(&self, operations: Vec<Operation>) -> Result<(), IndexError> {
        let operations =
            operations.into_iter().map(|operation| PointsUpdateOperation { operation: Some(operation) }).collect();
        let batch = UpdateBatchPoints {
            collection_name: self.collection.to_string(),
            wait: Some(true),
            operations,
            // Several servers may write the same memory: all replicas are to apply it in one order.
            ordering: Some(WriteOrdering { r#type: WriteOrderingType::Medium.into() }),
            ..UpdateBatchPoints::default()
        };
        self.call(WRITE_TIMEOUT, self.client.update_points_batch(batch)).await?;
        Ok(())
    }

    /// What is there of these memories, with the vectors of these names.
    async fn standing(&self, ids: &[MemoryId], names: &[String]) -> Result<Standing, IndexError> {
        let limit = if names.is_empty() { PAGE_POINTS } else { PAGE_VECTORS };
        let mut standing = Standing::default();
        let mut offset = None;
        loop {
            let request = ScrollPoints {
                collection_name: self.collection.to_string(),
                filter: Some(Filter::must([is_of_any(ids)])),
                offset,
                limit: Some(limit),
                with_payload: Some(WithPayloadSelector::from(vec![
                    field::REVISION,
                    field::REPRESENTATION,
                    field::HASH,
                ])),
                with_vectors: (!names.is_empty()).then(|| only(names.to_vec())),
                timeout: Some(READ_TIMEOUT.as_secs()),
                ..ScrollPoints::default()
            };
            let page = self.call(READ_TIMEOUT, self.client.scroll(request)).await?;
            page.result.into_iter().for_each(|point| standing.add(point));
            offset = page.next_page_offset;
            if offset.is_none() {
                return Ok(standing);
            }
        }
    }
}

impl Standing {
    fn add(&mut self, point: RetrievedPoint) {
        if point::is_head(&point.payload) {
            self.revisions.extend(revision_of_head(&point));
            return;
        }
        let Some(id) = point::uuid_of(point.id.as_ref()) else { return };
        let hash = point::text(&point.payload, field::HASH).unwrap_or_default().to_owned();
        self.parts.insert(id, Held { hash, vectors: dense_vectors(point).collect() });
    }
}

/// Of a memory that is given twice, the newest; in the order of their ids.
fn newest(mut memories: Vec<IndexedMemory>) -> Vec<IndexedMemory> {
    memories.sort_by_key(|memory| (memory.id, std::cmp::Reverse(memory.revision)));
    let mut seen = BTreeSet::new();
    memories.retain(|memory| seen.insert(memory.id));
    memories
}

fn revision_of_head(point: &RetrievedPoint) -> Option<(MemoryId, i64)> {
    let id = point::uuid_of(point.id.as_ref())?;
    Some((id.into(), point::integer(&point.payload, field::REVISION)?))
}

fn is_of(memory: MemoryId) -> Condition {
    Condition::matches(field::MEMORY, memory.to_string())
}

fn is_of_any(memories: &[MemoryId]) -> Condition {
    let ids: Vec<String> = memories.iter().map(MemoryId::to_string).collect();
    Condition::matches(field::MEMORY, ids)
}

fn up_to(revision: i64) -> Condition {
    Condition::range(field::REVISION, Range { lte: Some(revision as f64), ..Range::default() })
}

/// The parts of a memory that an older revision had.
fn parts_before(memory: MemoryId, revision: i64) -> Filter {
    let older = Condition::range(field::REVISION, Range { lt: Some(revision as f64), ..Range::default() });
    Filter { must: vec![is_of(memory), older], must_not: vec![is_head()], ..Filter::default() }
}

fn any(memories: &[(MemoryId, i64)], filter: impl Fn(MemoryId, i64) -> Filter) -> Filter {
    Filter::should(memories.iter().map(|(id, revision)| Condition::from(filter(*id, *revision))))
}

fn upsert(points: Vec<PointStruct>, update_filter: Option<Filter>, mode: UpdateMode) -> Operation {
    Operation::Upsert(PointStructList { points, update_filter, update_mode: Some(mode.into()), ..Default::default() })
}

fn delete(filter: Filter) -> Operation {
    let points = PointsSelector { points_selector_one_of: Some(points_selector::PointsSelectorOneOf::Filter(filter)) };
    Operation::DeletePoints(DeletePoints { points: Some(points), shard_key_selector: None })
}

fn only(names: Vec<String>) -> WithVectorsSelector {
    WithVectorsSelector::from(with_vectors_selector::SelectorOptions::Include(VectorsSelector { names }))
}
