//! Requests of Anthropic's clients as each provider gets them.

use privet_dialects::Dialect;
use privet_dialects::anthropic::incoming::IncomingMessages;
use privet_dialects::canonical::{Message, Part, Role};
use privet_dialects::incoming::Incoming;
use privet_dialects::openai::chat_request::MaxTokensField;
use privet_dialects::translate::{EncodeOptions, RequestError, encode_request};
use proptest::prelude::*;
use serde_json::{Value, json};

const FULL: &str = include_str!("../../../testdata/anthropic_request_full.json");
const TRANSLATED: [Dialect; 2] = [Dialect::OpenAiChat, Dialect::Gemini];

pub(super) fn parse(body: &Value) -> IncomingMessages {
    IncomingMessages::parse(body.to_string().into()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

pub(super) fn simple(more: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn encode_for(
    model: &str,
    incoming: IncomingMessages,
    history: &[Message],
    dialect: Dialect,
) -> Result<String, RequestError> {
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };
    let body = encode_request(&incoming.into(), model, history, dialect, &options)?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

fn encode(more: &Value, dialect: Dialect) -> Result<Value, RequestError> {
    Ok(serde_json::from_str(&encode_for("m", parse(&simple(more)), &[], dialect)?).unwrap())
}

fn param_of(error: &RequestError) -> String {
    match error {
        RequestError::BadRequest(error) => error.param.clone().unwrap_or_default(),
        RequestError::Unsupported(error) => error.param.clone(),
    }
}

#[test]
fn a_full_request_in_each_dialect() {
    let whole: Value = serde_json::from_str(FULL).unwrap();
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        let body = encode_for("the-model", parse(&whole), &[], dialect).unwrap();
        insta::assert_json_snapshot!(format!("messages_{dialect:?}"), serde_json::from_str::<Value>(&body).unwrap());
    }
}

#[test]
fn a_request_for_anthropic_is_its_own_bytes() {
    let body = format!("{FULL} ");
    let incoming = IncomingMessages::parse(body.clone().into()).unwrap();
    assert_eq!(encode_for("claude-sonnet-4-5", incoming, &[], Dialect::AnthropicMessages).unwrap(), body);
    let body = "{ \"model\":\"m\", \"max_tokens\" : 1, \"messages\":[ {\"role\":\"user\",\"content\":\"\\u0068i\"} ], \"future\":{\"a\":1e400} }";
    let sent =
        |model| encode_for(model, IncomingMessages::parse(body.into()).unwrap(), &[], Dialect::AnthropicMessages);
    assert_eq!(sent("m").unwrap(), body);
    let renamed = sent("other").unwrap();
    assert!(
        renamed.contains("\"model\":\"other\"") && renamed.contains("[ {\"role\":\"user\",\"content\":\"\\u0068i\"} ]")
    );
    assert!(renamed.contains("\"future\":{\"a\":1e400}"), "{renamed}");
}

#[test]
fn what_is_privets_own_does_not_go_upstream() {
    let metadata = json!({"user_id": "u", "conversation_id": "c", "prompt": "p", "trace_name": "t", "tags": "a,b"});
    let incoming = parse(&simple(&json!({"metadata": metadata, "store": false})));
    assert_eq!(
        (incoming.conversation_id.as_deref(), incoming.store, incoming.user().as_deref()),
        (Some("c"), Some(false), Some("u"))
    );
    assert!(!incoming.metadata().contains_key("user_id") && incoming.metadata().contains_key("trace_name"));
    let sent: Value =
        serde_json::from_str(&encode_for("m", incoming, &[], Dialect::AnthropicMessages).unwrap()).unwrap();
    assert_eq!((&sent["metadata"], sent.get("store")), (&json!({"user_id": "u"}), None));
    let sent = encode(&json!({"metadata": {"prompt": "p"}}), Dialect::AnthropicMessages).unwrap();
    assert_eq!(sent.get("metadata"), None);
}

#[test]
fn history_and_what_leads_stand_where_anthropic_has_them_and_the_requests_own_keep_their_bytes() {
    let body =
        r#"{"model":"m","max_tokens":5,"system":"Be \u0062rief.","messages":[{"role":"user", "content":"new"}]}"#;
    let mut incoming = Incoming::from(IncomingMessages::parse(body.into()).unwrap());
    let texts: Vec<String> = incoming.messages().iter().map(Message::plain_text).collect();
    assert_eq!((incoming.messages()[0].role, texts), (Role::System, vec!["Be brief.".to_owned(), "new".to_owned()]));
    incoming.set_lead(vec![Message::text(Role::System, "lead"), Message::text(Role::User, "context")]);
    let history = [Message::text(Role::User, "old"), Message::text(Role::Assistant, "answer")];
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 1, output_limit: None, service_tier: None };
    let sent = encode_request(&incoming, "m", &history, Dialect::AnthropicMessages, &options).unwrap();
    assert_eq!(
        sent,
        r#"{"model":"m","max_tokens":5,"system":[{"type":"text","text":"lead"},{"type":"text","text":"Be \u0062rief."}],"messages":[{"role":"user","content":[{"type":"text","text":"context"}]},{"role":"user","content":[{"type":"text","text":"old"}]},{"role":"assistant","content":[{"type":"text","text":"answer"}]},{"role":"user", "content":"new"}]}"#
    );
    for dialect in TRANSLATED {
        let sent = encode_request(&incoming, "m", &history, dialect, &options).unwrap();
        let at =
            |text: &str| memchr::memmem::find(&sent, text.as_bytes()).unwrap_or_else(|| panic!("{text} in {sent:?}"));
        assert!(at("context") < at("old") && at("old") < at("answer") && at("answer") < at("new"), "{dialect:?}");
    }
}

#[test]
fn wire_21_thinking_goes_round_to_the_byte_and_anothers_reasoning_is_taken_out() {
    let signed = r#"{"type":"thinking","thinking":"h\u006dm","signature":"EqQB+/=="}"#;
    let turn = |blocks: &str| {
        format!(
            r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"a"}},{{"role":"assistant", "content":[{blocks}]}},{{"role":"user","content":"b"}}]}}"#
        )
    };
    let sent = |blocks: &str| {
        encode_for("m", IncomingMessages::parse(turn(blocks).into()).unwrap(), &[], Dialect::AnthropicMessages).unwrap()
    };
    let text = r#"{"type":"text", "text":"said"}"#;
    let redacted = r#"{"type":"redacted_thinking","data":"xx=="}"#;
    let hidden = r#"{"type":"thinking","thinking":"","signature":"EqQB+/=="}"#;
    for own in [format!("{signed},{text}"), format!("{redacted},{hidden}, {text}")] {
        assert_eq!(sent(&own), turn(&own));
    }
    for foreign in [
        r#"{"type":"thinking","thinking":"hmm","signature":""}"#,
        r#"{"type":"thinking","thinking":"","signature":"gemini:c2ln"}"#,
    ] {
        let sent = sent(&format!("{signed},{foreign},{text}"));
        assert!(sent.contains(signed) && sent.contains(text) && !sent.contains(foreign), "{sent}");
    }
    let alone: Value = serde_json::from_str(&sent(r#"{"type":"thinking","thinking":"hmm","signature":""}"#)).unwrap();
    assert_eq!(alone["messages"].as_array().unwrap().len(), 2, "a turn of nothing else is none");
}

#[test]
fn wire_21_geminis_signature_comes_back_to_the_call_that_it_belongs_to() {
    let body = simple(&json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "shown", "signature": "gemini:c2ln"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}, {"type": "tool_result", "tool_use_id": "c2"}]},
    ]}));
    let sent: Value =
        serde_json::from_str(&encode_for("gemini-3-pro", parse(&body), &[], Dialect::Gemini).unwrap()).unwrap();
    let parts = &sent["contents"][1]["parts"];
    assert_eq!((&parts[0]["thoughtSignature"], parts[1].get("thoughtSignature")), (&json!("c2ln"), None), "{sent}");
    assert_eq!(parts.as_array().unwrap().len(), 2);
}

#[test]
fn results_of_tools_are_apart_from_what_the_user_says() {
    let incoming = parse(&simple(&json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "42"}, {"type": "text", "text": "and?"}]},
    ]})));
    let roles: Vec<Role> = incoming.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::User]);
    assert_eq!(incoming.messages[3].plain_text(), "and?");
}

#[test]
fn what_only_anthropic_can_do_goes_there_and_is_refused_by_name_elsewhere() {
    let block =
        |block: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, block]}]});
    let cases = [
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), "tools[0].type"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "defer_loading": true}]}), "tools[0].defer_loading"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]}), "tools[0].input_examples"),
        (
            json!({"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code_execution_20250825"]}]}),
            "tools[0].allowed_callers",
        ),
        (json!({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}), "mcp_servers"),
        (json!({"container": "c"}), "container"),
        (json!({"inference_geo": "us"}), "inference_geo"),
        (json!({"brand_new": 1}), "brand_new"),
        (json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}), "context_management"),
        (json!({"thinking": {"type": "between_tools"}}), "thinking.type"),
        (json!({"output_config": {"task_budget": {"type": "tokens", "total": 5}}}), "output_config.task_budget"),
        (block(json!({"type": "document", "source": {"type": "file", "file_id": "f"}})), "messages[0].content[1]"),
        (
            block(
                json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "citations": {"enabled": true}}),
            ),
            "messages[0].content[1]",
        ),
        (block(json!({"type": "search_result", "source": "s", "title": "t", "content": []})), "messages[0].content[1]"),
        (block(json!({"type": "brand_new"})), "messages[0].content[1]"),
        (
            block(
                json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]}),
            ),
            "messages[0].content[1].content[0]",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "The answer is ("}]}),
            "messages",
        ),
        (json!({"messages": [{"role": "user", "content": "a", "brand_new": 1}]}), "messages[0].brand_new"),
    ];
    for (more, param) in cases {
        let body = simple(&more).to_string();
        let sent =
            encode_for("m", IncomingMessages::parse(body.clone().into()).unwrap(), &[], Dialect::AnthropicMessages);
        assert_eq!(sent.unwrap(), body);
        for dialect in TRANSLATED {
            let error = encode(&more, dialect).expect_err(&body);
            assert!(matches!(&error, RequestError::Unsupported(_)), "{body}: {error:?}");
            assert_eq!(param_of(&error), param, "{dialect:?} {body}");
        }
    }
}

#[test]
fn hints_are_left_out_for_others() {
    let hints = json!({
        "service_tier": "standard_only", "speed": "fast", "cache_control": {"type": "ephemeral"}, "diagnostics": {"previous_message_id": null},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "store": true,
        "metadata": {"trace_name": "t"}, "mcp_servers": [], "container": null, "inference_geo": null,
    });
    for dialect in TRANSLATED {
        assert_eq!(encode(&hints, dialect).unwrap(), encode(&json!({}), dialect).unwrap(), "{dialect:?}");
    }
}

#[test]
fn a_cache_breakpoint_changes_nothing_for_others() {
    let without = FULL
        .replace(", \"cache_control\": {\"type\": \"ephemeral\", \"ttl\": \"1h\"}", "")
        .replace(", \"cache_control\": {\"type\": \"ephemeral\"}", "");
    assert!(!without.contains("cache_control"));
    for dialect in TRANSLATED {
        let without = encode_for("m", IncomingMessages::parse(without.clone().into()).unwrap(), &[], dialect).unwrap();
        let whole = IncomingMessages::parse(FULL.into()).unwrap();
        assert_eq!(encode_for("m", whole, &[], dialect).unwrap(), without, "{dialect:?}");
    }
}

#[test]
fn wire_26_thinking_is_said_in_the_words_of_each_provider() {
    let openai = |model: &str, more: &Value| -> Result<Value, RequestError> {
        let sent = encode_for(model, parse(&simple(more)), &[], Dialect::OpenAiChat)?;
        Ok(serde_json::from_str::<Value>(&sent).unwrap()["reasoning_effort"].clone())
    };
    let budget = |tokens: u64| json!({"max_tokens": 64_000, "thinking": {"type": "enabled", "budget_tokens": tokens}});
    for (tokens, word) in [(1024, "low"), (8_000, "medium"), (31_999, "high")] {
        assert_eq!(openai("gpt-5.2", &budget(tokens)).unwrap(), word);
    }
    let effort = |word: &str| json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": word}});
    assert_eq!(openai("gpt-5.2", &effort("low")).unwrap(), "low");
    assert_eq!(openai("gpt-5.2", &effort("max")).unwrap(), "xhigh");
    assert_eq!(openai("gpt-5.2", &json!({"thinking": {"type": "adaptive"}})).unwrap(), Value::Null);
    let off = json!({"thinking": {"type": "disabled"}});
    assert_eq!(openai("gpt-4o", &off).unwrap(), Value::Null);
    assert_eq!(openai("gpt-5.1-mini", &off).unwrap(), "none");
    for model in ["o3", "gpt-5-mini", "gpt-5.0"] {
        let error = openai(model, &off).unwrap_err();
        assert_eq!(param_of(&error), "thinking");
        assert!(error.to_string().contains("`thinking`") && !error.to_string().contains("reasoning_effort"), "{error}");
    }
    let gemini = |model: &str, more: &Value| -> Value {
        let sent = encode_for(model, parse(&simple(more)), &[], Dialect::Gemini).unwrap();
        serde_json::from_str::<Value>(&sent).unwrap()["generationConfig"]["thinkingConfig"].clone()
    };
    assert_eq!(gemini("gemini-2.5-pro", &budget(2048)), json!({"thinkingBudget": 2048, "includeThoughts": true}));
    assert_eq!(gemini("gemini-2.5-pro", &json!({"thinking": {"type": "adaptive"}})), json!({"includeThoughts": true}));
    assert_eq!(gemini("gemini-3-pro", &effort("high")), json!({"thinkingLevel": "high", "includeThoughts": true}));
}

#[test]
fn structured_output_is_each_providers_own() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    for more in [
        json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        json!({"output_format": {"type": "json_schema", "schema": schema}}),
    ] {
        let sent = encode(&more, Dialect::OpenAiChat).unwrap();
        assert_eq!(
            sent["response_format"],
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}})
        );
        assert_eq!(encode(&more, Dialect::Gemini).unwrap()["generationConfig"]["responseJsonSchema"], schema);
    }
}

#[test]
fn wire_27_the_output_limit_goes_by_the_models_name_for_it() {
    for (field, name) in [(None, "max_tokens"), (Some(MaxTokensField::MaxCompletionTokens), "max_completion_tokens")] {
        let options = EncodeOptions {
            max_tokens_field: field,
            default_max_tokens: 1,
            output_limit: Some(5),
            service_tier: Some("default"),
        };
        let incoming = parse(&simple(&json!({"stream": true}))).into();
        let sent = encode_request(&incoming, "m", &[], Dialect::OpenAiChat, &options).unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!((&sent[name], &sent["service_tier"]), (&json!(64), &json!("default")));
        // Bills come from it.
        assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    }
}

#[test]
fn a_user_whose_name_is_too_long_for_openai_is_the_same_user_under_another() {
    let user =
        |name: &str| encode(&json!({"metadata": {"user_id": name}}), Dialect::OpenAiChat).unwrap()["user"].clone();
    assert_eq!(user("ada"), "ada");
    let (long, other) = (user(&"a".repeat(65)), user(&"b".repeat(65)));
    assert_eq!((long.as_str().unwrap().len(), &long), (64, &user(&"a".repeat(65))));
    assert_ne!(long, other);
}

#[test]
fn a_wrong_request_names_its_field() {
    let messages = |messages: Value| json!({"messages": messages});
    for (more, param) in [
        (messages(json!([])), "messages"),
        (messages(json!("hi")), "messages"),
        (messages(json!([7])), "messages[0]"),
        (messages(json!([{"role": "tool", "content": "x"}])), "messages[0].role"),
        (messages(json!([{"role": "user"}])), "messages[0].content"),
        (messages(json!([{"role": "user", "content": 5}])), "messages[0].content"),
        (messages(json!([{"role": "user", "content": ["x"]}])), "messages[0].content[0]"),
        (messages(json!([{"role": "user", "content": [{"text": "x"}]}])), "messages[0].content[0].type"),
        (messages(json!([{"role": "user", "content": [{"type": "text"}]}])), "messages[0].content[0].text"),
        (
            messages(
                json!([{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}]}]),
            ),
            "messages[0].content[0].input",
        ),
        (
            messages(json!([{"role": "user", "content": [{"type": "tool_result"}]}])),
            "messages[0].content[0].tool_use_id",
        ),
        (json!({"system": 5}), "system"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"model": 5}), "model"),
        (json!({"metadata": "x"}), "metadata"),
    ] {
        let error = IncomingMessages::parse(simple(&more).to_string().into()).err();
        let error = error.unwrap_or_else(|| panic!("{more} passed"));
        assert_eq!(error.param.as_deref(), Some(param), "{more}: {error}");
    }
    for (more, param) in [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": "5"}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
    ] {
        assert_eq!(parse(&simple(&more)).output_limit().unwrap_err().param.as_deref(), Some(param));
    }
    for (more, param) in [
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 64}}), "thinking.budget_tokens"),
        (json!({"tool_choice": {"type": "sometimes"}}), "tool_choice.type"),
        (json!({"tools": [{"input_schema": {}}]}), "tools[0].name"),
        (json!({"output_config": {"format": {"type": "xml"}}}), "output_config.format"),
        (json!({"temperature": "hot"}), "temperature"),
    ] {
        assert_eq!(param_of(&encode(&more, Dialect::OpenAiChat).unwrap_err()), param);
    }
    for body in ["", "[]", "{", "{\"model\":\"a\",\"model\":\"b\",\"messages\":[]}"] {
        assert!(IncomingMessages::parse(body.into()).is_err(), "{body}");
    }
}

/// A block that every dialect can express.
fn common_block() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{1,20}".prop_map(|text| json!({"type": "text", "text": text})),
        "[A-Za-z0-9+/]{4,12}".prop_map(|data| {
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})
        }),
        "https://[a-z]{1,9}/[a-z]{1,5}.png"
            .prop_map(|url| json!({"type": "image", "source": {"type": "url", "url": url}})),
    ]
}

proptest! {
    #[test]
    fn what_both_can_express_comes_back_by_way_of_openai(
        system in proptest::option::of("\\PC{1,20}"),
        said in proptest::collection::vec(common_block(), 1..4),
        answer in "\\PC{1,20}",
        input in "[a-z]{0,9}",
        result in "\\PC{1,20}",
        limit in 1..9999_u64,
    ) {
        let mut body = json!({"model": "m", "max_tokens": limit, "temperature": 0.5, "stop_sequences": ["a"], "messages": [
            {"role": "user", "content": said},
            {"role": "assistant", "content": [{"type": "text", "text": answer}, {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": input}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": result}]}]},
        ], "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
           "tool_choice": {"type": "tool", "name": "f"}, "metadata": {"user_id": "u"}});
        if let Some(system) = &system {
            body["system"] = json!([{"type": "text", "text": system}]);
        }
        let as_chat = encode_for("m", parse(&body), &[], Dialect::OpenAiChat).unwrap();
        let options = EncodeOptions { max_tokens_field: None, default_max_tokens: 1, output_limit: None, service_tier: None };
        let chat = privet_dialects::openai::chat_request::IncomingChat::parse(as_chat.into()).unwrap().into();
        let back = encode_request(&chat, "m", &[], Dialect::AnthropicMessages, &options).unwrap();
        let back: Value = serde_json::from_slice(&back).unwrap();
        prop_assert_eq!(back, body);
    }

    #[test]
    fn what_both_can_express_comes_back_by_way_of_responses(
        system in proptest::option::of("\\PC{1,20}"),
        said in proptest::collection::vec(common_block(), 1..4),
        answer in "\\PC{1,20}",
        input in "[a-z]{0,9}",
        result in "\\PC{1,20}",
        limit in 1..9999_u64,
    ) {
        let mut body = json!({"model": "m", "max_tokens": limit, "temperature": 0.5, "messages": [
            {"role": "user", "content": said},
            {"role": "assistant", "content": [{"type": "text", "text": answer}, {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": input}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": result}]}]},
        ], "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
           "tool_choice": {"type": "tool", "name": "f"}, "metadata": {"user_id": "u"}});
        if let Some(system) = &system {
            body["system"] = json!([{"type": "text", "text": system}]);
        }
        let sent = encode_for("m", parse(&body), &[], Dialect::OpenAiResponses).unwrap();
        let birth = crate::inbound_responses::client::birth();
        let read = privet_dialects::responses::incoming::IncomingResponses::parse(sent.into(), birth, &Default::default());
        let options = EncodeOptions { max_tokens_field: None, default_max_tokens: 1, output_limit: None, service_tier: None };
        let back = encode_request(&read.unwrap().into(), "m", &[], Dialect::AnthropicMessages, &options).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), body);
    }

    #[test]
    fn any_text_of_a_thread_is_read(text in "\\PC{0,40}") {
        let incoming = parse(&simple(&json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]})));
        prop_assert_eq!(&incoming.messages[0].parts, &vec![Part::Text { text: text.clone() }]);
        let incoming = parse(&simple(&json!({"system": text, "messages": [{"role": "user", "content": text}]})));
        prop_assert_eq!(incoming.messages[0].plain_text(), incoming.messages[1].plain_text());
    }
}
