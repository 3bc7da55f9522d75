//! A whole answer: OpenAI's own passed on, any other written in its shape.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::stream_encoder::{finish_name, finish_of};
use super::usage::{self, WireUsage};
use super::{error, message};
use crate::UpstreamFault;
use crate::canonical::{ChatResponse, Choice, Message, Part};
use crate::translate::{Answer, WholeAnswer};

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Option<Vec<WireChoice>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    service_tier: Option<String>,
}

#[derive(Deserialize)]
struct WireChoice {
    #[serde(default)]
    message: Option<Value>,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// Reads an answer of OpenAI's dialect and passes its bytes on, mended only where a tool call has no arguments.
///
/// # Errors
/// When it is no answer, or reports an error in spite of its status.
pub fn pass(body: Bytes) -> Result<WholeAnswer, UpstreamFault> {
    let (answer, was_filled) = read(&body)?;
    let malformed = |error: serde_json::Error| UpstreamFault::Malformed(error.to_string());
    let body = if was_filled { with_arguments(&body).map_err(malformed)? } else { body };
    Ok(WholeAnswer { body, answer })
}

/// Reads an answer of OpenAI's dialect.
///
/// # Errors
/// When it is no answer, or reports an error in spite of its status.
pub fn decode(body: &Bytes) -> Result<ChatResponse, UpstreamFault> {
    let (answer, _) = read(body)?;
    let choices = answer.messages.into_iter().zip(answer.finishes);
    Ok(ChatResponse {
        id: answer.id,
        model: answer.model,
        created: None,
        choices: choices.map(|(message, finish)| Choice { message, finish, logprobs: None }).collect(),
        usage: answer.usage,
        tier: answer.tier,
    })
}

/// What an answer says, and whether a call of it was given its missing arguments.
fn read(body: &Bytes) -> Result<(Answer, bool), UpstreamFault> {
    let malformed = |error: serde_json::Error| UpstreamFault::Malformed(error.to_string());
    let wire: Wire =
        serde_json::from_slice(body).map_err(|error| reported(body).unwrap_or_else(|| malformed(error)))?;
    let Some(choices) = wire.choices else {
        return Err(reported(body).unwrap_or_else(|| UpstreamFault::Malformed("it has no `choices`".to_owned())));
    };
    if choices.is_empty() {
        return Err(reported(body).unwrap_or_else(|| UpstreamFault::Malformed("its `choices` are empty".to_owned())));
    }
    let mut messages = Vec::with_capacity(choices.len());
    let mut finishes = Vec::with_capacity(choices.len());
    for choice in choices {
        let value = choice.message.ok_or_else(|| UpstreamFault::Malformed("a choice has no `message`".to_owned()))?;
        messages.push(assistant_message(value)?);
        finishes.push(choice.finish_reason.as_deref().map(finish_of));
    }
    let was_filled = fill_arguments(&mut messages);
    let usage = wire.usage.and_then(WireUsage::count);
    let answer = Answer {
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        messages,
        finishes,
        usage,
        is_counted: usage.is_some(),
        tier: wire.service_tier,
    };
    Ok((answer, was_filled))
}

/// Writes an answer. `created` stands in for a provider that does not say.
#[must_use]
pub fn encode(response: &ChatResponse, created: i64) -> Bytes {
    let choices: Vec<Value> = response
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            json!({
                "index": index,
                "message": message::encode_answer(&choice.message),
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish.as_ref().map(finish_name),
            })
        })
        .collect();
    let mut body = json!({
        "id": response.id,
        "object": "chat.completion",
        "created": response.created.unwrap_or(created),
        "model": response.model,
        "choices": choices,
    });
    if let (Some(usage), Some(fields)) = (&response.usage, body.as_object_mut()) {
        fields.insert("usage".to_owned(), usage::encode(usage));
    }
    Bytes::from(body.to_string())
}

fn assistant_message(mut value: Value) -> Result<Message, UpstreamFault> {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("role".to_owned(), json!("assistant"));
        // Some servers say the same reasoning under a second name.
        if let Some(reasoning) = fields.shift_remove("reasoning").filter(Value::is_string) {
            fields.entry("reasoning_content").or_insert(reasoning);
        }
    }
    message::decode(value, "message").map_err(|error| UpstreamFault::Malformed(error.message))
}

/// Fills in `{}` for arguments that are missing; says whether there were any.
fn fill_arguments(messages: &mut [Message]) -> bool {
    let mut filled = false;
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        if let Part::ToolCall { arguments, .. } = part
            && arguments.trim().is_empty()
        {
            "{}".clone_into(arguments);
            filled = true;
        }
    }
    filled
}

fn with_arguments(body: &Bytes) -> Result<Bytes, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(body)?;
    let choices = value.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten() {
        let calls = choice.pointer_mut("/message/tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            if let Some(arguments) = call.pointer_mut("/function/arguments")
                && arguments.as_str().is_some_and(|text| text.trim().is_empty())
            {
                *arguments = json!("{}");
            }
        }
    }
    serde_json::to_vec(&value).map(Bytes::from)
}

fn reported(body: &[u8]) -> Option<UpstreamFault> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let (status, error) = error::reported(&value)?;
    Some(UpstreamFault::Reported { status, kind: error.kind.unwrap_or_default(), message: error.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_passes_as_its_own_bytes() {
        let body = "{\"id\": \"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\",\"annotations\":[]},\
                    \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}},\"x\":1.0}";
        let whole = pass(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(whole.body, body);
        assert_eq!(whole.answer.messages, [Message::text(crate::canonical::Role::Assistant, "hi")]);
        let usage = whole.answer.usage.unwrap();
        assert_eq!((usage.input, usage.cached_input, usage.output), (10, 4, 2));
    }

    #[test]
    fn wire_12_a_call_without_arguments_gets_an_empty_object() {
        let body = r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}]}"#;
        let whole = pass(Bytes::from_static(body.as_bytes())).unwrap();
        assert!(String::from_utf8_lossy(&whole.body).contains(r#""arguments":"{}""#));
    }

    #[test]
    fn wire_13_cut_arguments_stay_as_they_are() {
        let body = r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\": \"b"}}]},"finish_reason":"length"}]}"#;
        let whole = pass(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(whole.body, body);
        assert_eq!(whole.answer.finishes, [Some(crate::canonical::FinishReason::Length)]);
    }

    #[test]
    fn wire_15_an_error_inside_a_200_is_seen() {
        for body in [
            r#"{"error":{"message":"overloaded","type":"t"}}"#,
            r#"{"object":"error","message":"overloaded","code":503}"#,
        ] {
            let fault = pass(Bytes::from_static(body.as_bytes())).unwrap_err();
            assert!(matches!(&fault, UpstreamFault::Reported { message, .. } if message == "overloaded"), "{fault:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for body in ["", "<html>", "{}", "[]", "{\"choices\":[{}]}", "\u{0}\u{ff}"] {
            assert!(matches!(pass(Bytes::from(body.to_owned())), Err(UpstreamFault::Malformed(_))), "{body}");
        }
    }
}
