//! What whole answers and streams have in common on the wire: candidates, parts, usage, finish reasons, errors.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::UpstreamFault;
use crate::canonical::{FinishReason, Usage};
use crate::openai::error;

/// An answer, or a piece of a streamed one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    pub(super) candidates: Option<Vec<Candidate>>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    pub(super) usage_metadata: Option<WireUsage>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
    error: Option<WireFault>,
}

impl Wire {
    /// Whether it says something of the answer, and not of tokens alone.
    pub(super) const fn is_answer(&self) -> bool {
        self.candidates.is_some() || self.prompt_feedback.is_some()
    }
}

#[derive(Debug, Deserialize)]
struct WireFault {
    code: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    #[serde(default)]
    pub(super) index: u32,
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    pub(super) logprobs_result: Option<LogprobsResult>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub(super) parts: Vec<RawPart>,
}

/// A part as it came.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RawPart(Box<RawValue>);

/// What a part is.
#[derive(Debug)]
pub(super) enum Read {
    /// Of a kind that has a canonical meaning.
    Known(WirePart),
    /// Only whoever speaks this dialect knows it: code that Gemini ran, and what it printed.
    Other(Value),
}

impl RawPart {
    /// Reads it; `None` for what says nothing.
    pub(super) fn read(&self) -> Option<Read> {
        let part: Option<WirePart> = serde_json::from_str(self.0.get()).ok();
        match part {
            Some(part) if part.is_known() => Some(Read::Known(part)),
            Some(WirePart { text: Some(_), .. }) => None,
            _ => self
                .value()
                .filter(|value| value.as_object().is_some_and(|members| !members.is_empty()))
                .map(Read::Other),
        }
    }

    /// The whole part.
    pub(super) fn value(&self) -> Option<Value> {
        serde_json::from_str(self.0.get()).ok()
    }
}

/// A part of any kind, so that new kinds do no harm.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePart {
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thought: bool,
    pub(super) thought_signature: Option<String>,
    pub(super) function_call: Option<FunctionCall>,
    pub(super) inline_data: Option<InlineData>,
}

impl WirePart {
    fn is_known(&self) -> bool {
        let says = self.text.as_ref().is_some_and(|text| !text.is_empty());
        says || self.function_call.is_some() || self.inline_data.is_some()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    args: Option<Box<RawValue>>,
}

impl FunctionCall {
    /// The arguments as JSON text: an empty object where there are none.
    pub(super) fn arguments(&self) -> &str {
        self.args.as_deref().map_or("{}", RawValue::get)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InlineData {
    pub(super) mime_type: String,
    pub(super) data: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    #[serde(default)]
    pub(super) chosen_candidates: Vec<Logprob>,
    #[serde(default)]
    pub(super) top_candidates: Vec<TopCandidates>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TopCandidates {
    #[serde(default)]
    pub(super) candidates: Vec<Logprob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logprob {
    pub(super) token: String,
    pub(super) log_probability: f64,
}

/// The `usageMetadata` object. In a stream it is cumulative, and some pieces say only a part of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireUsage {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    prompt_tokens_details: Option<Vec<ModalityCount>>,
    cache_tokens_details: Option<Vec<ModalityCount>>,
    candidates_tokens_details: Option<Vec<ModalityCount>>,
    service_tier: Option<String>,
}

/// Of some tokens, those of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ModalityCount {
    modality: Option<String>,
    token_count: Option<u64>,
}

fn count_of(details: Option<&Vec<ModalityCount>>, modality: &str) -> u64 {
    let counts = details.into_iter().flatten().filter(|count| count.modality.as_deref() == Some(modality));
    counts.fold(0, |sum, count| sum.saturating_add(count.token_count.unwrap_or(0)))
}

impl WireUsage {
    /// Takes over what a later object says.
    pub(super) fn update(&mut self, later: Self) {
        self.prompt_token_count = later.prompt_token_count.or(self.prompt_token_count);
        self.tool_use_prompt_token_count = later.tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.cached_content_token_count = later.cached_content_token_count.or(self.cached_content_token_count);
        self.candidates_token_count = later.candidates_token_count.or(self.candidates_token_count);
        self.thoughts_token_count = later.thoughts_token_count.or(self.thoughts_token_count);
        self.prompt_tokens_details = later.prompt_tokens_details.or(self.prompt_tokens_details.take());
        self.cache_tokens_details = later.cache_tokens_details.or(self.cache_tokens_details.take());
        self.candidates_tokens_details = later.candidates_tokens_details.or(self.candidates_tokens_details.take());
        self.service_tier = later.service_tier.or(self.service_tier.take());
    }

    /// The tier that the answer was served in, where it is told.
    pub(super) fn tier(&self) -> Option<String> {
        self.service_tier.as_ref().map(|tier| tier.to_ascii_lowercase())
    }

    /// Gemini's prompt includes cached tokens, but not those of tool use; its candidates exclude thoughts.
    ///
    /// The kinds must not overlap: of cached tokens, pictures count as cached, and sound as sound, whose cached price is its own.
    pub(super) fn canonical(&self) -> Usage {
        let thoughts = self.thoughts_token_count.unwrap_or(0);
        let prompt = |modality| count_of(self.prompt_tokens_details.as_ref(), modality);
        let cached = |modality| count_of(self.cache_tokens_details.as_ref(), modality);
        let candidates = |modality| count_of(self.candidates_tokens_details.as_ref(), modality);
        let tool_use = self.tool_use_prompt_token_count.unwrap_or(0);
        Usage {
            input: self.prompt_token_count.unwrap_or(0).saturating_add(tool_use),
            cached_input: self.cached_content_token_count.unwrap_or(0).saturating_sub(cached("AUDIO")),
            audio_input: prompt("AUDIO"),
            image_input: prompt("IMAGE").saturating_sub(cached("IMAGE")),
            output: self.candidates_token_count.unwrap_or(0).saturating_add(thoughts),
            reasoning: thoughts,
            audio_output: candidates("AUDIO"),
            image_output: candidates("IMAGE"),
            ..Usage::default()
        }
    }
}

/// Reads an answer, or a piece of one.
pub(super) fn parse(body: &[u8]) -> Result<Wire, UpstreamFault> {
    match serde_json::from_slice::<Wire>(body) {
        Ok(Wire { error: Some(fault), .. }) => Err(reported(body, fault.code)),
        Ok(wire) => Ok(wire),
        Err(error) => match serde_json::from_slice::<[FaultOnly; 1]>(body) {
            // Asked for a stream, some endpoints wrap the error in an array.
            Ok([FaultOnly { error: fault }]) => Err(reported(body, fault.code)),
            Err(_) => Err(UpstreamFault::Malformed(error.to_string())),
        },
    }
}

#[derive(Deserialize)]
struct FaultOnly {
    error: WireFault,
}

fn reported(body: &[u8], code: Option<u16>) -> UpstreamFault {
    let error = error::decode(body);
    let kind = error.kind.unwrap_or_else(|| "UNKNOWN".to_owned());
    UpstreamFault::Reported { status: code.filter(|code| (400..600).contains(code)), kind, message: error.message }
}

/// Calls end with `STOP` here; the canonical form has a reason of its own for them.
pub(super) fn finish(reason: &str, has_calls: bool) -> FinishReason {
    match reason {
        "STOP" if has_calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// An id for a call that came without one: the same each time the answer is read, another in each answer, so that ids of
/// several turns stay apart. It fits the 40 characters that OpenAI allows and the alphabet that Anthropic demands.
pub(super) fn mint_id(answer: u64, choice: u32, index: u32, name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(14).collect();
    let seed = answer ^ u64::from(choice).rotate_left(32);
    format!("call_{index}_{name}_{seed:016x}")
}

/// Whether an id has the form of those that are made here.
pub(super) fn is_minted(id: &str) -> bool {
    let parts: Option<Vec<&str>> = id.strip_prefix("call_").map(|rest| rest.split('_').collect());
    matches!(parts.as_deref(), Some([index, _, seed])
        if index.parse::<u32>().is_ok() && seed.len() == 16 && seed.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What tells an answer from others: the hash (FNV-1a) of its id, or of its bytes where it has none.
pub(super) fn seed(wire: &Wire, body: &[u8]) -> u64 {
    let bytes = wire.response_id.as_ref().map_or(body, |id| id.as_bytes());
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
