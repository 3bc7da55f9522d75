//! Memories as records: what they are, whose they are, and how they come to be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{ConversationId, DocumentId, MemoryId, MessageId, ProjectId};
use crate::time::Timestamp;

/// Ids of memories that are made of something else stand in this namespace.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d65_6d6f_7279_4f66_8072_6976_6574_0001);
/// What is mixed into hashes of texts.
const CONTENT_CONTEXT: &str = "privet 2026-11 content of a memory's representation";

impl MemoryId {
    /// The memory of a message has its id: the same at every attempt to make it, and in the order of time, so that rows written
    /// together lie together.
    #[must_use]
    pub fn of_message(message: MessageId) -> Self {
        message.as_uuid().into()
    }

    /// The memory of a document's piece, counted from 0: the same at every attempt to make it.
    #[must_use]
    pub fn of_piece(document: DocumentId, piece: u32) -> Self {
        Uuid::new_v5(&NAMESPACE, &[document.as_uuid().as_bytes().as_slice(), &piece.to_be_bytes()].concat()).into()
    }
}

/// A text names no kind or representation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is none of {known}")]
pub struct BadMemoryName {
    /// What was given.
    pub name: String,
    /// What there is.
    pub known: &'static str,
}

/// What a memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// A message of a conversation.
    Message,
    /// A piece of a document.
    Document,
    /// Something that was written down.
    Note,
    /// A fact, given or extracted.
    Fact,
}

impl MemoryKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Message, Self::Document, Self::Note, Self::Fact];

    /// Its name in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Document => "document",
            Self::Note => "note",
            Self::Fact => "fact",
        }
    }
}

impl FromStr for MemoryKind {
    type Err = BadMemoryName;

    fn from_str(name: &str) -> Result<Self, BadMemoryName> {
        let bad = || BadMemoryName { name: name.to_owned(), known: "message, document, note, fact" };
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(bad)
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One way in which a memory is described to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Representation {
    /// Its own text, with who speaks in front.
    Text,
    /// Its text between its neighbours of the same conversation or document.
    Window,
    /// A title and what it is about.
    Summary,
    /// Facts that stand in it.
    Facts,
    /// Questions that it answers.
    Questions,
}

impl Representation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Text, Self::Window, Self::Summary, Self::Facts, Self::Questions];

    /// Those that say what a text says in other words, where somebody gave or made them.
    pub const DESCRIPTIONS: [Self; 3] = [Self::Summary, Self::Facts, Self::Questions];

    /// Its name in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Window => "window",
            Self::Summary => "summary",
            Self::Facts => "facts",
            Self::Questions => "questions",
        }
    }
}

impl FromStr for Representation {
    type Err = BadMemoryName;

    fn from_str(name: &str) -> Result<Self, BadMemoryName> {
        let bad = || BadMemoryName { name: name.to_owned(), known: "text, window, summary, facts, questions" };
        Self::ALL.into_iter().find(|representation| representation.as_str() == name).ok_or_else(bad)
    }
}

impl fmt::Display for Representation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose memories: those of one user of one project. Nothing is ever found beyond it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryScope {
    /// The project.
    pub project: ProjectId,
    /// The user; empty for what the project remembers without naming one.
    pub user: String,
}

impl MemoryScope {
    /// The scope of a user of a project.
    #[must_use]
    pub fn new(project: ProjectId, user: impl Into<String>) -> Self {
        Self { project, user: user.into() }
    }
}

/// The hash of a representation's text, under which its vectors are kept. Equal texts of two projects have different ones, so that
/// no project learns from a vector that is there already what another said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of a text of a project.
    #[must_use]
    pub fn of(project: ProjectId, text: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTENT_CONTEXT);
        hasher.update(project.as_uuid().as_bytes()).update(text.as_bytes());
        Self(hasher.finalize().into())
    }

    /// As it is kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As it was kept; `None` if those are not 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// A representation that is given with a memory, beyond those that are made of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRepresentation {
    /// Which.
    pub representation: Representation,
    /// Its text.
    pub text: String,
}

/// A memory to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMemory {
    /// Its id. Keeping the same id twice is harmless: the first stays.
    pub id: MemoryId,
    /// Whose.
    pub scope: MemoryScope,
    /// The conversation that it belongs to.
    pub conversation: Option<ConversationId>,
    /// The message that it is made of, which is stored already or in the same transaction.
    pub message: Option<MessageId>,
    /// The document that it is a piece of.
    pub document: Option<DocumentId>,
    /// What it is.
    pub kind: MemoryKind,
    /// Who speaks: `user`, `assistant` …
    pub role: Option<String>,
    /// The speaker's name, where given.
    pub name: Option<String>,
    /// Its place in its conversation (that of its message) or document.
    pub seq: i64,
    /// Its text.
    pub text: String,
    /// What it is called, or its document.
    pub title: Option<String>,
    /// Where it comes from: a file's name, an address.
    pub source: Option<String>,
    /// What the client noted beside it: a JSON object.
    pub metadata: Option<String>,
    /// When it was said or written.
    pub created_at: Timestamp,
    /// When it is to be forgotten.
    pub expires_at: Option<Timestamp>,
    /// Further descriptions.
    pub representations: Vec<NewRepresentation>,
}

impl NewMemory {
    /// A memory of this text alone, with nothing else known of it.
    #[must_use]
    pub fn new(id: MemoryId, scope: MemoryScope, kind: MemoryKind, text: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id,
            scope,
            conversation: None,
            message: None,
            document: None,
            kind,
            role: None,
            name: None,
            seq: at.as_micros(),
            text: text.into(),
            title: None,
            source: None,
            metadata: None,
            created_at: at,
            expires_at: None,
            representations: Vec::new(),
        }
    }
}

/// A memory as kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Its id.
    pub id: MemoryId,
    /// Whose.
    pub scope: MemoryScope,
    /// The conversation that it belongs to.
    pub conversation: Option<ConversationId>,
    /// The message that it is made of.
    pub message: Option<MessageId>,
    /// The document that it is a piece of.
    pub document: Option<DocumentId>,
    /// What it is.
    pub kind: MemoryKind,
    /// Who speaks.
    pub role: Option<String>,
    /// The speaker's name, where given.
    pub name: Option<String>,
    /// Its place in its conversation or document.
    pub seq: i64,
    /// Its text.
    pub text: String,
    /// What it is called, or its document.
    pub title: Option<String>,
    /// Where it comes from.
    pub source: Option<String>,
    /// What the client noted beside it: a JSON object.
    pub metadata: Option<String>,
    /// When it was said or written.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it is to be forgotten.
    pub expires_at: Option<Timestamp>,
    /// How often it was given a text: 1 at first.
    pub version: i64,
}

impl Memory {
    /// The text with who speaks in front: what is searched.
    #[must_use]
    pub fn line(&self) -> String {
        line(self.name.as_deref(), self.role.as_deref(), &self.text)
    }
}

impl NewMemory {
    /// The text with who speaks in front: what is searched.
    #[must_use]
    pub fn line(&self) -> String {
        line(self.name.as_deref(), self.role.as_deref(), &self.text)
    }
}

/// A text with who speaks in front: the name, else the role, else nobody.
#[must_use]
pub fn line(name: Option<&str>, role: Option<&str>, text: &str) -> String {
    match name.filter(|name| !name.is_empty()).or(role) {
        Some(speaker) => format!("{speaker}: {text}"),
        None => text.to_owned(),
    }
}

/// A longer text is a document and no message: only its beginning is remembered.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// What is remembered of a message; `None` if it says nothing.
#[must_use]
pub fn remembered_text(message: &str) -> Option<&str> {
    let text = message.trim();
    let text = text.get(..text.floor_char_boundary(MESSAGE_BYTES_MAX)).unwrap_or(text);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_the_same_has_the_same_id() {
        let (message, document) = (MessageId::new(), DocumentId::new());
        assert_eq!(MemoryId::of_message(message), MemoryId::of_message(message));
        assert_ne!(MemoryId::of_message(message), MemoryId::of_message(MessageId::new()));
        assert_eq!(MemoryId::of_piece(document, 3), MemoryId::of_piece(document, 3));
        assert_ne!(MemoryId::of_piece(document, 3), MemoryId::of_piece(document, 4));
    }

    #[test]
    fn equal_texts_of_two_projects_have_different_hashes() {
        let (one, other) = (ProjectId::new(), ProjectId::new());
        assert_eq!(ContentHash::of(one, "hello"), ContentHash::of(one, "hello"));
        assert_ne!(ContentHash::of(one, "hello"), ContentHash::of(other, "hello"));
        let hash = ContentHash::of(one, "hello");
        assert_eq!(ContentHash::from_bytes(hash.as_bytes()), Some(hash));
        assert_eq!(ContentHash::from_bytes(&[1, 2]), None);
    }

    #[test]
    fn names_read_back_and_others_are_refused() {
        for kind in MemoryKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for representation in Representation::ALL {
            assert_eq!(representation.as_str().parse(), Ok(representation));
        }
        assert!("Text".parse::<Representation>().is_err() && "".parse::<MemoryKind>().is_err());
    }

    #[test]
    fn a_name_speaks_rather_than_a_role() {
        let scope = MemoryScope::new(ProjectId::new(), "ada");
        let mut memory = NewMemory::new(MemoryId::new(), scope, MemoryKind::Note, "hey", Timestamp::from_micros(1));
        assert_eq!(memory.line(), "hey");
        memory.role = Some("user".to_owned());
        assert_eq!(memory.line(), "user: hey");
        memory.name = Some("Adam".to_owned());
        assert_eq!(memory.line(), "Adam: hey");
    }
}
