//! Turns: started, finished, withdrawn, many at once.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use privet_domain::id::{ConversationId, ProjectId};
use privet_store::{MessageStatus, StoreError, TurnFinish};

use crate::bed::{
    Bed, at, begin, begun, contents, finish, go_on, message, on_both_databases, project, texts, withdrawal,
};

on_both_databases!(
    question_and_answer_are_kept_as_they_were_said,
    messages_stand_in_the_order_they_were_said,
    sequence_numbers_grow_when_the_clock_stands_still_or_steps_back,
    a_turn_said_after_a_restart_with_the_clock_set_back_comes_last,
    a_turn_of_another_project_is_refused,
    a_withdrawn_turn_leaves_what_others_said_in_its_conversation,
    a_finished_turn_touches_its_conversation,
    a_withdrawn_turn_leaves_nothing_of_a_new_conversation,
    a_withdrawn_turn_takes_only_its_own_messages_from_an_older_conversation,
    a_turn_in_an_unknown_conversation_or_project_is_not_found,
    an_answer_to_a_deleted_conversation_is_not_found,
    a_bad_turn_harms_no_other_of_its_batch,
    a_turn_of_600_messages_is_kept_whole,
    two_thousand_turns_at_once_are_each_kept_once,
    a_turn_is_written_also_when_nobody_waits_for_it,
    writes_after_the_close_are_refused,
);

async fn question_and_answer_are_kept_as_they_were_said(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let mut question = message(&store, "user", "hey");
    question.name = Some("Adam".to_owned());
    question.payload = Some(r#"{"parts":[]}"#.to_owned());
    let mut turn = begin(&store, home, &[]);
    turn.messages = vec![question.clone()];
    let id = turn.conversation_id;
    store.start_turn(turn).await.unwrap();
    let mut answer = message(&store, "assistant", "hel");
    answer.status = MessageStatus::Incomplete;
    let messages = vec![answer.clone()];
    store
        .finish_turn(TurnFinish {
            project_id: home,
            conversation_id: id,
            messages,
            memories: vec![],
            response: None,
            at: at(5),
        })
        .await
        .unwrap();
    store.close().await;

    let store = bed.open().await;
    let kept = store.messages(home, id).await.unwrap();
    let [first, second] = kept.as_slice() else { panic!("two messages, not {kept:?}") };
    assert_eq!((first.id, first.conversation_id, first.role.as_str()), (question.id, id, "user"));
    assert_eq!((&first.name, &first.payload), (&question.name, &question.payload));
    assert_eq!((first.content.as_str(), first.status), ("hey", MessageStatus::Complete));
    assert_eq!((first.created_at, first.updated_at), (at(1), at(1)));
    assert_eq!((second.id, second.role.as_str(), second.created_at), (answer.id, "assistant", at(5)));
    assert_eq!((second.content.as_str(), second.status), ("hel", MessageStatus::Incomplete));
    assert_eq!(store.message(home, question.id).await.unwrap(), *first);
}

async fn messages_stand_in_the_order_they_were_said(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = begun(&store, home, &["1", "2", "3"]).await;
    store.finish_turn(finish(&store, home, id, "4", 2)).await.unwrap();
    store.start_turn(go_on(&store, home, id, &["5", "6"])).await.unwrap();
    store.finish_turn(finish(&store, home, id, "7", 3)).await.unwrap();
    assert_eq!(texts(&store, home, id).await, ["1", "2", "3", "4", "5", "6", "7"]);
}

async fn sequence_numbers_grow_when_the_clock_stands_still_or_steps_back(bed: &Bed) {
    let store = bed.open().await;
    let given: Vec<i64> = [at(9), at(9), at(1), at(10), at(10), at(9)].map(|now| store.next_seq(now)).into();
    assert!(given.is_sorted_by(|one, next| one < next), "{given:?}");
    assert_eq!(given.first().copied(), Some(at(9).as_micros()));
}

async fn a_turn_said_after_a_restart_with_the_clock_set_back_comes_last(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    assert_eq!(store.next_seq(at(1_000)), at(1_000).as_micros());
    let id = begun(&store, home, &["first"]).await;
    store.close().await;

    let store = bed.open().await;
    assert_eq!(texts(&store, home, id).await, ["first"], "the conversation is read before it goes on");
    store.start_turn(go_on(&store, home, id, &["second"])).await.unwrap();
    assert_eq!(texts(&store, home, id).await, ["first", "second"]);
}

async fn a_withdrawn_turn_leaves_what_others_said_in_its_conversation(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let first = begin(&store, home, &["first"]);
    let (id, withdrawn) = (first.conversation_id, withdrawal(&first));
    store.start_turn(first).await.unwrap();
    store.start_turn(go_on(&store, home, id, &["second"])).await.unwrap();
    store.finish_turn(finish(&store, home, id, "answer", 2)).await.unwrap();
    store.withdraw_turn(withdrawn).await.unwrap();
    assert_eq!(texts(&store, home, id).await, ["first", "second", "answer"], "others built on the first");
}

async fn a_turn_of_another_project_is_refused(bed: &Bed) {
    let store = bed.open().await;
    let (home, other) = (project(&store, "home").await, project(&store, "other").await);
    let id = begun(&store, home, &["mine"]).await;
    let foreign = store.start_turn(go_on(&store, other, id, &["theirs"])).await;
    assert!(matches!(foreign, Err(StoreError::NotFound)), "{foreign:?}");
    assert_eq!(texts(&store, home, id).await, ["mine"]);
    assert!(texts(&store, other, id).await.is_empty());
}

async fn a_finished_turn_touches_its_conversation(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (touched, other) = (begun(&store, home, &["a"]).await, begun(&store, home, &["b"]).await);
    store.finish_turn(finish(&store, home, touched, "answer", 7)).await.unwrap();
    let conversation = store.conversation(home, touched).await.unwrap();
    assert_eq!((conversation.created_at, conversation.updated_at), (at(1), at(7)));
    assert_eq!(conversation.user_id, "owner");
    assert_eq!(store.conversation(home, other).await.unwrap().updated_at, at(1));
}

async fn a_withdrawn_turn_leaves_nothing_of_a_new_conversation(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let turn = begin(&store, home, &["never", "asked"]);
    let (id, withdrawn) = (turn.conversation_id, withdrawal(&turn));
    store.start_turn(turn).await.unwrap();
    store.withdraw_turn(withdrawn).await.unwrap();
    assert!(matches!(store.conversation(home, id).await, Err(StoreError::NotFound)));
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 0);
    assert_eq!(bed.number("SELECT count(*) FROM conversations").await, 0);
}

async fn a_withdrawn_turn_takes_only_its_own_messages_from_an_older_conversation(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = begun(&store, home, &["first"]).await;
    store.finish_turn(finish(&store, home, id, "answer", 2)).await.unwrap();
    let turn = go_on(&store, home, id, &["never", "asked"]);
    let withdrawn = withdrawal(&turn);
    store.start_turn(turn).await.unwrap();
    store.withdraw_turn(withdrawn).await.unwrap();
    assert_eq!(texts(&store, home, id).await, ["first", "answer"]);
}

async fn a_turn_in_an_unknown_conversation_or_project_is_not_found(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let unknown = ConversationId::new();
    let refused = [
        store.start_turn(go_on(&store, home, unknown, &["x"])).await,
        store.finish_turn(finish(&store, home, unknown, "x", 2)).await,
        store.start_turn(begin(&store, ProjectId::new(), &["x"])).await,
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 0);
    assert_eq!(bed.number("SELECT count(*) FROM conversations").await, 0);
}

async fn an_answer_to_a_deleted_conversation_is_not_found(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = begun(&store, home, &["x"]).await;
    store.delete_conversation(home, id, at(100)).await.unwrap();
    let outcome = store.finish_turn(finish(&store, home, id, "late", 2)).await;
    assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 0);
}

async fn a_bad_turn_harms_no_other_of_its_batch(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let turns: Vec<_> = (0..200)
        .map(|number| match number {
            77 => go_on(&store, home, ConversationId::new(), &["bad"]),
            _ => begin(&store, home, &[&number.to_string()]),
        })
        .collect();
    let ids: Vec<ConversationId> = turns.iter().map(|turn| turn.conversation_id).collect();
    let outcomes = join_all(turns.into_iter().map(|turn| store.start_turn(turn))).await;
    for (number, (outcome, id)) in outcomes.into_iter().zip(ids).enumerate() {
        if number == 77 {
            assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
        } else {
            outcome.unwrap();
            assert_eq!(texts(&store, home, id).await, [number.to_string()]);
        }
    }
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 199);
}

async fn a_turn_of_600_messages_is_kept_whole(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let said: Vec<String> = (0..600).map(|number| format!("message {number}")).collect();
    let id = begun(&store, home, &said.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(texts(&store, home, id).await, said);
}

async fn two_thousand_turns_at_once_are_each_kept_once(bed: &Bed) {
    let store = Arc::new(bed.open().await);
    let home = project(&store, "home").await;
    let turns = (0..2000).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let id = begun(&store, home, &[&format!("question {number}")]).await;
            store.finish_turn(finish(&store, home, id, &format!("answer {number}"), 2)).await.unwrap();
            id
        })
    });
    let turns: Vec<_> = turns.collect();
    let mut ids = HashSet::new();
    for (number, turn) in turns.into_iter().enumerate() {
        let id = turn.await.unwrap();
        assert!(ids.insert(id));
        if number % 100 == 0 {
            assert_eq!(texts(&store, home, id).await, [format!("question {number}"), format!("answer {number}")]);
        }
    }
    assert_eq!(bed.number("SELECT count(*) FROM conversations").await, 2000);
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 4000);
    assert_eq!(bed.number("SELECT count(DISTINCT content) FROM messages").await, 4000);
}

async fn a_turn_is_written_also_when_nobody_waits_for_it(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let turn = begin(&store, home, &["the client has left"]);
    let id = turn.conversation_id;
    let given_up = store.start_turn(turn).now_or_never();
    assert!(given_up.is_none(), "it had no time to be written");
    store.close().await;
    let store = bed.open().await;
    assert_eq!(contents(store.messages(home, id).await.unwrap()), ["the client has left"]);
}

async fn writes_after_the_close_are_refused(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let turn = begin(&store, home, &["late"]);
    store.close().await;
    let refused = [
        store.start_turn(turn).await,
        store.finish_turn(finish(&store, home, ConversationId::new(), "late", 2)).await,
        store.delete_conversation(home, ConversationId::new(), at(100)).await,
        store.ensure_project("late", at(3)).await.map(drop),
        store.conversations(home, None, 10).await.map(drop),
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(StoreError::Closed)), "{outcome:?}");
    }
    store.close().await;
    let store = bed.open().await;
    assert_eq!(store.find_project("late").await.unwrap(), None);
}
