//! An OpenAI client's request as each dialect's provider gets it.

use privet_dialects::Dialect;
use privet_dialects::canonical::{Message, Part, Role};
use privet_dialects::openai::chat_request::{IncomingChat, MaxTokensField};
use privet_dialects::translate::{EncodeOptions, RequestError, encode_request};
use serde_json::{Value, json};

const FULL: &str = include_str!("../../testdata/openai_request_full.json");
const TRANSLATED: [Dialect; 2] = [Dialect::AnthropicMessages, Dialect::Gemini];

fn parse(body: &Value) -> IncomingChat {
    IncomingChat::parse(body.to_string().into()).unwrap()
}

fn encode_with(incoming: &IncomingChat, history: &[Message], dialect: Dialect) -> Result<Value, RequestError> {
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };
    let body = encode_request(&incoming.clone().into(), "the-model", history, dialect, &options)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

/// A request of one message with more fields.
fn simple(more: Value) -> Value {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn encode(more: Value, dialect: Dialect) -> Result<Value, RequestError> {
    encode_with(&parse(&simple(more)), &[], dialect)
}

fn param_of(error: &RequestError) -> Option<&str> {
    match error {
        RequestError::BadRequest(error) => error.param.as_deref(),
        RequestError::Unsupported(error) => Some(&error.param),
    }
}

#[test]
fn a_full_request_in_each_dialect() {
    let incoming = IncomingChat::parse(FULL.into()).unwrap();
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        let body = encode_with(&incoming, &[], dialect).unwrap();
        insta::assert_json_snapshot!(format!("request_{dialect:?}"), body);
    }
}

#[test]
fn a_thread_with_history_in_each_dialect() {
    let history = [
        Message::text(Role::User, "Think, then call."),
        Message {
            role: Role::Assistant,
            name: None,
            parts: vec![
                Part::Thinking { text: "I think.".into(), signature: Some("sig+/==".into()) },
                Part::RedactedThinking { data: "opaque==".into() },
                Part::Text { text: "Calling.".into() },
                Part::ToolCall {
                    id: "call_h".into(),
                    name: "f".into(),
                    arguments: "{\"x\": 1}".into(),
                    signature: Some("dGhvdWdodA==".into()),
                },
            ],
            extra: serde_json::Map::new(),
        },
        Message {
            role: Role::Tool,
            name: None,
            parts: vec![Part::ToolResult {
                call_id: "call_h".into(),
                content: vec![Part::Text { text: "done".into() }],
                is_error: false,
            }],
            extra: serde_json::Map::new(),
        },
    ];
    let incoming = parse(&json!({"model": "x", "messages": [
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "So?"}, {"role": "system", "content": "Late instruction."}, {"role": "user", "content": "And?"},
    ]}));
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        let body = encode_with(&incoming, &history, dialect).unwrap();
        insta::assert_json_snapshot!(format!("history_{dialect:?}"), body);
    }
}

#[test]
fn a_request_that_needs_no_change_is_forwarded_to_the_byte() {
    let body = "{ \"model\" : \"the-model\", \"messages\":[ {\"role\":\"user\",\"content\":\"\\u0068i\"} ], \"new_field\":1e400 }";
    let incoming = IncomingChat::parse(body.into()).unwrap();
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };
    let sent = encode_request(&incoming.clone().into(), "the-model", &[], Dialect::OpenAiChat, &options).unwrap();
    assert!(sent.windows(5).any(|window| window == b"1e400"));
    let text = String::from_utf8(sent.to_vec()).unwrap();
    assert!(text.contains("[ {\"role\":\"user\",\"content\":\"\\u0068i\"} ]"), "{text}");
}

#[test]
fn wire_09_usage_is_always_asked_for_upstream() {
    for more in [
        json!({}),
        json!({"stream_options": null}),
        json!({"stream_options": {"include_usage": false, "include_obfuscation": false}}),
    ] {
        let mut fields = more.clone();
        fields["stream"] = json!(true);
        let incoming = parse(&simple(fields));
        assert!(!incoming.include_usage);
        let sent = encode_with(&incoming, &[], Dialect::OpenAiChat).unwrap();
        assert_eq!(sent["stream_options"]["include_usage"], true, "{more}");
        assert_eq!(
            sent["stream_options"].get("include_obfuscation"),
            more["stream_options"].get("include_obfuscation")
        );
    }
    let sent = encode(json!({"stream": false}), Dialect::OpenAiChat).unwrap();
    assert_eq!(sent.get("stream_options"), None);
    assert!(parse(&simple(json!({"stream": true, "stream_options": {"include_usage": true}}))).include_usage);
}

#[test]
fn our_own_conversation_id_does_not_go_upstream() {
    let sent = encode(json!({"metadata": {"conversation_id": "c", "team": "blue"}}), Dialect::OpenAiChat).unwrap();
    assert_eq!(sent["metadata"], json!({"team": "blue"}));
    let sent =
        encode(json!({"metadata": {"conversation_id": "c"}, "conversation_id": "d"}), Dialect::OpenAiChat).unwrap();
    assert_eq!((sent.get("metadata"), sent.get("conversation_id")), (None, None));
    let both = parse(&simple(json!({"metadata": {"conversation_id": "c"}, "conversation_id": "d"})));
    assert_eq!(both.conversation_id.as_deref(), Some("c"));
    assert_eq!(parse(&simple(json!({"conversation_id": "d"}))).conversation_id.as_deref(), Some("d"));
}

#[test]
fn wire_27_the_output_limit_goes_by_the_models_name_for_it() {
    let cases = [
        ("max_tokens", Some(MaxTokensField::MaxCompletionTokens), "max_completion_tokens"),
        ("max_completion_tokens", Some(MaxTokensField::MaxTokens), "max_tokens"),
        ("max_tokens", Some(MaxTokensField::MaxTokens), "max_tokens"),
        ("max_tokens", None, "max_tokens"),
        ("max_completion_tokens", None, "max_completion_tokens"),
    ];
    for (given, field, expected) in cases {
        let incoming = parse(&simple(json!({given: 7, "custom": {"kept": [1]}})));
        let options =
            EncodeOptions { max_tokens_field: field, default_max_tokens: 4096, output_limit: None, service_tier: None };
        let sent = encode_request(&incoming.clone().into(), "m", &[], Dialect::OpenAiChat, &options).unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent[expected], 7, "{given} {field:?}");
        let other = if expected == "max_tokens" { "max_completion_tokens" } else { "max_tokens" };
        assert_eq!(sent.get(other), None, "{given} {field:?}");
        assert_eq!(sent["custom"], json!({"kept": [1]}));
    }
    for given in ["max_tokens", "max_completion_tokens"] {
        assert_eq!(encode(json!({given: 7}), Dialect::AnthropicMessages).unwrap()["max_tokens"], 7);
        assert_eq!(encode(json!({given: 7}), Dialect::Gemini).unwrap()["generationConfig"]["maxOutputTokens"], 7);
    }
}

#[test]
fn anthropic_gets_an_output_limit_always() {
    assert_eq!(encode(json!({}), Dialect::AnthropicMessages).unwrap()["max_tokens"], 4096);
}

#[test]
fn wire_26_a_thinking_budget_fits_under_the_output_limit() {
    for (effort, max) in
        [("high", 2000), ("high", 200_000), ("low", 1500), ("medium", 4096), ("minimal", 9000), ("xhigh", 4096)]
    {
        let sent = encode(json!({"reasoning_effort": effort, "max_tokens": max}), Dialect::AnthropicMessages).unwrap();
        let limit = sent["max_tokens"].as_u64().unwrap();
        if let Some(budget) = sent["thinking"]["budget_tokens"].as_u64() {
            assert!((1024..limit).contains(&budget), "{effort} {max}: {sent}");
        }
    }
}

#[test]
fn what_anthropic_lacks_is_refused_by_name() {
    let cases = [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"frequency_penalty": 0.5}), "frequency_penalty"),
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"seed": 7}), "seed"),
        (json!({"temperature": 1.5}), "temperature"),
        (json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}), "modalities|audio"),
        (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        (json!({"brand_new_parameter": 1}), "brand_new_parameter"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"web_search_options": {}}), "web_search_options"),
    ];
    for (more, expected) in cases {
        let error = encode(more.clone(), Dialect::AnthropicMessages).expect_err(&more.to_string());
        let param = param_of(&error).unwrap_or_default();
        assert!(expected.split('|').any(|expected| param == expected), "{more}: {param}");
        assert!(matches!(error, RequestError::Unsupported(_)), "{more}");
    }
}

#[test]
fn wire_26_an_unknown_tool_type_is_refused_and_never_dropped() {
    for dialect in TRANSLATED {
        let more = json!({"tools": [{"type": "custom", "custom": {"name": "grep"}}]});
        let error = encode(more, dialect).unwrap_err();
        assert!(param_of(&error).unwrap_or_default().starts_with("tools"), "{dialect:?}: {error:?}");
    }
}

#[test]
fn unknown_content_is_refused_and_never_dropped() {
    for dialect in TRANSLATED {
        let incoming = parse(&json!({"model": "x", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "video_url", "video_url": {"url": "https://x"}},
        ]}]}));
        let error = encode_with(&incoming, &[], dialect).unwrap_err();
        assert!(param_of(&error).unwrap_or_default().starts_with("messages"), "{dialect:?}: {error:?}");
    }
}

#[test]
fn harmless_hints_are_left_out_for_other_dialects() {
    for dialect in TRANSLATED {
        let plain = encode(json!({}), dialect).unwrap();
        let hints = json!({"store": false, "metadata": {"a": "b"}, "prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "auto",
            "logprobs": false, "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "response_format": {"type": "text"}, "logit_bias": null, "tools": null});
        assert_eq!(encode(hints, dialect).unwrap(), plain, "{dialect:?}");
    }
}

#[test]
fn structured_output_is_each_dialects_own() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let more = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}}});
    let sent = encode(more.clone(), Dialect::AnthropicMessages).unwrap();
    assert_eq!(sent["output_config"]["format"], json!({"type": "json_schema", "schema": schema}));
    let config = &encode(more, Dialect::Gemini).unwrap()["generationConfig"];
    assert_eq!((&config["responseMimeType"], &config["responseJsonSchema"]), (&json!("application/json"), &schema));
}

#[test]
fn wrong_requests_name_the_field() {
    let cases = [
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": [{"role": "robot", "content": "hi"}]}), "messages"),
        (json!({"messages": [{"role": "user"}]}), "messages"),
        (json!({"messages": [{"role": "user", "content": 7}]}), "messages"),
        (json!({"messages": [7]}), "messages"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"n": 0}), "n"),
        (json!({"n": -1}), "n"),
        (json!({"model": 7}), "model"),
        (json!({"store": "no"}), "store"),
    ];
    for (more, expected) in cases {
        let error = IncomingChat::parse(simple(more.clone()).to_string().into())
            .err()
            .unwrap_or_else(|| panic!("{more} passed"));
        let param = error.param.clone().unwrap_or_default();
        assert!(
            param == expected
                || param.starts_with(&format!("{expected}["))
                || param.starts_with(&format!("{expected}.")),
            "{more}: {error:?}"
        );
    }
    for body in ["", "[]", "{", "7", "{\"model\":\"x\"}"] {
        assert!(IncomingChat::parse(body.into()).is_err(), "{body}");
    }
}

#[test]
fn a_tool_result_goes_to_gemini_under_the_calls_name() {
    let sent = encode_with(&IncomingChat::parse(FULL.into()).unwrap(), &[], Dialect::Gemini).unwrap();
    let results: Vec<&Value> = sent["contents"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|content| content["parts"].as_array().unwrap())
        .filter_map(|part| part["functionResponse"]["name"].is_string().then_some(&part["functionResponse"]["name"]))
        .collect();
    assert_eq!(results, ["get_weather", "get_time"]);
}

#[test]
fn roles_alternate_for_anthropic_and_begin_with_the_user() {
    let sent = encode_with(&IncomingChat::parse(FULL.into()).unwrap(), &[], Dialect::AnthropicMessages).unwrap();
    let roles: Vec<&str> =
        sent["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(sent["tool_choice"]["disable_parallel_tool_use"], true);
}

#[test]
fn our_own_endpoint_makes_a_request_in_every_dialect() {
    let incoming = IncomingChat::from_messages(
        None,
        vec![Message::text(Role::User, "hi")],
        true,
        vec![
            ("temperature".to_owned(), json!(0)),
            ("max_tokens".to_owned(), json!(4096)),
            ("response_format".to_owned(), json!({"type": "text"})),
        ],
    );
    let history = [Message::text(Role::User, "before"), Message::text(Role::Assistant, "yes")];
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        let body = encode_with(&incoming, &history, dialect).unwrap();
        insta::assert_json_snapshot!(format!("own_endpoint_{dialect:?}"), body);
    }
}
