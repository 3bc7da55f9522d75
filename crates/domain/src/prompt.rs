//! Prompts: what they are called, what they say, and how they become messages. Pure.
//!
//! A template has three kinds of holes: `{{variables}}` ([`template`]), placeholders for whole messages, and references to other
//! prompts ([`reference`]). Filling them is search and replace: there is no template engine, no expression and no code, so that
//! a template reaches no file, no environment and no network; and what is put in is never scanned again.

mod compile;
mod difference;
mod name;
pub mod reference;
pub mod template;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

pub use compile::{CompileError, Compiled, Missing, Unfilled, Values, compile};
pub use difference::{readable, unified_diff};
pub use name::{LATEST, Label, LabelError, NameError, PRODUCTION, PromptName};

/// A prompt with its configuration, and a prompt with everything it refers to, have at most so many bytes.
pub const PROMPT_BYTES_MAX: usize = 1024 * 1024;
/// A prompt with its holes filled has at most so many bytes.
pub const COMPILED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A commit message has at most so many characters.
pub const COMMIT_MESSAGE_CHARS_MAX: usize = 500;
/// A prompt has at most so many tags, each with at most [`TAG_CHARS_MAX`] characters.
pub const TAGS_MAX: usize = 50;
/// The most characters of a tag.
pub const TAG_CHARS_MAX: usize = 200;
/// A chat prompt has at most so many messages.
pub const MESSAGES_MAX: usize = 1_000;
/// The role of the message that a text prompt becomes.
pub const TEXT_ROLE: &str = "system";

/// Whether a prompt is a text or a thread. All versions of a prompt are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptKind {
    /// A text.
    Text,
    /// Messages.
    Chat,
}

impl PromptKind {
    /// Its name in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Chat => "chat",
        }
    }
}

/// What a prompt says: in JSON a string, or an array of messages and placeholders.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PromptBody {
    /// A text.
    Text(String),
    /// A thread.
    Chat(Vec<ChatEntry>),
}

/// A piece of a chat prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEntry {
    /// A message.
    Message(ChatMessage),
    /// A place for messages that come with a request.
    Placeholder(String),
}

/// A message of a chat prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatMessage {
    /// Who speaks. The prompt may hold any word; a provider takes `system`, `developer`, `user`, `assistant` and `tool`.
    pub role: String,
    /// The text, with its holes.
    pub content: String,
    /// Further members, such as `tool_calls`, as they came.
    pub more: Map<String, Value>,
}

/// Which version of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// This one.
    Version(u32),
    /// The one that this label points to.
    Label(Label),
}

impl Selector {
    /// What is fetched when nobody says otherwise: the version that is in production.
    #[must_use]
    pub fn production() -> Self {
        Self::Label(Label::production())
    }

    /// The highest version.
    #[must_use]
    pub fn latest() -> Self {
        Self::Label(Label::latest())
    }

    /// Reads what a request says.
    ///
    /// # Errors
    /// When it says both, or the label is none.
    pub fn read(version: Option<u32>, label: Option<&str>) -> Result<Self, SelectorError> {
        match (version, label) {
            (Some(_), Some(_)) => Err(SelectorError::Both),
            (Some(version), None) => Ok(Self::Version(version)),
            (None, Some(label)) => Ok(Self::Label(label.parse()?)),
            (None, None) => Ok(Self::production()),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Label(label) => write!(f, "label '{label}'"),
        }
    }
}

/// Why a request names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Both a version and a label.
    #[error("a version and a label were both given; give one of them")]
    Both,
    /// The label is none.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// Why a body cannot be a prompt's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Too many bytes.
    #[error("a prompt with its configuration has at most {PROMPT_BYTES_MAX} bytes, this one has {0}")]
    TooLarge(usize),
    /// Too many messages, or none.
    #[error("a chat prompt has 1 to {MESSAGES_MAX} messages, this one has {0}")]
    Messages(usize),
    /// A placeholder with a name that cannot be one.
    #[error("the placeholder `{0}` has no proper name: a letter, then letters, digits and underscores")]
    Placeholder(String),
    /// A message without a role.
    #[error("the message {0} of the prompt has an empty role")]
    Role(usize),
    /// A reference that cannot be read.
    #[error(transparent)]
    Reference(#[from] reference::ReferenceError),
}

impl PromptBody {
    /// Reads what a client wrote: a string, or an array of messages and placeholders.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub fn from_json(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(values) => {
                let read = |(index, value): (usize, Value)| match value {
                    Value::Object(members) => {
                        ChatEntry::from_json(members).map_err(|reason| format!("message {}: {reason}", index + 1))
                    }
                    _ => Err(format!("message {} is no object", index + 1)),
                };
                values.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Self::Chat)
            }
            _ => Err("a prompt is a string, or an array of messages".to_owned()),
        }
    }

    /// Whether it is a text or a thread.
    #[must_use]
    pub const fn kind(&self) -> PromptKind {
        match self {
            Self::Text(_) => PromptKind::Text,
            Self::Chat(_) => PromptKind::Chat,
        }
    }

    /// The texts that may have holes.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, entries) = match self {
            Self::Text(text) => (Some(text.as_str()), [].as_slice()),
            Self::Chat(entries) => (None, entries.as_slice()),
        };
        let contents = entries.iter().filter_map(|entry| match entry {
            ChatEntry::Message(message) => Some(message.content.as_str()),
            ChatEntry::Placeholder(_) => None,
        });
        text.into_iter().chain(contents)
    }

    /// The names of its variables, each once, in order.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.texts().flat_map(template::variables) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The names of its placeholders, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        let entries = if let Self::Chat(entries) = self { entries.as_slice() } else { &[] };
        entries.iter().filter_map(|entry| match entry {
            ChatEntry::Placeholder(name) => Some(name.as_str()),
            ChatEntry::Message(_) => None,
        })
    }

    /// Checks all that can be said of it alone.
    ///
    /// # Errors
    /// With what is wrong first.
    pub fn check(&self, config: &Value) -> Result<(), BodyError> {
        let bytes = written_bytes(self) + written_bytes(config);
        if bytes > PROMPT_BYTES_MAX {
            return Err(BodyError::TooLarge(bytes));
        }
        if let Self::Chat(entries) = self {
            if !(1..=MESSAGES_MAX).contains(&entries.len()) {
                return Err(BodyError::Messages(entries.len()));
            }
            for (index, entry) in entries.iter().enumerate() {
                match entry {
                    ChatEntry::Placeholder(name) if !is_placeholder_name(name) => {
                        return Err(BodyError::Placeholder(name.clone()));
                    }
                    ChatEntry::Message(message) if message.role.trim().is_empty() => {
                        return Err(BodyError::Role(index + 1));
                    }
                    _ => {}
                }
            }
        }
        for text in self.texts() {
            for piece in reference::pieces(text) {
                piece?;
            }
        }
        Ok(())
    }
}

fn written_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

/// A letter, then letters, digits and underscores.
fn is_placeholder_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// The word by which a placeholder says what it is.
const PLACEHOLDER: &str = "placeholder";

impl ChatEntry {
    /// As the API shows it. A placeholder says what it is; a message does not, which every client understands.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        match self {
            Self::Placeholder(name) => {
                members.insert("type".to_owned(), Value::from(PLACEHOLDER));
                members.insert("name".to_owned(), Value::from(name.as_str()));
            }
            Self::Message(message) => {
                members.insert("role".to_owned(), Value::from(message.role.as_str()));
                members.insert("content".to_owned(), Value::from(message.content.as_str()));
                members.extend(message.more.clone());
            }
        }
        Value::Object(members)
    }

    /// Reads what a client wrote: `{"role", "content", …}`, or `{"type": "placeholder", "name"}`.
    fn from_json(mut members: Map<String, Value>) -> Result<Self, String> {
        let kind = members.shift_remove("type");
        let mut text = |name: &str| match members.shift_remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("`{name}` of a message must be a string")),
            None => Err(format!(
                "a message has no `{name}`; placeholders are written {{\"type\":\"placeholder\",\"name\":…}}"
            )),
        };
        match kind.as_ref().map(Value::as_str) {
            Some(Some(PLACEHOLDER)) => Ok(Self::Placeholder(text("name")?)),
            None | Some(Some("chatmessage" | "message")) => {
                Ok(Self::Message(ChatMessage { role: text("role")?, content: text("content")?, more: members }))
            }
            Some(_) => Err("the `type` of a message is `chatmessage` or `placeholder`".to_owned()),
        }
    }
}

impl Serialize for ChatEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PromptBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: Value) -> PromptBody {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn bodies_read_back_as_they_were_written() {
        for value in [
            json!("You are {{who}}."),
            json!([{"role": "system", "content": "x"}, {"type": "placeholder", "name": "history"}]),
            json!([{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]),
        ] {
            assert_eq!(serde_json::to_value(body(value.clone())).unwrap(), value);
        }
        let named = json!([{"type": "chatmessage", "role": "user", "content": "x"}]);
        assert_eq!(serde_json::to_value(body(named)).unwrap(), json!([{"role": "user", "content": "x"}]));
    }

    #[test]
    fn holes_are_found_once_and_in_order() {
        let chat = body(json!([
            {"role": "system", "content": "{{ b }} {{a}}"}, {"type": "placeholder", "name": "history"},
            {"role": "user", "content": "{{b}} {{c}}"},
        ]));
        assert_eq!(chat.variables(), ["b", "a", "c"]);
        assert_eq!(chat.placeholders().collect::<Vec<_>>(), ["history"]);
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        let check = |value: Value| body(value).check(&json!({}));
        assert_eq!(check(json!([])), Err(BodyError::Messages(0)));
        assert!(matches!(check(json!([{"type": "placeholder", "name": "1x"}])), Err(BodyError::Placeholder(_))));
        assert_eq!(check(json!([{"role": " ", "content": "x"}])), Err(BodyError::Role(1)));
        assert!(matches!(check(json!("x".repeat(PROMPT_BYTES_MAX))), Err(BodyError::TooLarge(_))));
        assert!(matches!(check(json!("@@@langfusePrompt:name=x@@@")), Err(BodyError::Reference(_))));
        assert_eq!(check(json!("x".repeat(PROMPT_BYTES_MAX - 10))), Ok(()));
        for wrong in
            [json!([{"role": "user"}]), json!([{"role": 1, "content": "x"}]), json!([{"type": "image"}]), json!(7)]
        {
            assert!(serde_json::from_value::<PromptBody>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
