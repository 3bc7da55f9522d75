//! Filling a prompt's holes.

use serde_json::{Map, Value};

use super::template::{Piece, pieces};
use super::{COMPILED_BYTES_MAX, ChatEntry, PromptBody, TEXT_ROLE};

/// What to put into a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// For its variables. Strings are put in as they are, null as nothing, everything else as JSON.
    pub variables: &'a Map<String, Value>,
    /// For its placeholders: arrays of messages. An array among the variables will do as well.
    pub placeholders: &'a Map<String, Value>,
}

/// What to do with a hole that there is nothing for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unfilled {
    /// Refuse, with the names of all of them.
    #[default]
    Refuse,
    /// Leave it as it is written.
    Keep,
}

/// A prompt with its holes filled.
#[derive(Clone, Debug, PartialEq)]
pub enum Compiled {
    /// A text.
    Text(String),
    /// Messages, as JSON objects; and placeholders that were left.
    Chat(Vec<Value>),
}

impl Compiled {
    /// The messages of it. A text is one of the system.
    #[must_use]
    pub fn into_messages(self) -> Vec<Value> {
        match self {
            Self::Text(text) => vec![serde_json::json!({"role": TEXT_ROLE, "content": text})],
            Self::Chat(messages) => messages,
        }
    }

    /// As the API shows it: a string or an array.
    #[must_use]
    pub fn into_json(self) -> Value {
        match self {
            Self::Text(text) => Value::String(text),
            Self::Chat(messages) => Value::Array(messages),
        }
    }
}

/// What there is nothing for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Variables.
    pub variables: Vec<String>,
    /// Placeholders.
    pub placeholders: Vec<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let plural = |names: &[String]| if names.len() == 1 { "" } else { "s" };
        let (variables, placeholders) = (&self.variables, &self.placeholders);
        if !variables.is_empty() {
            write!(f, "the variable{} {}", plural(variables), list(variables))?;
        }
        if !placeholders.is_empty() {
            let and = if variables.is_empty() { "" } else { " and " };
            write!(f, "{and}messages for the placeholder{} {}", plural(placeholders), list(placeholders))?;
        }
        Ok(())
    }
}

/// Why a prompt cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is nothing for some of its holes.
    #[error("{0}")]
    Missing(Missing),
    /// What is given for a placeholder is not an array of messages.
    #[error("`{0}` is a placeholder: give an array of messages, each an object with `role` and `content`")]
    NoMessages(String),
    /// It becomes too large.
    #[error("the prompt with its variables is larger than {COMPILED_BYTES_MAX} bytes; give shorter ones")]
    TooLarge,
}

/// Fills a prompt's holes. What is put in is not read again: a `{{name}}` inside a value stays as it is.
///
/// # Errors
/// When there is nothing for a hole and that is not allowed, or the prompt becomes too large.
pub fn compile(body: &PromptBody, values: Values<'_>, unfilled: Unfilled) -> Result<Compiled, CompileError> {
    let missing = missing(body, values);
    if unfilled == Unfilled::Refuse && missing != Missing::default() {
        return Err(CompileError::Missing(missing));
    }
    let mut room = COMPILED_BYTES_MAX;
    match body {
        PromptBody::Text(text) => Ok(Compiled::Text(fill(text, values, &mut room)?)),
        PromptBody::Chat(entries) => {
            let mut messages = Vec::with_capacity(entries.len());
            for entry in entries {
                match entry {
                    ChatEntry::Message(message) => {
                        let content = fill(&message.content, values, &mut room)?;
                        let filled = super::ChatMessage { content, ..message.clone() };
                        messages.push(ChatEntry::Message(filled).to_json());
                    }
                    ChatEntry::Placeholder(name) => match for_placeholder(values, name) {
                        Some(given) => messages.extend(given_messages(name, given, &mut room)?),
                        None => messages.push(entry.to_json()),
                    },
                }
            }
            Ok(Compiled::Chat(messages))
        }
    }
}

fn missing(body: &PromptBody, values: Values<'_>) -> Missing {
    let variables = body.variables().into_iter().filter(|name| !values.variables.contains_key(*name));
    let placeholders = body.placeholders().filter(|name| for_placeholder(values, name).is_none());
    Missing {
        variables: variables.map(str::to_owned).collect(),
        placeholders: placeholders.map(str::to_owned).collect(),
    }
}

fn for_placeholder<'a>(values: Values<'a>, name: &str) -> Option<&'a Value> {
    values.placeholders.get(name).or_else(|| values.variables.get(name))
}

fn given_messages(name: &str, given: &Value, room: &mut usize) -> Result<Vec<Value>, CompileError> {
    let wrong = || CompileError::NoMessages(name.to_owned());
    let messages = given.as_array().ok_or_else(wrong)?;
    // A placeholder may stand in a prompt many times.
    take(room, given.to_string().len())?;
    if messages.iter().any(|message| message.get("role").is_none_or(|role| !role.is_string())) {
        return Err(wrong());
    }
    Ok(messages.clone())
}

fn fill(text: &str, values: Values<'_>, room: &mut usize) -> Result<String, CompileError> {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        let json;
        let piece = match piece {
            Piece::Text(text) => text,
            Piece::Variable { name, written } => match values.variables.get(name) {
                None => written,
                Some(Value::Null) => "",
                Some(Value::String(text)) => text,
                Some(value) => {
                    json = value.to_string();
                    &json
                }
            },
        };
        take(room, piece.len())?;
        filled.push_str(piece);
    }
    Ok(filled)
}

fn take(room: &mut usize, bytes: usize) -> Result<(), CompileError> {
    *room = room.checked_sub(bytes).ok_or(CompileError::TooLarge)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(body: Value, variables: Value, unfilled: Unfilled) -> Result<Value, CompileError> {
        let body: PromptBody = serde_json::from_value(body).unwrap();
        let variables = variables.as_object().unwrap();
        let values = Values { variables, placeholders: &Map::new() };
        compile(&body, values, unfilled).map(Compiled::into_json)
    }

    #[test]
    fn values_are_put_in_and_not_read_again() {
        let variables = json!({"a": "{{b}}", "b": 1.5, "c": null, "d": {"x": [true]}, "e": true});
        let filled = run(json!("{{a}}|{{ b }}|{{c}}|{{d}}|{{e}}"), variables, Unfilled::Refuse);
        assert_eq!(filled, Ok(json!("{{b}}|1.5||{\"x\":[true]}|true")));
    }

    #[test]
    fn all_that_is_missing_is_named_or_left_as_it_is_written() {
        let chat = json!([
            {"role": "system", "content": "{{x}} {{ y }} {{x}}"}, {"type": "placeholder", "name": "history"},
        ]);
        let Err(CompileError::Missing(missing)) = run(chat.clone(), json!({"z": 1}), Unfilled::Refuse) else {
            panic!()
        };
        assert_eq!(missing.to_string(), "the variables `x`, `y` and messages for the placeholder `history`");
        let kept = run(chat.clone(), json!({"x": "1"}), Unfilled::Keep).unwrap();
        assert_eq!(
            kept,
            json!([{"role": "system", "content": "1 {{ y }} 1"}, {"type": "placeholder", "name": "history"}])
        );
    }

    #[test]
    fn placeholders_become_the_messages_as_they_came() {
        let chat = json!([{"type": "placeholder", "name": "h"}, {"role": "user", "content": "{{q}}"}]);
        let said = json!([{"role": "assistant", "content": "{{q}}", "tool_calls": []}]);
        let filled = run(chat.clone(), json!({"h": said, "q": "?"}), Unfilled::Refuse).unwrap();
        assert_eq!(
            filled,
            json!([{"role": "assistant", "content": "{{q}}", "tool_calls": []}, {"role": "user", "content": "?"}])
        );
        assert_eq!(
            run(chat.clone(), json!({"h": [], "q": "?"}), Unfilled::Refuse).unwrap(),
            json!([{"role": "user", "content": "?"}])
        );
        for wrong in [json!("x"), json!([1]), json!([{"content": "x"}])] {
            let outcome = run(chat.clone(), json!({"h": wrong, "q": "?"}), Unfilled::Refuse);
            assert_eq!(outcome, Err(CompileError::NoMessages("h".to_owned())));
        }
    }

    #[test]
    fn a_small_prompt_cannot_become_a_huge_one() {
        let value = "x".repeat(1024 * 1024);
        let outcome = run(json!("{{a}}".repeat(9)), json!({"a": value}), Unfilled::Refuse);
        assert_eq!(outcome, Err(CompileError::TooLarge));
    }
}
