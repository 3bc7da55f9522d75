//! The built-in provider: no network, no cost, the same answer to the same thread.
//!
//! It lets the main job run on a fresh machine. Its answers say that they are offline and repeat the thread that reached it,
//! so that one sees whether history, instructions and memory arrived. It speaks OpenAI's dialect. It does not pretend to think.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::UpstreamFault;
use privet_dialects::openai::error::WireError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{ByteStream, UpstreamAnswer, UpstreamBody};
use crate::error::ProviderError;
use crate::provider::{ChatCall, CountCall, Counted};

/// The provider's name.
pub const NAME: &str = "offline";
/// The model that chats.
pub const CHAT_MODEL: &str = "echo";
/// The model that embeds: hashed character trigrams, 256 dimensions. It finds shared spelling, not shared meaning.
pub const EMBEDDING_MODEL: &str = "hash-256";
/// All of them.
pub const MODELS: [&str; 2] = [CHAT_MODEL, EMBEDDING_MODEL];

const DIMENSIONS: usize = 256;
/// Of each earlier message so much is repeated.
const EXCERPT_CHARS: usize = 160;
/// Of the earlier messages so many are repeated.
const EXCERPT_MESSAGES: usize = 20;

#[derive(Deserialize)]
struct Request {
    messages: Vec<RequestMessage>,
    #[serde(default)]
    response_format: Option<Value>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct RequestMessage {
    role: String,
    #[serde(default)]
    content: Value,
}

/// Answers a chat request in OpenAI's dialect.
///
/// # Errors
/// When the model is not one of [`MODELS`] or the body is no chat request.
pub fn chat(call: &ChatCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
    if call.model != CHAT_MODEL {
        return Err(unknown_model(call.model));
    }
    let request: Request = serde_json::from_slice(&call.body).map_err(|error| malformed(&error))?;
    let id = format!("chatcmpl-offline-{}", short_hash(&call.body));
    let (answer, finish) = limited(&compose(&request), request.max_completion_tokens.or(request.max_tokens));
    let usage = usage(&request, &answer);
    let body = if call.stream {
        UpstreamBody::Stream(stream(call, &id, &answer, finish, &usage))
    } else {
        let whole = json!({
            "id": id, "object": "chat.completion", "created": call.created, "model": call.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": answer, "refusal": null},
                         "logprobs": null, "finish_reason": finish}],
            "usage": usage,
        });
        UpstreamBody::Whole(Bytes::from(whole.to_string()))
    };
    Ok(UpstreamAnswer { headers: HeaderMap::new(), body })
}

/// Counts the input of a chat request in OpenAI's dialect, as an answer's usage does.
///
/// # Errors
/// When the model is not one of [`MODELS`] or the body is no chat request.
pub fn count_tokens(call: &CountCall<'_>) -> Result<Counted, ProviderError> {
    if call.model != CHAT_MODEL {
        return Err(unknown_model(call.model));
    }
    let request: Request = serde_json::from_slice(&call.body).map_err(|error| malformed(&error))?;
    let body = json!({"input_tokens": input_tokens(&request)}).to_string();
    Ok(Counted { headers: HeaderMap::new(), body: Bytes::from(body) })
}

/// Embeds in OpenAI's dialect.
///
/// # Errors
/// When the model is not [`EMBEDDING_MODEL`] or the body is no embeddings request.
pub fn embeddings(body: &Bytes) -> Result<UpstreamAnswer, ProviderError> {
    #[derive(Deserialize)]
    struct EmbeddingsRequest {
        model: String,
        input: Value,
    }
    let request: EmbeddingsRequest = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if request.model != EMBEDDING_MODEL {
        return Err(unknown_model(&request.model));
    }
    let texts: Vec<String> = match request.input {
        Value::String(text) => vec![text],
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
        }
        other => vec![other.to_string()],
    };
    let tokens: u64 = texts.iter().map(|text| estimate_tokens(text)).sum();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": hash_trigrams(text)}))
        .collect();
    let whole = json!({"object": "list", "data": data, "model": request.model,
                       "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
    Ok(UpstreamAnswer { headers: HeaderMap::new(), body: UpstreamBody::Whole(Bytes::from(whole.to_string())) })
}

fn compose(request: &Request) -> String {
    let asked = request.messages.last().map(text_of).unwrap_or_default();
    if let Some(format) = &request.response_format
        && format.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "text")
    {
        return json!({"offline": true, "you_said": asked, "messages": request.messages.len()}).to_string();
    }
    let mut answer = format!("I am Privet's offline provider: no language model was asked. You said: \"{asked}\".");
    let earlier = request.messages.len().saturating_sub(1);
    if earlier > 0 {
        let _ =
            write!(answer, " Before that, the thread held {earlier} message{}:", if earlier == 1 { "" } else { "s" });
        let skipped = earlier.saturating_sub(EXCERPT_MESSAGES);
        for message in request.messages.iter().take(earlier).skip(skipped) {
            let _ = write!(answer, "\n- {}: {}", message.role, excerpt(&text_of(message)));
        }
    }
    answer
}

fn text_of(message: &RequestMessage) -> String {
    match &message.content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part.get("text").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => format!("[{}]", part.get("type").and_then(Value::as_str).unwrap_or("part")),
            })
            .collect::<Vec<_>>()
            .join(" "),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// Keeps an output limit as a model does: the answer is cut and says so.
fn limited(answer: &str, tokens_max: Option<u64>) -> (String, &'static str) {
    let chars_max =
        tokens_max.map_or(usize::MAX, |tokens| usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX));
    match answer.char_indices().nth(chars_max) {
        Some((end, _)) => (answer.get(..end).unwrap_or(answer).to_owned(), "length"),
        None => (answer.to_owned(), "stop"),
    }
}

fn usage(request: &Request, answer: &str) -> Value {
    let prompt = input_tokens(request);
    let completion = estimate_tokens(answer);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn input_tokens(request: &Request) -> u64 {
    request.messages.iter().map(|message| estimate_tokens(&text_of(message)) + 3).sum()
}

/// Four characters a token, rounded up: nothing is billed by it.
fn estimate_tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

fn stream(call: &ChatCall<'_>, id: &str, answer: &str, finish: &str, usage: &Value) -> ByteStream {
    let chunk = |choices: Value, usage: Value| {
        let event = json!({"id": id, "object": "chat.completion.chunk", "created": call.created, "model": call.model,
                           "choices": choices, "usage": usage});
        Bytes::from(format!("data: {event}\n\n"))
    };
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
    };
    let mut pieces = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
    pieces.extend(answer.split_inclusive(' ').map(|word| delta(json!({"content": word}), Value::Null)));
    pieces.push(delta(json!({}), json!(finish)));
    pieces.push(chunk(json!([]), usage.clone()));
    pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    ByteStream::memory(pieces)
}

/// Counts hashed trigrams and scales the counts to length 1.
fn hash_trigrams(text: &str) -> Vec<f32> {
    let mut counts = vec![0_f32; DIMENSIONS];
    let chars: Vec<char> = format!(" {} ", text.to_lowercase()).chars().collect();
    for trigram in chars.windows(3) {
        let hash = fnv1a(trigram.iter().collect::<String>().as_bytes());
        let slot = usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0);
        if let Some(count) = counts.get_mut(slot) {
            *count += 1.0;
        }
    }
    let length = counts.iter().map(|count| count * count).sum::<f32>().sqrt().max(1.0);
    counts.iter().map(|count| count / length).collect()
}

/// FNV-1a (<https://www.ietf.org/archive/id/draft-eastlake-fnv-21.html>): the same on every machine and in every version.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn short_hash(bytes: &[u8]) -> String {
    format!("{:016x}", fnv1a(bytes))
}

fn unknown_model(model: &str) -> ProviderError {
    ProviderError::Status {
        provider: NAME.to_owned(),
        status: 404,
        error: Box::new(WireError {
            message: format!(
                "The model `{model}` does not exist; the offline provider has `{CHAT_MODEL}` and `{EMBEDDING_MODEL}`."
            ),
            kind: Some("invalid_request_error".to_owned()),
            param: Some("model".to_owned()),
            code: Some("model_not_found".to_owned()),
        }),
        headers: Box::default(),
    }
}

fn malformed(error: &serde_json::Error) -> ProviderError {
    ProviderError::Fault { provider: NAME.to_owned(), fault: UpstreamFault::Malformed(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Value {
        let call = ChatCall {
            model: CHAT_MODEL,
            body: Bytes::from(body.to_string()),
            stream: false,
            created: 1,
            trace_parent: None,
            passed: None,
            key: None,
            deadline: None,
        };
        match chat(&call).unwrap().body {
            UpstreamBody::Whole(bytes) => serde_json::from_slice(&bytes).unwrap(),
            UpstreamBody::Stream(_) => panic!("a stream was not asked for"),
        }
    }

    #[test]
    fn the_answer_says_it_is_offline_and_repeats_the_thread() {
        let body = json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "My cat is Filemon"},
                                       {"role": "assistant", "content": "ok"}, {"role": "user", "content": "Who is my cat?"}]});
        let answer = ask(&body);
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        for needle in ["offline", "Who is my cat?", "Filemon", "Be brief."] {
            assert!(text.contains(needle), "{text}");
        }
        assert_eq!(ask(&body), answer, "the same thread, the same answer");
    }

    #[tokio::test]
    async fn the_streamed_answer_is_the_whole_one() {
        let body = json!({"messages": [{"role": "user", "content": "hey"}]});
        let whole = ask(&body);
        let call = ChatCall {
            model: CHAT_MODEL,
            body: Bytes::from(body.to_string()),
            stream: true,
            created: 1,
            trace_parent: None,
            passed: None,
            key: None,
            deadline: None,
        };
        let UpstreamBody::Stream(mut stream) = chat(&call).unwrap().body else { panic!("a stream was asked for") };
        let mut text = String::new();
        let mut last = Bytes::new();
        while let Some(piece) = stream.next().await.unwrap() {
            if let Ok(event) = serde_json::from_slice::<Value>(&piece[6..]) {
                text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
            last = piece;
        }
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(last, "data: [DONE]\n\n");
    }

    #[test]
    fn an_output_limit_cuts_the_answer() {
        let answer = ask(&json!({"messages": [{"role": "user", "content": "hey"}], "max_tokens": 2}));
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 2);
    }

    #[test]
    fn embeddings_of_similar_spelling_are_closer() {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let (cat, cats, sky) = (hash_trigrams("my cat"), hash_trigrams("my cats"), hash_trigrams("the blue sky"));
        assert!((dot(&cat, &cat) - 1.0).abs() < 1e-5);
        assert!(dot(&cat, &cats) > dot(&cat, &sky));
    }
}
