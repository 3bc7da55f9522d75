//! Input that means harm, or none at all: each reader answers, none panics or runs out of stack.

use bytes::Bytes;
use privet_dialects::anthropic::incoming::IncomingMessages;
use privet_dialects::gemini::incoming::{Asked, IncomingGenerate};
use privet_dialects::incoming::Incoming;
use privet_dialects::json_limits::{self, JsonLimits};
use privet_dialects::openai::chat_request::IncomingChat;
use privet_dialects::openai::embeddings::IncomingEmbeddings;
use privet_dialects::openai::error;
use privet_dialects::responses::incoming::{IncomingResponses, Referenced};
use privet_dialects::translate::{EncodeOptions, decode_response, encode_request};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use proptest::prelude::*;

use crate::client::{options, relay, relay_pieces};
use crate::inbound_anthropic::client as messages_client;
use crate::inbound_gemini::client as generate_client;
use crate::inbound_responses::client::birth;

const CLIENTS: [Inbound; Inbound::ALL.len()] = Inbound::ALL;
const DIALECTS: [Dialect; Dialect::ALL.len()] = Dialect::ALL;

/// A body as a request of each dialect that takes it for one.
fn requests(body: &Bytes) -> Vec<Incoming> {
    let chat = IncomingChat::parse(body.clone()).map(Incoming::from);
    let messages = IncomingMessages::parse(body.clone()).map(Incoming::from);
    let responses = IncomingResponses::parse(body.clone(), birth(), &Referenced::new()).map(Incoming::from);
    let asked = Asked { model: "m".into(), stream: false };
    let generate = IncomingGenerate::parse(body.clone(), asked).map(Incoming::from);
    chat.into_iter().chain(messages).chain(responses).chain(generate).collect()
}

fn deep() -> [String; 3] {
    [("[", "]"), ("{\"a\":", "}"), ("{\"choices\":[{\"message\":", "}]}")]
        .map(|(open, close)| open.repeat(50_000) + "1" + &close.repeat(50_000))
}

#[test]
fn a_request_50_000_deep_is_a_bad_request_at_every_reader() {
    for deep in deep() {
        assert!(json_limits::check(deep.as_bytes(), &JsonLimits::default()).is_err());
        for field in ["messages", "tools", "metadata", "anything"] {
            let messages = if field == "messages" {
                String::new()
            } else {
                "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],".to_owned()
            };
            let body = format!(
                "{{\"model\":\"m\",\"contents\":[{{\"parts\":[{{\"text\":\"x\"}}]}}],\"input\":{deep},{messages}\"{field}\":{deep}}}"
            );
            assert!(IncomingEmbeddings::parse(body.clone().into()).is_err());
            let incoming = requests(&body.into());
            for (incoming, dialect) in incoming.iter().flat_map(|one| DIALECTS.map(|dialect| (one, dialect))) {
                let options = EncodeOptions {
                    max_tokens_field: None,
                    default_max_tokens: 1,
                    output_limit: None,
                    service_tier: None,
                };
                let sent = encode_request(incoming, "m", &[], dialect, &options);
                assert_eq!(sent.is_ok(), dialect == incoming.dialect().dialect(), "{dialect:?} {field}");
            }
        }
    }
}

#[test]
fn an_answer_50_000_deep_is_malformed_and_its_chunk_is_skipped() {
    for deep in deep() {
        for dialect in DIALECTS {
            for body in [deep.clone(), format!("{{\"choices\":{deep},\"content\":{deep},\"candidates\":{deep}}}")] {
                for inbound in CLIENTS {
                    let outcome = decode_response(inbound, dialect, body.clone().into(), 0);
                    assert!(matches!(outcome, Err(UpstreamFault::Malformed(_))), "{inbound:?} {dialect:?}");
                }
                let stream = format!("data: {body}\n\n");
                for relayed in [
                    relay(dialect, options(), &stream),
                    messages_client::relay(dialect, &stream),
                    generate_client::relay(dialect, &stream),
                ] {
                    assert_eq!(relayed.outcome, Err(UpstreamFault::Cut), "{dialect:?}");
                }
            }
        }
        assert!(!error::decode(deep.as_bytes()).message.is_empty());
    }
}

/// JSON of the words that the wire knows, in any arrangement.
fn word_json() -> impl Strategy<Value = serde_json::Value> {
    const WORDS: [&str; 46] = [
        "id",
        "model",
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "index",
        "function",
        "name",
        "arguments",
        "role",
        "finish_reason",
        "usage",
        "error",
        "object",
        "type",
        "text",
        "input",
        "candidates",
        "parts",
        "functionCall",
        "args",
        "finishReason",
        "usageMetadata",
        "promptFeedback",
        "blockReason",
        "stop_reason",
        "content_block",
        "content_block_start",
        "content_block_delta",
        "message_start",
        "message_delta",
        "thinking",
        "signature",
        "tool_use",
        "user",
        "assistant",
        "messages",
        "code",
        "contents",
        "functionResponse",
        "response",
        "inlineData",
        "thoughtSignature",
        "generationConfig",
    ];
    let word = proptest::sample::select(WORDS.to_vec());
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (0..4_u64).prop_map(Into::into),
        word.clone().prop_map(Into::into),
        "[{}\\[\\]\",:a ]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_answered_by_every_reader(values in proptest::collection::vec(word_json(), 1..5)) {
        let bodies: Vec<Bytes> = values.iter().map(|value| value.to_string().into()).collect();
        let stream: String = values.iter().map(|value| format!("data: {value}\n\n")).collect();
        for dialect in DIALECTS {
            for body in &bodies {
                let _ = CLIENTS.map(|inbound| decode_response(inbound, dialect, body.clone(), 0));
            }
            let _ = relay(dialect, options(), &stream);
            let _ = messages_client::relay(dialect, &stream);
            let _ = generate_client::relay(dialect, &stream);
        }
        for body in bodies {
            let _ = error::decode(&body);
            let _ = IncomingEmbeddings::parse(body.clone());
            for incoming in requests(&body) {
                for dialect in DIALECTS {
                    let _ = encode_request(&incoming, "m", incoming.messages(), dialect, &EncodeOptions { max_tokens_field: None, default_max_tokens: 1, output_limit: None, service_tier: None });
                }
            }
        }
    }

    #[test]
    fn any_messages_are_answered_by_every_encoder(messages in proptest::collection::vec(word_json(), 1..4)) {
        let messages: Vec<serde_json::Value> = messages.into_iter().enumerate().map(|(index, value)| {
            let role = ["user", "assistant", "tool", "system"][index % 4];
            let mut message = serde_json::json!({"role": role, "content": "x", "tool_call_id": "c"});
            if let (Some(fields), serde_json::Value::Object(more)) = (message.as_object_mut(), value) {
                fields.extend(more);
            }
            message
        }).collect();
        let body = serde_json::json!({"model": "m", "messages": messages}).to_string();
        for incoming in requests(&body.into()) {
            let _ = (incoming.size(incoming.messages()), incoming.unbounded_field(), incoming.output_limit());
            for dialect in DIALECTS {
                let _ = encode_request(&incoming, "m", incoming.messages(), dialect, &EncodeOptions { max_tokens_field: None, default_max_tokens: 1, output_limit: None, service_tier: None });
            }
        }
    }

    #[test]
    fn any_bytes_are_answered_by_every_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for dialect in DIALECTS {
            let _ = CLIENTS.map(|inbound| decode_response(inbound, dialect, bytes.clone().into(), 0));
            let _ = relay_pieces(dialect, options(), &[&bytes]);
            let _ = messages_client::relay_pieces(dialect, &[&bytes]);
            let _ = generate_client::relay_pieces(dialect, &[&bytes]);
        }
        let _ = requests(&bytes.clone().into());
        let _ = error::decode(&bytes);
    }
}
