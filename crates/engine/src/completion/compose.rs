//! What the provider is asked: the conversation so far and the request, in the provider's dialect; what is new is stored first.

use privet_dialects::canonical::{Message, Part};
use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_store::{MessageStatus, StoreError, TurnStart};

use super::{ChatCommand, CompletionError, Composed, encode};
use crate::router::Target;
use crate::{Engine, RecordMode, message, thread};

/// A turn that is recorded: where it belongs, and what of it is stored already.
pub(super) struct Turn {
    pub(super) project_id: ProjectId,
    pub(super) conversation_id: ConversationId,
    /// Whether the conversation began with this turn.
    pub(super) is_new: bool,
    /// The messages that the turn has stored.
    pub(super) stored: Vec<MessageId>,
    /// The highest `seq` of them.
    pub(super) last_seq: i64,
}

pub(super) async fn compose(
    engine: &Engine,
    command: &ChatCommand,
    target: &Target,
) -> Result<Composed, CompletionError> {
    let created = engine.clock.now().as_seconds();
    let incoming = &command.incoming;
    let Some(conversation_id) = command.conversation_id else {
        let body = encode(incoming, target, &[])?;
        let turn = if is_recorded(engine.record, command) {
            Some(start(engine, command, ConversationId::new(), true, &incoming.messages).await?)
        } else {
            None
        };
        return Ok(Composed { turn, body, created });
    };
    if engine.record == RecordMode::None {
        return Err(CompletionError::HistoryOff);
    }
    let joined = thread::join(remembered(engine, command, conversation_id).await?, &incoming.messages);
    let body = encode(incoming, target, &joined.history)?;
    let new = incoming.messages.get(joined.known..).unwrap_or_default();
    let turn = match incoming.store {
        Some(false) => None,
        _ => Some(start(engine, command, conversation_id, false, new).await?),
    };
    Ok(Composed { turn, body, created })
}

fn is_recorded(mode: RecordMode, command: &ChatCommand) -> bool {
    match mode {
        RecordMode::None => false,
        RecordMode::Continued => command.conversational,
        RecordMode::All => command.conversational || command.incoming.store != Some(false),
    }
}

async fn remembered(
    engine: &Engine,
    command: &ChatCommand,
    id: ConversationId,
) -> Result<Vec<Message>, CompletionError> {
    let rows = engine.store.messages(command.caller.project_id, id).await?;
    if rows.is_empty() {
        // Empty, or unknown: only the conversation's own row tells.
        engine.store.conversation(command.caller.project_id, id).await.map_err(|error| unknown(error, id))?;
    }
    let messages = rows.iter().map(|row| match row.status {
        MessageStatus::Incomplete => without_open_calls(message::from_row(row), &command.incoming.messages),
        MessageStatus::Complete => message::from_row(row),
    });
    Ok(messages.filter(|message| !message.parts.is_empty()).collect())
}

/// Of an answer that was cut, the calls that nobody answers are left out: their arguments may be half, and no provider takes
/// a call without its result.
fn without_open_calls(mut cut: Message, request: &[Message]) -> Message {
    let parts = request.iter().flat_map(|message| &message.parts);
    let answered: Vec<&str> = parts
        .filter_map(|part| match part {
            Part::ToolResult { call_id, .. } => Some(call_id.as_str()),
            _ => None,
        })
        .collect();
    cut.parts.retain(|part| match part {
        Part::ToolCall { id, .. } => answered.contains(&id.as_str()),
        _ => true,
    });
    cut
}

async fn start(
    engine: &Engine,
    command: &ChatCommand,
    conversation_id: ConversationId,
    is_new: bool,
    new: &[Message],
) -> Result<Turn, CompletionError> {
    let at = engine.clock.now();
    let rows = new.iter().map(|new| message::to_row(new, engine.store.next_seq(at), MessageStatus::Complete));
    let messages: Vec<_> = rows.collect();
    let turn = Turn {
        project_id: command.caller.project_id,
        conversation_id,
        is_new,
        stored: messages.iter().map(|row| row.id).collect(),
        last_seq: messages.iter().map(|row| row.seq).max().unwrap_or(0),
    };
    if is_new || !messages.is_empty() {
        let start = TurnStart {
            project_id: turn.project_id,
            conversation_id,
            new_for_user: is_new.then(|| command.caller.user_id.to_string()),
            messages,
            at,
        };
        engine.store.start_turn(start).await.map_err(|error| unknown(error, conversation_id))?;
    }
    Ok(turn)
}

fn unknown(error: StoreError, id: ConversationId) -> CompletionError {
    match error {
        StoreError::NotFound => CompletionError::UnknownConversation(id),
        error => error.into(),
    }
}
