//! A memory as points. Each representation's part is one, with its words and vectors. One more for each memory, its head, has its id,
//! holds its revision and is found by no search: by the heads it is known what the index holds.

use std::collections::HashMap;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    Candidate, ContentHash, IndexedMemory, IndexedPart, MemoryId, MemoryScope, Representation,
};
use qdrant_client::qdrant::{
    DenseVector, NamedVectors, PointId, PointStruct, SparseVector, Value, Vector, Vectors, point_id, vector, vectors,
};
use uuid::Uuid;

use crate::collection::vector_name;
use crate::words::WeightedWords;

/// The names of the payload's fields.
pub(crate) mod field {
    /// Project and user in one: the tenant.
    pub(crate) const OWNER: &str = "owner";
    /// The memory's id.
    pub(crate) const MEMORY: &str = "memory";
    /// Its revision.
    pub(crate) const REVISION: &str = "revision";
    /// The conversation, if it belongs to one.
    pub(crate) const CONVERSATION: &str = "conversation";
    /// What the memory is.
    pub(crate) const KIND: &str = "kind";
    /// Which representation it is, or that it is a head.
    pub(crate) const REPRESENTATION: &str = "representation";
    /// The representation's number in the database.
    pub(crate) const NUMBER: &str = "number";
    /// When it was said, in UTC microseconds.
    pub(crate) const CREATED_AT: &str = "created_at";
    /// The hash of the text.
    pub(crate) const HASH: &str = "hash";
}

/// What a head has as its representation. It has no owner, by which every search asks.
pub(crate) const HEAD: &str = "head";
/// The name of the words' vector.
pub(crate) const WORDS: &str = "words";
/// What is mixed into an owner's hash.
const OWNER_CONTEXT: &str = "privet 2026-11 owner of a memory's points";
/// The namespace of the parts' ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b8f_6c0e_3c1d_4f0a_9a57_70d1_4f7e_2c11);

/// Project and user in one, as a UUID, which the server keeps in 16 bytes. Who the user is, it is not told.
pub(crate) fn owner(scope: &MemoryScope) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(OWNER_CONTEXT);
    hasher.update(scope.project.as_uuid().as_bytes()).update(scope.user.as_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    Uuid::from_bytes(bytes).to_string()
}

/// The head's id is the memory's, so that heads are listed in the order of memories.
pub(crate) fn head_id(memory: MemoryId) -> PointId {
    point_id(memory.as_uuid())
}

/// The same for the same part of the same memory, whenever it is made.
pub(crate) fn part_id(memory: MemoryId, part: &IndexedPart) -> PointId {
    let name = format!("{memory}/{}/{}", part.representation, part.part);
    point_id(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

pub(crate) fn point_id(uuid: Uuid) -> PointId {
    PointId { point_id_options: Some(point_id::PointIdOptions::Uuid(uuid.to_string())) }
}

/// The UUID of a point; every point has one.
pub(crate) fn uuid_of(id: Option<&PointId>) -> Option<Uuid> {
    match id?.point_id_options.as_ref()? {
        point_id::PointIdOptions::Uuid(text) => text.parse().ok(),
        point_id::PointIdOptions::Num(_) => None,
    }
}

/// The head of a memory.
pub(crate) fn head(memory: MemoryId, revision: i64) -> PointStruct {
    let payload = HashMap::from([
        (field::MEMORY.to_owned(), Value::from(memory.to_string())),
        (field::REVISION.to_owned(), Value::from(revision)),
        (field::REPRESENTATION.to_owned(), Value::from(HEAD)),
    ]);
    PointStruct { id: Some(head_id(memory)), payload, vectors: Some(named(HashMap::new())) }
}

/// The part of a memory, with vectors that it had beside those that come with it.
pub(crate) fn part(memory: &IndexedMemory, part: &IndexedPart, kept: HashMap<String, Vec<f32>>) -> PointStruct {
    let mut payload = HashMap::from([
        (field::OWNER.to_owned(), Value::from(owner(&memory.scope))),
        (field::MEMORY.to_owned(), Value::from(memory.id.to_string())),
        (field::REVISION.to_owned(), Value::from(memory.revision)),
        (field::KIND.to_owned(), Value::from(memory.kind.as_str())),
        (field::REPRESENTATION.to_owned(), Value::from(part.representation.as_str())),
        (field::NUMBER.to_owned(), Value::from(part.number)),
        (field::CREATED_AT.to_owned(), Value::from(memory.created_at.as_micros())),
        (field::HASH.to_owned(), Value::from(hash(part))),
    ]);
    if let Some(conversation) = memory.conversation {
        payload.insert(field::CONVERSATION.to_owned(), Value::from(conversation.to_string()));
    }
    let mut vectors: HashMap<String, Vector> = kept.into_iter().map(|(name, values)| (name, dense(values))).collect();
    for (embedder, embedding) in &part.vectors {
        vectors.insert(vector_name(*embedder), dense(embedding.values().to_vec()));
    }
    let words = WeightedWords::of_text(&part.text);
    if !words.is_empty() {
        let sparse = SparseVector { indices: words.ids, values: words.weights };
        vectors.insert(WORDS.to_owned(), one(vector::Vector::Sparse(sparse)));
    }
    PointStruct { id: Some(part_id(memory.id, part)), payload, vectors: Some(named(vectors)) }
}

/// The hash of a part's text, as it stands in the payload.
pub(crate) fn hash(part: &IndexedPart) -> String {
    part.hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash as it stands in a payload.
pub(crate) fn read_hash(text: &str) -> Option<ContentHash> {
    let byte = |place: usize| u8::from_str_radix(text.get(place..place + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    ContentHash::from_bytes(&bytes?)
}

/// What was found, from its payload; `None` if it is damaged.
pub(crate) fn candidate(payload: &HashMap<String, Value>, score: f64) -> Option<Candidate> {
    Some(Candidate {
        number: integer(payload, field::NUMBER)?,
        memory: text(payload, field::MEMORY)?.parse().ok()?,
        representation: text(payload, field::REPRESENTATION)?.parse::<Representation>().ok()?,
        score,
    })
}

/// Whether it is the payload of a head.
pub(crate) fn is_head(payload: &HashMap<String, Value>) -> bool {
    text(payload, field::REPRESENTATION) == Some(HEAD)
}

pub(crate) fn text<'a>(payload: &'a HashMap<String, Value>, field: &str) -> Option<&'a str> {
    payload.get(field)?.as_str().map(String::as_str)
}

pub(crate) fn integer(payload: &HashMap<String, Value>, field: &str) -> Option<i64> {
    payload.get(field)?.as_integer()
}

/// The embedders whose vectors come with every part.
pub(crate) fn comes_with_all(memories: &[IndexedMemory], embedder: EmbedderId) -> bool {
    let mut parts = memories.iter().flat_map(|memory| &memory.parts);
    parts.all(|part| part.vectors.iter().any(|(known, _)| *known == embedder))
}

fn named(vectors: HashMap<String, Vector>) -> Vectors {
    Vectors { vectors_options: Some(vectors::VectorsOptions::Vectors(NamedVectors { vectors })) }
}

fn dense(data: Vec<f32>) -> Vector {
    one(vector::Vector::Dense(DenseVector { data }))
}

fn one(vector: vector::Vector) -> Vector {
    Vector { vector: Some(vector), ..Vector::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use privet_domain::id::ProjectId;
    use privet_domain::memory::MemoryKind;
    use privet_domain::time::Timestamp;

    use super::*;

    fn memory(text: &str) -> IndexedMemory {
        let scope = MemoryScope::new(ProjectId::new(), "ada@example.org");
        let part = IndexedPart {
            number: 7,
            representation: Representation::Text,
            part: 0,
            text: text.to_owned(),
            hash: ContentHash::of(scope.project, text),
            vectors: Vec::new(),
        };
        IndexedMemory {
            id: MemoryId::new(),
            revision: 3,
            scope,
            conversation: None,
            kind: MemoryKind::Note,
            created_at: Timestamp::from_micros(1),
            parts: vec![part],
        }
    }

    #[test]
    fn neither_the_text_nor_the_user_is_in_a_point() {
        let memory = memory("the spare key is under the mat");
        let shown = format!("{:?}", part(&memory, &memory.parts[0], HashMap::new()));
        assert!(!shown.contains("spare") && !shown.contains("ada") && !shown.contains("example"), "{shown}");
    }

    #[test]
    fn ids_are_the_same_each_time_and_differ_by_memory_and_part() {
        let (one, other) = (memory("a"), memory("a"));
        let mut ids = HashSet::new();
        for memory in [&one, &other] {
            for representation in Representation::ALL {
                for number in 0..3 {
                    let named = IndexedPart { representation, part: number, ..memory.parts[0].clone() };
                    let id = uuid_of(Some(&part_id(memory.id, &named))).unwrap();
                    assert_eq!(Some(id), uuid_of(Some(&part_id(memory.id, &named))));
                    assert!(ids.insert(id));
                }
            }
            assert_eq!(uuid_of(Some(&head_id(memory.id))), Some(memory.id.as_uuid()));
        }
    }

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let memory = memory("a");
        assert_eq!(read_hash(&hash(&memory.parts[0])), Some(memory.parts[0].hash));
        assert_eq!((read_hash(""), read_hash("zz"), read_hash("0")), (None, None, None));
    }

    #[test]
    fn owners_differ_by_project_and_user() {
        let (one, other) = (ProjectId::new(), ProjectId::new());
        let scopes = [(one, "ada"), (one, "bob"), (one, ""), (other, "ada"), (other, "")];
        let owners: HashSet<String> =
            scopes.iter().map(|(project, user)| owner(&MemoryScope::new(*project, *user))).collect();
        assert_eq!(owners.len(), scopes.len());
    }
}
