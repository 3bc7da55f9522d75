//! Searching, always inside an owner, and listing what is held.

use privet_domain::memory::{
    Candidate, DenseQuery, INDEX_PAGE_MAX, IndexError, IndexedVersion, MemoryFilter, MemoryId, MemoryScope,
    Representation, SparseQuery,
};
use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    Condition, DenseVector, Filter, Query, QueryPoints, Range, ScrollPoints, SparseVector, VectorInput,
    WithPayloadSelector, query, vector_input,
};
use uuid::Uuid;

use crate::QdrantIndex;
use crate::call::{READ_TIMEOUT, SEARCH_TIMEOUT};
use crate::collection::vector_name;
use crate::point::{self, WORDS, field};
use crate::words::WeightedWords;

/// What is read of a point that was found.
const FOUND: [&str; 3] = [field::NUMBER, field::MEMORY, field::REPRESENTATION];

impl QdrantIndex {
    pub(crate) async fn nearest(&self, query: DenseQuery) -> Result<Vec<Candidate>, IndexError> {
        let expected = self.dimensions(query.embedder).await?;
        let found = query.vector.dimensions();
        if expected != found {
            return Err(IndexError::Dimensions { expected, found });
        }
        let vector = vector_input::Variant::Dense(DenseVector { data: query.vector.values().to_vec() });
        let filter = filter(&query.scope, query.representation, &query.filter);
        self.search(vector_name(query.embedder), vector, filter, query.limit).await
    }

    pub(crate) async fn matching(&self, query: SparseQuery) -> Result<Vec<Candidate>, IndexError> {
        let words = WeightedWords::of_query(&query.words);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        self.ensure().await?;
        let vector = vector_input::Variant::Sparse(SparseVector { indices: words.ids, values: words.weights });
        let filter = filter(&query.scope, query.representation, &query.filter);
        let mut candidates = self.search(WORDS.to_owned(), vector, filter, query.limit).await?;
        candidates.retain(|candidate| candidate.score > 0.0);
        Ok(candidates)
    }

    async fn search(
        &self,
        using: String,
        vector: vector_input::Variant,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Candidate>, IndexError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let nearest = query::Variant::Nearest(VectorInput { variant: Some(vector) });
        let request = QueryPoints {
            collection_name: self.collection.to_string(),
            query: Some(Query { variant: Some(nearest) }),
            using: Some(using),
            filter: Some(filter),
            limit: Some(limit as u64),
            with_payload: Some(WithPayloadSelector::from(FOUND.to_vec())),
            timeout: Some(SEARCH_TIMEOUT.as_secs()),
            ..QueryPoints::default()
        };
        let answer = self.call(SEARCH_TIMEOUT, self.client.query(request)).await?;
        let found = answer.result.iter().filter_map(|point| point::candidate(&point.payload, f64::from(point.score)));
        let mut candidates: Vec<Candidate> = found.filter(|candidate| candidate.score.is_finite()).collect();
        rank(&mut candidates);
        Ok(candidates)
    }

    /// The heads, in the order of their ids, which are the memories'.
    pub(crate) async fn list(&self, after: Option<MemoryId>, limit: usize) -> Result<Vec<IndexedVersion>, IndexError> {
        self.ensure().await?;
        let next = match after {
            None => Some(Uuid::nil()),
            Some(after) => after.as_uuid().as_u128().checked_add(1).map(Uuid::from_u128),
        };
        let limit = u32::try_from(limit.min(INDEX_PAGE_MAX)).unwrap_or(0);
        let Some(next) = next.filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let request = ScrollPoints {
            collection_name: self.collection.to_string(),
            filter: Some(Filter::must([is_head()])),
            offset: Some(point::point_id(next)),
            limit: Some(limit),
            with_payload: Some(WithPayloadSelector::from(vec![field::REVISION])),
            timeout: Some(READ_TIMEOUT.as_secs()),
            ..ScrollPoints::default()
        };
        let answer = self.call(READ_TIMEOUT, self.client.scroll(request)).await?;
        let version = |point: &qdrant_client::qdrant::RetrievedPoint| {
            Some(IndexedVersion {
                id: point::uuid_of(point.id.as_ref())?.into(),
                revision: point::integer(&point.payload, field::REVISION)?,
            })
        };
        Ok(answer.result.iter().filter_map(version).collect())
    }
}

pub(crate) fn is_head() -> Condition {
    Condition::matches(field::REPRESENTATION, point::HEAD.to_owned())
}

/// The best first, equals in the order of their memory and number, so that every index tells them alike.
fn rank(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(|one, other| {
        other.score.total_cmp(&one.score).then(one.memory.cmp(&other.memory)).then(one.number.cmp(&other.number))
    });
}

fn filter(scope: &MemoryScope, representation: Option<Representation>, filter: &MemoryFilter) -> Filter {
    let mut must = vec![Condition::matches(field::OWNER, point::owner(scope))];
    if let Some(representation) = representation {
        must.push(Condition::matches(field::REPRESENTATION, representation.as_str().to_owned()));
    }
    if let Some(kind) = filter.kind {
        must.push(Condition::matches(field::KIND, kind.as_str().to_owned()));
    }
    if let Some(conversation) = filter.conversation {
        must.push(Condition::matches(field::CONVERSATION, conversation.to_string()));
    }
    if filter.since.is_some() || filter.until.is_some() {
        // Microseconds of our time fit a double exactly until the year 2255.
        let gte = filter.since.map(|since| since.as_micros() as f64);
        let lt = filter.until.map(|until| until.as_micros() as f64);
        must.push(Condition::range(field::CREATED_AT, Range { gte, lt, ..Range::default() }));
    }
    let excluded = filter.exclude_conversation.map(|id| Condition::matches(field::CONVERSATION, id.to_string()));
    Filter { must, must_not: excluded.into_iter().collect(), ..Filter::default() }
}

/// A point's dense vectors by their names.
pub(crate) fn dense_vectors(point: qdrant_client::qdrant::RetrievedPoint) -> impl Iterator<Item = (String, Vec<f32>)> {
    let named = match point.vectors.and_then(|vectors| vectors.vectors_options) {
        Some(VectorsOptions::Vectors(named)) => named.vectors,
        Some(VectorsOptions::Vector(_)) | None => Default::default(),
    };
    named.into_iter().filter_map(|(name, vector)| match vector.into_vector() {
        qdrant_client::qdrant::vector_output::Vector::Dense(dense) => Some((name, dense.data)),
        _ => None,
    })
}
