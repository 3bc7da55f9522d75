//! How much a model thinks: OpenAI's effort in Anthropic's terms.
//!
//! Models until Claude 4.5 take a budget of tokens; from 4.6 on they take an effort and decide themselves, and from 4.7 on
//! they refuse a budget (<https://docs.claude.com/en/docs/build-with-claude/adaptive-thinking>).

use serde_json::{Value, json};

use crate::Unsupported;
use crate::canonical::{ChatRequest, Part, Reasoning, Role};
use crate::openai::request::effort_of;

/// Anthropic accepts no smaller budget.
const BUDGET_TOKENS_MIN: u64 = 1024;

/// What a request says about thinking.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Thinking {
    /// The field `thinking`.
    pub(super) field: Option<Value>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
}

impl Thinking {
    /// Whether the model will think.
    pub(super) fn is_on(&self) -> bool {
        self.field.as_ref().and_then(|field| field.get("type")).is_some_and(|kind| kind != "disabled")
    }
}

/// Decides it. `max_tokens` includes the thinking.
pub(super) fn decide(request: &ChatRequest, max_tokens: u64) -> Result<Thinking, Unsupported> {
    let version = version(&request.model);
    match &request.reasoning {
        None => Ok(Thinking::default()),
        Some(reasoning) if is_off(reasoning) => Ok(off(version)),
        Some(Reasoning::Adaptive) if version >= (4, 6) => {
            Ok(Thinking { field: Some(json!({"type": "adaptive"})), effort: None })
        }
        Some(Reasoning::Effort(word)) if version >= (4, 6) => {
            let effort = effort(word, version)?;
            Ok(Thinking { field: Some(json!({"type": "adaptive"})), effort: Some(effort) })
        }
        // A budget becomes the word whose usual budget it is.
        Some(Reasoning::Budget(tokens)) if version > (4, 6) => {
            let effort = effort(effort_of(*tokens), version)?;
            Ok(Thinking { field: Some(json!({"type": "adaptive"})), effort: Some(effort) })
        }
        Some(_) if awaits_unthought_tool(request) => Ok(Thinking::default()),
        Some(Reasoning::Effort(word)) => budget(tokens_of(word)?, max_tokens),
        Some(Reasoning::Adaptive) => budget(tokens_of("medium")?, max_tokens),
        Some(Reasoning::Budget(tokens)) => budget(*tokens, max_tokens),
        Some(Reasoning::Off) => Ok(off(version)),
    }
}

fn is_off(reasoning: &Reasoning) -> bool {
    match reasoning {
        Reasoning::Off => true,
        Reasoning::Effort(word) => word == "none",
        Reasoning::Budget(tokens) => *tokens == 0,
        Reasoning::Adaptive => false,
    }
}

/// Claude 4 and older do not think unless asked to, and some refuse to be told so.
fn off(version: (u32, u32)) -> Thinking {
    let field = (version >= (5, 0)).then(|| json!({"type": "disabled"}));
    Thinking { field, effort: None }
}

/// The budget must be smaller than `max_tokens`; a quarter is left for the answer, which would be empty otherwise.
fn budget(wanted: u64, max_tokens: u64) -> Result<Thinking, Unsupported> {
    let budget = wanted.max(BUDGET_TOKENS_MIN).min(max_tokens - max_tokens / 4);
    if budget < BUDGET_TOKENS_MIN {
        let message = format!(
            "`reasoning_effort` needs at least {BUDGET_TOKENS_MIN} tokens of thinking, which do not fit under `max_completion_tokens` {max_tokens}; \
             raise that to 1400 or more, or set `reasoning_effort` to `none`."
        );
        return Err(Unsupported::new("reasoning_effort", message));
    }
    Ok(Thinking { field: Some(json!({"type": "enabled", "budget_tokens": budget})), effort: None })
}

fn tokens_of(word: &str) -> Result<u64, Unsupported> {
    match word {
        "minimal" => Ok(1024),
        "low" => Ok(2048),
        "medium" => Ok(8192),
        "high" => Ok(16_384),
        "xhigh" | "max" => Ok(32_768),
        _ => Err(unknown(word)),
    }
}

fn effort(word: &str, version: (u32, u32)) -> Result<&'static str, Unsupported> {
    match word {
        "minimal" | "low" => Ok("low"),
        "medium" => Ok("medium"),
        "high" => Ok("high"),
        // Claude 4.6 knows only `max` above `high`.
        "xhigh" if version > (4, 6) => Ok("xhigh"),
        "xhigh" | "max" => Ok("max"),
        _ => Err(unknown(word)),
    }
}

fn unknown(word: &str) -> Unsupported {
    let message =
        format!("`reasoning_effort` `{word}` is unknown; use `none`, `minimal`, `low`, `medium`, `high` or `xhigh`.");
    Unsupported::new("reasoning_effort", message)
}

/// Whether the model waits for results of calls that it made without thinking, as far as the thread tells.
///
/// Anthropic refuses a thinking budget then, and most clients of OpenAI's dialect do not send thinking back:
/// going on without it beats an error in each second turn.
fn awaits_unthought_tool(request: &ChatRequest) -> bool {
    let turn = request.messages.iter().rev().take_while(|message| message.role != Role::User);
    let said: Vec<&Part> =
        turn.filter(|message| message.role == Role::Assistant).flat_map(|message| &message.parts).collect();
    let calls = said.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let thought = said
        .iter()
        .any(|part| matches!(part, Part::RedactedThinking { .. } | Part::Thinking { signature: Some(_), .. }));
    calls && !thought
}

/// `claude-sonnet-4-5-20250929` is 4.5, `claude-3-7-sonnet-latest` is 3.7. A name without a number is taken for a new model.
fn version(model: &str) -> (u32, u32) {
    let mut tokens = model.split(|char: char| !char.is_ascii_alphanumeric());
    let number = |token: &str| if token.len() <= 2 { token.parse::<u32>().ok() } else { None };
    match tokens.by_ref().find_map(number) {
        Some(major) => (major, tokens.next().and_then(number).unwrap_or(0)),
        None => (u32::MAX, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(model: &str, effort: &str) -> ChatRequest {
        let reasoning = Some(Reasoning::Effort(effort.into()));
        ChatRequest { model: model.into(), reasoning, ..ChatRequest::default() }
    }

    #[test]
    fn versions_are_read_from_names() {
        for (name, expected) in [
            ("claude-sonnet-4-5-20250929", (4, 5)),
            ("claude-opus-4-20250514", (4, 0)),
            ("claude-3-7-sonnet-latest", (3, 7)),
            ("claude-opus-4.6", (4, 6)),
            ("claude-sonnet-5", (5, 0)),
            ("some-alias", (u32::MAX, 0)),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn wire_26_a_budget_fits_under_the_limit() {
        for limit in [1400, 2000, 4096, 16_000, 64_000] {
            let thinking = decide(&asked("claude-sonnet-4-5", "high"), limit).unwrap().field.unwrap();
            let budget = thinking["budget_tokens"].as_u64().unwrap();
            assert!((BUDGET_TOKENS_MIN..limit).contains(&budget), "{budget} of {limit}");
        }
        let refused = decide(&asked("claude-sonnet-4-5", "low"), 1200).unwrap_err();
        assert_eq!(refused.param, "reasoning_effort");
        assert!(refused.message.contains("1200"));
    }

    #[test]
    fn newer_models_are_told_an_effort_since_they_refuse_a_budget() {
        let thinking = decide(&asked("claude-opus-4-8", "xhigh"), 500).unwrap();
        assert_eq!(thinking, Thinking { field: Some(json!({"type": "adaptive"})), effort: Some("xhigh") });
        assert_eq!(decide(&asked("claude-opus-4-6", "xhigh"), 500).unwrap().effort, Some("max"));
        let budget = ChatRequest { reasoning: Some(Reasoning::Budget(2000)), ..asked("claude-opus-4-7", "low") };
        assert_eq!(decide(&budget, 8000).unwrap().effort, Some("low"), "a budget is the word for it");
        assert!(decide(&asked("claude-opus-4-7", "enormous"), 8000).is_err());
    }

    #[test]
    fn none_is_off() {
        for word in ["claude-sonnet-4-5", "claude-opus-4-7"] {
            assert_eq!(decide(&asked(word, "none"), 8000).unwrap(), Thinking::default());
        }
        assert!(!decide(&asked("claude-sonnet-5", "none"), 8000).unwrap().is_on());
    }

    #[test]
    fn a_tool_turn_whose_thinking_the_client_lost_goes_on_without() {
        use crate::canonical::Message;
        let call = Part::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), signature: None };
        let result = Part::ToolResult { call_id: "c".into(), content: vec![], is_error: false };
        let mut messages =
            vec![Message::text(Role::User, "q"), Message::text(Role::Assistant, ""), Message::text(Role::Tool, "")];
        messages[1].parts = vec![call];
        messages[2].parts = vec![result];
        let mut request = ChatRequest { messages, ..asked("claude-sonnet-4-5", "low") };
        assert!(!decide(&request, 8000).unwrap().is_on());
        request.messages[1].parts.insert(0, Part::Thinking { text: "hm".into(), signature: Some("s".into()) });
        assert!(decide(&request, 8000).unwrap().is_on());
    }
}
