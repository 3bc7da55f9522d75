//! A schema put to a model in words, for one that does not keep to schemas by itself. Whether an answer fits is judged elsewhere.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::canonical::{ChatRequest, Message, Role};
use crate::incoming::Incoming;
use crate::translate::{EncodeOptions, RequestError, encode_canonical};
use crate::{Dialect, Unsupported};

/// What is put to the model in place of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Shaping<'a> {
    /// What stands among the instructions.
    pub instructions: &'a str,
    /// The answer that did not fit, and what is said to it.
    pub again: Option<&'a Again>,
}

/// An answer that did not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// As the model gave it.
    pub answer: String,
    /// What was wrong, for the model.
    pub complaint: String,
}

/// What stands around the messages that are added; more than any dialect needs (bytes).
const AROUND: u64 = 64;

impl Shaping<'_> {
    /// The most that the request grows by it (bytes). What is left out of the request is not counted off.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let again = match self.again {
            Some(again) => again.answer.len() + again.complaint.len(),
            None => 0,
        };
        (self.instructions.len() + again) as u64 + 3 * AROUND
    }
}

/// Writes a request in the provider's dialect, its schema put in words. The answer is asked for whole.
///
/// # Errors
/// When it is wrong, or the dialect cannot express it.
pub fn encode_shaped(
    incoming: &Incoming,
    model: &str,
    (history, shaping): (&[Message], Shaping<'_>),
    outbound: Dialect,
    options: &EncodeOptions,
) -> Result<Bytes, RequestError> {
    let mut request = incoming.to_canonical(model, history)?;
    if request.choices.is_some_and(|choices| choices > 1) {
        let message = format!("`{model}` keeps to no schema by itself, and is helped to it for one answer at a time.");
        return Err(Unsupported::new("n", message).into());
    }
    let leads = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let place = request.messages.iter().take_while(leads).count();
    request.messages.insert(place, Message::text(Role::System, shaping.instructions));
    if let Some(Again { answer, complaint }) = shaping.again {
        request.messages.push(Message::text(Role::Assistant, answer.as_str()));
        request.messages.push(Message::text(Role::User, complaint.as_str()));
    }
    let is_same_dialect = incoming.dialect().dialect() == outbound;
    let own = if is_same_dialect { std::mem::take(&mut request.extra) } else { Map::new() };
    let request = ChatRequest { response_format: None, stream: false, ..request };
    let body = encode_canonical(incoming, request, outbound, options)?;
    Ok(with_fields(body, own))
}

/// What the canonical form does not know and the dialect does is passed on, but for what is ours.
fn with_fields(body: Bytes, mut fields: Map<String, Value>) -> Bytes {
    fields.shift_remove("metadata");
    if fields.is_empty() {
        return body;
    }
    let Ok(mut written) = serde_json::from_slice::<Map<String, Value>>(&body) else { return body };
    for (name, value) in fields {
        written.entry(name).or_insert(value);
    }
    Bytes::from(Value::Object(written).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openai::chat_request::IncomingChat;

    fn sent(outbound: Dialect, again: Option<&Again>, more: &str) -> Result<Value, RequestError> {
        let body = format!(
            "{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"role\":\"system\",\"content\":\"s\"}},{{\"role\":\"user\",\"content\":\"q\"}}],\
             \"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"n\",\"schema\":{{}}}}}}{more}}}"
        );
        let incoming = Incoming::from(IncomingChat::parse(Bytes::from(body)).unwrap());
        let options = EncodeOptions {
            max_tokens_field: None,
            default_max_tokens: 100,
            output_limit: Some(50),
            service_tier: None,
        };
        let shaping = Shaping { instructions: "as JSON", again };
        let body = encode_shaped(&incoming, "m", (&[], shaping), outbound, &options)?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn the_schema_becomes_words_behind_the_instructions_and_the_answer_comes_whole() {
        let request = sent(Dialect::OpenAiChat, None, ",\"min_p\":0.5,\"metadata\":{\"a\":\"b\"}").unwrap();
        assert_eq!(
            request,
            json!({"model": "m", "max_tokens": 50, "min_p": 0.5, "messages": [
                {"role": "system", "content": "s"}, {"role": "system", "content": "as JSON"}, {"role": "user", "content": "q"}
            ]})
        );
        let request = sent(Dialect::AnthropicMessages, None, "").unwrap();
        assert!(request["system"].to_string().contains("as JSON"), "{request}");
        assert!(request.get("output_config").is_none() && request.get("stream") != Some(&json!(true)), "{request}");
    }

    #[test]
    fn an_answer_that_did_not_fit_is_told_with_what_was_wrong() {
        let again = Again { answer: "no".to_owned(), complaint: "not JSON".to_owned() };
        let request = sent(Dialect::Gemini, Some(&again), "").unwrap();
        let contents = request["contents"].as_array().unwrap();
        let said: Vec<&Value> = contents.iter().map(|content| &content["parts"][0]["text"]).collect();
        assert_eq!(said, [&json!("q"), &json!("no"), &json!("not JSON")]);
        let shaping = Shaping { instructions: "as JSON", again: Some(&again) };
        assert!(shaping.bytes() >= "as JSON no not JSON".len() as u64);
    }

    #[test]
    fn several_answers_at_once_are_refused() {
        assert!(sent(Dialect::OpenAiChat, None, ",\"n\":2").is_err());
    }
}
