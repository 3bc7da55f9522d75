//! What the Responses API has of its own in a chat: the response that a request goes on from, and the one that it makes.
//!
//! A response's thread is what was said up to it, whatever was said in its conversation since. Going on from one that others have gone on
//! from already begins a conversation of its own, with what was said before copied into it: a conversation is one thread, for whoever
//! reads it or goes on in it. Only the key that made a response can go on from it.

use std::sync::Arc;

use privet_dialects::BadRequest;
use privet_dialects::responses::echo::Echo;
use privet_dialects::translate::Answer;
use privet_domain::id::{ApiKeyId, ConversationId, MessageId, ResponseId};
use privet_store::{NewMessage, NewResponse, StoreError, StoredMessage};

use super::compose::{Gathered, Kept, said_before, unknown};
use super::{ChatCommand, CompletionError};
use crate::{Engine, RecordMode};

/// What a response goes on from.
pub(super) struct Origin {
    /// What was said before, in order.
    rows: Vec<StoredMessage>,
    /// In which conversation it goes on; `None` begins one.
    conversation_id: Option<ConversationId>,
    /// The response that it goes on from, in the same conversation.
    parent_id: Option<ResponseId>,
}

/// Where a response hangs in its conversation.
pub(super) struct Hanging {
    /// The response that it goes on from.
    parent_id: Option<ResponseId>,
    /// Up to which place the conversation is its thread.
    history_seq: i64,
    /// What was said before in another conversation.
    pub(super) copied: Vec<StoredMessage>,
}

/// A response that is not answered yet.
pub(super) struct OpenResponse {
    echo: Arc<Echo>,
    family_id: ApiKeyId,
    parent_id: Option<ResponseId>,
    history_seq: i64,
    asked: Vec<MessageId>,
}

/// Finds what a request of the Responses API goes on from, and decides whether its response is kept. `None` for any other request.
pub(super) async fn origin(engine: &Engine, command: &mut ChatCommand) -> Result<Option<Origin>, CompletionError> {
    let Some(request) = command.incoming.as_responses() else { return Ok(None) };
    let previous = request.previous.clone();
    let is_kept = match (engine.record, request.store) {
        (RecordMode::None, _) | (_, Some(false)) => false,
        (RecordMode::All, _) | (RecordMode::Continued, Some(true)) => true,
        (RecordMode::Continued, None) => command.conversation_id.is_some() || previous.is_some(),
    };
    command.incoming.set_kept(is_kept);
    let project = command.caller.project_id;
    match (previous, command.conversation_id) {
        (Some(_), Some(_)) => {
            let message = "`previous_response_id` and a conversation (`x-conversation-id`) cannot be named together: the response belongs to \
                           one already. Leave one of them out.";
            Err(BadRequest::at("previous_response_id", message).into())
        }
        (None, Some(_)) | (Some(_), None) if engine.record == RecordMode::None => Err(CompletionError::HistoryOff),
        (Some(previous), None) => {
            let missing = || CompletionError::UnknownResponse(previous.name.clone());
            let id = previous.id.ok_or_else(missing)?;
            let found = engine.store.response(project, command.caller.family_id, id).await;
            let found = found.map_err(|error| match error {
                StoreError::NotFound => missing(),
                error => error.into(),
            })?;
            let thread = engine.store.response_thread(project, &found).await?;
            // What is recalled should not be what the thread holds already.
            command.conversation_id = Some(found.conversation_id);
            let goes_on = thread.is_newest.then_some(found.conversation_id);
            let parent_id = goes_on.map(|_| found.id);
            Ok(Some(Origin { rows: thread.messages, conversation_id: goes_on, parent_id }))
        }
        (None, Some(id)) => {
            let rows = engine.store.messages(project, id).await?;
            if rows.is_empty() {
                // Empty, or unknown: only the conversation's own row tells.
                engine.store.conversation(project, id).await.map_err(|error| unknown(error, id))?;
            }
            Ok(Some(Origin { rows, conversation_id: Some(id), parent_id: None }))
        }
        (None, None) => Ok(Some(Origin { rows: Vec::new(), conversation_id: None, parent_id: None })),
    }
}

/// Joins a request with what it goes on from: all of its input is new.
pub(super) fn gather<'a>(command: &'a ChatCommand, origin: Origin) -> Gathered<'a> {
    let new = command.incoming.messages();
    let history = said_before(&origin.rows, new);
    let is_kept = command.incoming.as_responses().is_some_and(|request| request.echo.is_kept);
    let kept_in = is_kept.then(|| {
        let Origin { rows, conversation_id, parent_id } = origin;
        let last = rows.last().map_or(0, |row| row.seq);
        let (history_seq, copied) = match (conversation_id, parent_id) {
            (Some(_), Some(_)) => (0, Vec::new()),
            (Some(_), None) => (last, Vec::new()),
            (None, _) => (0, rows),
        };
        Kept {
            conversation_id: conversation_id.unwrap_or_else(ConversationId::new),
            is_new: conversation_id.is_none(),
            hangs: Some(Hanging { parent_id, history_seq, copied }),
        }
    });
    Gathered { history, new, kept_in }
}

impl Hanging {
    /// The response that a turn makes, whose messages are about to be stored: copies of what was said before, and what is new.
    pub(super) fn open(
        &self,
        command: &ChatCommand,
        copies: &[NewMessage],
        new: &[NewMessage],
    ) -> Option<OpenResponse> {
        let request = command.incoming.as_responses()?;
        Some(OpenResponse {
            echo: request.echo.clone(),
            family_id: command.caller.family_id,
            parent_id: self.parent_id,
            history_seq: copies.last().map_or(self.history_seq, |copy| copy.seq),
            asked: new.iter().map(|message| message.id).collect(),
        })
    }
}

impl OpenResponse {
    /// The response as it is kept. `failure` says why it was cut.
    pub(super) fn to_row(&self, answer: &Answer, failure: Option<&str>) -> NewResponse {
        NewResponse {
            id: self.echo.id,
            family_id: self.family_id,
            parent_id: self.parent_id,
            history_seq: self.history_seq,
            record: self.echo.record(answer, failure).to_string(),
            asked: self.asked.clone(),
        }
    }
}
