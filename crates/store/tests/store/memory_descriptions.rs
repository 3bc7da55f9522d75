//! Descriptions of memories: who waits for one, who makes it, and that nothing of a text that changed or went lives on in one.

use std::time::Duration;

use privet_domain::id::{DocumentId, ProjectId};
use privet_domain::memory::{MemoryId, MemoryKind, MemoryScope, NewMemory, NewRepresentation, Representation};
use privet_store::{Again, DescriptionCounts, DescriptionTask, Forgotten, MemoryUpdate, Store};

use crate::bed::{Bed, at, on_both_databases, project};
use crate::memories::{note, talked, texts};

on_both_databases!(
    what_is_worth_it_waits_once_and_the_newest_comes_first,
    what_was_there_before_is_found_by_a_sweep,
    a_claimed_memory_is_nobody_elses_until_its_lease_is_over,
    what_failed_waits_longer_each_time_and_what_was_given_up_only_for_a_call,
    projects_are_passed_one_after_the_other,
    a_description_of_an_old_text_is_refused_and_made_anew,
    what_is_described_again_keeps_what_it_has_until_then,
    a_text_that_became_too_short_waits_no_more,
    an_answer_is_shown_with_its_question_and_a_piece_between_its_neighbours,
    what_was_made_with_a_text_in_view_goes_when_that_changes_or_goes,
    a_text_beside_that_changed_meanwhile_makes_a_description_void,
    what_is_deleted_leaves_no_task,
);

const LEASE: Duration = Duration::from_secs(60);
const BYTES_MIN: usize = 8;

fn fact(text: &str) -> NewRepresentation {
    NewRepresentation { representation: Representation::Facts, text: text.to_owned() }
}

async fn claim(store: &Store, project: ProjectId, second: i64) -> Vec<DescriptionTask> {
    store.claim_descriptions(project, 9, LEASE, BYTES_MIN, at(second)).await.unwrap()
}

async fn claimed(store: &Store, project: ProjectId, second: i64) -> Vec<String> {
    let mut tasks = claim(store, project, second).await;
    tasks.sort_by_key(|task| task.memory.created_at);
    tasks.into_iter().map(|task| task.memory.text).collect()
}

async fn counts(store: &Store) -> (u64, u64, u64) {
    let DescriptionCounts { waiting, made, given_up } = store.description_counts(None).await.unwrap();
    (waiting, made, given_up)
}

/// The facts of a memory.
async fn facts(store: &Store, id: MemoryId) -> Vec<String> {
    let texts = texts(store, id).await.into_iter();
    texts.filter(|(kind, _)| *kind == Representation::Facts).map(|(_, text)| text).collect()
}

/// A memory of this text that waits for its description.
async fn waiting(store: &Store, scope: &MemoryScope, text: &str, second: i64) -> MemoryId {
    let new = note(scope, text, second);
    store.add_memories(std::slice::from_ref(&new), at(second)).await.unwrap();
    store.queue_descriptions(&[new.id], BYTES_MIN, at(second)).await.unwrap();
    new.id
}

async fn what_is_worth_it_waits_once_and_the_newest_comes_first(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let told = NewMemory { representations: vec![fact("as imported")], ..note(&scope, "described already", 4) };
    let memories = [note(&scope, "the first", 1), note(&scope, "short", 2), note(&scope, "the second", 3), told];
    store.add_memories(&memories, at(4)).await.unwrap();
    let ids = memories.each_ref().map(|memory| memory.id);
    assert_eq!(store.queue_descriptions(&ids, BYTES_MIN, at(5)).await.unwrap(), 2);
    assert_eq!(store.queue_descriptions(&ids, BYTES_MIN, at(6)).await.unwrap(), 0);
    let first = store.claim_descriptions(scope.project, 1, LEASE, BYTES_MIN, at(7)).await.unwrap();
    assert_eq!(first[0].memory.text, "the second");
    assert_eq!(claimed(&store, scope.project, 7).await, ["the first"]);
}

async fn what_was_there_before_is_found_by_a_sweep(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let memories: Vec<NewMemory> =
        (0..1_203).map(|number| note(&scope, &format!("the note {number}"), number)).collect();
    store.add_memories(&memories, at(1)).await.unwrap();
    assert_eq!(store.sweep_descriptions(None, BYTES_MIN, at(2)).await.unwrap(), None, "they come by the outbox");
    bed.execute("DELETE FROM memory_outbox").await;
    let (mut before, mut steps) = (None, 0);
    loop {
        before = store.sweep_descriptions(before, BYTES_MIN, at(2)).await.unwrap();
        steps += 1;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((counts(&store).await, steps), ((1_203, 0, 0), 3));
    assert_eq!(claimed(&store, scope.project, 2).await.last().unwrap(), "the note 1202");
}

async fn a_claimed_memory_is_nobody_elses_until_its_lease_is_over(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let id = waiting(&store, &scope, "the key is under the mat", 1).await;
    let late = claim(&store, scope.project, 2).await;
    assert_eq!((late.len(), late[0].attempts), (1, 1));
    assert!(claim(&store, scope.project, 61).await.is_empty());
    let next = claim(&store, scope.project, 62).await;
    assert_eq!(next[0].attempts, 2);
    assert!(store.describe_memory(&next[0], &[fact("a key")], at(63)).await.unwrap());
    assert!(!store.describe_memory(&late[0], &[fact("two keys")], at(64)).await.unwrap(), "once is enough");
    assert_eq!(facts(&store, id).await, ["a key"]);
    assert_eq!(counts(&store).await, (0, 1, 0));
    assert!(claim(&store, scope.project, 999).await.is_empty());
}

async fn what_failed_waits_longer_each_time_and_what_was_given_up_only_for_a_call(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    waiting(&store, &scope, "the key is under the mat", 1).await;
    let mut second = 2;
    for (attempt, pause) in [(1, 30), (2, 60), (3, 120)] {
        let task = claim(&store, scope.project, second).await.pop().unwrap();
        assert_eq!((task.attempts, task.backoff()), (attempt, Duration::from_secs(pause)));
        store.postpone_description(&task, at(second).after(task.backoff()), false).await.unwrap();
        second += i64::try_from(pause).unwrap();
        assert!(claim(&store, scope.project, second - 1).await.is_empty());
    }
    let task = claim(&store, scope.project, second).await.pop().unwrap();
    store.postpone_description(&task, at(second), true).await.unwrap();
    let task = claim(&store, scope.project, second).await.pop().unwrap();
    assert_eq!(task.attempts, 4, "an attempt that does not count");
    store.give_up_description(&task).await.unwrap();
    assert!(claim(&store, scope.project, 99_999).await.is_empty());
    assert_eq!(store.describe_again(ProjectId::new(), Again::All, at(second)).await.unwrap(), 0);
    assert_eq!(store.describe_again(scope.project, Again::GivenUp, at(second)).await.unwrap(), 1);
    assert_eq!(claim(&store, scope.project, second).await[0].attempts, 1);
    store.release_descriptions(at(second)).await.unwrap();
    assert_eq!(claim(&store, scope.project, second).await.len(), 1, "who had it is dead");
}

async fn projects_are_passed_one_after_the_other(bed: &Bed) {
    let store = bed.open().await;
    let mut projects = [project(&store, "one").await, project(&store, "two").await];
    projects.sort_unstable();
    for project in projects {
        waiting(&store, &MemoryScope::new(project, ""), "the key is under the mat", 1).await;
    }
    let next = async |after| store.next_to_describe(after, at(2)).await.unwrap();
    assert_eq!(next(None).await, Some(projects[0]));
    assert_eq!(next(Some(projects[0])).await, Some(projects[1]));
    assert_eq!(next(Some(projects[1])).await, None);
    claim(&store, projects[0], 2).await;
    assert_eq!(next(None).await, Some(projects[1]), "nothing is due in the first");
}

async fn a_description_of_an_old_text_is_refused_and_made_anew(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let id = waiting(&store, &scope, "I moved to Kraków", 1).await;
    let old = claim(&store, scope.project, 2).await.pop().unwrap();
    let update = MemoryUpdate { text: Some("I moved to Gdańsk".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, id, &update, at(3)).await.unwrap();
    assert!(!store.describe_memory(&old, &[fact("Kraków")], at(4)).await.unwrap());
    store.give_up_description(&old).await.unwrap();
    store.postpone_description(&old, at(999), false).await.unwrap();
    let new = claim(&store, scope.project, 5).await.pop().unwrap();
    assert_eq!((new.memory.text.as_str(), new.attempts), ("I moved to Gdańsk", 1));
    assert!(store.describe_memory(&new, &[fact("Gdańsk"), fact("a city by the sea")], at(6)).await.unwrap());
    assert_eq!(facts(&store, id).await, ["Gdańsk", "a city by the sea"]);
    let told = store.descriptions_of(scope.project, id).await.unwrap();
    assert_eq!(told, [fact("Gdańsk"), fact("a city by the sea")]);
    assert!(store.descriptions_of(ProjectId::new(), id).await.unwrap().is_empty());
    let update = MemoryUpdate { text: Some("I moved to Poznań".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, id, &update, at(7)).await.unwrap();
    assert_eq!((facts(&store, id).await.len(), counts(&store).await), (0, (1, 0, 0)));
}

async fn what_is_described_again_keeps_what_it_has_until_then(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let id = waiting(&store, &scope, "I moved to Kraków", 1).await;
    let summary = NewRepresentation { representation: Representation::Summary, text: "A move".to_owned() };
    assert!(store.described_by(&scope).await.unwrap().is_empty());
    let task = claim(&store, scope.project, 2).await.pop().unwrap();
    assert!(store.describe_memory(&task, &[summary, fact("Kraków")], at(2)).await.unwrap());
    let there = store.described_by(&scope).await.unwrap();
    assert_eq!(there, [Representation::Summary, Representation::Facts]);
    assert!(store.described_by(&MemoryScope::new(scope.project, "bob")).await.unwrap().is_empty());
    assert_eq!(store.describe_again(scope.project, Again::GivenUp, at(3)).await.unwrap(), 0);
    assert_eq!(store.describe_again(scope.project, Again::All, at(3)).await.unwrap(), 1);
    assert_eq!(store.descriptions_of(scope.project, id).await.unwrap().len(), 2);
    let task = claim(&store, scope.project, 4).await.pop().unwrap();
    assert!(store.describe_memory(&task, &[fact("She lives in Kraków")], at(4)).await.unwrap());
    assert_eq!(store.descriptions_of(scope.project, id).await.unwrap(), [fact("She lives in Kraków")]);
}

async fn a_text_that_became_too_short_waits_no_more(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let id = waiting(&store, &scope, "I moved to Kraków", 1).await;
    let update = MemoryUpdate { text: Some("no".to_owned()), ..MemoryUpdate::default() };
    store.update_memory(scope.project, id, &update, at(2)).await.unwrap();
    assert!(claim(&store, scope.project, 3).await.is_empty());
    assert_eq!(counts(&store).await, (0, 0, 0));
}

async fn an_answer_is_shown_with_its_question_and_a_piece_between_its_neighbours(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (_, messages) = talked(&store, home).await;
    let answer = MemoryId::of_message(messages[1]);
    store.queue_descriptions(&[answer], BYTES_MIN, at(3)).await.unwrap();
    let task = claim(&store, home, 4).await.pop().unwrap();
    assert_eq!((task.memory.id, task.next), (answer, None));
    assert_eq!(task.previous.unwrap().text, "where is the key");

    let (document, foreign) = (DocumentId::new(), MemoryScope::new(home, "bob"));
    let piece = |scope: &MemoryScope, number: u32, text: &str| NewMemory {
        id: MemoryId::of_piece(document, number),
        kind: MemoryKind::Document,
        document: Some(document),
        seq: i64::from(number),
        ..note(scope, text, 1)
    };
    let own = MemoryScope::new(home, "ada");
    let pieces = [
        piece(&own, 0, "piece zero"),
        piece(&own, 1, "piece one"),
        piece(&own, 2, "piece two"),
        piece(&foreign, 3, "piece of another"),
    ];
    store.add_memories(&pieces, at(5)).await.unwrap();
    store.queue_descriptions(&pieces.each_ref().map(|piece| piece.id)[1..3], BYTES_MIN, at(5)).await.unwrap();
    let mut tasks = claim(&store, home, 6).await;
    tasks.sort_by_key(|task| task.memory.seq);
    let text = |memory: &Option<_>| memory.as_ref().map(|memory: &privet_domain::memory::Memory| memory.text.clone());
    let beside: Vec<_> = tasks.iter().map(|task| (text(&task.previous), text(&task.next))).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(beside, [(some("piece zero"), some("piece two")), (some("piece one"), None)]);
}

async fn what_was_made_with_a_text_in_view_goes_when_that_changes_or_goes(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (_, messages) = talked(&store, home).await;
    let answer = MemoryId::of_message(messages[1]);
    store.queue_descriptions(&[answer], BYTES_MIN, at(3)).await.unwrap();
    let describe = async |second| {
        let task = claim(&store, home, second).await.pop().unwrap();
        let made = [fact(&format!("of: {}", task.previous.as_ref().map_or("nothing", |beside| &beside.text)))];
        assert!(store.describe_memory(&task, &made, at(second)).await.unwrap());
        let tasks = store.claim_outbox(99, Duration::ZERO, at(99)).await.unwrap();
        store.acknowledge_outbox(&tasks).await.unwrap();
        facts(&store, answer).await
    };
    assert_eq!(describe(4).await, ["of: where is the key"]);
    store.edit_message(home, messages[0], "where is the lamp", None, at(5)).await.unwrap();
    assert_eq!((facts(&store, answer).await.len(), counts(&store).await), (0, (1, 0, 0)));
    let told = store.claim_outbox(99, Duration::ZERO, at(99)).await.unwrap();
    assert!(told.iter().any(|task| task.memory == answer), "the index is told");
    assert_eq!(describe(6).await, ["of: where is the lamp"]);
    store.delete_message(home, messages[0], at(7)).await.unwrap();
    assert_eq!((facts(&store, answer).await.len(), counts(&store).await), (0, (1, 0, 0)));
    assert_eq!(describe(8).await, ["of: nothing"]);
}

async fn a_text_beside_that_changed_meanwhile_makes_a_description_void(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (_, messages) = talked(&store, home).await;
    let answer = MemoryId::of_message(messages[1]);
    store.queue_descriptions(&[answer], BYTES_MIN, at(3)).await.unwrap();
    let old = claim(&store, home, 4).await.pop().unwrap();
    // What the schema's own note of the neighbour would miss is seen by its version.
    bed.execute("UPDATE memory_descriptions SET previous_id = NULL").await;
    store.edit_message(home, messages[0], "where is the lamp", None, at(5)).await.unwrap();
    assert!(!store.describe_memory(&old, &[fact("a key")], at(6)).await.unwrap());
    assert!(facts(&store, answer).await.is_empty());
    let new = claim(&store, home, 6).await.pop().unwrap();
    assert_eq!(new.previous.unwrap().text, "where is the lamp");
}

async fn what_is_deleted_leaves_no_task(bed: &Bed) {
    let store = bed.open().await;
    let scope = MemoryScope::new(project(&store, "home").await, "ada");
    let id = waiting(&store, &scope, "the key is under the mat", 1).await;
    waiting(&store, &scope, "the lamp is on the desk", 1).await;
    let (_, messages) = talked(&store, scope.project).await;
    store.queue_descriptions(&[MemoryId::of_message(messages[0])], BYTES_MIN, at(2)).await.unwrap();
    let task = claim(&store, scope.project, 3).await.into_iter().find(|task| task.memory.id == id).unwrap();
    assert_eq!(counts(&store).await, (3, 0, 0));
    store.delete_memory(scope.project, id, at(4)).await.unwrap();
    assert!(!store.describe_memory(&task, &[fact("a key")], at(5)).await.unwrap());
    assert_eq!(counts(&store).await, (2, 0, 0));
    store.delete_message(scope.project, messages[0], at(6)).await.unwrap();
    store.forget(scope.project, &Forgotten::User("ada".to_owned()), at(6)).await.unwrap();
    assert_eq!(counts(&store).await, (0, 0, 0));
    assert_eq!(bed.number("SELECT COUNT(*) FROM memory_representations WHERE kind = 'facts'").await, 0);
}
