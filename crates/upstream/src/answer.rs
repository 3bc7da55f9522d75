//! From a behaviour and a request to the answer's content, the same for every dialect.
//! How it is written on the wire, and when, is decided elsewhere.

use serde_json::Value;

use super::behaviour::{Behaviour, Usage};
use super::request::{Dialect, Request, words};
use super::sample;

/// What the mock says when nothing is scripted.
pub const DEFAULT_CONTENT: &str = "The mock upstream answers every question with this sentence.";

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
    Refusal,
}

#[derive(Debug)]
pub(super) struct AnswerCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: String,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) serial: u64,
    pub(super) model: String,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) redacted_thinking: Option<String>,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) calls: Vec<AnswerCall>,
    pub(super) finish: Finish,
    pub(super) finish_override: Option<String>,
    pub(super) usage: Usage,
    pub(super) report_usage: bool,
}

impl Answer {
    pub(super) fn compose(behaviour: &Behaviour, request: &Request, serial: u64) -> Self {
        let calls = calls(behaviour, request);
        let mut text = text(behaviour, request, !calls.is_empty());
        let mut finish = match (&behaviour.refusal, calls.is_empty()) {
            (Some(_), _) => Finish::Refusal,
            (None, false) => Finish::ToolCalls,
            (None, true) => Finish::Stop,
        };
        if behaviour.usage.is_none()
            && let Some(limited) = text.as_deref().and_then(|text| limited(text, request.output_tokens_max))
        {
            text = Some(limited);
            finish = Finish::Length;
        }
        let mut answer = Self {
            serial,
            model: request.model.clone(),
            thinking: behaviour.thinking.clone(),
            signature: behaviour.signature.clone(),
            redacted_thinking: behaviour.redacted_thinking.clone(),
            text,
            refusal: behaviour.refusal.clone(),
            calls,
            finish,
            finish_override: behaviour.finish_reason.clone(),
            usage: Usage::default(),
            report_usage: !behaviour.no_usage,
        };
        answer.usage = behaviour.usage.unwrap_or_else(|| answer.counted(request.input_tokens));
        answer
    }

    /// The finish reason as scripted, or in the dialect's words.
    pub(super) fn finish_word(&self, in_dialect: impl FnOnce(Finish) -> &'static str) -> String {
        self.finish_override.clone().unwrap_or_else(|| in_dialect(self.finish).to_owned())
    }

    fn counted(&self, input_tokens: u64) -> Usage {
        let count = |text: &Option<String>| text.as_deref().map_or(0, words);
        let reasoning_tokens = count(&self.thinking);
        let calls: u64 = self.calls.iter().map(|call| 1 + words(&call.arguments)).sum();
        let output_tokens = (reasoning_tokens + count(&self.text) + count(&self.refusal) + calls).max(1);
        Usage { input_tokens, output_tokens, reasoning_tokens, ..Usage::default() }
    }
}

fn text(behaviour: &Behaviour, request: &Request, has_calls: bool) -> Option<String> {
    if behaviour.refusal.is_some() {
        return None;
    }
    if behaviour.echo {
        return Some(last_message(request).to_string());
    }
    if behaviour.content.is_some() || has_calls {
        return behaviour.content.clone();
    }
    let sample = schema(request).map(|schema| sample::instance(schema).to_string());
    Some(sample.unwrap_or_else(|| DEFAULT_CONTENT.to_owned()))
}

fn last_message(request: &Request) -> Value {
    let list =
        request.body.get("messages").or_else(|| request.body.get("contents")).or_else(|| request.body.get("input"));
    list.and_then(Value::as_array).and_then(|messages| messages.last()).cloned().unwrap_or(Value::Null)
}

/// The schema of the structured output that the request asks for.
fn schema(request: &Request) -> Option<&Value> {
    let paths: &[&str] = match request.dialect {
        Dialect::OpenAi => &["/response_format/json_schema/schema"],
        Dialect::Responses => &["/text/format/schema"],
        Dialect::Anthropic => &["/output_config/format/schema", "/output_format/schema"],
        Dialect::Gemini => &[
            "/generationConfig/responseJsonSchema",
            "/generationConfig/responseSchema",
            "/generationConfig/responseFormat/text/schema",
        ],
    };
    paths.iter().find_map(|path| request.body.pointer(path))
}

/// The scripted calls, or a call of the tool that the request forces.
fn calls(behaviour: &Behaviour, request: &Request) -> Vec<AnswerCall> {
    let arguments = |scripted: &Value| match scripted {
        _ if behaviour.empty_arguments => String::new(),
        Value::Null => "{}".to_owned(),
        Value::String(raw) => raw.clone(),
        other => other.to_string(),
    };
    let scripted = behaviour.tool_calls.iter().map(|call| AnswerCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: arguments(&call.arguments),
    });
    let unscripted = behaviour.tool_calls.is_empty() && behaviour.content.is_none() && behaviour.refusal.is_none();
    let forced = unscripted.then(|| forced_tool(&request.body)).flatten();
    scripted.chain(forced).collect()
}

fn forced_tool(body: &Value) -> Option<AnswerCall> {
    let name = ["/tool_choice/function/name", "/tool_choice/name"]
        .iter()
        .find_map(|path| body.pointer(path))
        .and_then(Value::as_str)?;
    let tool = body.get("tools")?.as_array()?.iter().find_map(|tool| {
        let described = tool.get("function").unwrap_or(tool);
        (described.get("name").and_then(Value::as_str) == Some(name)).then_some(described)
    })?;
    let schema = tool.get("parameters").or_else(|| tool.get("input_schema"))?;
    Some(AnswerCall { id: None, name: name.to_owned(), arguments: sample::instance(schema).to_string() })
}

/// The first words of a text that is longer than the limit; none when it fits.
fn limited(text: &str, tokens_max: Option<u64>) -> Option<String> {
    let tokens_max = tokens_max?;
    if words(text) <= tokens_max {
        return None;
    }
    let kept: Vec<&str> = text.split_ascii_whitespace().take(usize::try_from(tokens_max).ok()?).collect();
    Some(kept.join(" "))
}

/// Splits a text into this many pieces of about equal length, or at its words.
pub(super) fn pieces(text: &str, count: Option<usize>) -> Vec<String> {
    let Some(count) = count else {
        return text.split_inclusive(' ').map(str::to_owned).collect();
    };
    let chars: Vec<char> = text.chars().collect();
    let count = count.clamp(1, chars.len().max(1));
    let border = |piece: usize| piece * chars.len() / count;
    let piece = |n: usize| chars.get(border(n)..border(n + 1)).unwrap_or_default().iter().collect::<String>();
    (0..count).map(piece).filter(|piece| !piece.is_empty()).collect()
}
