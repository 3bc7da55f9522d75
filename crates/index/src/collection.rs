//! The collection: made when it is first needed, with what it takes to hold thousands of tenants, and the embedders' vectors in it.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use privet_domain::id::EmbedderId;
use privet_domain::memory::IndexError;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::{
    CollectionConfig, CountPoints, CreateCollection, CreateFieldIndexCollection, CreateVectorNameRequest,
    DeleteVectorNameRequest, DenseVectorCreationConfig, Distance, FieldType, HnswConfigDiff, IntegerIndexParams,
    KeywordIndexParams, Modifier, PayloadIndexParams, SparseVectorConfig, SparseVectorParams, UuidIndexParams,
    create_vector_name_request, vectors_config,
};
use uuid::Uuid;

use crate::QdrantIndex;
use crate::call::{CHANGE_TIMEOUT, Failure, READ_TIMEOUT};
use crate::point::{WORDS, field};

/// Before the embedder's id in its vector's name.
const EMBEDDER: &str = "embedder-";
/// There is no graph over all tenants: each that is large enough has its own, with so many edges at a point.
const TENANT_EDGES: u64 = 16;

/// The name of an embedder's vector.
pub(crate) fn vector_name(embedder: EmbedderId) -> String {
    format!("{EMBEDDER}{}", embedder.as_uuid().as_simple())
}

fn embedder_of(name: &str) -> Option<EmbedderId> {
    Uuid::try_parse(name.strip_prefix(EMBEDDER)?).ok().map(EmbedderId::from)
}

impl QdrantIndex {
    /// Makes the collection unless it is there.
    pub(crate) async fn ensure(&self) -> Result<(), IndexError> {
        if self.state.is_made.load(Ordering::Acquire) {
            return Ok(());
        }
        if !self.call(READ_TIMEOUT, self.client.collection_exists(&*self.collection)).await? {
            self.make().await?;
        }
        // Whoever was faster may not be done with them; to make one again changes nothing.
        for (name, kind, params) in payload_indexes() {
            let index = CreateFieldIndexCollection {
                collection_name: self.collection.to_string(),
                wait: Some(true),
                field_name: name.to_owned(),
                field_type: Some(kind.into()),
                field_index_params: Some(PayloadIndexParams { index_params: Some(params) }),
                ..CreateFieldIndexCollection::default()
            };
            self.call(CHANGE_TIMEOUT, self.client.create_field_index(index)).await?;
        }
        self.look().await?;
        self.state.is_made.store(true, Ordering::Release);
        Ok(())
    }

    async fn make(&self) -> Result<(), IndexError> {
        let words = SparseVectorParams { modifier: Some(Modifier::Idf.into()), ..SparseVectorParams::default() };
        let create = CreateCollection {
            collection_name: self.collection.to_string(),
            sparse_vectors_config: Some(SparseVectorConfig { map: HashMap::from([(WORDS.to_owned(), words)]) }),
            hnsw_config: Some(HnswConfigDiff {
                m: Some(0),
                payload_m: Some(TENANT_EDGES),
                ..HnswConfigDiff::default()
            }),
            ..CreateCollection::default()
        };
        match self.call(CHANGE_TIMEOUT, self.client.create_collection(create)).await {
            // Another server was faster.
            Ok(_) | Err(Failure::Exists(_)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Reads which embedders' vectors the collection has.
    async fn look(&self) -> Result<(), IndexError> {
        let answer = self.call(READ_TIMEOUT, self.client.collection_info(&*self.collection)).await?;
        let config = answer.result.and_then(|info| info.config).unwrap_or_default();
        let dimensions = self.dimensions_in(config)?;
        *self.state.dimensions.write().unwrap_or_else(PoisonError::into_inner) = dimensions;
        Ok(())
    }

    fn dimensions_in(&self, config: CollectionConfig) -> Result<HashMap<EmbedderId, usize>, IndexError> {
        let params = config.params.unwrap_or_default();
        let words = params.sparse_vectors_config.and_then(|config| config.map.get(WORDS).copied());
        if words.is_none_or(|words| words.modifier() != Modifier::Idf) {
            return Err(IndexError::Refused(format!(
                "the collection `{}` was not made by Privet; name another: memory.qdrant_collection",
                self.collection
            )));
        }
        let vectors = match params.vectors_config.and_then(|config| config.config) {
            Some(vectors_config::Config::ParamsMap(map)) => map.map,
            Some(vectors_config::Config::Params(_)) | None => HashMap::new(),
        };
        let known = vectors
            .into_iter()
            .filter_map(|(name, vector)| Some((embedder_of(&name)?, usize::try_from(vector.size).ok()?)));
        Ok(known.collect())
    }

    /// The dimensions of an embedder's vectors.
    pub(crate) async fn dimensions(&self, embedder: EmbedderId) -> Result<usize, IndexError> {
        self.ensure().await?;
        if let Some(known) = self.known_dimensions(embedder) {
            return Ok(known);
        }
        // Another process may have added it.
        self.look().await?;
        self.known_dimensions(embedder).ok_or(IndexError::UnknownEmbedder(embedder))
    }

    /// The embedders that the collection has vectors of.
    pub(crate) fn embedders(&self) -> Vec<EmbedderId> {
        self.state.dimensions.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn known_dimensions(&self, embedder: EmbedderId) -> Option<usize> {
        self.state.dimensions.read().unwrap_or_else(PoisonError::into_inner).get(&embedder).copied()
    }

    /// Gives every point room for an embedder's vector.
    pub(crate) async fn add_embedder(&self, embedder: EmbedderId, dimensions: usize) -> Result<(), IndexError> {
        match self.dimensions(embedder).await {
            Ok(expected) if expected == dimensions => return Ok(()),
            Ok(expected) => return Err(IndexError::Dimensions { expected, found: dimensions }),
            Err(IndexError::UnknownEmbedder(_)) => {}
            Err(error) => return Err(error),
        }
        let vector = DenseVectorCreationConfig {
            size: dimensions as u64,
            distance: Distance::Cosine.into(),
            ..DenseVectorCreationConfig::default()
        };
        let create = CreateVectorNameRequest {
            collection_name: self.collection.to_string(),
            wait: Some(true),
            vector_name: vector_name(embedder),
            vector_config: Some(create_vector_name_request::VectorConfig::DenseConfig(vector)),
            ..CreateVectorNameRequest::default()
        };
        match self.call(CHANGE_TIMEOUT, self.client.create_vector_name(create)).await {
            Ok(_) | Err(Failure::Exists(_)) => {}
            Err(failure) => return Err(failure.into()),
        }
        match self.dimensions(embedder).await? {
            expected if expected == dimensions => Ok(()),
            expected => Err(IndexError::Dimensions { expected, found: dimensions }),
        }
    }

    /// Takes an embedder's vector out of every point.
    pub(crate) async fn delete_embedder(&self, embedder: EmbedderId) -> Result<(), IndexError> {
        self.ensure().await?;
        self.look().await?;
        if self.known_dimensions(embedder).is_none() {
            return Ok(());
        }
        let delete = DeleteVectorNameRequest {
            collection_name: self.collection.to_string(),
            wait: Some(true),
            vector_name: vector_name(embedder),
            ..DeleteVectorNameRequest::default()
        };
        match self.call(CHANGE_TIMEOUT, self.client.delete_vector_name(delete)).await {
            Ok(_) | Err(Failure::Missing(_)) => {}
            Err(failure) => return Err(failure.into()),
        }
        self.look().await
    }

    /// How many points the collection has: one for each memory, and one for each part of it.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn points(&self) -> Result<u64, IndexError> {
        self.ensure().await?;
        let count = CountPoints {
            collection_name: self.collection.to_string(),
            exact: Some(true),
            timeout: Some(READ_TIMEOUT.as_secs()),
            ..CountPoints::default()
        };
        let answer = self.call(READ_TIMEOUT, self.client.count(count)).await?;
        Ok(answer.result.map_or(0, |result| result.count))
    }

    /// Takes everything out of the collection, and the collection itself: it is made again when it is next needed.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn delete_all(&self) -> Result<(), IndexError> {
        let deleted = self.call(CHANGE_TIMEOUT, self.client.delete_collection(&*self.collection)).await;
        self.forget_collection();
        match deleted {
            Ok(_) | Err(Failure::Missing(_)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// What is filtered by has an index. Only the owner's gives edges to the graph: the other filters narrow what an owner has.
fn payload_indexes() -> [(&'static str, FieldType, IndexParams); 7] {
    let uuid = |tenant: bool| {
        let params =
            UuidIndexParams { is_tenant: Some(tenant), enable_hnsw: Some(tenant), ..UuidIndexParams::default() };
        IndexParams::UuidIndexParams(params)
    };
    let keyword = || {
        let params = KeywordIndexParams { enable_hnsw: Some(false), ..KeywordIndexParams::default() };
        IndexParams::KeywordIndexParams(params)
    };
    let range = || {
        IndexParams::IntegerIndexParams(IntegerIndexParams {
            lookup: Some(false),
            range: Some(true),
            enable_hnsw: Some(false),
            ..IntegerIndexParams::default()
        })
    };
    [
        (field::OWNER, FieldType::Uuid, uuid(true)),
        (field::MEMORY, FieldType::Uuid, uuid(false)),
        (field::CONVERSATION, FieldType::Uuid, uuid(false)),
        (field::KIND, FieldType::Keyword, keyword()),
        (field::REPRESENTATION, FieldType::Keyword, keyword()),
        (field::CREATED_AT, FieldType::Integer, range()),
        (field::REVISION, FieldType::Integer, range()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedder_is_read_from_its_vectors_name() {
        let embedder = EmbedderId::new();
        assert_eq!(embedder_of(&vector_name(embedder)), Some(embedder));
        assert_eq!(embedder_of(WORDS), None);
        assert_eq!(embedder_of("embedder-x"), None);
    }
}
