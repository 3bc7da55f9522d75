//! What every index of memory must do, whatever it is made of: functions over the trait.

use std::collections::{BTreeMap, HashMap};

use privet_domain::id::{ConversationId, EmbedderId, ProjectId};
use privet_domain::memory::{
    Candidate, DenseQuery, Embedding, IndexError, IndexedMemory, MemoryFilter, MemoryId, MemoryKind, MemoryScope,
    NewMemory, NewRepresentation, Representation, SparseQuery, VectorIndex,
};
use privet_domain::time::Timestamp;
use privet_store::{EmbedderState, MemoryUpdate, NewEmbedder, Store};

/// The dimensions of the suite's vectors.
pub(crate) const DIMENSIONS: usize = 32;

/// An index under test with the store that it follows.
pub(crate) struct Subject<I> {
    pub(crate) store: Store,
    pub(crate) index: I,
    pub(crate) embedder: EmbedderId,
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

/// A vector that depends on the words of a text: texts that share words are near each other.
pub(crate) fn embed(text: &str, dimensions: usize) -> Embedding {
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

impl<I: VectorIndex> Subject<I> {
    /// Does what a worker does: takes the outbox and makes the index follow.
    pub(crate) async fn follow(&self) {
        let tasks =
            self.store.claim_outbox(1_000_000, std::time::Duration::from_secs(60), at(1_000_000)).await.unwrap();
        let ids: Vec<MemoryId> = tasks.iter().map(|task| task.memory).collect();
        let memories = self.embedded(&ids).await;
        let there: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        let gone: Vec<MemoryId> = ids.into_iter().filter(|id| !there.contains(id)).collect();
        self.index.put(memories).await.unwrap();
        self.index.remove(&gone).await.unwrap();
        self.store.acknowledge_outbox(&tasks).await.unwrap();
    }

    pub(crate) async fn embedded(&self, ids: &[MemoryId]) -> Vec<IndexedMemory> {
        let mut memories = self.store.memories_to_index(ids).await.unwrap();
        for part in memories.iter_mut().flat_map(|memory| &mut memory.parts) {
            part.vectors = vec![(self.embedder, embed(&part.text, DIMENSIONS))];
        }
        memories
    }

    pub(crate) async fn keep(&self, memories: &[NewMemory]) {
        self.store.add_memories(memories, at(1)).await.unwrap();
        self.follow().await;
    }

    pub(crate) fn sparse_query(&self, scope: &MemoryScope, words: &str) -> SparseQuery {
        SparseQuery {
            words: words.to_owned(),
            representation: None,
            scope: scope.clone(),
            filter: MemoryFilter::default(),
            limit: 10,
        }
    }

    pub(crate) fn dense_query(&self, scope: &MemoryScope, text: &str) -> DenseQuery {
        DenseQuery {
            embedder: self.embedder,
            vector: embed(text, DIMENSIONS),
            representation: None,
            scope: scope.clone(),
            filter: MemoryFilter::default(),
            limit: 10,
        }
    }

    pub(crate) async fn sparse(&self, scope: &MemoryScope, words: &str) -> Vec<MemoryId> {
        memories(&self.index.sparse(self.sparse_query(scope, words)).await.unwrap())
    }

    pub(crate) async fn dense(&self, scope: &MemoryScope, text: &str) -> Vec<MemoryId> {
        memories(&self.index.dense(self.dense_query(scope, text)).await.unwrap())
    }
}

fn memories(candidates: &[Candidate]) -> Vec<MemoryId> {
    let ordered = candidates.is_sorted_by(|one, next| {
        one.score > next.score || (one.score == next.score && (one.memory, one.number) < (next.memory, next.number))
    });
    assert!(ordered, "the best first, equals by their ids: {candidates:?}");
    candidates.iter().map(|candidate| candidate.memory).collect()
}

pub(crate) fn note(scope: &MemoryScope, text: &str) -> NewMemory {
    NewMemory::new(MemoryId::new(), scope.clone(), MemoryKind::Note, text, at(1))
}

pub(crate) async fn scopes(store: &Store) -> [MemoryScope; 4] {
    let project = async |name| store.ensure_project(name, at(0)).await.unwrap().id;
    let (home, other) = (project("home").await, project("other").await);
    let scope = |project: ProjectId, user: &str| MemoryScope::new(project, user);
    [scope(home, "ada"), scope(home, "bob"), scope(home, ""), scope(other, "ada")]
}

/// Both legs find a memory in its own scope and in no other.
pub(crate) async fn what_is_kept_is_found_in_its_own_scope_only(subject: &Subject<impl VectorIndex>) {
    let scopes = scopes(&subject.store).await;
    let notes = scopes.each_ref().map(|scope| note(scope, "the spare key is under the mat"));
    subject.keep(&notes).await;
    for (scope, note) in scopes.iter().zip(&notes) {
        assert_eq!(subject.sparse(scope, "key").await, [note.id]);
        assert_eq!(subject.dense(scope, "spare key").await, [note.id]);
    }
    let nobody = MemoryScope::new(scopes[0].project, "eve");
    assert!(subject.sparse(&nobody, "key").await.is_empty() && subject.dense(&nobody, "key").await.is_empty());
    let nowhere = MemoryScope::new(ProjectId::new(), "ada");
    assert!(subject.sparse(&nowhere, "key").await.is_empty() && subject.dense(&nowhere, "key").await.is_empty());
}

/// The order of what is found is that of the scores.
pub(crate) async fn what_fits_better_comes_first(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let near = note(&scope, "red apples grow on old trees");
    let far = note(&scope, "old ships sail on the sea");
    let other = note(&scope, "nothing of the kind");
    subject.keep(&[far.clone(), other, near.clone()]).await;
    assert_eq!(subject.sparse(&scope, "apples on old trees").await, [near.id, far.id]);
    assert_eq!(subject.dense(&scope, "red apples grow on old trees").await[..2], [near.id, far.id]);
    let exact = subject.index.dense(subject.dense_query(&scope, "red apples grow on old trees")).await.unwrap();
    assert!((exact[0].score - 1.0).abs() < 1e-3, "the score is the cosine: {exact:?}");
}

/// Each filter lets exactly those pass that it names, in both legs.
pub(crate) async fn filters_let_pass_what_they_name(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let (here, there) = (ConversationId::new(), ConversationId::new());
    let made = |second: i64, kind, conversation| NewMemory {
        kind,
        conversation,
        created_at: at(second),
        ..note(&scope, &format!("apple number {second}"))
    };
    let notes: Vec<NewMemory> = (0..60)
        .map(|number| {
            let kind = if number % 2 == 0 { MemoryKind::Note } else { MemoryKind::Fact };
            made(number, kind, [Some(here), Some(there), None][number as usize % 3])
        })
        .collect();
    subject.keep(&notes).await;
    let open = MemoryFilter::default();
    let filters = [
        open.clone(),
        MemoryFilter { kind: Some(MemoryKind::Fact), ..open.clone() },
        MemoryFilter { kind: Some(MemoryKind::Document), ..open.clone() },
        MemoryFilter { since: Some(at(55)), ..open.clone() },
        MemoryFilter { until: Some(at(5)), ..open.clone() },
        MemoryFilter { since: Some(at(10)), until: Some(at(11)), ..open.clone() },
        MemoryFilter { conversation: Some(here), ..open.clone() },
        MemoryFilter { conversation: Some(ConversationId::new()), ..open.clone() },
        MemoryFilter { exclude_conversation: Some(here), ..open.clone() },
        MemoryFilter { kind: Some(MemoryKind::Note), exclude_conversation: Some(there), since: Some(at(30)), ..open },
    ];
    for filter in filters {
        let passing = |note: &&NewMemory| filter.passes(note.kind, note.created_at, note.conversation);
        let mut expected: Vec<MemoryId> = notes.iter().filter(passing).map(|note| note.id).collect();
        expected.sort();
        let sparse = SparseQuery { filter: filter.clone(), limit: 100, ..subject.sparse_query(&scope, "apple") };
        let dense = DenseQuery { filter: filter.clone(), limit: 100, ..subject.dense_query(&scope, "apple") };
        for candidates in [subject.index.sparse(sparse).await.unwrap(), subject.index.dense(dense).await.unwrap()] {
            let mut found = memories(&candidates);
            found.sort();
            assert_eq!(found, expected, "{filter:?}");
        }
        let few = SparseQuery { filter: filter.clone(), limit: 2, ..subject.sparse_query(&scope, "apple") };
        assert_eq!(subject.index.sparse(few).await.unwrap().len(), expected.len().min(2), "{filter:?}");
    }
}

/// A representation can be searched alone; without naming one, all are.
pub(crate) async fn each_representation_is_searched_alone_or_all_together(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let given = |representation, text: &str| NewRepresentation { representation, text: text.to_owned() };
    let kept = NewMemory {
        representations: vec![
            given(Representation::Summary, "travelling by railway"),
            given(Representation::Facts, "Ada lives in Toruń"),
            given(Representation::Facts, "Ada was born in Gdynia"),
            given(Representation::Questions, "where does she live"),
        ],
        ..note(&scope, "we took the train")
    };
    subject.keep(std::slice::from_ref(&kept)).await;
    for (representation, word) in [
        (Representation::Text, "train"),
        (Representation::Summary, "railway"),
        (Representation::Facts, "torun"),
        (Representation::Facts, "Gdynia"),
        (Representation::Questions, "where"),
    ] {
        let query = |representation| SparseQuery { representation, ..subject.sparse_query(&scope, word) };
        let alone = subject.index.sparse(query(Some(representation))).await.unwrap();
        assert_eq!(
            alone.iter().map(|one| (one.memory, one.representation)).collect::<Vec<_>>(),
            [(kept.id, representation)]
        );
        assert_eq!(subject.index.sparse(query(None)).await.unwrap(), alone, "{word}");
        let elsewhere =
            if representation == Representation::Text { Representation::Summary } else { Representation::Text };
        assert!(subject.index.sparse(query(Some(elsewhere))).await.unwrap().is_empty(), "{word}");
    }
    let query = |representation| DenseQuery { representation, ..subject.dense_query(&scope, "Ada lives in Toruń") };
    let facts = subject.index.dense(query(Some(Representation::Facts))).await.unwrap();
    assert_eq!(facts.len(), 2);
    assert!((facts[0].score - 1.0).abs() < 1e-3);
    assert_eq!(subject.index.dense(query(None)).await.unwrap().len(), 5);
}

/// Whatever a user types is a query, and none is an error.
pub(crate) async fn any_text_is_a_query(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let kept = note(&scope, "Zażółć gęślą jaźń: it's 42%");
    subject.keep(std::slice::from_ref(&kept)).await;
    for query in ["zazolc", "ZAŻÓŁĆ", "jaźń?", "it's", "42", "\"gęślą", "x' OR gesla", "nothing (but) 42"] {
        // ł has no plain form that the index knows.
        let expected: &[MemoryId] = if query == "zazolc" { &[] } else { &[kept.id] };
        assert_eq!(subject.sparse(&scope, query).await, expected, "{query}");
    }
    let long = "word ".repeat(100_000);
    let hostile = [
        "",
        " ",
        "\"",
        "'",
        "*",
        "AND",
        "NOT OR",
        "NEAR(",
        "owner:x",
        "text : y",
        "-",
        "^",
        "\0",
        "\0x",
        "){",
        "\\",
        "💥",
        "\u{301}",
        "\u{202e}",
        "--",
        ";DROP TABLE memories",
        "%",
        "_",
        "\u{ffff}",
        "་",
        "ี",
        &long,
    ];
    for query in hostile {
        assert!(subject.sparse(&scope, query).await.is_empty(), "{query:?}");
    }
}

/// Putting or removing again changes nothing; what is changed or deleted is found no more.
pub(crate) async fn the_index_follows_changes_and_repeats_are_harmless(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let (changed, gone, kept) = (note(&scope, "blue whale"), note(&scope, "blue sky"), note(&scope, "blue sea"));
    subject.keep(&[changed.clone(), gone.clone(), kept.clone()]).await;
    let old = subject.embedded(&[changed.id]).await;
    let update = MemoryUpdate { text: Some("green parrot".to_owned()), ..MemoryUpdate::default() };
    subject.store.update_memory(scope.project, changed.id, &update, at(2)).await.unwrap();
    subject.store.delete_memory(scope.project, gone.id, at(2)).await.unwrap();
    for _ in 0..2 {
        subject.follow().await;
        let new = subject.embedded(&[changed.id, kept.id]).await;
        subject.index.put(new.clone()).await.unwrap();
        // A worker that was late comes with what was.
        subject.index.put(old.clone()).await.unwrap();
        subject.index.remove(&[gone.id, MemoryId::new()]).await.unwrap();
        assert_eq!(subject.sparse(&scope, "blue").await, [kept.id]);
        assert_eq!(subject.sparse(&scope, "parrot").await, [changed.id]);
        assert!(subject.sparse(&scope, "whale sky").await.is_empty());
        let found = subject.index.dense(subject.dense_query(&scope, "green parrot")).await.unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            (found[0].memory, found[0].number),
            (changed.id, new.iter().find(|memory| memory.id == changed.id).unwrap().parts[0].number)
        );
    }
}

/// What the index holds can be listed, in order, page by page, as the database says it should.
pub(crate) async fn what_it_holds_is_listed_in_pages(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let notes: Vec<NewMemory> = (0..25).map(|number| note(&scope, &format!("note {number}"))).collect();
    subject.keep(&notes).await;
    let update = MemoryUpdate { text: Some("changed".to_owned()), ..MemoryUpdate::default() };
    subject.store.update_memory(scope.project, notes[3].id, &update, at(2)).await.unwrap();
    subject.store.delete_memory(scope.project, notes[4].id, at(2)).await.unwrap();
    subject.follow().await;
    let (mut listed, mut after) = (vec![], None);
    loop {
        let page = subject.index.versions(after, 10).await.unwrap();
        after = page.last().map(|last| last.id);
        listed.extend_from_slice(&page);
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(listed, subject.store.memory_versions(None, 1_000).await.unwrap());
    assert_eq!(listed.len(), 24);
}

/// What does not fit is refused, and nothing of it is kept.
pub(crate) async fn a_vector_of_another_dimension_or_embedder_is_refused(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let kept = note(&scope, "a text");
    subject.keep(std::slice::from_ref(&kept)).await;
    let wrong = DenseQuery { vector: embed("a text", DIMENSIONS * 2), ..subject.dense_query(&scope, "") };
    let refused = subject.index.dense(wrong).await;
    assert_eq!(refused, Err(IndexError::Dimensions { expected: DIMENSIONS, found: DIMENSIONS * 2 }));
    let stranger = EmbedderId::new();
    let unknown = DenseQuery { embedder: stranger, ..subject.dense_query(&scope, "a text") };
    assert_eq!(subject.index.dense(unknown).await, Err(IndexError::UnknownEmbedder(stranger)));
    for (embedder, dimensions) in [(subject.embedder, DIMENSIONS * 2), (stranger, DIMENSIONS)] {
        let mut memories = subject.embedded(&[kept.id]).await;
        memories[0].parts[0].vectors = vec![(embedder, embed("another", dimensions))];
        assert!(subject.index.put(memories).await.is_err());
    }
    assert_eq!(subject.dense(&scope, "a text").await, [kept.id]);
}

/// Two embedders' vectors stand beside each other, and one goes without the other.
pub(crate) async fn embedders_stand_beside_each_other(subject: &Subject<impl VectorIndex>) {
    let [scope, ..] = scopes(&subject.store).await;
    let notes: Vec<NewMemory> = (0..30).map(|number| note(&scope, &format!("note {number}"))).collect();
    subject.keep(&notes).await;
    let second = new_embedder(&subject.store, "second", 48, EmbedderState::Building).await;
    subject.index.prepare(second, 48).await.unwrap();
    assert!(subject.index.prepare(second, 47).await.is_err());
    let query = |embedder, dimensions| DenseQuery {
        embedder,
        vector: embed("note 7", dimensions),
        limit: 1,
        ..subject.dense_query(&scope, "")
    };
    assert!(subject.index.dense(query(second, 48)).await.unwrap().is_empty());
    let ids: Vec<MemoryId> = notes.iter().map(|note| note.id).collect();
    let mut memories = subject.store.memories_to_index(&ids).await.unwrap();
    for part in memories.iter_mut().flat_map(|memory| &mut memory.parts) {
        part.vectors = vec![(second, embed(&part.text, 48))];
    }
    subject.index.put(memories).await.unwrap();
    for (embedder, dimensions) in [(subject.embedder, DIMENSIONS), (second, 48)] {
        let found = subject.index.dense(query(embedder, dimensions)).await.unwrap();
        assert_eq!(found.iter().map(|found| found.memory).collect::<Vec<_>>(), [notes[7].id]);
    }
    subject.index.drop_embedder(second).await.unwrap();
    subject.index.drop_embedder(second).await.unwrap();
    subject.store.delete_embedder(second).await.unwrap();
    assert!(subject.index.dense(query(second, 48)).await.is_err());
    assert_eq!(subject.dense(&scope, "note 7").await.len(), 10);
}

/// Random operations of two tenants, each with two users: nobody ever finds what is not its own, and everybody finds what is.
pub(crate) async fn no_operation_lets_anybody_find_what_is_not_its_own(
    subject: &Subject<impl VectorIndex>,
    operations: u32,
) {
    let scopes = scopes(&subject.store).await;
    let words = ["apple", "bread", "cider", "dates", "eggs", "figs", "grapes"];
    let mut state = 42_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut kept: BTreeMap<MemoryId, (usize, String)> = BTreeMap::new();
    for _ in 0..operations {
        let (mine, word) = (random(scopes.len()), words[random(words.len())]);
        let scope = &scopes[mine];
        let text = format!("{word} and {}", words[random(words.len())]);
        let own: Vec<MemoryId> = kept.iter().filter(|(_, (owner, _))| *owner == mine).map(|(id, _)| *id).collect();
        match random(10) {
            0 | 1 => {
                let new = note(scope, &text);
                kept.insert(new.id, (mine, text));
                subject.keep(&[new]).await;
            }
            2 if !own.is_empty() => {
                let id = own[random(own.len())];
                let update = MemoryUpdate { text: Some(text.clone()), ..MemoryUpdate::default() };
                subject.store.update_memory(scope.project, id, &update, at(2)).await.unwrap();
                kept.insert(id, (mine, text));
                subject.follow().await;
            }
            3 if own.len() > 20 => {
                let id = own[random(own.len())];
                subject.store.delete_memory(scope.project, id, at(3)).await.unwrap();
                kept.remove(&id);
                // Before the index follows, it does not find what is gone either, or what it finds is not there.
                subject.follow().await;
            }
            4..=6 => {
                let query = SparseQuery { limit: 1_000, ..subject.sparse_query(scope, word) };
                let mut found = memories(&subject.index.sparse(query).await.unwrap());
                found.sort();
                let expected: Vec<MemoryId> = kept
                    .iter()
                    .filter(|(_, (owner, text))| *owner == mine && text.contains(word))
                    .map(|(id, _)| *id)
                    .collect();
                assert_eq!(found, expected);
            }
            _ => {
                let query = DenseQuery { limit: 1_000, ..subject.dense_query(scope, &text) };
                let mut found = memories(&subject.index.dense(query).await.unwrap());
                found.sort();
                assert_eq!(found, own);
            }
        }
    }
    let mut counts: HashMap<usize, usize> = HashMap::new();
    kept.values().for_each(|(owner, _)| *counts.entry(*owner).or_default() += 1);
    assert_eq!(counts.len(), scopes.len(), "each had memories");
}

pub(crate) async fn new_embedder(store: &Store, name: &str, dimensions: usize, state: EmbedderState) -> EmbedderId {
    let new =
        NewEmbedder { name: name.to_owned(), provider: "test".to_owned(), model: name.to_owned(), dimensions, state };
    store.create_embedder(&new, at(0)).await.unwrap().id
}

/// Gives a macro the names of all cases.
macro_rules! for_every_case {
    ($cases:ident) => {
        $cases!(
            what_is_kept_is_found_in_its_own_scope_only,
            what_fits_better_comes_first,
            filters_let_pass_what_they_name,
            each_representation_is_searched_alone_or_all_together,
            any_text_is_a_query,
            the_index_follows_changes_and_repeats_are_harmless,
            what_it_holds_is_listed_in_pages,
            a_vector_of_another_dimension_or_embedder_is_refused,
            embedders_stand_beside_each_other,
        );
    };
}

pub(crate) use for_every_case;
