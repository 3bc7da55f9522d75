//! Images and documents that stand in a provider's request by URL: which the provider cannot follow, and their bytes in place of
//! them.
//!
//! It works on the body as it is written for the provider, whatever dialect it came in. Only messages with such a link are written
//! anew. Fetching is not done here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Dialect;
use crate::raw_object::{Edits, RawObject};

/// What a link should lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A PDF.
    Document,
    /// Either: the dialect does not say.
    Any,
}

impl MediaKind {
    /// What was wanted, for people.
    #[must_use]
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::Image => "PNG, JPEG, GIF, WebP or HEIC image",
            Self::Document => "PDF",
            Self::Any => "PNG, JPEG, GIF, WebP or HEIC image or PDF",
        }
    }
}

/// A link in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, by HTTP.
    pub url: String,
    /// What it should lead to.
    pub kind: MediaKind,
}

/// What stood at the end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    media_type: &'static str,
    base64: String,
    bytes: usize,
}

impl Media {
    /// Reads bytes that should be of a kind; `None` if they are not, by their own first bytes.
    #[must_use]
    pub fn read(bytes: Vec<u8>, kind: MediaKind) -> Option<Self> {
        let media_type = media_type_of(&bytes)?;
        let is_picture = media_type.starts_with("image/");
        let fits = match kind {
            MediaKind::Image => is_picture,
            MediaKind::Document => !is_picture,
            MediaKind::Any => true,
        };
        fits.then(|| Self { media_type, base64: BASE64.encode(&bytes), bytes: bytes.len() })
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn data_url(&self) -> String {
        format!("data:{};base64,{}", self.media_type, self.base64)
    }
}

/// By the first bytes, as browsers do (<https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern>).
fn media_type_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', b'i' | b'v', b'c' | b'x', ..] => Some("image/heic"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', b'1', ..] => Some("image/heif"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => None,
    }
}

/// Which links a provider leaves to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Those for which its dialect has no word.
    Inexpressible,
    /// All: it fetches nothing.
    All,
}

/// The links in a request that the provider does not follow, each once, in their order.
#[must_use]
pub fn links(outbound: Dialect, body: &Bytes, follow: Follow) -> Vec<Link> {
    let mut found: Vec<Link> = Vec::new();
    if follow == Follow::Inexpressible && !may_have_inexpressible(outbound, body) {
        return found;
    }
    each_message(outbound, body, &mut |message| {
        visit(outbound, message, &mut |slot| {
            if let Some(link) = slot.link(follow)
                && !found.contains(&link)
            {
                found.push(link);
            }
        });
        false
    });
    found
}

/// Another dialect's request was written by us, without escapes: most have no such member, and need not be read.
fn may_have_inexpressible(outbound: Dialect, body: &[u8]) -> bool {
    let member = match outbound {
        Dialect::OpenAiChat => "\"file_data\"",
        Dialect::Gemini => "\"fileUri\"",
        Dialect::AnthropicMessages | Dialect::OpenAiResponses => return false,
    };
    memchr::memmem::find(body, member.as_bytes()).is_some()
}

/// The request with what stood at the ends of its links in their place. A link for which nothing is there stays.
#[must_use]
pub fn inline<'a>(
    outbound: Dialect,
    body: &Bytes,
    follow: Follow,
    media: impl Fn(&Link) -> Option<&'a Media>,
) -> Bytes {
    let rewritten = each_message(outbound, body, &mut |message| {
        let mut changed = false;
        visit(outbound, message, &mut |slot| {
            if let Some(media) = slot.link(follow).as_ref().and_then(&media) {
                slot.fill(media);
                changed = true;
            }
        });
        changed
    });
    rewritten.unwrap_or_else(|| body.clone())
}

/// Shows every message; those that were changed are written anew.
fn each_message(outbound: Dialect, body: &Bytes, change: &mut dyn FnMut(&mut Value) -> bool) -> Option<Bytes> {
    let object = RawObject::parse(body.clone()).ok()?;
    let member = match outbound {
        Dialect::OpenAiChat | Dialect::AnthropicMessages => "messages",
        Dialect::Gemini => "contents",
        Dialect::OpenAiResponses => "input",
    };
    // A question for a count holds the request.
    const COUNTED: &str = "generateContentRequest";
    if let (Dialect::Gemini, Some(inner)) = (outbound, object.get_bytes(COUNTED)) {
        let inner = each_message(outbound, &inner, change)?;
        let mut edits = Edits::default();
        edits.set(COUNTED, inner.to_vec());
        return Some(object.render(&edits));
    }
    let messages: Vec<&RawValue> = serde_json::from_slice(object.get(member)?).ok()?;
    let mut written = Vec::with_capacity(messages.len());
    let mut any = false;
    for raw in messages {
        let mut message: Option<Value> = serde_json::from_str(raw.get()).ok();
        let changed = message.as_mut().is_some_and(&mut *change);
        any |= changed;
        written.push(match message.filter(|_| changed) {
            Some(message) => message.to_string(),
            None => raw.get().to_owned(),
        });
    }
    let mut edits = Edits::default();
    edits.set(member, format!("[{}]", written.join(",")).into_bytes());
    any.then(|| object.render(&edits))
}

/// A part of a message that may be a link.
struct Slot<'a> {
    outbound: Dialect,
    part: &'a mut Value,
    /// Whether it stands in the result of a tool.
    in_result: bool,
}

fn visit(outbound: Dialect, message: &mut Value, see: &mut dyn FnMut(&mut Slot<'_>)) {
    let (parts, result) = match outbound {
        Dialect::OpenAiChat => ("content", None),
        Dialect::AnthropicMessages => ("content", Some("/content")),
        Dialect::Gemini => ("parts", Some("/functionResponse/parts")),
        // A result is an item of its own.
        Dialect::OpenAiResponses if message.get("output").is_some() => ("output", None),
        Dialect::OpenAiResponses => ("content", None),
    };
    for part in message.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten() {
        see(&mut Slot { outbound, part, in_result: false });
        let inner = result.and_then(|pointer| part.pointer_mut(pointer)).and_then(Value::as_array_mut);
        for part in inner.into_iter().flatten() {
            see(&mut Slot { outbound, part, in_result: true });
        }
    }
}

impl Slot<'_> {
    /// The link that it is, if the provider leaves it to us.
    fn link(&self, follow: Follow) -> Option<Link> {
        let text = |pointer: &str| self.part.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let kind = self.part.get("type").and_then(Value::as_str);
        let (url, kind, is_inexpressible) = match self.outbound {
            Dialect::OpenAiChat => match kind? {
                "image_url" => (text("/image_url/url")?, MediaKind::Image, false),
                // Chat completions take a file's bytes or its id
                // (https://platform.openai.com/docs/api-reference/chat/create).
                "file" => (text("/file/file_data")?, MediaKind::Document, true),
                _ => return None,
            },
            Dialect::AnthropicMessages => match kind? {
                "image" => (text("/source/url")?, MediaKind::Image, false),
                "document" => (text("/source/url")?, MediaKind::Document, false),
                _ => return None,
            },
            // (https://platform.openai.com/docs/api-reference/responses/create)
            Dialect::OpenAiResponses => match kind? {
                "input_image" => (text("/image_url")?, MediaKind::Image, false),
                "input_file" => (text("/file_url")?, MediaKind::Document, false),
                _ => return None,
            },
            // A result of a function holds bytes alone (https://ai.google.dev/api/caching#FunctionResponsePart).
            Dialect::Gemini => {
                // What is held for as a picture is none other than that.
                let kind = match text("/fileData/mimeType").as_deref() {
                    Some(media_type) if media_type.starts_with("image/") => MediaKind::Image,
                    _ => MediaKind::Any,
                };
                (text("/fileData/fileUri")?, kind, self.in_result)
            }
        };
        // Whatever it is, it is no bytes: who does not fetch must not be given an address in disguise.
        let is_link = !url.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"))
            && (kind != MediaKind::Document || url.contains(':'));
        let is_followed = is_link
            && (follow == Follow::All || is_inexpressible)
            && !(self.outbound == Dialect::Gemini && is_googles(&url));
        is_followed.then_some(Link { url, kind })
    }

    fn fill(&mut self, media: &Media) {
        let part = &mut *self.part;
        let (place, value) = match (self.outbound, part.get("type").and_then(Value::as_str)) {
            (Dialect::OpenAiChat, Some("file")) => ("/file/file_data", json!(media.data_url())),
            (Dialect::OpenAiChat, _) => ("/image_url/url", json!(media.data_url())),
            (Dialect::OpenAiResponses, Some("input_file")) => {
                if let Some(fields) = part.as_object_mut() {
                    fields.shift_remove("file_url");
                    fields.insert("file_data".to_owned(), json!(media.data_url()));
                    fields.entry("filename").or_insert_with(|| json!("document.pdf"));
                }
                return;
            }
            (Dialect::OpenAiResponses, _) => ("/image_url", json!(media.data_url())),
            (Dialect::AnthropicMessages, _) => {
                ("/source", json!({"type": "base64", "media_type": media.media_type, "data": media.base64}))
            }
            (Dialect::Gemini, _) => {
                if let Some(fields) = part.as_object_mut() {
                    fields.shift_remove("fileData");
                    let inline = json!({"mimeType": media.media_type, "data": media.base64});
                    fields.insert("inlineData".to_owned(), inline);
                }
                return;
            }
        };
        if let Some(found) = part.pointer_mut(place) {
            *found = value;
        }
        // Files without a name are refused.
        if let Some(file) = part.get_mut("file").and_then(Value::as_object_mut) {
            file.entry("filename").or_insert_with(|| json!("document.pdf"));
        }
    }
}

/// In Google's storage, uploaded to its Files API, or a film on YouTube: only Gemini itself can read those.
fn is_googles(url: &str) -> bool {
    if url.starts_with("gs://") {
        return true;
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    ["generativelanguage.googleapis.com", "youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    fn body(value: &Value) -> Bytes {
        Bytes::from(value.to_string())
    }

    fn link(url: &str, kind: MediaKind) -> Link {
        Link { url: url.to_owned(), kind }
    }

    fn filled(outbound: Dialect, value: &Value) -> Value {
        let media = Media::read(PNG.to_vec(), MediaKind::Image).unwrap();
        serde_json::from_slice(&inline(outbound, &body(value), Follow::All, |_| Some(&media))).unwrap()
    }

    #[test]
    fn links_are_found_where_the_dialect_has_them_and_nowhere_else() {
        let url = "https://x.test/a.png";
        let image = json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
        let openai = json!({"model": "m", "messages": [{"role": "user", "content": [image, image, {"type": "text", "text": url},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
            {"type": "file", "file": {"file_data": "http://x.test/b.pdf"}}]},
            {"role": "assistant", "content": url, "tool_calls": [{"function": {"arguments": image.to_string()}}]}]});
        let of = |outbound, value: &Value, follow| links(outbound, &body(value), follow);
        let document = link("http://x.test/b.pdf", MediaKind::Document);
        assert_eq!(of(Dialect::OpenAiChat, &openai, Follow::All), [link(url, MediaKind::Image), document.clone()]);
        assert_eq!(of(Dialect::OpenAiChat, &openai, Follow::Inexpressible), [document]);

        let image = json!({"type": "image", "source": {"type": "url", "url": url}});
        let anthropic = json!({"messages": [{"role": "user", "content": [
            {"type": "tool_result", "content": [image, {"type": "document", "source": {"type": "url", "url": "https://x.test/c"}}]}]},
            {"role": "assistant", "content": [{"type": "tool_use", "input": image}]}]});
        let found = [link(url, MediaKind::Image), link("https://x.test/c", MediaKind::Document)];
        assert_eq!(of(Dialect::AnthropicMessages, &anthropic, Follow::All), found);
        assert_eq!(of(Dialect::AnthropicMessages, &anthropic, Follow::Inexpressible), []);

        let image = json!({"type": "input_image", "image_url": url});
        let responses = json!({"input": [{"role": "user", "content": [image, {"type": "input_file", "file_url": "https://x.test/d"}]},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": "https://x.test/e"}]},
            {"type": "function_call_output", "call_id": "d", "output": "https://x.test/f"}, {"role": "user", "content": url}]});
        let found = [
            link(url, MediaKind::Image),
            link("https://x.test/d", MediaKind::Document),
            link("https://x.test/e", MediaKind::Image),
        ];
        assert_eq!(of(Dialect::OpenAiResponses, &responses, Follow::All), found);
        assert_eq!(of(Dialect::OpenAiResponses, &responses, Follow::Inexpressible), []);

        let file = |uri: &str| json!({"fileData": {"fileUri": uri}});
        let result =
            json!({"functionResponse": {"name": "f", "response": file(url), "parts": [file("https://x.test/r")]}});
        let contents = json!([{"parts": [file(url), result, file("https://www.youtube.com/watch?v=x"),
            file("https://generativelanguage.googleapis.com/v1beta/files/a"), file("gs://b/c")]}]);
        let gemini = json!({"contents": contents});
        let picture = json!({"contents": [{"parts": [{"fileData": {"mimeType": "image/png", "fileUri": url}}]}]});
        assert_eq!(of(Dialect::Gemini, &picture, Follow::All), [link(url, MediaKind::Image)]);
        let found = [link(url, MediaKind::Any), link("https://x.test/r", MediaKind::Any)];
        assert_eq!(of(Dialect::Gemini, &gemini, Follow::All), found);
        assert_eq!(of(Dialect::Gemini, &gemini, Follow::Inexpressible), found[1..]);
        assert_eq!(of(Dialect::Gemini, &json!({"generateContentRequest": gemini}), Follow::All), found);
    }

    #[test]
    fn fault_25_no_address_in_disguise_reaches_a_provider_that_does_not_fetch() {
        for url in [
            "HTTP://10.0.0.1/",
            " http://10.0.0.1/",
            "http:10.0.0.1",
            "//10.0.0.1/",
            "file:///etc/passwd",
            "ftp://x",
            "",
        ] {
            let part = json!({"type": "image_url", "image_url": {"url": url}});
            let openai = json!({"messages": [{"role": "user", "content": [part]}]});
            assert_eq!(links(Dialect::OpenAiChat, &body(&openai), Follow::All), [link(url, MediaKind::Image)]);
            let gemini = json!({"contents": [{"parts": [{"fileData": {"fileUri": url}}]}]});
            assert_eq!(links(Dialect::Gemini, &body(&gemini), Follow::All), [link(url, MediaKind::Any)]);
        }
        let escaped =
            r#"{"\u006dessages":[{"content":[{"\u0074ype":"image_\u0075rl","image_url":{"url":"\u0068ttp:\/\/x"}}]}]}"#;
        let found = links(Dialect::OpenAiChat, &Bytes::from_static(escaped.as_bytes()), Follow::All);
        assert_eq!(found, [link("http://x", MediaKind::Image)]);
        for own in ["data:image/png;base64,AA", "DATA:image/png;base64,AA"] {
            let part = json!({"type": "image_url", "image_url": {"url": own}});
            let file = json!({"type": "file", "file": {"file_data": "JVBERi0x"}});
            let openai = json!({"messages": [{"role": "user", "content": [part, file]}]});
            assert_eq!(links(Dialect::OpenAiChat, &body(&openai), Follow::All), []);
        }
    }

    #[test]
    fn bytes_take_the_place_of_links_and_the_rest_stays() {
        let openai = json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://x/a", "detail": "low"}}, {"type": "file", "file": {"file_data": "https://x/b"}}]}]});
        let content = &filled(Dialect::OpenAiChat, &openai)["messages"][0]["content"];
        let data = "data:image/png;base64,iVBORw0KGgo=";
        assert_eq!(content[0]["image_url"], json!({"url": data, "detail": "low"}));
        assert_eq!(content[1]["file"], json!({"file_data": data, "filename": "document.pdf"}));
        let anthropic = json!({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://x/a"}, "cache_control": {"type": "ephemeral"}}]}]});
        let block = &filled(Dialect::AnthropicMessages, &anthropic)["messages"][0]["content"][0];
        let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
        assert_eq!(block, &json!({"type": "image", "source": source, "cache_control": {"type": "ephemeral"}}));
        let inner = json!({"contents": [{"parts": [{"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x/a"}, "thought": false}]}]});
        let question = json!({"generateContentRequest": inner});
        let part = &filled(Dialect::Gemini, &question)["generateContentRequest"]["contents"][0]["parts"][0];
        assert_eq!(part, &json!({"thought": false, "inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}));
    }

    #[test]
    fn other_messages_keep_their_bytes() {
        let plain = r#"{"role" : "assistant","content": [ {"n": 1.0e2, "big": 123456789012345678901234567890} ] }"#;
        let linked = r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"https:\/\/x.test\/a"}}]}"#;
        let body = Bytes::from(format!("{{ \"messages\": [{plain},{linked}], \"seed\" : 1.50 }}"));
        let media = Media::read(PNG.to_vec(), MediaKind::Image).unwrap();
        let written = inline(Dialect::OpenAiChat, &body, Follow::All, |_| Some(&media));
        let written = std::str::from_utf8(&written).unwrap();
        assert!(written.contains(plain) && written.contains("1.50") && written.contains("iVBORw0KGgo="), "{written}");
        assert_eq!(inline(Dialect::OpenAiChat, &body, Follow::All, |_| None), body, "nothing there, nothing changed");
    }

    #[test]
    fn media_are_what_their_first_bytes_say() {
        for (bytes, media_type) in [
            (b"\xff\xd8\xff\xe0".as_slice(), Some("image/jpeg")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"\0\0\0\x18ftypheic", Some("image/heic")),
            (b"%PDF-1.4", Some("application/pdf")),
            (b"<svg xmlns=", None),
            (b"ami-id\ninstance", None),
            (b"", None),
        ] {
            assert_eq!(media_type_of(bytes), media_type);
        }
        assert!(Media::read(b"%PDF-1.4".to_vec(), MediaKind::Image).is_none());
        assert!(Media::read(PNG.to_vec(), MediaKind::Document).is_none());
        assert!(Media::read(PNG.to_vec(), MediaKind::Any).is_some());
    }
}
