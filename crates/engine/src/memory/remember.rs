//! What is remembered of a turn: each message that says something, with its turn, in the same transaction.

use privet_dialects::canonical::{Message, Role};
use privet_domain::id::ConversationId;
use privet_domain::memory::{MemoryId, MemoryKind, MemoryScope, NewMemory, remembered_text};
use privet_domain::time::Timestamp;
use privet_store::NewMessage;

use crate::keyring::Caller;
use crate::traces::named_user;

/// Whose memories a request reads and writes: of the user that it names, if the key may speak for others; else of the key's.
#[must_use]
pub fn scope_of(caller: &Caller, named: Option<String>) -> MemoryScope {
    let (user, _) = named_user(named.filter(|name| !name.is_empty()), &caller.user_id);
    MemoryScope::new(caller.project_id, user)
}

/// The memories of messages that are stored with them. Instructions and the results of tools are no memories: the first are the
/// application's, the second nobody's words.
pub(crate) fn of_messages(
    scope: &MemoryScope,
    conversation: ConversationId,
    said: &[&Message],
    rows: &[NewMessage],
    at: Timestamp,
) -> Vec<NewMemory> {
    let pairs = said.iter().zip(rows);
    let memories = pairs.filter_map(|(message, row)| {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer | Role::Tool => return None,
        };
        let said = message.plain_text();
        let text = remembered_text(&said)?;
        let id = MemoryId::of_message(row.id);
        let mut memory = NewMemory::new(id, scope.clone(), MemoryKind::Message, text, at);
        memory.conversation = Some(conversation);
        memory.message = Some(row.id);
        memory.role = Some(role.to_owned());
        memory.name.clone_from(&row.name);
        memory.seq = row.seq;
        Some(memory)
    });
    memories.collect()
}
