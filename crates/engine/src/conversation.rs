//! Conversations as their owner sees them: list, read, edit, delete, export.

use privet_domain::id::{ConversationId, MessageId};
use privet_domain::time::Timestamp;
use privet_store::{Conversation, ConversationPage, Store, StoreError, StoredMessage};

use crate::keyring::Caller;
use crate::message;

/// A conversation with its messages.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The conversation.
    pub conversation: Conversation,
    /// Its messages, in order.
    pub messages: Vec<StoredMessage>,
}

/// Makes an empty conversation, with a chosen id if one is given.
///
/// # Errors
/// [`StoreError::Exists`] when the id is taken.
pub async fn create(
    store: &Store,
    caller: &Caller,
    id: Option<ConversationId>,
    now: Timestamp,
) -> Result<Conversation, StoreError> {
    store.create_conversation(caller.project_id, id.unwrap_or_else(ConversationId::new), &caller.user_id, now).await
}

/// A page of conversations, newest first.
///
/// # Errors
/// When the store fails.
pub async fn list(
    store: &Store,
    caller: &Caller,
    before: Option<ConversationId>,
    limit: u32,
) -> Result<ConversationPage, StoreError> {
    store.conversations(caller.project_id, before, limit).await
}

/// A conversation with its messages.
///
/// # Errors
/// [`StoreError::NotFound`] when it is unknown or another project's.
pub async fn read(store: &Store, caller: &Caller, id: ConversationId) -> Result<Transcript, StoreError> {
    let conversation = store.conversation(caller.project_id, id).await?;
    let messages = store.messages(caller.project_id, id).await?;
    Ok(Transcript { conversation, messages })
}

/// Replaces the text of a message; its images, tool calls and other parts stay.
///
/// # Errors
/// [`StoreError::NotFound`] when it is unknown or another project's.
pub async fn edit_message(
    store: &Store,
    caller: &Caller,
    id: MessageId,
    content: &str,
    now: Timestamp,
) -> Result<StoredMessage, StoreError> {
    let row = store.message(caller.project_id, id).await?;
    let payload = message::edited_payload(&row, content);
    store.edit_message(caller.project_id, id, content, payload.as_deref(), now).await?;
    store.message(caller.project_id, id).await
}
