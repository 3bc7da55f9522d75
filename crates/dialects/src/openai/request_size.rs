//! What a chat or embeddings request holds besides its thread, counted as [`RequestSize`] counts.

use serde::Deserialize;
use serde_json::Value;

use super::chat_request::IncomingChat;
use super::embeddings::IncomingEmbeddings;
use crate::canonical::Message;
use crate::request_size::{
    RequestSize, TOKENS_OF_FORMAT_PROMPT, TOKENS_OF_TOOL_PROMPT, TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST,
    TOKENS_PER_TOOL, asks_for_cache,
};

/// Members that no model sees, or that are counted in another way. All others count by their bytes, since servers of this
/// dialect have fields of their own that hold text (`documents`, `chat_template_kwargs`).
const NOT_TEXT: [&str; 9] = [
    "messages",
    "metadata",
    "logit_bias",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "conversation_id",
    "prediction",
    "model",
];

/// Members by which the provider reads more than the request says.
const SEARCHES: [&str; 3] = ["web_search_options", "search_parameters", "plugins"];

impl IncomingChat {
    /// The most that the request can be counted as, with what leads it and earlier messages.
    #[must_use]
    pub fn size(&self, history: &[Message]) -> RequestSize {
        let mut size = RequestSize::of_thread(&self.lead, history, &self.messages);
        self.members(&mut size);
        size.writes_cache |= asks_for_cache(self.object.body());
        size
    }

    /// Counts what stands beside the messages.
    fn members(&self, size: &mut RequestSize) {
        let object = &self.object;
        let is_set = |key: &str| object.get(key).is_some_and(|json| json != b"null");
        // A number or a truth is a setting; no model reads it.
        let may_hold_text = |key: &str| {
            object
                .get(key)
                .is_some_and(|json| json.starts_with(b"\"") || json.starts_with(b"[") || json.starts_with(b"{"))
        };
        for key in object.keys().filter(|key| !NOT_TEXT.contains(key) && may_hold_text(key)) {
            size.text(object.get(key).map_or(0, <[u8]>::len));
            if SEARCHES.contains(&key) {
                size.unknown_parts += 1;
            }
        }
        for key in ["tools", "functions"].into_iter().filter(|key| is_set(key)) {
            size.add(TOKENS_OF_TOOL_PROMPT);
            let Ok(tools) = object.decode::<Vec<ToolKind>>(key) else {
                size.unknown_parts += 1;
                continue;
            };
            for tool in tools.unwrap_or_default() {
                size.add(TOKENS_PER_TOOL);
                // A tool that the provider runs itself reads what it finds.
                let is_clients = matches!(tool.kind.as_deref(), None | Some("function" | "custom"));
                size.unknown_parts += u64::from(!is_clients);
            }
        }
        if is_set("response_format") && !is_plain_text(object.get("response_format").unwrap_or_default()) {
            size.add(TOKENS_OF_FORMAT_PROMPT);
        }
        size.predicted_tokens = object.get("prediction").map_or(0, |json| json.len() as u64);
        let modalities: Vec<Value> = object.decode("modalities").ok().flatten().unwrap_or_default();
        size.speaks = modalities.iter().any(|modality| modality == "audio");
        size.draws = modalities.iter().any(|modality| modality == "image");
    }
}

/// Whether a demanded shape of the answer is none.
fn is_plain_text(response_format: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
    }
    serde_json::from_slice::<Format<'_>>(response_format).is_ok_and(|format| format.kind == "text")
}

impl IncomingEmbeddings {
    /// The most that the request can be counted as.
    #[must_use]
    pub fn size(&self) -> RequestSize {
        let mut size =
            RequestSize { text_tokens: TOKENS_PER_REQUEST.saturating_add(self.tokens), ..RequestSize::default() };
        for text in self.texts.iter().flatten() {
            size.add(TOKENS_PER_MESSAGE);
            size.text(text.len());
        }
        size
    }
}

/// What kind of tool it is; OpenAI's old `functions` do not say.
#[derive(Deserialize)]
struct ToolKind {
    #[serde(rename = "type", default)]
    kind: Option<String>,
}
