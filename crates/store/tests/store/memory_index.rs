//! The index inside SQLite beyond what every index must do: nothing deleted is left in the files, what is missing is found and
//! mended, codes are read again, and the scan by bits finds what an exact one finds.

use std::collections::HashSet;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    DenseQuery, Embedding, IndexedMemory, MemoryFilter, MemoryId, MemoryKind, MemoryScope, NewMemory, SparseQuery,
    VectorIndex as _,
};
use privet_store::{EmbeddedIndex, EmbedderState, Forgotten, NewEmbedder, Store};

use crate::bed::{Bed, at, project};

const DIMENSIONS: usize = 64;

/// A vector that depends on the words of a text: texts that share words are near each other.
fn embed(text: &str, dimensions: usize) -> Embedding {
    let mut values = vec![0.01_f32; dimensions];
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut state = word
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        for value in &mut values {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *value += (state >> 40) as f32 / 16_777_216.0 - 0.5;
        }
    }
    Embedding::new(&values, dimensions).unwrap()
}

struct Filled {
    store: Store,
    index: EmbeddedIndex,
    embedder: EmbedderId,
    scope: MemoryScope,
}

async fn opened(bed: &Bed, dimensions: usize) -> Filled {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let new = NewEmbedder {
        name: "first".to_owned(),
        provider: "test".to_owned(),
        model: "test".to_owned(),
        dimensions,
        state: EmbedderState::Active,
    };
    let embedder = store.create_embedder(&new, at(0)).await.unwrap().id;
    Filled { index: store.embedded_index().unwrap(), store, embedder, scope }
}

impl Filled {
    async fn keep(&self, texts: &[String]) -> Vec<MemoryId> {
        let memories: Vec<NewMemory> = texts
            .iter()
            .map(|text| NewMemory::new(MemoryId::new(), self.scope.clone(), MemoryKind::Note, text.as_str(), at(1)))
            .collect();
        self.store.add_memories(&memories, at(1)).await.unwrap();
        self.follow().await;
        memories.into_iter().map(|memory| memory.id).collect()
    }

    /// Does what a worker does.
    async fn follow(&self) {
        let tasks = self.store.claim_outbox(100_000, std::time::Duration::from_secs(9), at(99)).await.unwrap();
        let ids: Vec<MemoryId> = tasks.iter().map(|task| task.memory).collect();
        self.index.put(self.embedded(&ids).await).await.unwrap();
        self.store.acknowledge_outbox(&tasks).await.unwrap();
    }

    async fn embedded(&self, ids: &[MemoryId]) -> Vec<IndexedMemory> {
        let mut memories = self.store.memories_to_index(ids).await.unwrap();
        for part in memories.iter_mut().flat_map(|memory| &mut memory.parts) {
            part.vectors = vec![(self.embedder, embed(&part.text, DIMENSIONS))];
        }
        memories
    }

    fn query(&self, vector: Embedding, limit: usize) -> DenseQuery {
        DenseQuery {
            embedder: self.embedder,
            vector,
            representation: None,
            scope: self.scope.clone(),
            filter: MemoryFilter::default(),
            limit,
        }
    }

    async fn nearest(&self, text: &str) -> Vec<MemoryId> {
        let found = self.index.dense(self.query(embed(text, DIMENSIONS), 5)).await.unwrap();
        found.into_iter().map(|candidate| candidate.memory).collect()
    }

    async fn matching(&self, words: &str) -> usize {
        let query = SparseQuery {
            words: words.to_owned(),
            representation: None,
            scope: self.scope.clone(),
            filter: MemoryFilter::default(),
            limit: 1_000,
        };
        self.index.sparse(query).await.unwrap().len()
    }

    async fn drift(&self) -> u64 {
        self.store.check_memory(Some(self.embedder)).await.unwrap().drift.total()
    }

    async fn repair(&self) {
        while self.store.repair_memory(Some(self.embedder), at(5)).await.unwrap() > 0 {}
    }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("memory number{number} of things")).collect()
}

/// Whether some bytes stand in any file of the folder.
fn stands_in_files(bed: &Bed, bytes: &[u8]) -> Vec<String> {
    let files = std::fs::read_dir(bed.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes))
        .map(|path| path.display().to_string())
        .collect()
}

#[tokio::test]
async fn what_is_forgotten_leaves_no_byte_in_the_files() {
    let bed = Bed::sqlite();
    let filled = opened(&bed, DIMENSIONS).await;
    // What stays has other words around it, so that pages are shared and the index is written in many pieces.
    filled.keep(&texts(300)).await;
    let secrets: Vec<String> = (0..100)
        .map(|number| format!("xyzzysecret{number} plughsecret of ada {}", "quux".repeat(number * 20)))
        .collect();
    let doomed = NewMemory {
        representations: vec![],
        ..NewMemory::new(MemoryId::new(), MemoryScope::new(filled.scope.project, "eve"), MemoryKind::Note, "", at(1))
    };
    let doomed: Vec<NewMemory> = secrets
        .iter()
        .map(|secret| NewMemory { id: MemoryId::new(), text: secret.clone(), ..doomed.clone() })
        .collect();
    filled.store.add_memories(&doomed, at(2)).await.unwrap();
    filled.follow().await;
    filled.keep(&texts(300)).await;
    let vector = embed(&secrets[3], DIMENSIONS).to_bytes();
    assert!(filled.store.truncate_log().await.unwrap());
    for bytes in [b"xyzzysecret3".as_slice(), b"plughsecret", &vector] {
        assert!(!stands_in_files(&bed, bytes).is_empty(), "the test sees what is there");
    }
    let eve = Forgotten::User("eve".to_owned());
    assert_eq!(filled.store.forget(filled.scope.project, &eve, at(3)).await.unwrap(), 100);
    assert!(filled.store.truncate_log().await.unwrap());
    for bytes in [b"xyzzysecret".as_slice(), b"plughsecret", b"lughsecret", b"quuxquux", &vector] {
        assert_eq!(stands_in_files(&bed, bytes), Vec::<String>::new(), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!((filled.drift().await, filled.matching("things").await), (0, 600));
    // The index knows itself to be whole, word by word.
    bed.execute("INSERT INTO memory_terms (memory_terms, rank) VALUES ('integrity-check', 1)").await;
}

#[tokio::test]
async fn a_vector_goes_with_the_last_text_that_it_stands_for() {
    let bed = Bed::sqlite();
    let filled = opened(&bed, DIMENSIONS).await;
    let ids = filled.keep(&["the same".to_owned(), "the same".to_owned(), "another".to_owned()]).await;
    let vectors = "SELECT count(*) FROM memory_vectors";
    assert_eq!(bed.number(vectors).await, 2, "equal texts share one");
    filled.store.delete_memory(filled.scope.project, ids[0], at(2)).await.unwrap();
    assert_eq!((bed.number(vectors).await, filled.nearest("the same").await[0]), (2, ids[1]));
    let late = filled.embedded(&[ids[1]]).await;
    filled.store.delete_memory(filled.scope.project, ids[1], at(3)).await.unwrap();
    assert_eq!(bed.number(vectors).await, 1);
    filled.index.put(late).await.unwrap();
    assert_eq!(bed.number(vectors).await, 1, "a worker that comes too late leaves none behind");
    assert_eq!(filled.nearest("the same").await, [ids[2]]);
    let embedder = &filled.store.embedders().await.unwrap()[0];
    let hashes = filled.store.memories_to_index(&ids).await.unwrap()[0].parts[0].hash;
    let missing = privet_domain::memory::ContentHash::of(filled.scope.project, "the same");
    let cached = filled.store.cached_vectors(embedder, &[hashes, missing]).await.unwrap();
    assert_eq!(cached.keys().collect::<Vec<_>>(), [&hashes]);
    assert_eq!(cached[&hashes], embed("another", DIMENSIONS));
}

#[tokio::test]
async fn codes_are_read_again_by_a_new_process() {
    let bed = Bed::sqlite();
    let filled = opened(&bed, DIMENSIONS).await;
    let ids = filled.keep(&texts(500)).await;
    assert_eq!(filled.nearest("memory number77 of things").await[0], ids[77]);
    let anew = Filled { index: filled.store.embedded_index().unwrap(), ..filled };
    // What is written before the codes were read is found too, and what is deleted is not.
    let later = anew.keep(&["something else entirely".to_owned()]).await;
    anew.store.delete_memory(anew.scope.project, ids[77], at(2)).await.unwrap();
    assert_eq!(anew.nearest("something else entirely").await[0], later[0]);
    assert!(!anew.nearest("memory number77 of things").await.contains(&ids[77]));
    assert_eq!(anew.nearest("memory number78 of things").await[0], ids[78]);
}

#[tokio::test]
async fn what_is_gone_does_not_make_the_shortlist_too_short() {
    let bed = Bed::sqlite();
    let filled = opened(&bed, DIMENSIONS).await;
    let ids = filled.keep(&texts(900)).await;
    assert_eq!(filled.nearest("memory number5 of things").await[0], ids[5]);
    // Deleted past the index: it is not told.
    for id in &ids[..800] {
        filled.store.delete_memory(filled.scope.project, *id, at(2)).await.unwrap();
    }
    let found = filled.nearest("memory number5 of things").await;
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|id| ids[800..].contains(id)));
}

#[tokio::test]
async fn a_check_finds_what_is_missing_or_too_much_and_a_repair_mends_it() {
    let bed = Bed::sqlite();
    let filled = opened(&bed, DIMENSIONS).await;
    filled.keep(&texts(700)).await;
    let check = filled.store.check_memory(Some(filled.embedder)).await.unwrap();
    assert_eq!((check.memories, check.representations, check.drift.total(), check.outbox.tasks), (700, 700, 0, 0));
    for (damage, drift) in [
        ("DELETE FROM memory_vectors WHERE rowid % 2 = 0", 350),
        ("INSERT INTO memory_vectors SELECT randomblob(32), embedder_id, vector FROM memory_vectors LIMIT 9", 9),
        ("INSERT INTO memory_terms (rowid, owner, text) VALUES (1000000, 'x', 'nothing')", 1),
        ("INSERT INTO memory_terms (memory_terms) VALUES ('delete-all')", 700),
        ("DELETE FROM memory_representations WHERE number % 100 = 0", 7),
    ] {
        bed.execute(damage).await;
        assert_eq!(filled.drift().await, drift, "{damage}");
        filled.repair().await;
        filled.follow().await;
        assert_eq!((filled.drift().await, filled.matching("things").await), (0, 700), "{damage}");
    }
    filled.store.empty_keyword_index().await.unwrap();
    assert_eq!(filled.matching("things").await, 0);
    // One step of several, as if the process had ended after it.
    assert!(filled.store.repair_memory(Some(filled.embedder), at(5)).await.unwrap() < 700);
    filled.repair().await;
    assert_eq!((filled.drift().await, filled.matching("things").await), (0, 700));
    bed.execute("INSERT INTO memory_terms (memory_terms, rank) VALUES ('integrity-check', 1)").await;
}

#[tokio::test]
async fn an_owner_of_very_many_texts_is_searched_by_its_rare_words_and_finds_nothing_of_others() {
    let bed = Bed::sqlite();
    let filled = opened(&bed, DIMENSIONS).await;
    let scope = |user: &str| MemoryScope::new(filled.scope.project, user);
    let note = |user: &str, number: usize| {
        let text = format!("the thing number{} of group{}", number, number % 100);
        NewMemory::new(MemoryId::new(), scope(user), MemoryKind::Note, text, at(1))
    };
    let mut memories: Vec<NewMemory> = (0..5_600).map(|number| note("ada", number)).collect();
    memories.extend((0..300).map(|number| note("bob", number)));
    memories.push(NewMemory::new(MemoryId::new(), scope("bob"), MemoryKind::Note, "a zebra of group1000", at(1)));
    filled.store.add_memories(&memories, at(1)).await.unwrap();
    let found = async |user: &str, words: &str, limit: usize| {
        let query = SparseQuery {
            words: words.to_owned(),
            representation: None,
            scope: scope(user),
            filter: MemoryFilter::default(),
            limit,
        };
        let found = filled.index.sparse(query).await.unwrap();
        let own = |id: &MemoryId| memories.iter().any(|memory| memory.id == *id && memory.scope.user == user);
        assert!(found.iter().all(|candidate| own(&candidate.memory)), "{words}");
        found.into_iter().map(|candidate| candidate.memory).collect::<Vec<_>>()
    };
    assert_eq!(found("ada", "the thing number77 of", 1).await, [memories[77].id]);
    assert_eq!(found("ada", "group5", 1_000).await.len(), 56, "bob's three are left out");
    assert_eq!(found("bob", "the group5", 1_000).await.len(), 300);
    assert_eq!(found("bob", "the group5", 3).await.len(), 3);
    // A word that only another knows, or nobody, hides nothing: the common ones are searched.
    for unknown in ["zebra", "okapi"] {
        assert_eq!(found("ada", &format!("the thing {unknown}"), 50).await.len(), 50, "{unknown}");
    }
    // Common words alone find some of the newest.
    let newest = found("ada", "the thing", 50).await;
    assert_eq!(newest.len(), 50);
    assert!(newest.iter().all(|id| !memories[..500].iter().any(|memory| memory.id == *id)));
}

/// Pseudo-random numbers of a normal distribution, near enough.
struct Normal(u64);

impl Normal {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..6 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / 16_777_216.0;
        }
        (sum - 3.0) * std::f32::consts::SQRT_2
    }

    fn around(&mut self, centre: &[f32], spread: f32) -> Vec<f32> {
        centre.iter().map(|value| value + spread * self.next()).collect()
    }
}

#[tokio::test]
async fn the_scan_by_bits_finds_what_an_exact_one_finds() {
    const ROWS: usize = 6_000;
    const CLUSTERS: usize = 12;
    const WIDE: usize = 256;
    let bed = Bed::sqlite();
    let filled = opened(&bed, WIDE).await;
    let mut normal = Normal(7);
    // Clusters that share a direction, as embeddings of texts do.
    let common: Vec<f32> = (0..WIDE).map(|_| normal.next()).collect();
    let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| normal.around(&common, 1.0)).collect();
    let memories: Vec<NewMemory> = (0..ROWS)
        .map(|number| {
            let text = number.to_string();
            NewMemory::new(MemoryId::new(), filled.scope.clone(), MemoryKind::Note, text, at(1))
        })
        .collect();
    filled.store.add_memories(&memories, at(1)).await.unwrap();
    let (mut after, mut vectors) = (0, Vec::with_capacity(ROWS));
    loop {
        let (mut page, next) = filled.store.memories_from(after, 1_000).await.unwrap();
        for memory in &mut page {
            let vector = Embedding::new(&normal.around(&centres[vectors.len() % CLUSTERS], 0.6), WIDE).unwrap();
            memory.parts[0].vectors = vec![(filled.embedder, vector.clone())];
            vectors.push((memory.id, vector));
        }
        filled.index.put(page).await.unwrap();
        let Some(next) = next else { break };
        after = next;
    }
    let (mut found, queries) = (0, 50);
    for query in 0..queries {
        let query = Embedding::new(&normal.around(&centres[query % CLUSTERS], 0.6), WIDE).unwrap();
        let mut exact: Vec<(f32, MemoryId)> = vectors.iter().map(|(id, vector)| (query.cosine(vector), *id)).collect();
        exact.sort_by(|one, other| other.0.total_cmp(&one.0));
        let exact: HashSet<MemoryId> = exact[..10].iter().map(|(_, id)| *id).collect();
        let nearest = filled.index.dense(filled.query(query, 10)).await.unwrap();
        found += nearest.iter().filter(|candidate| exact.contains(&candidate.memory)).count();
    }
    let recall = found as f64 / (queries * 10) as f64;
    assert!(recall >= 0.99, "recall@10 is {recall}");
}
