//! A memory as a line of JSON: as it is exported, imported and shown to programs.

use std::collections::HashMap;

use privet_domain::id::{ConversationId, DocumentId, ProjectId};
use privet_domain::memory::{
    IndexedMemory, Memory, MemoryId, MemoryKind, MemoryScope, NewMemory, NewRepresentation, Representation,
};
use privet_domain::time::{NanoTimestamp, Timestamp};
use privet_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::Exit;

/// A memory. Its windows and vectors are made again; its history stays where it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryLine {
    pub(super) id: MemoryId,
    pub(super) text: String,
    kind: MemoryKind,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    user: String,
    #[serde(default)]
    conversation_id: Option<ConversationId>,
    #[serde(default)]
    document_id: Option<DocumentId>,
    /// The place in its conversation or document.
    #[serde(default)]
    seq: Option<i64>,
    created_at: String,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    metadata: Option<Value>,
    /// Further descriptions that were given or made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    representations: Vec<RepresentationLine>,
}

/// A description.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RepresentationLine {
    pub(super) kind: Representation,
    pub(super) text: String,
}

impl From<Memory> for MemoryLine {
    fn from(memory: Memory) -> Self {
        Self {
            id: memory.id,
            text: memory.text,
            kind: memory.kind,
            role: memory.role,
            name: memory.name,
            user: memory.scope.user,
            conversation_id: memory.conversation,
            document_id: memory.document,
            seq: Some(memory.seq),
            created_at: rfc3339(memory.created_at),
            expires_at: memory.expires_at.map(rfc3339),
            title: memory.title,
            source: memory.source,
            metadata: memory.metadata.as_deref().and_then(|json| serde_json::from_str(json).ok()),
            representations: Vec::new(),
        }
    }
}

impl MemoryLine {
    /// The descriptions that were given or made.
    pub(super) fn representations(&self) -> &[RepresentationLine] {
        &self.representations
    }

    /// To be kept in a project. The message that it was made of may not be there, so that it stands for itself.
    pub(super) fn into_new(self, project: ProjectId) -> Result<NewMemory, String> {
        let at = |field: &str, text: &str| {
            Timestamp::parse(text).ok_or_else(|| format!("`{field}`: `{text}` is no time such as 2026-11-25T10:00:00Z"))
        };
        if self.text.trim().is_empty() {
            return Err("`text` says nothing".to_owned());
        }
        let created_at = at("created_at", &self.created_at)?;
        let expires_at = self.expires_at.as_deref().map(|text| at("expires_at", text)).transpose()?;
        if self.metadata.as_ref().is_some_and(|metadata| !metadata.is_object()) {
            return Err("`metadata` must be an object".to_owned());
        }
        let scope = MemoryScope::new(project, self.user);
        let mut memory = NewMemory::new(self.id, scope, self.kind, self.text, created_at);
        memory.role = self.role;
        memory.name = self.name;
        memory.conversation = self.conversation_id;
        memory.document = self.document_id;
        memory.seq = self.seq.unwrap_or(memory.seq);
        memory.expires_at = expires_at;
        memory.title = self.title;
        memory.source = self.source;
        memory.metadata = self.metadata.map(|metadata| metadata.to_string());
        let given = self.representations.into_iter();
        memory.representations =
            given.map(|one| NewRepresentation { representation: one.kind, text: one.text }).collect();
        Ok(memory)
    }
}

/// Memories with the descriptions that were given or made of them.
pub(super) async fn whole(store: &Store, memories: Vec<Memory>) -> Result<Vec<MemoryLine>, Exit> {
    let ids: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
    let indexed = store.memories_to_index(&ids).await?;
    let mut given: HashMap<MemoryId, Vec<RepresentationLine>> =
        indexed.into_iter().map(|memory| (memory.id, given(memory))).collect();
    let line = |memory: Memory| {
        let representations = given.remove(&memory.id).unwrap_or_default();
        MemoryLine { representations, ..memory.into() }
    };
    Ok(memories.into_iter().map(line).collect())
}

/// Not its own text, and not what is made of its neighbours.
fn given(memory: IndexedMemory) -> Vec<RepresentationLine> {
    let is_given = |representation, part| match representation {
        Representation::Text => part > 0,
        Representation::Window => false,
        Representation::Summary | Representation::Facts | Representation::Questions => true,
    };
    let parts = memory.parts.into_iter().filter(|part| is_given(part.representation, part.part));
    parts.map(|part| RepresentationLine { kind: part.representation, text: part.text }).collect()
}

/// A time as everywhere in the API.
pub(super) fn rfc3339(at: Timestamp) -> String {
    NanoTimestamp::from(at).to_string()
}
