//! Reading, editing and deleting, and that a foreign project sees none of it.

use privet_domain::id::{ConversationId, MessageId};
use privet_store::StoreError;

use crate::bed::{Bed, at, begun, finish, go_on, message, on_both_databases, project, texts};

on_both_databases!(
    an_empty_conversation_is_made_once,
    pages_show_each_conversation_once_and_the_newest_first,
    conversations_made_while_paging_repeat_none_and_hide_none,
    an_edit_touches_the_message_and_its_conversation,
    a_deleted_conversation_takes_its_messages_along,
    a_deleted_message_leaves_the_others,
    a_foreign_project_sees_nothing,
    what_is_unknown_is_not_found,
);

async fn an_empty_conversation_is_made_once(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    let id = ConversationId::new();
    let made = store.create_conversation(home, id, "adam", at(3)).await.unwrap();
    assert_eq!(store.conversation(home, id).await.unwrap(), made);
    assert_eq!((made.user_id.as_str(), made.created_at, made.updated_at), ("adam", at(3), at(3)));
    for taken_from in [home, foreign] {
        let again = store.create_conversation(taken_from, id, "eve", at(4)).await;
        assert!(matches!(again, Err(StoreError::Exists(_))), "{again:?}");
    }
    assert_eq!(store.conversation(home, id).await.unwrap(), made);
    store.start_turn(go_on(&store, home, id, &["hey"])).await.unwrap();
    assert_eq!(texts(&store, home, id).await, ["hey"]);
}

async fn pages_show_each_conversation_once_and_the_newest_first(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    let mut made = Vec::new();
    for _ in 0..23 {
        made.push(begun(&store, home, &["x"]).await);
        begun(&store, foreign, &["not for home"]).await;
    }
    made.reverse();
    for limit in [1, 5, 22, 23, 24, 500] {
        let (mut seen, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.conversations(home, before, limit).await.unwrap();
            assert!(page.conversations.len() <= limit as usize);
            seen.extend(page.conversations.iter().map(|conversation| conversation.id));
            pages += 1;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, made, "pages of {limit}");
        assert_eq!(pages, 23_u32.div_ceil(limit), "no empty page at the end");
    }
}

async fn conversations_made_while_paging_repeat_none_and_hide_none(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(begun(&store, home, &["x"]).await);
    }
    let first = store.conversations(home, None, 3).await.unwrap();
    begun(&store, home, &["newer than the first page"]).await;
    store.delete_conversation(home, first.next.unwrap(), at(100)).await.unwrap();
    let second = store.conversations(home, first.next, 3).await.unwrap();
    let seen: Vec<_> = first.conversations.iter().chain(&second.conversations).map(|seen| seen.id).collect();
    made.reverse();
    assert_eq!(seen, made);
    assert_eq!(second.next, None);
}

async fn an_edit_touches_the_message_and_its_conversation(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = begun(&store, home, &["wrnog", "other"]).await;
    let [wrong, other] = store.messages(home, id).await.unwrap().try_into().unwrap();
    store.edit_message(home, wrong.id, "right", Some("{}"), at(50)).await.unwrap();
    let edited = store.message(home, wrong.id).await.unwrap();
    assert_eq!((edited.content.as_str(), edited.payload.as_deref()), ("right", Some("{}")));
    assert_eq!((edited.created_at, edited.updated_at), (at(1), at(50)));
    assert_eq!(store.conversation(home, id).await.unwrap().updated_at, at(50));
    assert_eq!(store.message(home, other.id).await.unwrap(), other);
    assert_eq!(texts(&store, home, id).await, ["right", "other"]);
}

async fn a_deleted_conversation_takes_its_messages_along(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (doomed, kept) = (begun(&store, home, &["a", "b"]).await, begun(&store, home, &["c"]).await);
    store.finish_turn(finish(&store, home, doomed, "answer", 2)).await.unwrap();
    store.delete_conversation(home, doomed, at(100)).await.unwrap();
    assert!(matches!(store.conversation(home, doomed).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delete_conversation(home, doomed, at(100)).await, Err(StoreError::NotFound)));
    assert_eq!(bed.number("SELECT count(*) FROM messages").await, 1);
    assert_eq!(texts(&store, home, kept).await, ["c"]);
}

async fn a_deleted_message_leaves_the_others(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let id = begun(&store, home, &["a", "b", "c"]).await;
    let [_, doomed, _] = store.messages(home, id).await.unwrap().try_into().unwrap();
    store.delete_message(home, doomed.id, at(100)).await.unwrap();
    assert!(matches!(store.delete_message(home, doomed.id, at(100)).await, Err(StoreError::NotFound)));
    assert_eq!(texts(&store, home, id).await, ["a", "c"]);
}

async fn a_foreign_project_sees_nothing(bed: &Bed) {
    let store = bed.open().await;
    let (home, foreign) = (project(&store, "home").await, project(&store, "foreign").await);
    let id = begun(&store, home, &["private"]).await;
    let [private] = store.messages(home, id).await.unwrap().try_into().unwrap();
    let before = store.conversation(home, id).await.unwrap();

    assert_eq!(store.messages(foreign, id).await.unwrap(), []);
    assert_eq!(store.conversations(foreign, None, 500).await.unwrap().conversations, []);
    let refused = [
        store.conversation(foreign, id).await.map(drop),
        store.message(foreign, private.id).await.map(drop),
        store.edit_message(foreign, private.id, "defaced", None, at(60)).await,
        store.delete_message(foreign, private.id, at(100)).await,
        store.delete_conversation(foreign, id, at(100)).await,
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert_eq!(store.message(home, private.id).await.unwrap(), private);
    assert_eq!(store.conversation(home, id).await.unwrap(), before);
}

async fn what_is_unknown_is_not_found(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (id, message_id) = (ConversationId::new(), message(&store, "user", "never stored").id);
    let refused = [
        store.conversation(home, id).await.map(drop),
        store.delete_conversation(home, id, at(100)).await,
        store.message(home, message_id).await.map(drop),
        store.edit_message(home, message_id, "x", None, at(2)).await,
        store.delete_message(home, MessageId::new(), at(100)).await,
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert_eq!(store.messages(home, id).await.unwrap(), []);
    store.ping().await.unwrap();
}
