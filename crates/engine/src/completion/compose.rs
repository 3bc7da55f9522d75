//! What the provider is asked: the conversation so far and the request; what is new is stored first, with the call's hold.

use privet_dialects::canonical::{Message, Part};
use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::memory::MemoryScope;
use privet_store::{MessageStatus, StoreError, StoredMessage, TurnStart};

use super::respond::{Hanging, OpenResponse};
use super::{Admission, ChatCommand, CompletionError};
use crate::memory::of_messages;
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
    /// Whose memories it makes, where it makes any.
    pub(super) remembers: Option<MemoryScope>,
    /// The response that it makes, if it is one that is kept.
    pub(super) response: Option<OpenResponse>,
}

/// A thread that is whole: what was said before, and what of the request is new.
pub(super) struct Gathered<'a> {
    /// Earlier messages, put behind the request's leading instructions.
    pub(super) history: Vec<Message>,
    /// What of the request is not stored yet.
    pub(super) new: &'a [Message],
    /// Where the turn is kept, if it is.
    pub(super) kept_in: Option<Kept>,
}

/// The conversation of a turn.
pub(super) struct Kept {
    pub(super) conversation_id: ConversationId,
    pub(super) is_new: bool,
    /// Where the response that the turn makes hangs, if it makes one.
    pub(super) hangs: Option<Hanging>,
}

impl Gathered<'_> {
    /// The conversation that the turn is kept in, if it is.
    pub(super) fn conversation_id(&self) -> Option<ConversationId> {
        self.kept_in.as_ref().map(|kept| kept.conversation_id)
    }
}

/// Joins the request with its conversation.
pub(super) async fn gather<'a>(engine: &Engine, command: &'a ChatCommand) -> Result<Gathered<'a>, CompletionError> {
    let incoming = &command.incoming;
    let Some(conversation_id) = command.conversation_id else {
        let begun = || Kept { conversation_id: ConversationId::new(), is_new: true, hangs: None };
        let kept_in = is_recorded(engine.record, command).then(begun);
        return Ok(Gathered { history: Vec::new(), new: incoming.messages(), kept_in });
    };
    if engine.record == RecordMode::None {
        return Err(CompletionError::HistoryOff);
    }
    let joined = thread::join(remembered(engine, command, conversation_id).await?, incoming.messages());
    let new = incoming.messages().get(joined.known..).unwrap_or_default();
    let kept_in = (incoming.store() != Some(false)).then_some(Kept { conversation_id, is_new: false, hangs: None });
    Ok(Gathered { history: joined.history, new, kept_in })
}

fn is_recorded(mode: RecordMode, command: &ChatCommand) -> bool {
    match mode {
        RecordMode::None => false,
        RecordMode::Continued => command.conversational,
        RecordMode::All => command.conversational || command.incoming.store() != Some(false),
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
    Ok(said_before(&rows, command.incoming.messages()))
}

/// What was said before, as a provider can be told it.
pub(super) fn said_before(rows: &[StoredMessage], request: &[Message]) -> Vec<Message> {
    let messages = rows.iter().map(|row| match row.status {
        MessageStatus::Incomplete => without_open_calls(message::from_row(row), request),
        MessageStatus::Complete => message::from_row(row),
    });
    messages.filter(|message| !message.parts.is_empty()).collect()
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

/// Writes the hold and what the client said, in one transaction.
pub(super) async fn begin(
    engine: &Engine,
    command: &ChatCommand,
    gathered: &Gathered<'_>,
    admission: &Admission,
) -> Result<Option<Turn>, CompletionError> {
    let Some(Kept { conversation_id, is_new, hangs }) = &gathered.kept_in else {
        engine.store.begin_call(admission.hold.clone(), None).await?;
        return Ok(None);
    };
    let (conversation_id, is_new) = (*conversation_id, *is_new);
    let at = engine.clock.now();
    let copied = hangs.iter().flat_map(|hanging| &hanging.copied);
    let copies: Vec<_> = copied.map(|row| message::copy(row, engine.store.next_seq(at))).collect();
    let rows = gathered.new.iter().map(|new| message::to_row(new, engine.store.next_seq(at), MessageStatus::Complete));
    let messages: Vec<_> = rows.collect();
    let turn = Turn {
        project_id: command.caller.project_id,
        conversation_id,
        is_new,
        stored: copies.iter().chain(&messages).map(|row| row.id).collect(),
        last_seq: copies.iter().chain(&messages).map(|row| row.seq).max().unwrap_or(0),
        remembers: engine.memory.as_ref().map(|_| command.memory_scope()),
        response: hangs.as_ref().and_then(|hanging| hanging.open(command, &copies, &messages)),
    };
    let said: Vec<&Message> = gathered.new.iter().collect();
    let memories = turn.remembers.as_ref().map(|scope| of_messages(scope, conversation_id, &said, &messages, at));
    let start = (is_new || !messages.is_empty()).then(|| TurnStart {
        project_id: turn.project_id,
        conversation_id,
        new_for_user: is_new.then(|| command.user()),
        messages: copies.into_iter().chain(messages).collect(),
        memories: memories.unwrap_or_default(),
        at,
    });
    engine.store.begin_call(admission.hold.clone(), start).await.map_err(|error| unknown(error, conversation_id))?;
    Ok(Some(turn))
}

pub(super) fn unknown(error: StoreError, id: ConversationId) -> CompletionError {
    match error {
        StoreError::NotFound => CompletionError::UnknownConversation(id),
        error => error.into(),
    }
}
