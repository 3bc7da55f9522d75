//! Searching by a vector: a shortlist by codes, then the vectors themselves.

use std::collections::HashSet;

use privet_domain::memory::{Candidate, DenseQuery, Embedding, IndexError, Representation};
use sqlx::types::Uuid;

use super::{EmbeddedIndex, failed, rank};
use crate::memory::owner::Owner;

/// The numbers come as JSON, so that one statement serves every number of them.
const VECTORS: &str = "SELECT r.number, r.owner, r.memory_id, v.vector FROM json_each($2) j \
     CROSS JOIN memory_representations r ON r.number = j.value \
     CROSS JOIN memory_vectors v ON v.content_hash = r.content_hash AND v.embedder_id = $1";
/// More codes than this are not scanned on a thread that serves others too.
const SCANNED_AT_ONCE: usize = 4_096;
/// So often a shortlist is made anew when most of it turns out to be gone.
const ATTEMPTS: usize = 4;

#[derive(sqlx::FromRow)]
struct VectorRow {
    number: i64,
    owner: String,
    memory_id: Uuid,
    vector: Vec<u8>,
}

impl EmbeddedIndex {
    pub(super) async fn nearest(&self, query: DenseQuery) -> Result<Vec<Candidate>, IndexError> {
        let shelf = self.ready(query.embedder).await?;
        let found = query.vector.dimensions();
        if found != shelf.dimensions {
            return Err(IndexError::Dimensions { expected: shelf.dimensions, found });
        }
        let owners = Owner::all(&query.scope, query.representation);
        let keys: Vec<Owner> = owners.iter().map(|(_, owner)| *owner).collect();
        let mut candidates = Vec::new();
        for _ in 0..ATTEMPTS {
            let snapshot = shelf.look(|book| book.snapshot(&keys));
            let (vector, filter, limit) = (query.vector.clone(), query.filter.clone(), query.limit);
            let numbers = if snapshot.rows() <= SCANNED_AT_ONCE {
                snapshot.shortlist(&vector, &filter, limit)
            } else {
                let scan = tokio::task::spawn_blocking(move || snapshot.shortlist(&vector, &filter, limit));
                scan.await.map_err(|ended| IndexError::Unavailable(ended.to_string()))?
            };
            candidates = self.compare(&query, &owners, &numbers).await?;
            let gone = gone(&numbers, &candidates);
            if gone.is_empty() {
                break;
            }
            shelf.remove(|book| book.remove_numbers(&keys, &gone));
            // A few that are gone do not make the shortlist too short.
            if gone.len() * 4 < numbers.len() {
                break;
            }
        }
        rank(&mut candidates, query.limit);
        Ok(candidates)
    }

    /// Those that are there, each with its cosine.
    async fn compare(
        &self,
        query: &DenseQuery,
        owners: &[(Representation, Owner)],
        numbers: &[i64],
    ) -> Result<Vec<Candidate>, IndexError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = numbers.iter().map(i64::to_string).collect();
        let rows: Vec<VectorRow> = sqlx::query_as(VECTORS)
            .bind(query.embedder.as_uuid())
            .bind(format!("[{}]", list.join(",")))
            .fetch_all(&self.sqlite()?.readers)
            .await
            .map_err(failed)?;
        let candidate = |row: VectorRow| {
            let owner = Owner::read(&row.owner)?;
            let (representation, _) = owners.iter().find(|(_, own)| *own == owner)?;
            let vector = Embedding::from_bytes(&row.vector, query.vector.dimensions()).ok()?;
            Some(Candidate {
                number: row.number,
                memory: row.memory_id.into(),
                representation: *representation,
                score: f64::from(query.vector.cosine(&vector)),
            })
        };
        Ok(rows.into_iter().filter_map(candidate).collect())
    }
}

/// The numbers that the database does not know any more.
fn gone(numbers: &[i64], there: &[Candidate]) -> HashSet<i64> {
    let mut gone: HashSet<i64> = numbers.iter().copied().collect();
    for candidate in there {
        gone.remove(&candidate.number);
    }
    gone
}
