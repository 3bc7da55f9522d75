//! What a request to `generateContent` holds besides its thread, counted as [`RequestSize`] counts; and the members that nobody can
//! bound.

use super::fields::Fields;
use super::incoming::IncomingGenerate;
use crate::canonical::Message;
use crate::request_size::{
    RequestSize, TOKENS_OF_FORMAT_PROMPT, TOKENS_OF_TOOL_PROMPT, TOKENS_PER_TOOL, asks_for_cache,
};
use crate::unbounded_field::{Escape, Suspects, UnboundedField};

/// Members that no model sees, or that are counted in another way. All others count by their bytes.
const NOT_TEXT: [&str; 7] =
    ["contents", "systemInstruction", "model", "metadata", "labels", "safetySettings", "serviceTier"];

/// The model is named by the path.
const MODELS: [&str; 0] = [];
/// What Google has cached.
const SIZES: [&str; 2] = ["cachedContent", "cached_content"];
const FEES: [&str; 0] = [];
/// In both ways of writing.
const COUNTED: [&str; 12] = [
    "contents",
    "systemInstruction",
    "system_instruction",
    "generationConfig",
    "generation_config",
    "tools",
    "toolConfig",
    "tool_config",
    "serviceTier",
    "service_tier",
    "safetySettings",
    "safety_settings",
];
/// A schema may have a member of any name.
const FREE: [&str; 7] = [
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
    "generationConfig",
    "generation_config",
    "metadata",
];
const SUSPECTS: Suspects = Suspects { models: &MODELS, sizes: &SIZES, fees: &FEES, counted: &COUNTED, free: &FREE };

/// Members of `generationConfig` for which a model is chosen by the provider.
const CHOOSES_MODEL: [&str; 2] = ["routingConfig", "modelSelectionConfig"];
/// Members of `generationConfig` that are counted; in another case a server that does not mind it would heed one that was not.
const CONFIG: [&str; 5] =
    ["maxOutputTokens", "candidateCount", "thinkingConfig", "responseModalities", "mediaResolution"];

impl IncomingGenerate {
    /// The most that the request can be counted as, with what leads it and earlier messages.
    #[must_use]
    pub fn size(&self, history: &[Message]) -> RequestSize {
        let mut size = RequestSize::of_thread(&self.lead, history, &self.messages);
        let fields = &self.fields;
        for name in fields.names().filter(|name| !NOT_TEXT.contains(&&**name)) {
            let json = fields.get(&name).unwrap_or_default();
            if matches!(json.first(), Some(b'"' | b'[' | b'{')) {
                size.text(json.len());
            }
        }
        size.unknown_parts += u64::from(fields.get("cachedContent").is_some());
        tools(fields, &mut size);
        if let Ok(Some(config)) = fields.child("generationConfig") {
            let asks = |name: &str| config.get(name).is_some();
            if asks("responseSchema") || asks("responseJsonSchema") || asks("responseMimeType") {
                size.add(TOKENS_OF_FORMAT_PROMPT);
            }
            let modalities: Vec<String> = config.take("responseModalities").ok().flatten().unwrap_or_default();
            let wants = |kind: &str| modalities.iter().any(|modality| modality.eq_ignore_ascii_case(kind));
            size.speaks = wants("audio");
            size.draws = wants("image");
            // At a resolution of the request's choice a picture may be larger than the price book knows.
            if asks("mediaResolution") {
                size.unknown_parts += size.images;
            }
        }
        size.writes_cache |= asks_for_cache(fields.object.body());
        size
    }

    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        SUSPECTS.find(&self.fields.object).or_else(|| self.paid_tool()).or_else(|| self.odd_setting())
    }

    /// A tool that the provider runs itself: it is paid for, or reads what nobody counted.
    fn paid_tool(&self) -> Option<UnboundedField> {
        let paid = |name: String| UnboundedField { name, escapes: Escape::Fee };
        // What cannot be read may be anything.
        let Ok(tools) = self.fields.children("tools") else { return Some(paid("tools".to_owned())) };
        tools.iter().find_map(|tool| {
            let own = tool.names().find(|name| name != "functionDeclarations")?;
            Some(paid(tool.at(&own)))
        })
    }

    /// A setting by which another model may answer, or that is written so that it was not counted.
    fn odd_setting(&self) -> Option<UnboundedField> {
        let config = self.fields.child("generationConfig").ok()??;
        config.names().find_map(|name| {
            let is_odd = CONFIG.iter().any(|known| known.eq_ignore_ascii_case(&name) && *known != name);
            let chooses = CHOOSES_MODEL.iter().any(|known| known.eq_ignore_ascii_case(&name));
            let escapes = if chooses { Escape::Model } else { Escape::Size };
            (is_odd || chooses).then(|| UnboundedField { name: config.at(&name), escapes })
        })
    }
}

fn tools(fields: &Fields, size: &mut RequestSize) {
    if fields.get("tools").is_none() {
        return;
    }
    size.add(TOKENS_OF_TOOL_PROMPT);
    let Ok(tools) = fields.children("tools") else {
        size.unknown_parts += 1;
        return;
    };
    for tool in &tools {
        match tool.items("functionDeclarations") {
            Ok(declarations) => declarations.iter().for_each(|_| size.add(TOKENS_PER_TOOL)),
            Err(_) => size.unknown_parts += 1,
        }
        size.unknown_parts += u64::from(tool.names().any(|name| name != "functionDeclarations"));
    }
}
