//! Answers kept for the same question: whose they are, how long they count, and with what they go.

use privet_domain::id::{ConversationId, ProjectId};
use privet_store::{NewCachedAnswer, Store};

use crate::bed::{Bed, at, begun, on_both_databases, project};

on_both_databases!(
    an_answer_is_found_by_its_question_in_its_project_and_a_later_one_takes_its_place,
    an_answer_counts_until_its_time_and_is_purged_then,
    of_too_many_the_oldest_go,
    an_answer_goes_with_its_conversation_its_message_and_its_user,
);

fn answer(project_id: ProjectId, question: u8, text: &str) -> NewCachedAnswer {
    NewCachedAnswer {
        project_id,
        request_hash: [question; 32],
        user_id: "adam".to_owned(),
        conversation_id: None,
        provider: "openai".to_owned(),
        model: "gpt-4o".to_owned(),
        answer: text.to_owned(),
        at: at(1),
        expires_at: at(100),
    }
}

async fn found(store: &Store, project: ProjectId, question: u8, second: i64) -> Option<String> {
    store.cached_answer(project, &[question; 32], at(second)).await.unwrap().map(|kept| kept.answer)
}

async fn an_answer_is_found_by_its_question_in_its_project_and_a_later_one_takes_its_place(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    store.cache_answer(&answer(home, 1, "one")).await.unwrap();
    store.cache_answer(&answer(home, 2, "two")).await.unwrap();
    store.cache_answer(&NewCachedAnswer { at: at(5), ..answer(home, 1, "newer") }).await.unwrap();
    let kept = store.cached_answer(home, &[1; 32], at(6)).await.unwrap().unwrap();
    assert_eq!((kept.answer.as_str(), kept.created_at), ("newer", at(5)));
    assert_eq!((kept.provider.as_str(), kept.model.as_str()), ("openai", "gpt-4o"));
    assert_eq!(found(&store, home, 2, 6).await.as_deref(), Some("two"));
    assert_eq!(found(&store, home, 3, 6).await, None);
    assert_eq!(found(&store, foreign, 1, 6).await, None);
}

async fn an_answer_counts_until_its_time_and_is_purged_then(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    for question in 0..3 {
        let expires_at = at(10 + i64::from(question));
        store.cache_answer(&NewCachedAnswer { expires_at, ..answer(home, question, "x") }).await.unwrap();
    }
    assert_eq!(found(&store, home, 0, 9).await.as_deref(), Some("x"));
    assert_eq!(found(&store, home, 0, 10).await, None);
    assert_eq!(store.purge_cached_answers(at(11), u64::MAX, 1).await.unwrap(), 1);
    assert_eq!(store.purge_cached_answers(at(11), u64::MAX, 9).await.unwrap(), 1);
    assert_eq!(store.purge_cached_answers(at(11), u64::MAX, 9).await.unwrap(), 0);
    assert_eq!(found(&store, home, 2, 11).await.as_deref(), Some("x"));
}

async fn of_too_many_the_oldest_go(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    for question in 0..4 {
        let made = NewCachedAnswer { at: at(i64::from(question)), ..answer(home, question, "0123456789") };
        store.cache_answer(&made).await.unwrap();
    }
    assert_eq!(store.purge_cached_answers(at(9), 40, 2).await.unwrap(), 0);
    assert_eq!(store.purge_cached_answers(at(9), 39, 2).await.unwrap(), 2);
    assert_eq!(store.purge_cached_answers(at(9), 39, 2).await.unwrap(), 0);
    assert_eq!(found(&store, home, 1, 9).await, None);
    assert!(found(&store, home, 2, 9).await.is_some());
}

async fn an_answer_goes_with_its_conversation_its_message_and_its_user(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (gone, thinned, kept) =
        (begun(&store, home, &["x"]).await, begun(&store, home, &["y"]).await, begun(&store, home, &["z"]).await);
    let all = [Some(gone), Some(thinned), Some(kept), None, Some(ConversationId::new())];
    for (question, conversation_id) in (0..).zip(all) {
        let user_id = if conversation_id.is_none() { "eve" } else { "adam" }.to_owned();
        let made = NewCachedAnswer { user_id, conversation_id, ..answer(home, question, "x") };
        store.cache_answer(&made).await.unwrap();
    }
    assert_eq!(found(&store, home, 4, 9).await, None, "of a conversation that is not there");
    store.delete_conversation(home, gone, at(9)).await.unwrap();
    let message = store.messages(home, thinned).await.unwrap().remove(0).id;
    store.delete_message(home, message, at(9)).await.unwrap();
    let erased = store.erase_user(home, "eve", "erased-1", at(9)).await.unwrap();
    assert_eq!(erased.cached_answers, 1);
    for (question, is_kept) in [(0, false), (1, false), (2, true), (3, false)] {
        assert_eq!(found(&store, home, question, 9).await.is_some(), is_kept, "{question}");
    }
}
