//! The index on a Qdrant server, with PostgreSQL as the database that it follows.

use std::time::{Duration, Instant};

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    IndexError, IndexedMemory, MemoryId, MemoryKind, NewMemory, NewRepresentation, Representation, VectorIndex as _,
};
use privet_index::{QdrantIndex, QdrantSettings};
use privet_store::{Durability, EmbedderState, Location, Store};
use privet_testkit::postgres::{TestDatabase, fresh_database};
use secrecy::SecretString;

use crate::suite::{self, DIMENSIONS, Subject, embed, new_embedder, note, scopes};

const URL: &str = "PRIVET_TEST_QDRANT_URL";

/// A collection of one's own with the database that it follows.
pub(crate) struct Bed {
    pub(crate) subject: Subject<QdrantIndex>,
    settings: QdrantSettings,
    _database: TestDatabase,
}

/// `None`, and a word of it, where there is no server.
pub(crate) async fn bed() -> Option<Bed> {
    let Some(url) = std::env::var(URL).ok().filter(|url| !url.is_empty()) else {
        eprintln!("NOT RUN: no Qdrant server; name one in {URL}, or run cargo xtask test, which starts a stand-in");
        return None;
    };
    let api_key = std::env::var("PRIVET_TEST_QDRANT_API_KEY").ok().map(SecretString::from);
    let settings = QdrantSettings { url, api_key, collection: format!("privet-test-{}", EmbedderId::new()) };
    let database = fresh_database().await;
    let store = Store::open(&Location::postgres(database.url.clone()), Durability::Process).await.unwrap();
    assert!(store.embedded_index().is_none(), "PostgreSQL has no index of its own");
    let index = QdrantIndex::new(&settings).unwrap();
    let embedder = new_embedder(&store, "first", DIMENSIONS, EmbedderState::Active).await;
    index.prepare(embedder, DIMENSIONS).await.unwrap();
    Some(Bed { subject: Subject { store, index, embedder }, settings, _database: database })
}

impl Bed {
    /// What a failure leaves behind is told apart by its name.
    pub(crate) async fn end(self) {
        self.subject.index.delete_all().await.unwrap();
    }
}

macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let Some(bed) = bed().await else { return };
            suite::$case(&bed.subject).await;
            bed.end().await;
        })+
    };
}

suite::for_every_case!(cases);

#[tokio::test]
async fn operations_of_two_tenants_find_no_foreign_id() {
    let Some(bed) = bed().await else { return };
    suite::no_operation_lets_anybody_find_what_is_not_its_own(&bed.subject, 600).await;
    bed.end().await;
}

fn with_facts(memory: &NewMemory, facts: &[&str]) -> NewMemory {
    let given = |text: &&str| NewRepresentation { representation: Representation::Facts, text: (*text).to_owned() };
    NewMemory { representations: facts.iter().map(given).collect(), ..memory.clone() }
}

async fn indexed(bed: &Bed, memory: &NewMemory) -> IndexedMemory {
    bed.subject.keep(std::slice::from_ref(memory)).await;
    bed.subject.embedded(&[memory.id]).await.remove(0)
}

#[tokio::test]
async fn a_late_writer_brings_back_no_part_that_is_no_more() {
    let Some(bed) = bed().await else { return };
    let [scope, ..] = scopes(&bed.subject.store).await;
    let old = indexed(&bed, &with_facts(&note(&scope, "a walk"), &["first fact", "second fact"])).await;
    let mut new = old.clone();
    new.revision += 1;
    new.parts.retain(|part| part.representation == Representation::Text);
    let index = &bed.subject.index;
    index.put(vec![new.clone()]).await.unwrap();
    assert!(bed.subject.sparse(&scope, "fact").await.is_empty());
    for _ in 0..2 {
        // Both at once, in whatever order the server takes them.
        let (one, other) = tokio::join!(index.put(vec![old.clone()]), index.put(vec![new.clone()]));
        one.and(other).unwrap();
        assert!(bed.subject.sparse(&scope, "fact").await.is_empty());
        assert_eq!(index.versions(None, 10).await.unwrap()[0].revision, new.revision);
    }
    bed.end().await;
}

#[tokio::test]
async fn a_text_that_changed_keeps_no_vector_of_what_it_was() {
    let Some(bed) = bed().await else { return };
    let [scope, ..] = scopes(&bed.subject.store).await;
    let mut memory = indexed(&bed, &note(&scope, "blue whale")).await;
    let index = &bed.subject.index;
    // The same text without its vector: it stays.
    memory.parts[0].vectors.clear();
    index.put(vec![memory.clone()]).await.unwrap();
    assert_eq!(bed.subject.dense(&scope, "blue whale").await, [memory.id]);
    memory.revision += 1;
    memory.parts[0].text = "green parrot".to_owned();
    memory.parts[0].hash = privet_domain::memory::ContentHash::of(scope.project, "green parrot");
    index.put(vec![memory.clone()]).await.unwrap();
    assert!(bed.subject.dense(&scope, "blue whale").await.is_empty());
    assert_eq!(bed.subject.sparse(&scope, "parrot").await, [memory.id]);
    bed.end().await;
}

#[tokio::test]
async fn deleting_leaves_no_point_behind() {
    let Some(bed) = bed().await else { return };
    let [scope, ..] = scopes(&bed.subject.store).await;
    let memory = indexed(&bed, &with_facts(&note(&scope, "a walk"), &["first", "second"])).await;
    let index = &bed.subject.index;
    index.remove(&[memory.id]).await.unwrap();
    assert!(index.versions(None, 10).await.unwrap().is_empty());
    assert!(bed.subject.sparse(&scope, "walk first second").await.is_empty());
    assert!(bed.subject.dense(&scope, "a walk").await.is_empty());
    assert_eq!(index.points().await.unwrap(), 0);
    bed.end().await;
}

#[tokio::test]
async fn many_memories_at_once_and_one_with_many_parts_are_written() {
    let Some(bed) = bed().await else { return };
    let [scope, ..] = scopes(&bed.subject.store).await;
    let facts: Vec<String> = (0..60).map(|number| format!("fact number {number}")).collect();
    let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
    let mut notes: Vec<NewMemory> = (0..150).map(|number| note(&scope, &format!("note {number}"))).collect();
    notes.push(with_facts(&note(&scope, "one with many"), &facts));
    bed.subject.store.add_memories(&notes, suite::at(1)).await.unwrap();
    bed.subject.follow().await;
    let mut ids: Vec<MemoryId> = notes.iter().map(|note| note.id).collect();
    ids.sort();
    let held: Vec<MemoryId> =
        bed.subject.index.versions(None, 1_000).await.unwrap().iter().map(|held| held.id).collect();
    assert_eq!(held, ids);
    assert_eq!(bed.subject.index.points().await.unwrap(), 151 * 2 + 60);
    bed.end().await;
}

#[tokio::test]
async fn a_second_process_sees_what_the_first_prepared_and_a_lost_collection_is_made_again() {
    let Some(bed) = bed().await else { return };
    let [scope, ..] = scopes(&bed.subject.store).await;
    let memory = indexed(&bed, &note(&scope, "blue whale")).await;
    let second = QdrantIndex::new(&bed.settings).unwrap();
    let query = bed.subject.dense_query(&scope, "blue whale");
    assert_eq!(second.dense(query.clone()).await.unwrap()[0].memory, memory.id);
    second.delete_all().await.unwrap();
    // What the first remembers of it is of no use now; it notices.
    let first = &bed.subject.index;
    assert!(first.put(vec![memory.clone()]).await.is_err());
    first.prepare(bed.subject.embedder, DIMENSIONS).await.unwrap();
    first.put(vec![memory.clone()]).await.unwrap();
    assert_eq!(first.dense(query).await.unwrap()[0].memory, memory.id);
    bed.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_soon_and_a_wrong_key_is_not_told() {
    let settings = |url: &str, key: &str| QdrantSettings {
        url: url.to_owned(),
        api_key: Some(SecretString::from(key.to_owned())),
        collection: "privet".to_owned(),
    };
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let index = QdrantIndex::new(&settings(&format!("http://127.0.0.1:{port}"), "canary-key")).unwrap();
    let began = Instant::now();
    let embedder = EmbedderId::new();
    let error = index.prepare(embedder, DIMENSIONS).await.unwrap_err();
    assert!(matches!(error, IndexError::Unavailable(_)), "{error:?}");
    assert!(!error.to_string().contains("canary"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let scope = privet_domain::memory::MemoryScope::new(privet_domain::id::ProjectId::new(), "");
    let memory = IndexedMemory {
        id: MemoryId::new(),
        revision: 1,
        scope: scope.clone(),
        conversation: None,
        kind: MemoryKind::Note,
        created_at: suite::at(1),
        parts: Vec::new(),
    };
    assert!(matches!(index.put(vec![memory]).await, Err(IndexError::Unavailable(_))));
    let dense = privet_domain::memory::DenseQuery {
        embedder,
        vector: embed("a", DIMENSIONS),
        representation: None,
        scope,
        filter: privet_domain::memory::MemoryFilter::default(),
        limit: 1,
    };
    assert!(matches!(index.dense(dense).await, Err(IndexError::Unavailable(_))));
}
