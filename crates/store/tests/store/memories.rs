//! Memories: kept with their messages or alone, changed, deleted, and never left behind; the outbox in step with them.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::id::{ConversationId, DocumentId, MessageId, ProjectId};
use privet_domain::memory::{
    Memory, MemoryFilter, MemoryId, MemoryKind, MemoryScope, NewMemory, NewRepresentation, Representation,
};
use privet_store::{
    EmbedderState, Forgotten, MemoryList, MemoryUpdate, NewEmbedder, Store, StoreError, TurnFinish, TurnStart,
};

use crate::bed::{Bed, at, begin, finish, go_on, on_both_databases, project, withdrawal};

on_both_databases!(
    a_message_and_its_memory_are_written_together_or_not_at_all,
    keeping_the_same_memory_twice_is_harmless,
    a_window_holds_the_neighbours_and_follows_them,
    a_deleted_message_is_in_no_window,
    an_edited_message_is_remembered_as_it_is_now,
    a_withdrawn_turn_is_not_remembered,
    a_deleted_conversation_is_forgotten,
    an_erased_user_is_forgotten,
    a_new_text_is_a_new_version_and_the_old_one_is_history,
    memories_are_listed_by_user_kind_time_and_conversation,
    memories_of_others_are_not_found,
    memories_go_when_their_time_is_over,
    a_document_is_forgotten_in_small_steps,
    long_texts_are_forgotten_so_that_other_writes_come_between,
    a_memory_stands_in_the_outbox_once_and_is_claimed_by_one,
    a_task_whose_memory_changed_while_it_was_done_is_done_again,
    a_task_that_somebody_else_has_done_meanwhile_comes_again_once,
    a_task_that_failed_waits_longer_each_time,
    one_embedder_is_active_and_another_takes_its_place_at_once,
    every_memory_is_passed_when_all_are_indexed_anew,
    deleting_everything_leaves_no_row,
);

pub(crate) fn note(scope: &MemoryScope, text: &str, second: i64) -> NewMemory {
    NewMemory::new(MemoryId::new(), scope.clone(), MemoryKind::Note, text, at(second))
}

/// What is remembered of the messages of a turn, for the user `owner`.
fn remembered(turn: &TurnStart) -> Vec<NewMemory> {
    let scope = MemoryScope::new(turn.project_id, "owner");
    turn.messages
        .iter()
        .map(|message| NewMemory {
            conversation: Some(turn.conversation_id),
            message: Some(message.id),
            role: Some(message.role.to_owned()),
            seq: message.seq,
            ..NewMemory::new(
                MemoryId::of_message(message.id),
                scope.clone(),
                MemoryKind::Message,
                &message.content,
                turn.at,
            )
        })
        .collect()
}

fn with_memories(turn: TurnStart) -> TurnStart {
    TurnStart { memories: remembered(&turn), ..turn }
}

fn with_memory(turn: TurnFinish) -> TurnFinish {
    let started = TurnStart {
        project_id: turn.project_id,
        conversation_id: turn.conversation_id,
        new_for_user: None,
        messages: turn.messages.clone(),
        memories: vec![],
        at: turn.at,
    };
    TurnFinish { memories: remembered(&started), ..turn }
}

/// A conversation of a question and an answer, and one more question, all remembered.
pub(crate) async fn talked(store: &Store, home: ProjectId) -> (ConversationId, Vec<MessageId>) {
    let first = with_memories(begin(store, home, &["where is the key"]));
    let id = first.conversation_id;
    let mut messages: Vec<MessageId> = first.messages.iter().map(|message| message.id).collect();
    store.start_turn(first).await.unwrap();
    let answer = with_memory(finish(store, home, id, "under the mat", 2));
    messages.extend(answer.messages.iter().map(|message| message.id));
    store.finish_turn(answer).await.unwrap();
    let second = with_memories(go_on(store, home, id, &["thanks"]));
    messages.extend(second.messages.iter().map(|message| message.id));
    store.start_turn(second).await.unwrap();
    weave(store, 2).await;
    (id, messages)
}

/// The texts of a memory's representations.
pub(crate) async fn texts(store: &Store, id: MemoryId) -> Vec<(Representation, String)> {
    let mut memories = store.memories_to_index(&[id]).await.unwrap();
    let mut parts: Vec<_> = memories
        .pop()
        .into_iter()
        .flat_map(|memory| memory.parts)
        .map(|part| (part.representation, part.text))
        .collect();
    parts.sort();
    parts
}

async fn window(store: &Store, message: MessageId) -> String {
    let texts = texts(store, MemoryId::of_message(message)).await;
    let windows: Vec<String> =
        texts.into_iter().filter(|(kind, _)| *kind == Representation::Window).map(|(_, text)| text).collect();
    assert_eq!(windows.len(), 1, "{windows:?}");
    windows[0].clone()
}

async fn listed(store: &Store, project: ProjectId, filter: MemoryFilter) -> Vec<String> {
    let list = MemoryList { filter, limit: 100, ..MemoryList::default() };
    store.memories(project, &list).await.unwrap().memories.into_iter().map(|memory| memory.text).collect()
}

/// Every row that memories leave.
async fn rows(bed: &Bed) -> i64 {
    let everywhere = "SELECT (SELECT count(*) FROM memories) + (SELECT count(*) FROM memory_representations) \
         + (SELECT count(*) FROM memory_history)";
    let words = "SELECT count(*) FROM memory_terms_docsize";
    bed.number(everywhere).await + if bed.is_sqlite() { bed.number(words).await } else { 0 }
}

/// So long what was asked waits for its answer before its task is due.
const ANSWER_WAIT_SECONDS: i64 = 60;

/// Does what a worker does first.
async fn weave(store: &Store, second: i64) {
    let tasks = store.claim_outbox(1000, Duration::ZERO, at(second + ANSWER_WAIT_SECONDS)).await.unwrap();
    let ids: Vec<MemoryId> = tasks.into_iter().map(|task| task.memory).collect();
    store.weave_windows(&ids, at(second)).await.unwrap();
}

async fn outbox(store: &Store, second: i64) -> Vec<MemoryId> {
    let due = at(second + ANSWER_WAIT_SECONDS);
    let tasks = store.claim_outbox(1000, Duration::from_secs(60), due).await.unwrap();
    store.acknowledge_outbox(&tasks).await.unwrap();
    tasks.into_iter().map(|task| task.memory).collect()
}

async fn a_message_and_its_memory_are_written_together_or_not_at_all(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let unknown = with_memories(go_on(&store, home, ConversationId::new(), &["lost"]));
    assert!(matches!(store.start_turn(unknown).await, Err(StoreError::NotFound)));
    assert_eq!((rows(bed).await, outbox(&store, 1).await.len()), (0, 0));

    let turn = with_memories(begin(&store, home, &["hello"]));
    let (message, id) = (turn.messages[0].id, MemoryId::of_message(turn.messages[0].id));
    store.start_turn(turn).await.unwrap();
    let memory = store.memory(home, id).await.unwrap();
    assert_eq!((memory.message, memory.text.as_str(), memory.version), (Some(message), "hello", 1));
    assert_eq!((memory.created_at, memory.role.as_deref()), (at(1), Some("user")));
    assert_eq!(texts(&store, id).await, [(Representation::Text, "user: hello".to_owned())]);
    store.weave_windows(&[id, MemoryId::new()], at(1)).await.unwrap();
    let both = [Representation::Text, Representation::Window].map(|kind| (kind, "user: hello".to_owned()));
    assert_eq!(texts(&store, id).await, both);
    assert_eq!(outbox(&store, 1).await, [id]);
}

async fn keeping_the_same_memory_twice_is_harmless(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let first = note(&scope, "first", 1);
    let second = NewMemory { text: "second".to_owned(), ..first.clone() };
    assert_eq!(store.add_memories(&[first.clone(), second.clone()], at(1)).await.unwrap(), 1);
    assert_eq!(store.add_memories(&[second, note(&scope, "other", 2)], at(2)).await.unwrap(), 1);
    assert_eq!(store.memory(scope.project, first.id).await.unwrap().text, "first");
    assert_eq!(texts(&store, first.id).await, [(Representation::Text, "first".to_owned())]);
    assert_eq!(outbox(&store, 2).await.len(), 2);
}

async fn a_window_holds_the_neighbours_and_follows_them(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (_, messages) = talked(&store, home).await;
    let [first, second, third] = messages[..] else { panic!("three messages") };
    assert_eq!(window(&store, first).await, "user: where is the key\nassistant: under the mat");
    assert_eq!(
        window(&store, second).await,
        "user: where is the key\nassistant: under the mat",
        "it answers what was before"
    );
    assert_eq!(window(&store, third).await, "assistant: under the mat\nuser: thanks");
}

async fn a_deleted_message_is_in_no_window(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (_, messages) = talked(&store, home).await;
    let [first, second, third] = messages[..] else { panic!("three messages") };
    outbox(&store, 3).await;
    store.delete_message(home, second, at(4)).await.unwrap();
    assert!(matches!(store.memory(home, MemoryId::of_message(second)).await, Err(StoreError::NotFound)));
    assert_eq!(window(&store, first).await, "user: where is the key\nuser: thanks");
    assert_eq!(window(&store, third).await, "user: where is the key\nuser: thanks");
    assert_eq!(outbox(&store, 5).await.len(), 3, "the two whose windows changed, and the one that is gone");

    store.delete_memory(home, MemoryId::of_message(third), at(6)).await.unwrap();
    assert_eq!(window(&store, first).await, "user: where is the key", "also when only the memory is deleted");
}

async fn an_edited_message_is_remembered_as_it_is_now(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (_, messages) = talked(&store, home).await;
    let [first, second, _] = messages[..] else { panic!("three messages") };
    store.edit_message(home, second, "in the drawer", None, at(9)).await.unwrap();
    let id = MemoryId::of_message(second);
    let memory = store.memory(home, id).await.unwrap();
    assert_eq!((memory.text.as_str(), memory.version, memory.updated_at), ("in the drawer", 2, at(9)));
    assert_eq!(texts(&store, id).await[0].1, "assistant: in the drawer");
    assert_eq!(window(&store, first).await, "user: where is the key\nassistant: in the drawer");
    assert!(store.memory_history(home, id).await.unwrap().is_empty(), "what was edited away is not kept");
    let left = "SELECT count(*) FROM memory_representations WHERE text LIKE '%mat%'";
    assert_eq!(bed.number(left).await, 0);
}

async fn a_withdrawn_turn_is_not_remembered(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (id, messages) = talked(&store, home).await;
    let turn = with_memories(go_on(&store, home, id, &["never asked"]));
    let (withdrawn, doomed) = (withdrawal(&turn), MemoryId::of_message(turn.messages[0].id));
    store.start_turn(turn).await.unwrap();
    weave(&store, 2).await;
    assert!(window(&store, messages[2]).await.ends_with("never asked"));
    outbox(&store, 3).await;
    store.withdraw_turn(withdrawn).await.unwrap();
    assert!(matches!(store.memory(home, doomed).await, Err(StoreError::NotFound)));
    assert_eq!(window(&store, messages[2]).await, "assistant: under the mat\nuser: thanks");
    assert!(outbox(&store, 1_000_000_000).await.contains(&doomed));
}

async fn a_deleted_conversation_is_forgotten(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (kept, _) = talked(&store, home).await;
    let kept_rows = rows(bed).await;
    let (doomed, _) = talked(&store, home).await;
    let scope = MemoryScope::new(home, "ada");
    let beside = NewMemory { conversation: Some(doomed), ..note(&scope, "noted beside it", 3) };
    store.add_memories(&[beside], at(3)).await.unwrap();
    outbox(&store, 4).await;
    store.delete_conversation(home, doomed, at(5)).await.unwrap();
    assert_eq!(rows(bed).await, kept_rows);
    assert_eq!(outbox(&store, 6).await.len(), 4, "the index is told");
    let filter = MemoryFilter { conversation: Some(kept), ..MemoryFilter::default() };
    assert_eq!(listed(&store, home, filter).await.len(), 3);
}

async fn an_erased_user_is_forgotten(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let bob = MemoryScope::new(home, "bob");
    let (own, _) = talked(&store, home).await;
    let elsewhere = NewMemory { conversation: Some(ConversationId::new()), ..note(&bob, "kept", 1) };
    let of_bob = NewMemory { conversation: Some(own), ..note(&bob, "in the owner's conversation", 1) };
    let loose = note(&MemoryScope::new(home, "owner"), "loose", 1);
    store.add_memories(&[elsewhere, of_bob, loose], at(2)).await.unwrap();
    let erased = store.erase_user(home, "owner", "erased-1", at(3)).await.unwrap();
    assert_eq!((erased.memories, erased.messages, erased.conversations), (5, 3, 1));
    assert_eq!(listed(&store, home, MemoryFilter::default()).await, ["kept"]);
}

async fn a_new_text_is_a_new_version_and_the_old_one_is_history(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let new = NewMemory {
        metadata: Some(r#"{"a":1}"#.to_owned()),
        representations: vec![NewRepresentation {
            representation: Representation::Facts,
            text: "Ada likes tea".to_owned(),
        }],
        ..note(&scope, "I like tea", 1)
    };
    store.add_memories(std::slice::from_ref(&new), at(1)).await.unwrap();
    assert_eq!(texts(&store, new.id).await.len(), 2);
    let text = |text: &str| MemoryUpdate { text: Some(text.to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, new.id, &text("I like coffee"), at(2)).await.unwrap();
    store.update_memory(scope.project, new.id, &text("I like coffee"), at(3)).await.unwrap();
    let update = MemoryUpdate { metadata: Some(None), ..text("I like water") };
    let memory = store.update_memory(scope.project, new.id, &update, at(4)).await.unwrap();
    assert_eq!((memory.version, memory.text.as_str(), memory.metadata.as_deref()), (3, "I like water", None));
    assert_eq!(store.memory(scope.project, new.id).await.unwrap(), memory);
    assert_eq!(texts(&store, new.id).await, [(Representation::Text, "I like water".to_owned())]);
    let history = store.memory_history(scope.project, new.id).await.unwrap();
    let told: Vec<_> = history.iter().map(|old| (old.version, old.text.as_str(), old.changed_at)).collect();
    assert_eq!(told, [(2, "I like coffee", at(4)), (1, "I like tea", at(2))]);
    let unknown = store.update_memory(scope.project, MemoryId::new(), &text("x"), at(5)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
}

async fn memories_are_listed_by_user_kind_time_and_conversation(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (ada, bob) = (MemoryScope::new(home, "ada"), MemoryScope::new(home, "bob"));
    let talk = ConversationId::new();
    let memories = [
        note(&ada, "1", 1),
        NewMemory { kind: MemoryKind::Fact, ..note(&ada, "2", 2) },
        NewMemory { conversation: Some(talk), ..note(&bob, "3", 3) },
        note(&bob, "4", 4),
    ];
    store.add_memories(&memories, at(9)).await.unwrap();
    let open = MemoryFilter::default();
    assert_eq!(listed(&store, home, open.clone()).await, ["4", "3", "2", "1"]);
    let by = |filter: MemoryFilter| listed(&store, home, filter);
    assert_eq!(by(MemoryFilter { kind: Some(MemoryKind::Fact), ..open.clone() }).await, ["2"]);
    let (since, until) = (Some(at(2)), Some(at(4)));
    assert_eq!(by(MemoryFilter { since, until, ..open.clone() }).await, ["3", "2"]);
    assert_eq!(by(MemoryFilter { conversation: Some(talk), ..open.clone() }).await, ["3"]);
    assert_eq!(by(MemoryFilter { exclude_conversation: Some(talk), ..open }).await, ["4", "2", "1"]);

    let mut list = MemoryList { user: Some("bob".to_owned()), limit: 1, ..MemoryList::default() };
    let mut pages = vec![];
    loop {
        let page = store.memories(home, &list).await.unwrap();
        pages.extend(page.memories.into_iter().map(|memory| memory.text));
        list.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["4", "3"]);
}

async fn memories_of_others_are_not_found(bed: &Bed) {
    let store = bed.open().await;
    let (home, other) = (project(&store, "home").await, project(&store, "other").await);
    let (ada, bob) = (MemoryScope::new(home, "ada"), MemoryScope::new(home, "bob"));
    let mine = note(&ada, "mine", 1);
    store.add_memories(std::slice::from_ref(&mine), at(1)).await.unwrap();
    assert!(matches!(store.memory(other, mine.id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delete_memory(other, mine.id, at(2)).await, Err(StoreError::NotFound)));
    assert_eq!(store.forget(other, &Forgotten::User("ada".to_owned()), at(2)).await.unwrap(), 0);
    assert!(store.memories_of(&bob, &[mine.id], at(2)).await.unwrap().is_empty());
    assert!(store.memories_of(&MemoryScope::new(other, "ada"), &[mine.id], at(2)).await.unwrap().is_empty());
    let found: Vec<Memory> = store.memories_of(&ada, &[mine.id, MemoryId::new()], at(2)).await.unwrap();
    assert_eq!(found.iter().map(|memory| memory.id).collect::<Vec<_>>(), [mine.id]);
}

async fn memories_go_when_their_time_is_over(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let until = |second| NewMemory { expires_at: Some(at(second)), ..note(&scope, "for a while", 1) };
    let memories = [until(10), until(20), note(&scope, "for ever", 1)];
    store.add_memories(&memories, at(1)).await.unwrap();
    let ids = memories.each_ref().map(|memory| memory.id);
    assert_eq!(store.memories_of(&scope, &ids, at(10)).await.unwrap().len(), 2, "not found when its time is over");
    assert_eq!(store.expire_memories(at(9)).await.unwrap(), 0);
    assert_eq!(store.expire_memories(at(10)).await.unwrap(), 1);
    let forever = MemoryUpdate { expires_at: Some(None), ..MemoryUpdate::default() };
    store.update_memory(scope.project, ids[1], &forever, at(11)).await.unwrap();
    assert_eq!(store.expire_memories(at(99)).await.unwrap(), 0);
    assert_eq!(bed.number("SELECT count(*) FROM memories").await, 2);
}

async fn a_document_is_forgotten_in_small_steps(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "");
    let (doomed, kept) = (DocumentId::new(), DocumentId::new());
    let piece = |document, number: u32| NewMemory {
        id: MemoryId::of_piece(document, number),
        kind: MemoryKind::Document,
        document: Some(document),
        seq: i64::from(number),
        ..note(&scope, &format!("piece {number}"), 1)
    };
    let mut pieces: Vec<NewMemory> = (0..450).map(|number| piece(doomed, number)).collect();
    pieces.push(piece(kept, 0));
    assert_eq!(store.add_memories(&pieces, at(1)).await.unwrap(), 451);
    assert_eq!(store.forget(scope.project, &Forgotten::Document(doomed), at(2)).await.unwrap(), 450);
    assert_eq!(bed.number("SELECT count(*) FROM memories").await, 1);
    assert_eq!(bed.number("SELECT count(*) FROM memory_representations").await, 1);
}

async fn long_texts_are_forgotten_so_that_other_writes_come_between(bed: &Bed) {
    let store = Arc::new(bed.open().await);
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let long = |number: i64| {
        let words: Vec<String> =
            (0..4_000).map(|word| format!("w{:x}", (word * 7_919 + number * 104_729) % 99_991)).collect();
        note(&scope, &words.join(" "), number)
    };
    let memories: Vec<NewMemory> = (0..50).map(long).collect();
    store.add_memories(&memories, at(1)).await.unwrap();
    let forgetting = {
        let (store, project) = (store.clone(), scope.project);
        tokio::spawn(async move { store.forget(project, &Forgotten::User("ada".to_owned()), at(2)).await })
    };
    let other = MemoryScope::new(scope.project, "bob");
    let mut between = 0;
    while !forgetting.is_finished() {
        store.add_memories(&[note(&other, "short", between)], at(3)).await.unwrap();
        between += 1;
    }
    assert_eq!(forgetting.await.unwrap().unwrap(), 50);
    assert!(between > 10, "{between} writes came between");
}

async fn a_memory_stands_in_the_outbox_once_and_is_claimed_by_one(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let memories: Vec<NewMemory> = (0..10).map(|number| note(&scope, &number.to_string(), number)).collect();
    store.add_memories(&memories, at(1)).await.unwrap();
    for text in ["a", "b"] {
        let update = MemoryUpdate { text: Some(text.to_owned()), ..MemoryUpdate::default() };
        store.update_memory(scope.project, memories[0].id, &update, at(2)).await.unwrap();
    }
    let depth = store.outbox_depth().await.unwrap();
    assert_eq!((depth.tasks, depth.since), (10, Some(at(1))));
    let lease = Duration::from_secs(30);
    let (one, other) = tokio::join!(store.claim_outbox(6, lease, at(3)), store.claim_outbox(6, lease, at(3)));
    let mut claimed: Vec<MemoryId> = one.unwrap().into_iter().chain(other.unwrap()).map(|task| task.memory).collect();
    claimed.extend(store.claim_outbox(6, lease, at(3)).await.unwrap().into_iter().map(|task| task.memory));
    claimed.sort();
    let count = claimed.len();
    claimed.dedup();
    assert_eq!((count, claimed.len()), (10, 10), "each by one");
    assert!(store.claim_outbox(99, lease, at(32)).await.unwrap().is_empty());
    assert_eq!(store.claim_outbox(99, lease, at(33)).await.unwrap().len(), 10, "the lease is over");
}

async fn a_task_whose_memory_changed_while_it_was_done_is_done_again(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let new = note(&scope, "old", 1);
    store.add_memories(std::slice::from_ref(&new), at(1)).await.unwrap();
    let lease = Duration::from_secs(60);
    let claimed = store.claim_outbox(9, lease, at(2)).await.unwrap();
    let update = MemoryUpdate { text: Some("new".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, new.id, &update, at(3)).await.unwrap();
    store.acknowledge_outbox(&claimed).await.unwrap();
    let again = store.claim_outbox(9, lease, at(3)).await.unwrap();
    assert_eq!(again.iter().map(|task| (task.memory, task.attempts)).collect::<Vec<_>>(), [(new.id, 1)]);
    store.acknowledge_outbox(&again).await.unwrap();

    // What is enqueued after that is another task: who still holds the old one does not take it away.
    store.enqueue_memories(&[(new.id, scope.project)], at(4)).await.unwrap();
    store.acknowledge_outbox(&claimed).await.unwrap();
    store.acknowledge_outbox(&again).await.unwrap();
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 1);
}

/// A worker that was late may have put into the index what another has removed since: its task is done again by somebody.
async fn a_task_that_somebody_else_has_done_meanwhile_comes_again_once(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let new = note(&scope, "x", 1);
    store.add_memories(std::slice::from_ref(&new), at(1)).await.unwrap();
    let late = store.claim_outbox(9, Duration::from_secs(5), at(2)).await.unwrap();
    store.delete_memory(scope.project, new.id, at(3)).await.unwrap();
    let removal = store.claim_outbox(9, Duration::from_secs(5), at(20)).await.unwrap();
    assert_eq!(removal.iter().map(|task| task.memory).collect::<Vec<_>>(), [new.id]);
    store.acknowledge_outbox(&removal).await.unwrap();
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 0);
    store.acknowledge_outbox(&late).await.unwrap();
    let again = store.claim_outbox(9, Duration::from_secs(5), at(20)).await.unwrap();
    assert_eq!(again.iter().map(|task| task.memory).collect::<Vec<_>>(), [new.id]);
    store.acknowledge_outbox(&again).await.unwrap();
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 0);
}

async fn a_task_that_failed_waits_longer_each_time(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    store.add_memories(&[note(&scope, "x", 1)], at(0)).await.unwrap();
    let mut now = 0;
    for waits in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
        let tasks = store.claim_outbox(9, Duration::from_secs(5), at(now)).await.unwrap();
        assert_eq!(tasks.len(), 1);
        store.retry_outbox(&tasks, at(now)).await.unwrap();
        assert!(store.claim_outbox(9, Duration::from_secs(5), at(now + waits - 1)).await.unwrap().is_empty());
        now += waits;
    }
}

async fn one_embedder_is_active_and_another_takes_its_place_at_once(bed: &Bed) {
    let store = bed.open().await;
    let new = |name: &str, state| NewEmbedder {
        name: name.to_owned(),
        provider: "openai".to_owned(),
        model: "text-embedding-3-large".to_owned(),
        dimensions: 3072,
        state,
    };
    let first = store.create_embedder(&new("first", EmbedderState::Active), at(1)).await.unwrap();
    for taken in [new("second", EmbedderState::Active), new("first", EmbedderState::Building)] {
        assert!(matches!(store.create_embedder(&taken, at(2)).await, Err(StoreError::Exists(_))));
    }
    let second = store.create_embedder(&new("second", EmbedderState::Building), at(2)).await.unwrap();
    store.advance_embedder(second.id, 70, at(3)).await.unwrap();
    store.advance_embedder(second.id, 50, at(4)).await.unwrap();
    assert!(matches!(store.delete_embedder(first.id).await, Err(StoreError::NotFound)), "it is in use");
    store.activate_embedder(second.id, at(5)).await.unwrap();
    let kept = store.embedders().await.unwrap();
    let states: Vec<_> = kept.iter().map(|kept| (kept.name.as_str(), kept.state, kept.progress)).collect();
    assert_eq!(states, [("first", EmbedderState::Old, 0), ("second", EmbedderState::Active, 70)]);
    store.activate_embedder(first.id, at(6)).await.unwrap();
    store.rebuild_embedder(second.id, at(7)).await.unwrap();
    assert_eq!(store.embedders().await.unwrap()[1].state, EmbedderState::Building);
    store.delete_embedder(second.id).await.unwrap();
    assert_eq!(store.embedders().await.unwrap().len(), 1);
    assert!(matches!(store.activate_embedder(second.id, at(8)).await, Err(StoreError::NotFound)));
    assert_eq!(store.embedders().await.unwrap()[0].state, EmbedderState::Active, "nothing was switched");
}

async fn every_memory_is_passed_when_all_are_indexed_anew(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let scope = MemoryScope::new(home, "ada");
    let memories: Vec<NewMemory> = (0..150).map(|number| note(&scope, &number.to_string(), number)).collect();
    store.add_memories(&memories, at(1)).await.unwrap();
    talked(&store, home).await;
    let (mut passed, mut after, mut steps) = (vec![], 0, 0);
    loop {
        let (page, next) = store.memories_from(after, 20).await.unwrap();
        passed.extend(page.into_iter().map(|memory| memory.id));
        steps += 1;
        let Some(next) = next else { break };
        after = next;
    }
    passed.sort();
    passed.dedup();
    assert_eq!((passed.len(), steps), (153, 8));
    let mut versions = store.memory_versions(None, 100).await.unwrap();
    versions.extend(store.memory_versions(versions.last().map(|last| last.id), 100).await.unwrap());
    assert_eq!(versions.iter().map(|version| version.id).collect::<Vec<_>>(), passed);
}

async fn deleting_everything_leaves_no_row(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (id, messages) = talked(&store, home).await;
    let update = MemoryUpdate { text: Some("under the stone".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(home, MemoryId::of_message(messages[1]), &update, at(5)).await.unwrap();
    assert!(rows(bed).await > 6);
    store.delete_conversation(home, id, at(6)).await.unwrap();
    assert_eq!(rows(bed).await, 0);
    outbox(&store, 7).await;
    assert_eq!(store.outbox_depth().await.unwrap().tasks, 0);
}
