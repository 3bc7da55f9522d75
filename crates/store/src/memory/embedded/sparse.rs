//! Searching by words: BM25, with the owner as one of the words, or looked at for each that matches.

use std::collections::HashSet;

use privet_domain::memory::{Candidate, IndexError, Representation, SparseQuery};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use super::common_words::Search;
use super::{EmbeddedIndex, failed, rank};
use crate::memory::owner::Owner;
use crate::memory::words::{expression, words};

/// The best by their words; whose and what they are is looked up for those alone.
const MATCHES: &str = "SELECT f.number, f.rank, r.owner, r.memory_id, m.kind, m.created_at, m.conversation_id FROM ( \
         SELECT rowid AS number, rank FROM memory_terms WHERE memory_terms MATCH $1 AND rowid >= $3 ORDER BY rank LIMIT $2) f \
     CROSS JOIN memory_representations r ON r.number = f.number CROSS JOIN memories m ON m.id = r.memory_id";
/// Where not all that match are sought, so many times more are read at first, and again when too few of them pass.
const READ_AHEAD: usize = 8;

#[derive(sqlx::FromRow)]
struct MatchRow {
    number: i64,
    rank: f64,
    owner: String,
    memory_id: Uuid,
    kind: String,
    created_at: i64,
    conversation_id: Option<Uuid>,
}

impl EmbeddedIndex {
    pub(super) async fn matching(&self, query: SparseQuery) -> Result<Vec<Candidate>, IndexError> {
        let owners = Owner::all(&query.scope, query.representation);
        let keys: Vec<Owner> = owners.iter().map(|(_, owner)| *owner).collect();
        let words = words(&query.words);
        if words.is_empty() || query.limit == 0 {
            return Ok(Vec::new());
        }
        let search = self.worth_while(&keys, words).await?;
        let or_common = search.or_common.clone();
        let mut found = self.found(&owners, &keys, search, &query).await?;
        if found.len() < query.limit && !or_common.is_empty() {
            let from = self.newest(&keys).await?;
            let search = Search { words: or_common, is_inside: false, from, or_common: Vec::new() };
            let known: HashSet<i64> = found.iter().map(|candidate| candidate.number).collect();
            let more = self.found(&owners, &keys, search, &query).await?;
            found.extend(more.into_iter().filter(|candidate| !known.contains(&candidate.number)));
            rank(&mut found, query.limit);
        }
        Ok(found)
    }

    async fn found(
        &self,
        owners: &[(Representation, Owner)],
        keys: &[Owner],
        search: Search,
        query: &SparseQuery,
    ) -> Result<Vec<Candidate>, IndexError> {
        if search.words.is_empty() {
            return Ok(Vec::new());
        }
        let expression = expression(if search.is_inside { keys } else { &[] }, &search.words);
        let takes_all = search.is_inside && query.filter.is_open();
        let mut window = if takes_all { query.limit } else { query.limit.saturating_mul(READ_AHEAD) };
        loop {
            let rows: Vec<MatchRow> = sqlx::query_as(MATCHES)
                .bind(&expression)
                .bind(i64::try_from(window).unwrap_or(i64::MAX))
                .bind(search.from)
                .fetch_all(&self.sqlite()?.readers)
                .await
                .map_err(failed)?;
            let is_all = rows.len() < window;
            let candidate = |row: MatchRow| {
                let owner = Owner::read(&row.owner)?;
                let (representation, _) = owners.iter().find(|(_, own)| *own == owner)?;
                let created_at = Timestamp::from_micros(row.created_at);
                let passes =
                    query.filter.passes(row.kind.parse().ok()?, created_at, row.conversation_id.map(Into::into));
                // SQLite's numbers are the lower the better; 0 is what matches by its owner alone.
                (passes && row.rank < 0.0).then(|| Candidate {
                    number: row.number,
                    memory: row.memory_id.into(),
                    representation: *representation,
                    score: -row.rank,
                })
            };
            let mut candidates: Vec<Candidate> = rows.into_iter().filter_map(candidate).collect();
            if is_all || takes_all || candidates.len() >= query.limit {
                rank(&mut candidates, query.limit);
                return Ok(candidates);
            }
            window = window.saturating_mul(READ_AHEAD);
        }
    }
}
