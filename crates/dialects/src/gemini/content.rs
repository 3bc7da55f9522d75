//! The contents of a request, read into a canonical thread.
//!
//! A part that has no canonical meaning becomes a [`Part::Other`]: it goes to Gemini as it came, and to no other. Clients of this
//! dialect send a streamed answer back as its pieces, each a content of its own: they are one message. Calls and results may come
//! without an id, and are told apart by their names and their order.

use bytes::Bytes;
use serde_json::Map;
use serde_json::value::RawValue;

use super::fields::{Fields, wrong};
use super::signature::{Signature, standard};
use super::wire::mint_id;
use crate::canonical::{Message, Part, Role, Source};
use crate::{BadRequest, Dialect, Unsupported};

/// Begins the id of a result whose call is not in the request: it stands in the conversation that it continues.
const BY_NAME: &str = "call_of:";

/// Whether a result names its call by the function's name alone.
pub(super) fn is_by_name(call_id: &str) -> bool {
    call_id.starts_with(BY_NAME)
}

/// Reads the contents of a thread, and remembers what it must be known for.
#[derive(Debug, Default)]
pub(super) struct ContentReader {
    /// The first thing that only Gemini can express.
    pub(super) only_gemini: Option<Unsupported>,
    /// Whether thoughts are among them that another provider signed.
    pub(super) has_foreign_thinking: bool,
    /// Calls without their results: id and name.
    open: Vec<(String, String)>,
    calls: u32,
}

impl ContentReader {
    /// The instructions.
    ///
    /// # Errors
    /// With the path of the field that is of a wrong type.
    pub(super) fn instructions(&mut self, content: &Fields) -> Result<Option<Message>, BadRequest> {
        let parts = self.parts(content, Side::User)?;
        Ok((!parts.is_empty()).then(|| message(Role::System, parts)))
    }

    /// Adds a content to the thread.
    ///
    /// # Errors
    /// With the path of the field that is of a wrong type.
    pub(super) fn content(&mut self, content: &Fields, thread: &mut Vec<Message>) -> Result<(), BadRequest> {
        let side = match content.take::<String>("role")?.as_deref() {
            None | Some("" | "user" | "function") => Side::User,
            Some("model") => Side::Model,
            Some(_) => return Err(wrong(&content.at("role"), "`user` or `model`")),
        };
        if let Some(name) = content.names().find(|name| !matches!(&**name, "role" | "parts")) {
            self.note(&content.at(&name), "what it says of the content");
        }
        let parts = self.parts(content, side)?;
        if parts.is_empty() {
            return Ok(());
        }
        match (side, thread.last_mut()) {
            (Side::Model, Some(last)) if last.role == Role::Assistant => {
                parts.into_iter().for_each(|part| push(&mut last.parts, part))
            }
            (Side::Model, _) => {
                let mut joined = Vec::with_capacity(parts.len());
                parts.into_iter().for_each(|part| push(&mut joined, part));
                thread.push(message(Role::Assistant, joined));
            }
            (Side::User, _) => {
                let (results, rest): (Vec<Part>, Vec<Part>) =
                    parts.into_iter().partition(|part| matches!(part, Part::ToolResult { .. }));
                thread.extend((!results.is_empty()).then(|| message(Role::Tool, results)));
                thread.extend((!rest.is_empty()).then(|| message(Role::User, rest)));
            }
        }
        Ok(())
    }

    fn parts(&mut self, content: &Fields, side: Side) -> Result<Vec<Part>, BadRequest> {
        let mut parts = Vec::new();
        for part in content.children("parts")? {
            parts.extend(self.part(&part, side)?);
        }
        Ok(parts)
    }

    /// A part; `None` for one that says nothing.
    fn part(&mut self, part: &Fields, side: Side) -> Result<Option<Part>, BadRequest> {
        let names: Vec<String> = part.names().filter(|name| says(name)).map(Into::into).collect();
        let signature = part.take::<String>("thoughtSignature")?.filter(|signature| !signature.is_empty());
        let read = match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => return Ok(signature.and_then(|signature| self.thought(String::new(), Some(&signature)))),
            ["text"] => {
                let text: String = part.take("text")?.unwrap_or_default();
                if part.take::<bool>("thought")?.unwrap_or(false) {
                    return Ok(self.thought(text, signature.as_deref()));
                }
                // A stream ends with a text of nothing.
                return Ok((side == Side::User || !text.is_empty()).then_some(Part::Text { text }));
            }
            ["functionCall"] => self.call(part, signature)?,
            ["functionResponse"] => self.result(part)?,
            ["inlineData"] => self.inline(part)?,
            ["fileData"] => file(part)?,
            _ => None,
        };
        if read.is_none() {
            let what = names.first().map_or("a part", String::as_str);
            self.note(part.path(), &format!("`{what}` as it stands here"));
        }
        Ok(Some(match read {
            Some(part) => part,
            None => Part::Other { dialect: Dialect::Gemini, value: part.whole()? },
        }))
    }

    /// A shown thought, as whoever signed it will know it again.
    fn thought(&mut self, text: String, signature: Option<&str>) -> Option<Part> {
        match signature.map(Signature::read) {
            Some(Signature::Encrypted(data)) => {
                self.has_foreign_thinking = true;
                Some(Part::RedactedThinking { data })
            }
            Some(Signature::Signed(signature)) => {
                self.has_foreign_thinking = true;
                Some(Part::Thinking { text, signature: Some(signature) })
            }
            _ if text.is_empty() => None,
            _ => Some(Part::Thinking { text, signature: None }),
        }
    }

    fn call(&mut self, part: &Fields, signature: Option<String>) -> Result<Option<Part>, BadRequest> {
        let Some(call) = part.child("functionCall")? else { return Ok(None) };
        if !has_only(&call, &["id", "name", "args"]) {
            return Ok(None);
        }
        let Some(name) = call.take::<String>("name")?.filter(|name| !name.is_empty()) else {
            return Err(wrong(&call.at("name"), "the name of a function"));
        };
        let index = self.calls;
        self.calls += 1;
        let id = call.take::<String>("id")?.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| mint_id(0, 0, index, &name));
        self.open.push((id.clone(), name.clone()));
        let arguments = object_text(&call, "args")?.unwrap_or_else(|| "{}".to_owned());
        Ok(Some(Part::ToolCall { id, name, arguments, signature }))
    }

    fn result(&mut self, part: &Fields) -> Result<Option<Part>, BadRequest> {
        let Some(response) = part.child("functionResponse")? else { return Ok(None) };
        if !has_only(&response, &["id", "name", "response", "parts"]) {
            return Ok(None);
        }
        let name: String = response.take("name")?.unwrap_or_default();
        let id = response.take::<String>("id")?.filter(|id| !id.is_empty());
        let call_id = self.close(id, &name);
        let (text, is_error) = said(object_text(&response, "response")?.unwrap_or_else(|| "{}".to_owned()));
        let mut content = vec![Part::Text { text }];
        for part in response.children("parts")? {
            content.extend(self.part(&part, Side::User)?);
        }
        Ok(Some(Part::ToolResult { call_id, content, is_error }))
    }

    /// The id of the call that a result answers.
    fn close(&mut self, id: Option<String>, name: &str) -> String {
        let at = self.open.iter().position(|(open, of)| match &id {
            Some(id) => open == id,
            None => of == name,
        });
        match (at, id) {
            (Some(at), _) => self.open.remove(at).0,
            (None, Some(id)) => id,
            (None, None) => format!("{BY_NAME}{name}"),
        }
    }

    fn inline(&mut self, part: &Fields) -> Result<Option<Part>, BadRequest> {
        let Some(blob) = part.child("inlineData")? else { return Ok(None) };
        if !has_only(&blob, &["mimeType", "data", "displayName"]) {
            return Ok(None);
        }
        let given = |name: &str| blob.take::<String>(name)?.ok_or_else(|| wrong(&blob.at(name), "given"));
        let (media_type, data) = (given("mimeType")?, standard(&given("data")?));
        let filename = blob.take("displayName")?;
        let kind = media_type.split(['/', ';']).next().unwrap_or_default().to_owned();
        if let Some(format) = media_type.strip_prefix("audio/") {
            let format = format.split(';').next().unwrap_or_default().trim_start_matches("x-");
            let format = if format == "mpeg" { "mp3" } else { format };
            return Ok(Some(Part::Audio { data, format: format.to_owned() }));
        }
        if !matches!(kind.as_str(), "image" | "text") && media_type != "application/pdf" {
            self.note(&blob.at("mimeType"), &format!("data of the type `{media_type}`"));
        }
        let source = Source::Base64 { media_type, data };
        Ok(Some(match kind.as_str() {
            "image" => Part::Image { source, detail: None },
            _ => Part::File { source, filename },
        }))
    }

    /// Notes what no other dialect can express, if it is the first.
    fn note(&mut self, path: &str, what: &str) {
        self.only_gemini.get_or_insert_with(|| only_gemini(path, what));
    }
}

/// The refusal of what no other dialect can express.
pub(super) fn only_gemini(path: &str, what: &str) -> Unsupported {
    let message = format!("`{path}`: {what} can only go to a model of Gemini's. Leave it out, or use one.");
    Unsupported::new(path, message)
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    User,
    Model,
}

/// Gives results that name no call the ids of the calls that they answer, by their names and their order.
pub(super) fn resolve(thread: &mut [Message]) {
    let mut open: Vec<(String, String)> = Vec::new();
    for part in thread.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::ToolCall { id, name, .. } => open.push((id.clone(), name.clone())),
            Part::ToolResult { call_id, .. } => {
                let at = match call_id.strip_prefix(BY_NAME) {
                    Some(named) => open.iter().position(|(_, name)| name == named),
                    None => open.iter().position(|(id, _)| id == call_id),
                };
                if let Some(at) = at {
                    *call_id = open.remove(at).0;
                }
            }
            _ => {}
        }
    }
}

/// Adds a part of the model's. Pieces of a text are one text, and of a thought until it is signed.
fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (Some(Part::Text { text }), Part::Text { text: more }) => text.push_str(&more),
        (Some(Part::Thinking { text, signature: signed @ None }), Part::Thinking { text: more, signature }) => {
            text.push_str(&more);
            *signed = signature;
        }
        (_, part) => parts.push(part),
    }
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, name: None, parts, extra: Map::new() }
}

/// Whether a member of a part is its content, and not about it.
fn says(name: &str) -> bool {
    !matches!(name, "thought" | "thoughtSignature" | "partMetadata")
}

fn has_only(fields: &Fields, known: &[&str]) -> bool {
    fields.names().all(|name| known.contains(&&*name))
}

/// The text of a member that is an object, as it was written.
fn object_text(fields: &Fields, name: &str) -> Result<Option<String>, BadRequest> {
    let Some(json) = fields.take::<Box<RawValue>>(name)? else { return Ok(None) };
    if json.get().starts_with('{') {
        Ok(Some(json.get().to_owned()))
    } else {
        Err(wrong(&fields.at(name), "an object"))
    }
}

/// What a result says, and whether the function failed. A text under the names that Google has for one (`output`, `error`) is that
/// text, as [`super::thread`] writes it, unless it would be taken for an object then.
fn said(response: String) -> (String, bool) {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        output: Option<String>,
        error: Option<String>,
    }
    match serde_json::from_str(&response) {
        Ok(Plain { output: None, error: Some(text) }) => (text, true),
        Ok(Plain { output: Some(text), error: None })
            if serde_json::from_str::<Map<String, serde_json::Value>>(&text).is_err() =>
        {
            (text, false)
        }
        _ => (response, false),
    }
}

/// A file by its address, if others than Gemini can read it there.
fn file(part: &Fields) -> Result<Option<Part>, BadRequest> {
    let Some(data) = part.child("fileData")? else { return Ok(None) };
    let Some(url) = data.take::<String>("fileUri")? else { return Err(wrong(&data.at("fileUri"), "an address")) };
    let media_type: String = data.take("mimeType")?.unwrap_or_default();
    let is_open = url.starts_with("https://") || url.starts_with("http://");
    if !has_only(&data, &["fileUri", "mimeType", "displayName"]) || !is_open || is_googles(&url) {
        return Ok(None);
    }
    let filename = data.take("displayName")?;
    let source = Source::Url { url };
    let is_image = media_type.starts_with("image/") || media_type.is_empty() && super::thread::is_image(&source);
    Ok(match media_type.as_str() {
        _ if is_image => Some(Part::Image { source, detail: None }),
        "" | "application/pdf" => Some(Part::File { source, filename }),
        _ if media_type.starts_with("text/") => Some(Part::File { source, filename }),
        _ => None,
    })
}

/// Files that were uploaded to Google, and films that only it can see.
fn is_googles(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    ["googleapis.com", "youtube.com", "youtu.be"]
        .iter()
        .any(|name| host == *name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

/// A content as its own bytes, but for thoughts that another provider signed; `None` where nothing else is in it.
pub(super) fn without_foreign_thinking(content: &Bytes) -> Option<String> {
    let own = || Some(String::from_utf8_lossy(content).into_owned());
    let Ok(fields) = Fields::read(content.clone(), "") else { return own() };
    let Ok(parts) = fields.items("parts") else { return own() };
    let is_kept = |part: &&Bytes| {
        let signature = Fields::read((*part).clone(), "").and_then(|part| part.take::<String>("thoughtSignature"));
        !matches!(signature, Ok(Some(signature)) if Signature::read(&signature) != Signature::Geminis)
    };
    let kept: Vec<&Bytes> = parts.iter().filter(is_kept).collect();
    if kept.len() == parts.len() {
        return own();
    }
    if kept.is_empty() {
        return None;
    }
    let texts: Vec<_> = kept.iter().map(|part| String::from_utf8_lossy(part)).collect();
    let mut edits = crate::raw_object::Edits::default();
    edits.set(fields.key_of("parts"), format!("[{}]", texts.join(",")).into_bytes());
    String::from_utf8(fields.object.render(&edits).to_vec()).ok()
}
