//! A content block of a request, read into a canonical part.
//!
//! What has no canonical meaning becomes a [`Part::Other`]: it goes to an Anthropic provider as it came, and to no other. Left out
//! are `cache_control`, which changes a price and no answer, and the citations of a text, which say where it is from. A thinking block
//! whose signature is none of Anthropic's was made by [`super::answer`] of another provider's reasoning.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::canonical::{Part, Source};
use crate::raw_object::RawObject;
use crate::{BadRequest, Dialect, Unsupported};

/// Begins the signature of a thinking block that holds Gemini's `thoughtSignature`, which belongs to the call behind it: a call has no
/// place of its own for it. No signature of Anthropic's has a colon.
pub(super) const OF_GEMINI: &str = "gemini:";
/// Begins the signature of a thought that holds what a model of OpenAI's encrypted of its reasoning.
pub(crate) const OF_OPENAI: &str = "openai:";

/// Whether a signature was made by another provider than Anthropic, or is none.
pub(super) fn is_foreign(signature: &str) -> bool {
    signature.is_empty() || [OF_GEMINI, OF_OPENAI].iter().any(|mark| signature.starts_with(mark))
}

/// Whether a call stands alone: one that code calls, or that belongs to a set of tools, means something to Anthropic only.
pub(super) fn is_plain_call(caller: Option<&Value>, toolset: Option<&Value>) -> bool {
    let is_direct = caller.is_none_or(|caller| caller.is_null() || caller.get("type") == Some(&Value::from("direct")));
    is_direct && toolset.is_none_or(Value::is_null)
}

/// Reads the blocks of a thread, and remembers what it must be known for.
#[derive(Debug, Default)]
pub(super) struct BlockReader {
    /// The first thing that only Anthropic can express.
    pub(super) only_anthropic: Option<Unsupported>,
    /// Whether another provider's reasoning is among them.
    pub(super) has_foreign_thinking: bool,
}

impl BlockReader {
    /// The content of a message, of a tool's result or of the instructions: a text, or blocks.
    ///
    /// # Errors
    /// With the path of the field that is of a wrong type.
    pub(super) fn content(&mut self, json: &Bytes, path: &str) -> Result<Vec<Part>, BadRequest> {
        if json.starts_with(b"\"") {
            let text = serde_json::from_slice(json).map_err(|_| wrong(path, "a text without broken escapes"))?;
            return Ok(vec![Part::Text { text }]);
        }
        let blocks: Vec<&RawValue> =
            serde_json::from_slice(json).map_err(|_| wrong(path, "a text or an array of content blocks"))?;
        let mut parts = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            let fields = Fields::read(json.slice_ref(block.get().as_bytes()), &path)?;
            parts.extend(self.block(&fields)?);
        }
        Ok(with_signed_calls(parts))
    }

    /// A block; `None` for one that says nothing.
    fn block(&mut self, fields: &Fields<'_>) -> Result<Option<Part>, BadRequest> {
        let kind: String = fields.need("type")?;
        let part = match kind.as_str() {
            "text" if fields.has_only(&["text", "citations"]) => Some(Part::Text { text: fields.need("text")? }),
            "image" if fields.has_only(&["source"]) => {
                image_source(&fields.need("source")?).map(|source| Part::Image { source, detail: None })
            }
            "document" if fields.has_only(&["source", "title"]) => {
                let filename = fields.take("title")?;
                document_source(&fields.need("source")?).map(|source| Part::File { source, filename })
            }
            "tool_use" if fields.has_only(&["id", "name", "input", "caller", "toolset_name"]) => self.call(fields)?,
            "tool_result" if fields.has_only(&["tool_use_id", "content", "is_error"]) => Some(self.result(fields)?),
            "thinking" if fields.has_only(&["thinking", "signature"]) => {
                let signature = fields.take::<String>("signature")?.filter(|signature| !signature.is_empty());
                let text: String = fields.need("thinking")?;
                self.has_foreign_thinking |= signature.as_deref().is_none_or(is_foreign);
                if text.is_empty() && signature.is_none() {
                    return Ok(None);
                }
                return Ok(Some(Part::Thinking { text, signature }));
            }
            "redacted_thinking" => Some(Part::RedactedThinking { data: fields.need("data")? }),
            _ => None,
        };
        if part.is_none() {
            self.note(fields.path, &format!("a block of type `{kind}` as it stands here"));
        }
        Ok(Some(match part {
            Some(part) => part,
            None => Part::Other { dialect: Dialect::AnthropicMessages, value: fields.whole()? },
        }))
    }

    fn call(&mut self, fields: &Fields<'_>) -> Result<Option<Part>, BadRequest> {
        let (caller, toolset) = (fields.take("caller")?, fields.take("toolset_name")?);
        if !is_plain_call(caller.as_ref(), toolset.as_ref()) {
            return Ok(None);
        }
        let input = fields.object.get("input").filter(|input| input.starts_with(b"{"));
        let input = input.and_then(|input| std::str::from_utf8(input).ok());
        let input = input.ok_or_else(|| wrong(&format!("{}.input", fields.path), "an object"))?;
        let (id, name) = (fields.need("id")?, fields.need("name")?);
        Ok(Some(Part::ToolCall { id, name, arguments: input.to_owned(), signature: None }))
    }

    fn result(&mut self, fields: &Fields<'_>) -> Result<Part, BadRequest> {
        let content = match fields.object.get_bytes("content").filter(|content| &content[..] != b"null") {
            None => Vec::new(),
            Some(content) => self.content(&content, &format!("{}.content", fields.path))?,
        };
        let is_error = fields.take("is_error")?.unwrap_or(false);
        Ok(Part::ToolResult { call_id: fields.need("tool_use_id")?, content, is_error })
    }

    /// Notes what no other dialect can express, if it is the first.
    pub(super) fn note(&mut self, path: &str, what: &str) {
        self.only_anthropic.get_or_insert_with(|| {
            Unsupported::new(
                path,
                format!("`{path}`: {what} can only go to a model of Anthropic's. Leave it out, or use one."),
            )
        });
    }
}

/// Gives Gemini's signatures back to the calls that they stand before.
fn with_signed_calls(parts: Vec<Part>) -> Vec<Part> {
    let mut signature = None;
    let mut signed = Vec::with_capacity(parts.len());
    for part in parts {
        signed.push(match part {
            Part::Thinking { text, signature: Some(marked) } if marked.starts_with(OF_GEMINI) => {
                signature = marked.strip_prefix(OF_GEMINI).map(str::to_owned);
                if text.is_empty() {
                    continue;
                }
                Part::Thinking { text, signature: None }
            }
            Part::ToolCall { id, name, arguments, signature: None } => {
                Part::ToolCall { id, name, arguments, signature: signature.take() }
            }
            part => part,
        });
    }
    signed
}

fn image_source(source: &Value) -> Option<Source> {
    let text = |field: &str| source.get(field).and_then(Value::as_str).map(str::to_owned);
    match source.get("type").and_then(Value::as_str)? {
        "base64" => Some(Source::Base64 { media_type: text("media_type")?, data: text("data")? }),
        "url" => Some(Source::Url { url: text("url")? }),
        // Files that were uploaded to Anthropic, and whatever comes.
        _ => None,
    }
}

fn document_source(source: &Value) -> Option<Source> {
    let of_text = |text: &str| Source::Base64 { media_type: "text/plain".to_owned(), data: BASE64.encode(text) };
    match source.get("type").and_then(Value::as_str)? {
        "text" => source.get("data").and_then(Value::as_str).map(of_text),
        "content" => source.get("content").and_then(Value::as_str).map(of_text),
        _ => image_source(source),
    }
}

/// The members of a block, and where it stands.
struct Fields<'a> {
    object: RawObject,
    path: &'a str,
}

impl<'a> Fields<'a> {
    fn read(json: Bytes, path: &'a str) -> Result<Self, BadRequest> {
        let object = RawObject::parse(json).map_err(|_| wrong(path, "an object, with each member once"))?;
        Ok(Self { object, path })
    }

    /// Whether nothing but these members, the type and `cache_control` say anything.
    fn has_only(&self, known: &[&str]) -> bool {
        let is_known = |key: &str| matches!(key, "type" | "cache_control") || known.contains(&key);
        self.object.keys().all(|key| is_known(key) || says_nothing(self.object.get(key).unwrap_or_default()))
    }

    fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, BadRequest> {
        self.object
            .decode(key)
            .map_err(|_| wrong(&format!("{}.{key}", self.path), "of the type that Anthropic documents"))
    }

    fn need<T: DeserializeOwned>(&self, key: &str) -> Result<T, BadRequest> {
        self.take(key)?.ok_or_else(|| wrong(&format!("{}.{key}", self.path), "given"))
    }

    fn whole(&self) -> Result<Value, BadRequest> {
        serde_json::from_slice(self.object.body()).map_err(|_| wrong(self.path, "valid JSON"))
    }
}

/// Whether a member asks for what happens without it.
fn says_nothing(json: &[u8]) -> bool {
    let json: Vec<u8> = json.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    matches!(&json[..], b"null" | b"{}" | b"[]" | b"{\"enabled\":false}")
}

pub(super) fn wrong(path: &str, expected: &str) -> BadRequest {
    BadRequest::at(path, format!("`{path}` must be {expected}."))
}
