//! OpenAI's count of tokens. `prompt_tokens` includes cached ones, `completion_tokens` includes reasoning.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::Usage;

/// The `usage` object.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

impl WireUsage {
    /// The count; `None` for an object that counts nothing, as some servers send in place of none.
    #[must_use]
    pub fn count(self) -> Option<Usage> {
        let input = self.prompt_tokens?;
        let prompt = self.prompt_tokens_details.unwrap_or_default();
        let completion = self.completion_tokens_details.unwrap_or_default();
        Some(Usage {
            input,
            cache_write_5m: prompt.cache_write_tokens.unwrap_or(0),
            cached_input: prompt.cached_tokens.unwrap_or(0),
            audio_input: prompt.audio_tokens.unwrap_or(0),
            image_input: prompt.image_tokens.unwrap_or(0),
            output: self.completion_tokens.unwrap_or(0),
            reasoning: completion.reasoning_tokens.unwrap_or(0),
            audio_output: completion.audio_tokens.unwrap_or(0),
            image_output: completion.image_tokens.unwrap_or(0),
            ..Usage::default()
        })
    }
}

/// The `usage` object of a canonical count.
#[must_use]
pub fn encode(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input.saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cached_input, "audio_tokens": usage.audio_input},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output},
    })
}
