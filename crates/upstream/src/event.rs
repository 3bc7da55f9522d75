//! Server-sent events and the ways of writing them.
//! When they are sent is decided by the schedule.

use serde_json::{Value, json};

use super::behaviour::Framing;

/// One event, before framing.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: Option<&'static str>,
    pub(super) json: Value,
    pub(super) raw: Option<&'static str>,
    /// Carries a piece of the answer: what the schedule counts.
    pub(super) content: bool,
}

impl Event {
    /// An event without a name.
    pub(super) fn json(json: Value) -> Self {
        Self { name: None, json, raw: None, content: false }
    }

    /// An event with a name, which also is the JSON's `type`.
    pub(super) fn named(name: &'static str, fields: Value) -> Self {
        let mut json = json!({"type": name});
        if let (Value::Object(all), Value::Object(fields)) = (&mut json, fields) {
            all.extend(fields);
        }
        Self { name: Some(name), json, raw: None, content: false }
    }

    /// Data that is no JSON.
    pub(super) fn raw(data: &'static str) -> Self {
        Self { name: None, json: Value::Null, raw: Some(data), content: false }
    }

    pub(super) fn encode(&self, framing: Framing) -> Vec<u8> {
        let newline = if framing.crlf { "\r\n" } else { "\n" };
        let space = if framing.no_space { "" } else { " " };
        let mut text = String::with_capacity(256);
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| text.push_str(part));
            text.push_str(newline);
        };
        if framing.comments {
            line(&[": a comment, data: not an event"]);
        }
        if let Some(name) = self.name {
            line(&["event:", space, name]);
        }
        let data = match self.raw {
            Some(raw) => raw.to_owned(),
            // Pretty-printed JSON has line breaks between its tokens alone, so joining the lines keeps it valid.
            None if framing.multi_line_data => format!("{:#}", self.json),
            None => self.json.to_string(),
        };
        data.lines().for_each(|data| line(&["data:", space, data]));
        line(&[]);
        text.into_bytes()
    }
}

/// A comment line, for keep-alive.
pub(super) fn comment(text: &str, framing: Framing) -> Vec<u8> {
    let newline = if framing.crlf { "\r\n" } else { "\n" };
    format!(": {text}{newline}{newline}").into_bytes()
}
