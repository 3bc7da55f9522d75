//! Between the canonical message and the row that the store keeps.

use privet_dialects::canonical::{Message, Part, Role};
use privet_domain::id::MessageId;
use privet_store::{MessageStatus, NewMessage, StoredMessage};

/// The row of a message. Plain text is kept as text; anything more is kept whole beside it.
pub(crate) fn to_row(message: &Message, seq: i64, status: MessageStatus) -> NewMessage {
    let text = message.plain_text();
    // PostgreSQL's text holds no NUL: the readable column goes without, the payload keeps it.
    let has_nul = text.contains('\0');
    let payload = (has_nul || !message.is_plain()).then(|| serialise(message));
    NewMessage {
        id: MessageId::new(),
        seq,
        role: message.role.as_str(),
        name: message.name.as_deref().map(without_nul),
        content: if has_nul { without_nul(&text) } else { text },
        payload,
        status,
    }
}

/// A message once more, in another conversation.
pub(crate) fn copy(row: &StoredMessage, seq: i64) -> NewMessage {
    NewMessage {
        id: MessageId::new(),
        seq,
        role: role_of(&row.role).as_str(),
        name: row.name.clone(),
        content: row.content.clone(),
        payload: row.payload.clone(),
        status: row.status,
    }
}

/// The message of a row. A payload that cannot be read falls back to the text.
pub(crate) fn from_row(row: &StoredMessage) -> Message {
    if let Some(payload) = &row.payload {
        match serde_json::from_str(payload) {
            Ok(message) => return message,
            Err(error) => {
                tracing::error!(message = %row.id, %error, "a stored payload cannot be read; its text is used")
            }
        }
    }
    let mut message = Message::text(role_of(&row.role), row.content.clone());
    message.name.clone_from(&row.name);
    message
}

/// The payload after an edit of the text: the other parts stay. `None` when text is all there is.
pub(crate) fn edited_payload(row: &StoredMessage, content: &str) -> Option<String> {
    row.payload.as_ref()?;
    let mut message = from_row(row);
    message.forget_wire();
    let place = message.parts.iter().position(|part| matches!(part, Part::Text { .. })).unwrap_or(0);
    message.parts.retain(|part| !matches!(part, Part::Text { .. } | Part::Refusal { .. }));
    let place = place.min(message.parts.len());
    message.parts.insert(place, Part::Text { text: content.to_owned() });
    (!message.is_plain()).then(|| serialise(&message))
}

fn serialise(message: &Message) -> String {
    // A message holds maps with text keys only, which always serialise.
    serde_json::to_string(message).unwrap_or_default()
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn role_of(role: &str) -> Role {
    match role {
        "system" => Role::System,
        "developer" => Role::Developer,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => Role::User,
    }
}
