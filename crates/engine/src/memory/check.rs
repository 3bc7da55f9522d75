//! Whether a server's index holds what the database has, and how to mend it. The database is right. Both are read side by side in the
//! order of ids, page by page, so that neither is ever held as a whole; what differs is looked at twice, since both change meanwhile.

use std::collections::BTreeMap;

use privet_domain::id::ProjectId;
use privet_domain::memory::{INDEX_PAGE_MAX, IndexError, IndexedVersion, MemoryId, VectorIndex};
use privet_domain::time::Timestamp;
use privet_store::{Store, StoreError};
use serde::Serialize;

/// What differs between the database and a server's index. All are memories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IndexDrift {
    /// Those that the index does not have, while nothing in the outbox will put them.
    pub missing: u64,
    /// Those of which it has another state.
    pub outdated: u64,
    /// Those that it has and the database has not.
    pub orphans: u64,
}

impl IndexDrift {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.missing + self.outdated + self.orphans
    }
}

/// Why a check was not done.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The index fails.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be done about what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mending {
    /// Nothing: it is counted.
    Count,
    /// What is missing or outdated goes into the outbox, what is too much out of the index.
    Differing,
    /// The same, and everything that is right goes into the outbox too: its points are made again.
    Everything,
}

/// A memory's revision in the database and in the index.
type Revisions = (Option<i64>, Option<i64>);

/// A page of what differs, what does not, and where the next page begins.
struct Page {
    differing: BTreeMap<MemoryId, Revisions>,
    agreeing: Vec<MemoryId>,
    next: Option<MemoryId>,
}

/// Compares both, and mends what is to be mended. What the outbox waits with is no drift.
///
/// # Errors
/// When the index or the database fails; what was mended until then is.
pub async fn compare(
    store: &Store,
    index: &impl VectorIndex,
    mending: Mending,
    now: Timestamp,
) -> Result<IndexDrift, CheckError> {
    let (mut drift, mut after) = (IndexDrift::default(), None);
    loop {
        let Page { mut differing, agreeing, next } = page(store, index, after).await?;
        if !differing.is_empty() {
            let again = page(store, index, after).await?.differing;
            differing.retain(|id, revisions| again.get(id) == Some(revisions));
            let suspects: Vec<MemoryId> = differing.keys().copied().collect();
            for waiting in store.waiting_in_outbox(&suspects).await? {
                differing.remove(&waiting);
            }
        }
        drift.count(&differing);
        if mending != Mending::Count {
            mend(store, index, &differing, now).await?;
        }
        if mending == Mending::Everything {
            enqueue(store, &agreeing, now).await?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(drift),
        }
    }
}

async fn page(store: &Store, index: &impl VectorIndex, after: Option<MemoryId>) -> Result<Page, CheckError> {
    let held = index.versions(after, INDEX_PAGE_MAX).await?;
    let kept = store.memory_versions(after, INDEX_PAGE_MAX).await?;
    let end = |page: &[IndexedVersion]| page.last().filter(|_| page.len() == INDEX_PAGE_MAX).map(|last| last.id);
    // Both are known up to here only.
    let next = [end(&held), end(&kept)].into_iter().flatten().min();
    let mut revisions: BTreeMap<MemoryId, Revisions> = BTreeMap::new();
    let is_known = |version: &&IndexedVersion| next.is_none_or(|next| version.id <= next);
    for version in kept.iter().filter(is_known) {
        revisions.entry(version.id).or_default().0 = Some(version.revision);
    }
    for version in held.iter().filter(is_known) {
        revisions.entry(version.id).or_default().1 = Some(version.revision);
    }
    let (agreeing, differing): (BTreeMap<_, _>, BTreeMap<_, _>) =
        revisions.into_iter().partition(|(_, (kept, held))| kept == held);
    Ok(Page { differing, agreeing: agreeing.into_keys().collect(), next })
}

impl IndexDrift {
    fn count(&mut self, differing: &BTreeMap<MemoryId, Revisions>) {
        for revisions in differing.values() {
            match revisions {
                (Some(_), None) => self.missing += 1,
                (Some(_), Some(_)) => self.outdated += 1,
                (None, _) => self.orphans += 1,
            }
        }
    }
}

async fn mend(
    store: &Store,
    index: &impl VectorIndex,
    differing: &BTreeMap<MemoryId, Revisions>,
    now: Timestamp,
) -> Result<(), CheckError> {
    let (mut orphans, mut wanted, mut ahead) = (Vec::new(), Vec::new(), Vec::new());
    for (id, revisions) in differing {
        match revisions {
            (None, _) => orphans.push(*id),
            // As after a backup of the database was put back: no write of an older revision would be taken.
            (Some(kept), Some(held)) if held > kept => ahead.push(*id),
            (Some(_), _) => wanted.push(*id),
        }
    }
    index.remove(&orphans).await?;
    index.remove(&ahead).await?;
    wanted.extend(ahead);
    enqueue(store, &wanted, now).await
}

async fn enqueue(store: &Store, ids: &[MemoryId], now: Timestamp) -> Result<(), CheckError> {
    if ids.is_empty() {
        return Ok(());
    }
    let memories = store.memories_to_index(ids).await?;
    let memories: Vec<(MemoryId, ProjectId)> =
        memories.into_iter().map(|memory| (memory.id, memory.scope.project)).collect();
    Ok(store.enqueue_memories(&memories, now).await?)
}
