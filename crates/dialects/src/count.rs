//! Counting the tokens of a request without sending it: how a provider is asked, and what it says.
//!
//! Only providers that count say a number: an upper bound, which is what a hold is made of, is no count.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::incoming::Incoming;
use crate::translate::RequestError;
use crate::{Dialect, Inbound, UpstreamFault, anthropic, gemini, openai, responses};

/// Writes the question for a provider.
///
/// # Errors
/// When the request is wrong, or the provider's dialect cannot express it.
pub fn encode_question(incoming: &Incoming, model: &str, outbound: Dialect) -> Result<Bytes, RequestError> {
    if let (Incoming::AnthropicMessages(messages), Dialect::AnthropicMessages) = (incoming, outbound) {
        return Ok(messages.forward(model, &[])?);
    }
    if let (Incoming::Gemini(generate), Dialect::Gemini) = (incoming, outbound) {
        return Ok(generate.count_question(model)?);
    }
    if let (Incoming::OpenAiResponses(request), Dialect::OpenAiResponses) = (incoming, outbound) {
        let forward = responses::forward::Forward { model, history: &[], output_limit: None, service_tier: None };
        return Ok(Bytes::from(counted_alone(&request.forward(&forward)?, &COUNTED_OF_RESPONSES)));
    }
    let request = incoming.to_canonical(model, &[])?;
    let encoded = match outbound {
        Dialect::OpenAiChat => openai::request::encode(&request, openai::request::Wording::default()),
        Dialect::AnthropicMessages => {
            anthropic::request::encode(&request, COUNTED_OUTPUT).map(|body| counted_alone(&body, &COUNTED))
        }
        Dialect::Gemini => gemini::request::encode(&request).map(|body| gemini::count_question(model, &body)),
        Dialect::OpenAiResponses => {
            responses::request::encode(&request, None).map(|body| counted_alone(&body, &COUNTED_OF_RESPONSES))
        }
    };
    Ok(Bytes::from(encoded.map_err(|refusal| incoming.in_its_words(refusal))?))
}

/// Reads what a provider counted, and writes it for the client. The same dialect passes as its own bytes.
///
/// # Errors
/// When it is no count.
pub fn decode_count(inbound: Inbound, outbound: Dialect, body: Bytes) -> Result<Bytes, UpstreamFault> {
    let count: Count = serde_json::from_slice(&body).map_err(|error| UpstreamFault::Malformed(error.to_string()))?;
    let tokens = count.input_tokens.or(count.total_tokens);
    let tokens = tokens.ok_or_else(|| UpstreamFault::Malformed("it has no count of tokens".to_owned()))?;
    if inbound.dialect() == outbound {
        return Ok(body);
    }
    let written = match inbound {
        Inbound::OpenAiChat | Inbound::AnthropicMessages => json!({"input_tokens": tokens}),
        Inbound::OpenAiResponses => json!({"object": "response.input_tokens", "input_tokens": tokens}),
        Inbound::Gemini => json!({"totalTokens": tokens}),
    };
    Ok(Bytes::from(written.to_string()))
}

/// By Anthropic's and OpenAI's name, and by Gemini's.
#[derive(Deserialize)]
struct Count {
    input_tokens: Option<u64>,
    #[serde(rename = "totalTokens")]
    total_tokens: Option<u64>,
}

/// A limit of output that leaves room for any budget of thinking: it is not sent.
const COUNTED_OUTPUT: u64 = 1_000_000;

/// The members of a Messages request that Anthropic counts; it refuses the others.
const COUNTED: [&str; 7] = ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"];

/// The members of a Responses request that OpenAI counts.
const COUNTED_OF_RESPONSES: [&str; 9] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "truncation",
];

fn counted_alone(body: &[u8], counted: &[&str]) -> Vec<u8> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    fields.retain(|name, _| counted.contains(&name.as_str()));
    Value::Object(fields).to_string().into_bytes()
}
