//! What is told of documents, what an embedder refuses, and messages that are remembered later.

use privet_domain::id::{DocumentId, EmbedderId};
use privet_domain::memory::{MemoryFilter, MemoryId, MemoryKind, MemoryScope, NewMemory};
use privet_store::{DocumentList, EmbedderState, Forgotten, MemoryList, MemoryUpdate, NewEmbedder, Store, StoreError};

use crate::bed::{Bed, at, begin, finish, on_both_databases, project};
use crate::memories::note;

on_both_databases!(
    documents_are_told_by_their_pieces_page_by_page,
    a_refusal_is_no_drift_and_goes_with_the_text,
    what_was_said_before_memory_is_remembered_once_and_in_its_place,
);

fn piece(scope: &MemoryScope, document: DocumentId, position: u32, title: &str) -> NewMemory {
    let id = MemoryId::of_piece(document, position);
    let text = format!("piece {position}");
    NewMemory {
        document: Some(document),
        seq: i64::from(position),
        title: Some(title.to_owned()),
        source: Some("house.md".to_owned()),
        ..NewMemory::new(id, scope.clone(), MemoryKind::Document, text, at(1))
    }
}

async fn documents_are_told_by_their_pieces_page_by_page(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    let (ada, bob) = (MemoryScope::new(home, "ada"), MemoryScope::new(home, "bob"));
    let mut ids = Vec::new();
    for scope in [&ada, &bob, &ada] {
        let id = DocumentId::new();
        let pieces = [piece(scope, id, 1, "House > Roof"), piece(scope, id, 0, "House")];
        store.add_memories(&pieces, at(1)).await.unwrap();
        ids.push(id);
    }
    let page = async |user: Option<&str>, after, limit| {
        let list = DocumentList { user: user.map(str::to_owned), after, limit };
        let page = store.documents(home, &list).await.unwrap();
        (page.documents.into_iter().map(|document| document.id).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page(None, None, 2).await, (vec![ids[2], ids[1]], Some(ids[1])));
    assert_eq!(page(None, Some(ids[1]), 2).await, (vec![ids[0]], None));
    assert_eq!(page(Some("ada"), None, 9).await.0, [ids[2], ids[0]]);
    let one = store.document(home, ids[1]).await.unwrap();
    assert_eq!((one.user.as_str(), one.title.as_deref(), one.pieces), ("bob", Some("House"), 2));
    assert_eq!((one.source.as_deref(), one.created_at, one.expires_at), (Some("house.md"), at(1), None));
    let list = MemoryList { document: Some(ids[1]), limit: 9, ..MemoryList::default() };
    let pieces = store.memories(home, &list).await.unwrap().memories;
    assert!(pieces.len() == 2 && pieces.iter().all(|memory| memory.scope == bob), "{pieces:?}");

    assert!(matches!(store.document(foreign, ids[1]).await, Err(StoreError::NotFound)), "another project's");
    assert_eq!(
        store.documents(foreign, &DocumentList { limit: 9, ..DocumentList::default() }).await.unwrap().documents,
        []
    );
    assert_eq!(store.forget(home, &Forgotten::Document(ids[1]), at(2)).await.unwrap(), 2);
    assert_eq!(page(None, None, 9).await.0, [ids[2], ids[0]]);
    assert!(matches!(store.document(home, ids[1]).await, Err(StoreError::NotFound)));
}

async fn embedder(store: &Store) -> EmbedderId {
    let new = NewEmbedder {
        name: "first".to_owned(),
        provider: "test".to_owned(),
        model: "test".to_owned(),
        dimensions: 8,
        state: EmbedderState::Active,
    };
    store.create_embedder(&new, at(0)).await.unwrap().id
}

async fn a_refusal_is_no_drift_and_goes_with_the_text(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let embedder = embedder(&store).await;
    let memories = [note(&scope, "fine", 1), note(&scope, "refused", 1)];
    store.add_memories(&memories, at(1)).await.unwrap();
    let tasks = store.claim_outbox(9, std::time::Duration::from_secs(9), at(2)).await.unwrap();
    store.acknowledge_outbox(&tasks).await.unwrap();
    let number = async |id| store.memories_to_index(&[id]).await.unwrap()[0].parts[0].number;
    let (fine, refused) = (number(memories[0].id).await, number(memories[1].id).await);
    // On PostgreSQL the index knows of vectors.
    let without = async |store: &Store| store.check_memory(Some(embedder)).await.unwrap().drift.without_vector;
    let vectorless = if bed.is_sqlite() { [2, 1] } else { [0, 0] };
    assert_eq!(without(&store).await, vectorless[0]);
    store.note_refusals(embedder, &[refused, 987_654]).await.unwrap();
    store.note_refusals(embedder, &[refused]).await.unwrap();
    assert_eq!(without(&store).await, vectorless[1]);
    assert_eq!(store.check_memory(Some(embedder)).await.unwrap().refused, 1);
    assert_eq!(store.refusals(embedder, &[fine, refused]).await.unwrap(), [refused].into());
    assert!(store.refusals(EmbedderId::new(), &[fine, refused]).await.unwrap().is_empty(), "another's");

    let update = MemoryUpdate { text: Some("changed".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, memories[1].id, &update, at(3)).await.unwrap();
    assert_eq!(store.count_refusals(embedder).await.unwrap(), 0, "a new text is tried anew");
    store.note_refusals(embedder, &[fine]).await.unwrap();
    store.forget_refusals(embedder).await.unwrap();
    assert_eq!(store.count_refusals(embedder).await.unwrap(), 0);
}

async fn what_was_said_before_memory_is_remembered_once_and_in_its_place(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    let turn = begin(&store, home, &["where is the key", " "]);
    let (conversation, question) = (turn.conversation_id, turn.messages[0].id);
    let seqs: Vec<i64> = turn.messages.iter().map(|message| message.seq).collect();
    store.start_turn(turn).await.unwrap();
    store.finish_turn(finish(&store, home, conversation, "under the mat", 2)).await.unwrap();
    assert_eq!(store.remember_history(foreign, None, at(3)).await.unwrap().last, None);

    let step = store.remember_history(home, None, at(3)).await.unwrap();
    assert_eq!(step.remembered, 2, "what says nothing is no memory");
    assert_eq!(store.remember_history(home, step.last, at(3)).await.unwrap().last, None);
    assert_eq!(store.remember_history(home, None, at(3)).await.unwrap().last, None, "twice is as good as once");
    // Of a conversation of which something is remembered nobody knows who said the rest.
    let question_memory = MemoryId::of_message(question);
    store.delete_memory(home, question_memory, at(3)).await.unwrap();
    assert_eq!(store.remember_history(home, None, at(3)).await.unwrap().last, None);
    store.forget(home, &Forgotten::Conversation(conversation), at(3)).await.unwrap();
    assert_eq!(store.remember_history(home, None, at(3)).await.unwrap().remembered, 2);
    let memory = store.memory(home, MemoryId::of_message(question)).await.unwrap();
    assert_eq!((memory.scope.user.as_str(), memory.seq, memory.created_at), ("owner", seqs[0], at(1)));
    assert_eq!((memory.conversation, memory.message), (Some(conversation), Some(question)));
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 2, "their vectors and windows are made");
    let filter = MemoryFilter { conversation: Some(conversation), ..MemoryFilter::default() };
    let listed = store.memories(home, &MemoryList { filter, limit: 9, ..MemoryList::default() }).await.unwrap();
    assert_eq!(listed.memories.len(), 2);
}
