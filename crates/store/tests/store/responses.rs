//! Responses: kept with their turn, found by their key alone, and the thread that each ends.

use privet_domain::id::{ApiKeyId, ConversationId, MessageId, ProjectId, ResponseId};
use privet_store::{NewResponse, Store, StoreError, StoredMessage, StoredResponse, TurnFinish};

use crate::bed::{Bed, at, begin, finish, go_on, on_both_databases, project};

on_both_databases!(
    a_response_is_found_by_its_key_alone_and_knows_its_messages,
    a_thread_is_the_chain_whatever_was_said_beside_it,
    a_response_in_a_conversation_has_what_was_said_before_it,
    what_is_deleted_goes_with_its_words_unless_others_build_on_it,
    a_deleted_message_or_conversation_is_gone_from_its_responses,
    a_question_that_was_deleted_meanwhile_harms_no_answer,
);

/// A store with a project and a key.
struct Shop {
    store: Store,
    home: ProjectId,
    key: ApiKeyId,
}

/// Where a response goes on.
#[derive(Clone, Copy, Default)]
struct From {
    conversation: Option<ConversationId>,
    parent: Option<ResponseId>,
    history_seq: i64,
}

impl From {
    fn after(response: &StoredResponse) -> Self {
        Self { conversation: Some(response.conversation_id), parent: Some(response.id), history_seq: 0 }
    }
}

impl Shop {
    async fn open(bed: &Bed) -> Self {
        let store = bed.open().await;
        let home = project(&store, "home").await;
        Self { store, home, key: ApiKeyId::new() }
    }

    /// Asks, and gives what is to be written in the end.
    async fn ask(&self, text: &str, from: From) -> TurnFinish {
        let turn = match from.conversation {
            Some(id) => go_on(&self.store, self.home, id, &[text]),
            None => begin(&self.store, self.home, &[text]),
        };
        let conversation = turn.conversation_id;
        let asked: Vec<MessageId> = turn.messages.iter().map(|message| message.id).collect();
        self.store.start_turn(turn).await.unwrap();
        let response = NewResponse {
            id: ResponseId::new(),
            family_id: self.key,
            parent_id: from.parent,
            history_seq: from.history_seq,
            record: format!("{{\"of\":\"{text}\"}}"),
            asked,
        };
        let response = Some(response);
        TurnFinish { response, ..finish(&self.store, self.home, conversation, &format!("re: {text}"), 2) }
    }

    /// Asks and answers.
    async fn make(&self, text: &str, from: From) -> StoredResponse {
        let finish = self.ask(text, from).await;
        let id = finish.response.as_ref().unwrap().id;
        self.store.finish_turn(finish).await.unwrap();
        self.store.response(self.home, self.key, id).await.unwrap()
    }

    async fn thread(&self, response: &StoredResponse) -> (Vec<String>, bool) {
        let thread = self.store.response_thread(self.home, response).await.unwrap();
        (texts(&thread.messages), thread.is_newest)
    }

    async fn delete(&self, response: &StoredResponse) -> Result<(), StoreError> {
        self.store.delete_response(self.home, self.key, response.id, at(9)).await
    }

    async fn said(&self, conversation: ConversationId) -> Vec<String> {
        texts(&self.store.messages(self.home, conversation).await.unwrap())
    }
}

fn texts(messages: &[StoredMessage]) -> Vec<String> {
    messages.iter().map(|message| message.content.clone()).collect()
}

async fn a_response_is_found_by_its_key_alone_and_knows_its_messages(bed: &Bed) {
    let shop = Shop::open(bed).await;
    let made = shop.make("one", From::default()).await;
    assert_eq!(made.record, "{\"of\":\"one\"}");
    let own = shop.store.own_messages(shop.home, made.id).await.unwrap();
    assert_eq!((texts(&own.asked), texts(&own.answered)), (vec!["one".to_owned()], vec!["re: one".to_owned()]));
    let other = project(&shop.store, "other").await;
    for (project, key, id) in
        [(shop.home, ApiKeyId::new(), made.id), (other, shop.key, made.id), (shop.home, shop.key, ResponseId::new())]
    {
        assert!(matches!(shop.store.response(project, key, id).await, Err(StoreError::NotFound)));
        assert!(matches!(shop.store.delete_response(project, key, id, at(9)).await, Err(StoreError::NotFound)));
    }
    assert!(shop.store.own_messages(other, made.id).await.unwrap().asked.is_empty());
}

async fn a_thread_is_the_chain_whatever_was_said_beside_it(bed: &Bed) {
    let shop = Shop::open(bed).await;
    let one = shop.make("one", From::default()).await;
    // Both found `one` to be the newest: their words stand by turns in one conversation.
    let (left, right) = (shop.ask("left", From::after(&one)).await, shop.ask("right", From::after(&one)).await);
    let (left_id, right_id) = (left.response.as_ref().unwrap().id, right.response.as_ref().unwrap().id);
    shop.store.finish_turn(right).await.unwrap();
    shop.store.finish_turn(left).await.unwrap();
    let left = shop.store.response(shop.home, shop.key, left_id).await.unwrap();
    let right = shop.store.response(shop.home, shop.key, right_id).await.unwrap();
    assert_eq!(shop.thread(&left).await, (["one", "re: one", "left", "re: left"].map(str::to_owned).to_vec(), false));
    assert_eq!(shop.thread(&right).await, (["one", "re: one", "right", "re: right"].map(str::to_owned).to_vec(), true));
    assert_eq!(shop.thread(&one).await, (["one", "re: one"].map(str::to_owned).to_vec(), false));
    let on = shop.make("on", From::after(&right)).await;
    let expected = ["one", "re: one", "right", "re: right", "on", "re: on"].map(str::to_owned).to_vec();
    assert_eq!(shop.thread(&on).await, (expected, true));
}

async fn a_response_in_a_conversation_has_what_was_said_before_it(bed: &Bed) {
    let shop = Shop::open(bed).await;
    let turn = begin(&shop.store, shop.home, &["a", "b"]);
    let conversation = turn.conversation_id;
    shop.store.start_turn(turn).await.unwrap();
    let last = shop.store.messages(shop.home, conversation).await.unwrap().last().unwrap().seq;
    let from = From { conversation: Some(conversation), parent: None, history_seq: last };
    let one = shop.make("one", from).await;
    shop.store.start_turn(go_on(&shop.store, shop.home, conversation, &["later"])).await.unwrap();
    assert_eq!(shop.thread(&one).await, (["a", "b", "one", "re: one"].map(str::to_owned).to_vec(), false));
    let two = shop.make("two", From::after(&one)).await;
    assert_eq!(shop.thread(&two).await.0, ["a", "b", "one", "re: one", "two", "re: two"]);
}

async fn what_is_deleted_goes_with_its_words_unless_others_build_on_it(bed: &Bed) {
    let shop = Shop::open(bed).await;
    let one = shop.make("one", From::default()).await;
    let two = shop.make("two", From::after(&one)).await;
    let three = shop.make("three", From::after(&two)).await;
    shop.delete(&two).await.unwrap();
    assert!(matches!(shop.store.response(shop.home, shop.key, two.id).await, Err(StoreError::NotFound)));
    assert!(matches!(shop.delete(&two).await, Err(StoreError::NotFound)));
    assert_eq!(shop.thread(&three).await.0.len(), 6, "what it builds on stays");
    // With the last one goes the one before it, which was deleted already.
    shop.delete(&three).await.unwrap();
    assert_eq!(shop.said(one.conversation_id).await, ["one", "re: one"]);
    assert_eq!(shop.thread(&one).await, (["one", "re: one"].map(str::to_owned).to_vec(), true));
    shop.delete(&one).await.unwrap();
    assert!(matches!(shop.store.conversation(shop.home, one.conversation_id).await, Err(StoreError::NotFound)));
    assert_eq!(bed.number("SELECT COUNT(*) FROM responses").await, 0);
}

async fn a_deleted_message_or_conversation_is_gone_from_its_responses(bed: &Bed) {
    let shop = Shop::open(bed).await;
    let one = shop.make("one", From::default()).await;
    let asked = shop.store.own_messages(shop.home, one.id).await.unwrap().asked[0].id;
    shop.store.delete_message(shop.home, asked, at(9)).await.unwrap();
    let own = shop.store.own_messages(shop.home, one.id).await.unwrap();
    assert!(own.asked.is_empty() && texts(&own.answered) == ["re: one"]);
    shop.store.delete_conversation(shop.home, one.conversation_id, at(9)).await.unwrap();
    assert!(matches!(shop.store.response(shop.home, shop.key, one.id).await, Err(StoreError::NotFound)));
    assert_eq!(bed.number("SELECT COUNT(*) FROM response_messages").await, 0);
    // An answer that comes after that is no answer any more, and neither is its response.
    let late = shop.ask("late", From::default()).await;
    shop.store.delete_conversation(shop.home, late.conversation_id, at(9)).await.unwrap();
    assert!(matches!(shop.store.finish_turn(late).await, Err(StoreError::NotFound)));
    assert_eq!(bed.number("SELECT COUNT(*) FROM responses").await, 0);
}

async fn a_question_that_was_deleted_meanwhile_harms_no_answer(bed: &Bed) {
    let shop = Shop::open(bed).await;
    let finish = shop.ask("one", From::default()).await;
    let response = finish.response.clone().unwrap();
    shop.store.delete_message(shop.home, response.asked[0], at(9)).await.unwrap();
    shop.store.finish_turn(finish).await.unwrap();
    let own = shop.store.own_messages(shop.home, response.id).await.unwrap();
    assert!(own.asked.is_empty() && texts(&own.answered) == ["re: one"]);
}
