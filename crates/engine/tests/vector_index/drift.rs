//! What differs between the database and a server's index is seen, and mended by the outbox.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    Candidate, DenseQuery, IndexError, IndexedMemory, IndexedVersion, MemoryId, NewMemory, SparseQuery, VectorIndex,
};
use privet_engine::memory::check::{IndexDrift, Mending, compare};
use privet_store::{Durability, Location, MemoryUpdate, Store};

use crate::server::{Bed, bed};
use crate::suite::{at, note, scopes};

async fn drift(bed: &Bed, mending: Mending) -> IndexDrift {
    compare(&bed.subject.store, &bed.subject.index, mending, at(9)).await.unwrap()
}

#[tokio::test]
async fn drift_of_each_kind_is_counted_and_mended_both_ways() {
    let Some(bed) = bed().await else { return };
    let (store, index) = (&bed.subject.store, &bed.subject.index);
    let [scope, ..] = scopes(store).await;
    let notes: Vec<NewMemory> = (0..8).map(|number| note(&scope, &format!("note {number}"))).collect();
    store.add_memories(&notes, at(1)).await.unwrap();
    assert_eq!(drift(&bed, Mending::Count).await, IndexDrift::default(), "what waits in the outbox is no drift");
    bed.subject.follow().await;
    assert_eq!(drift(&bed, Mending::Count).await, IndexDrift::default());

    // Missing: as if the index had lost it. Orphans: as if a deletion had not arrived. Outdated: as if a change had not.
    index.remove(&[notes[0].id, notes[1].id]).await.unwrap();
    let mut orphan = bed.subject.embedded(&[notes[2].id]).await;
    orphan[0].id = MemoryId::new();
    index.put(orphan.clone()).await.unwrap();
    let late = bed.subject.embedded(&[notes[3].id]).await;
    let update = MemoryUpdate { text: Some("changed".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, notes[3].id, &update, at(2)).await.unwrap();
    bed.subject.follow().await;
    index.remove(&[notes[3].id]).await.unwrap();
    index.put(late).await.unwrap();
    // Ahead: as if the database were an older backup.
    let mut ahead = bed.subject.embedded(&[notes[4].id]).await;
    ahead[0].revision += 7;
    index.put(ahead).await.unwrap();

    let expected = IndexDrift { missing: 2, outdated: 2, orphans: 1 };
    assert_eq!(drift(&bed, Mending::Count).await, expected);
    assert_eq!(drift(&bed, Mending::Differing).await, expected);
    assert_eq!(drift(&bed, Mending::Count).await, IndexDrift::default(), "what is wanted waits in the outbox");
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 4);
    bed.subject.follow().await;
    assert_eq!(drift(&bed, Mending::Count).await, IndexDrift::default());
    assert_eq!(index.versions(None, 100).await.unwrap(), store.memory_versions(None, 100).await.unwrap());
    assert_eq!(bed.subject.sparse(&scope, "changed").await, [notes[3].id]);
    assert_eq!(index.points().await.unwrap(), 16);
    bed.end().await;
}

#[tokio::test]
async fn everything_can_be_made_again_and_vectors_that_are_there_are_not_bought_again() {
    let Some(bed) = bed().await else { return };
    let (store, index) = (&bed.subject.store, &bed.subject.index);
    let [scope, ..] = scopes(store).await;
    let notes: Vec<NewMemory> = (0..5).map(|number| note(&scope, &format!("note {number}"))).collect();
    store.add_memories(&notes, at(1)).await.unwrap();
    bed.subject.follow().await;
    let ids: Vec<MemoryId> = notes.iter().map(|note| note.id).collect();
    let known = index.known_vectors(bed.subject.embedder, &ids).await.unwrap();
    for memory in bed.subject.embedded(&ids).await {
        let part = &memory.parts[0];
        let cosine = known[&part.hash].cosine(&part.vectors[0].1);
        assert!((cosine - 1.0).abs() < 1e-4, "{cosine}");
    }
    assert_eq!(drift(&bed, Mending::Everything).await, IndexDrift::default());
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 5);
    bed.subject.follow().await;
    assert_eq!(bed.subject.dense(&scope, "note 3").await.len(), 5);
    bed.end().await;
}

/// An index that is no more than a list of what it holds.
struct Listed(Mutex<BTreeMap<MemoryId, i64>>);

impl VectorIndex for Listed {
    async fn put(&self, _: Vec<IndexedMemory>) -> Result<(), IndexError> {
        panic!("nothing is put by a comparison")
    }

    async fn remove(&self, memories: &[MemoryId]) -> Result<(), IndexError> {
        self.0.lock().unwrap().retain(|id, _| !memories.contains(id));
        Ok(())
    }

    async fn dense(&self, _: DenseQuery) -> Result<Vec<Candidate>, IndexError> {
        Ok(Vec::new())
    }

    async fn sparse(&self, _: SparseQuery) -> Result<Vec<Candidate>, IndexError> {
        Ok(Vec::new())
    }

    async fn versions(&self, after: Option<MemoryId>, limit: usize) -> Result<Vec<IndexedVersion>, IndexError> {
        let held = self.0.lock().unwrap();
        let later = held.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        Ok(later.take(limit).map(|(id, revision)| IndexedVersion { id: *id, revision: *revision }).collect())
    }

    async fn prepare(&self, _: EmbedderId, _: usize) -> Result<(), IndexError> {
        Ok(())
    }

    async fn drop_embedder(&self, _: EmbedderId) -> Result<(), IndexError> {
        Ok(())
    }
}

#[tokio::test]
async fn pages_are_compared_to_their_common_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Location::Folder(folder.path().to_owned()), Durability::Process).await.unwrap();
    let [scope, ..] = scopes(&store).await;
    // More than three pages, of which the index has lost some at the borders and holds more than a page that is no more.
    let notes: Vec<NewMemory> = (0..3_100).map(|number| note(&scope, &format!("n{number}"))).collect();
    store.add_memories(&notes, at(1)).await.unwrap();
    let mut ids: Vec<MemoryId> = notes.iter().map(|note| note.id).collect();
    ids.sort();
    let tasks = store.claim_outbox(10_000, Duration::from_secs(60), at(3)).await.unwrap();
    store.acknowledge_outbox(&tasks).await.unwrap();
    let mut held: BTreeMap<MemoryId, i64> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.memory_versions(after, 1_000).await.unwrap();
        held.extend(page.iter().map(|version| (version.id, version.revision)));
        match page.last() {
            Some(last) => after = Some(last.id),
            None => break,
        }
    }
    let lost = [0_usize, 998, 999, 1_000, 1_001, 1_999, 2_000, 2_001, 3_099];
    held.retain(|id, _| !lost.iter().any(|place| ids[*place] == *id));
    *held.get_mut(&ids[2_500]).unwrap() -= 1;
    let (first, last) = (ids[0].as_uuid().as_u128(), ids[3_099].as_uuid().as_u128());
    let orphans = (1..=700_u128).flat_map(|step| [first - step, last + step]);
    held.extend(orphans.map(|id| (MemoryId::from(uuid::Uuid::from_u128(id)), 1)));
    let index = Listed(Mutex::new(held));
    let expected = IndexDrift { missing: 9, outdated: 1, orphans: 1_400 };
    assert_eq!(compare(&store, &index, Mending::Count, at(9)).await.unwrap(), expected);
    assert_eq!(compare(&store, &index, Mending::Differing, at(9)).await.unwrap(), expected);
    assert_eq!(index.0.lock().unwrap().len(), 3_100 - 9);
    assert_eq!(compare(&store, &index, Mending::Count, at(9)).await.unwrap(), IndexDrift::default());
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 10);
}
