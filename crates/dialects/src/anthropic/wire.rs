//! What whole answers and streams have in common on the wire: usage, stop reasons, errors.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::UpstreamFault;
use crate::canonical::{FinishReason, Usage};
use crate::openai::error;

/// A block of an answer's content. One struct for all kinds, so that `input` keeps its own bytes and new kinds do no harm.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) data: Option<String>,
    pub(super) input: Option<Box<RawValue>>,
    pub(super) caller: Option<Value>,
    pub(super) toolset_name: Option<Value>,
}

impl Block {
    /// The arguments of a call that came whole; `None` if there are none.
    pub(super) fn arguments(&self) -> Option<&str> {
        self.input.as_deref().map(RawValue::get).filter(|input| !matches!(*input, "{}" | "null" | "\"\""))
    }
}

/// The `usage` object. In a stream, later ones say only what has grown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
    service_tier: Option<String>,
    speed: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl WireUsage {
    /// The tier whose prices hold: a speed of its own has its own.
    pub(super) fn tier(&self) -> Option<String> {
        let dearer = self.speed.as_ref().filter(|speed| *speed != "standard");
        dearer.or(self.service_tier.as_ref()).cloned()
    }

    /// Whether the output is counted.
    pub(super) const fn has_output(&self) -> bool {
        self.output_tokens.is_some()
    }

    /// Takes over what a later object says. The counts are cumulative: they replace, they do not add.
    pub(super) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
        self.service_tier = later.service_tier.or(self.service_tier.take());
        self.speed = later.speed.or(self.speed.take());
    }

    /// Anthropic's `input_tokens` excludes what was read from and written to the cache; the canonical count includes it.
    pub(super) fn canonical(&self) -> Usage {
        let read = self.cache_read_input_tokens.unwrap_or(0);
        let creation = self.cache_creation.unwrap_or_default();
        let for_1h = creation.ephemeral_1h_input_tokens.unwrap_or(0);
        let by_time = creation.ephemeral_5m_input_tokens.unwrap_or(0).saturating_add(for_1h);
        // The sum and its parts say the same; where they do not, the larger is paid for.
        let written = self.cache_creation_input_tokens.unwrap_or(0).max(by_time);
        Usage {
            input: self.input_tokens.unwrap_or(0).saturating_add(read).saturating_add(written),
            cached_input: read,
            cache_write_5m: written.saturating_sub(for_1h),
            cache_write_1h: for_1h,
            output: self.output_tokens.unwrap_or(0),
            reasoning: self.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or(0),
            ..Usage::default()
        }
    }
}

pub(super) fn finish(stop_reason: &str) -> FinishReason {
    match stop_reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        "pause_turn" => FinishReason::Pause,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The fault that an error body, or an `error` event's data, reports.
pub(super) fn fault(body: &[u8]) -> UpstreamFault {
    let error = error::decode(body);
    let kind = error.kind.unwrap_or_else(|| "api_error".to_owned());
    UpstreamFault::Reported { status: status(&kind), kind, message: error.message }
}

fn status(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "api_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}
