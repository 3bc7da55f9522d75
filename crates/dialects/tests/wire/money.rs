//! What money must know: sizes before a call, output limits, tiers, and every kind of token after it.

use bytes::Bytes;
use privet_dialects::canonical::{Message, Part, Role, Usage};
use privet_dialects::openai::chat_request::{IncomingChat, MaxTokensField};
use privet_dialects::openai::embeddings::{self, IncomingEmbeddings};
use privet_dialects::request_size::RequestSize;
use privet_dialects::stream::StreamOptions;
use privet_dialects::translate::{Answer, EncodeOptions, decode_response, encode_request};
use privet_dialects::{BadRequest, Dialect, Inbound};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{options, relay};

const DIALECTS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini];

fn chat(body: &Value) -> IncomingChat {
    IncomingChat::parse(Bytes::from(body.to_string())).unwrap()
}

fn ask(more: &Value) -> IncomingChat {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    chat(&body)
}

fn content(parts: &Value) -> RequestSize {
    chat(&json!({"messages": [{"role": "user", "content": parts}]})).size(&[])
}

fn usage(dialect: Dialect, body: &Value) -> Usage {
    decode_response(Inbound::OpenAiChat, dialect, Bytes::from(body.to_string()), 0).unwrap().answer.usage.unwrap()
}

fn openai(usage: &Value) -> Value {
    json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage, "service_tier": "flex"})
}

fn anthropic(usage: &Value) -> Value {
    json!({"type": "message", "id": "a", "model": "m", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "usage": usage})
}

fn gemini(usage: &Value) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}], "usageMetadata": usage})
}

proptest! {
    #[test]
    fn the_size_covers_every_byte_of_text(
        texts in proptest::collection::vec(".{0,60}", 1..6),
        history in proptest::collection::vec("\\PC{0,60}", 0..4),
        description in "\\PC{0,60}",
        name in "[a-z]{1,20}",
    ) {
        let mut messages: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": text, "name": name})).collect();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": name, "arguments": description}}]}));
        messages.push(json!({"role": "tool", "tool_call_id": "c1", "content": description}));
        let incoming = chat(&json!({
            "messages": messages,
            "tools": [{"type": "function", "function": {"name": name, "description": description}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": {"description": description}}},
            "documents": [description],
        }));
        let earlier: Vec<Message> = history.iter().map(|text| Message::text(Role::User, text.as_str())).collect();
        let text: usize = texts.iter().map(|text| text.len() + name.len()).sum::<usize>()
            + history.iter().map(String::len).sum::<usize>() + 5 * description.len() + 4 * name.len();
        let size = incoming.size(&earlier);
        prop_assert!(size.text_tokens >= text as u64);
        // A bound, but no absurd one: text counts once, and what is added to it is known.
        let raw = text * 2 + 1_000 + 500 + 600 + 40 * (texts.len() + history.len());
        prop_assert!(size.text_tokens <= raw as u64, "{} of {raw}", size.text_tokens);
        prop_assert_eq!((size.images, size.audio_tokens, size.unknown_parts), (0, 0, 0));
    }
}

#[test]
fn pictures_sound_and_documents_are_no_text() {
    let base64 = "A".repeat(64_000);
    let picture =
        content(&json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{base64}")}},
        {"type": "image_url", "image_url": {"url": "https://x/y.PNG?size=1"}}]));
    assert_eq!((picture.images, picture.unknown_parts), (2, 0));
    assert!(picture.text_tokens < 100, "{picture:?}");
    let sound =
        |format: &str| content(&json!([{"type": "input_audio", "input_audio": {"data": base64, "format": format}}]));
    assert_eq!((sound("wav").audio_tokens, sound("flac").audio_tokens), (3_000, 96_000));
    for unknown in [
        json!({"type": "file", "file": {"file_data": format!("data:application/pdf;base64,{base64}")}}),
        json!({"type": "file", "file": {"file_id": "f"}}),
        json!({"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AAAA"}}),
        json!({"type": "image_url", "image_url": {"url": "https://youtube.com/watch?v=x.png"}}),
        json!({"type": "brand_new", "data": base64}),
    ] {
        let size = content(&json!([unknown]));
        assert_eq!((size.images, size.unknown_parts), (0, 1), "{unknown}");
        assert!(size.text_tokens < 100, "{size:?}");
    }
}

#[test]
fn what_a_provider_adds_by_itself_is_counted() {
    let plain = ask(&json!({})).size(&[]);
    let searching = ask(&json!({"web_search_options": {}})).size(&[]);
    let own_tool = ask(&json!({"tools": [{"type": "web_search"}]})).size(&[]);
    assert_eq!((plain.unknown_parts, searching.unknown_parts, own_tool.unknown_parts), (0, 1, 1));
    let tools = ask(&json!({"tools": [{"type": "function", "function": {"name": "f"}}]})).size(&[]);
    assert!(tools.text_tokens > plain.text_tokens + 1_000 && tools.unknown_parts == 0);
    let predicted = ask(&json!({"prediction": {"type": "content", "content": "long ago"}})).size(&[]);
    assert!(predicted.predicted_tokens >= 8 && predicted.text_tokens == plain.text_tokens);
    let speaking = ask(&json!({"modalities": ["text", "audio"]})).size(&[]);
    let drawing = ask(&json!({"modalities": ["image"]})).size(&[]);
    assert!(speaking.speaks && !speaking.draws && drawing.draws && !plain.speaks);
    let labelled = ask(&json!({"metadata": {"a": "x".repeat(512)}, "user": "u".repeat(99)})).size(&[]);
    assert_eq!(labelled.text_tokens, plain.text_tokens, "labels reach no model");
}

#[test]
fn a_cache_write_is_seen_however_it_is_written() {
    let writes = |key: &str| {
        let body = format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"x\",\"{key}\":{{}}}}]}}]}}"
        );
        IncomingChat::parse(Bytes::from(body)).unwrap().size(&[]).writes_cache
    };
    assert!(writes("cache_control") && writes("cache\\u005fcontrol") && writes("\\u0063ache_control"));
    assert!(!writes("caching\\u00e9\\n"));
    let mut earlier = Message::text(Role::User, "x");
    earlier.extra.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
    assert!(ask(&json!({})).size(&[earlier]).writes_cache);
}

#[test]
fn an_output_limit_is_set_where_there_is_none_and_stays_where_there_is_one() {
    let sent = |incoming: &IncomingChat, dialect, field| -> Value {
        let options = EncodeOptions {
            max_tokens_field: field,
            default_max_tokens: 4096,
            output_limit: Some(77),
            service_tier: None,
        };
        serde_json::from_slice(&encode_request(&incoming.clone().into(), "m", &[], dialect, &options).unwrap()).unwrap()
    };
    let limit_of = |body: &Value| {
        let found = [&body["max_tokens"], &body["max_completion_tokens"], &body["generationConfig"]["maxOutputTokens"]];
        found.into_iter().filter_map(Value::as_u64).collect::<Vec<_>>()
    };
    for dialect in DIALECTS {
        for field in [None, Some(MaxTokensField::MaxTokens), Some(MaxTokensField::MaxCompletionTokens)] {
            assert_eq!(limit_of(&sent(&ask(&json!({})), dialect, field)), [77], "{dialect:?} {field:?}");
            let null = ask(&json!({"max_tokens": null, "max_completion_tokens": null}));
            assert_eq!(limit_of(&sent(&null, dialect, field)), [77], "{dialect:?} {field:?}");
            let named = ask(&json!({"max_tokens": 5}));
            assert_eq!(limit_of(&sent(&named, dialect, field)), [5], "{dialect:?} {field:?}");
        }
    }
    let wanted = sent(&ask(&json!({})), Dialect::OpenAiChat, Some(MaxTokensField::MaxCompletionTokens));
    assert_eq!(wanted["max_completion_tokens"], 77);
}

#[test]
fn the_output_limit_is_read_and_a_wrong_one_refused() {
    let limit = |more: &Value| ask(more).output_limit();
    assert_eq!(limit(&json!({})), Ok(None));
    assert_eq!(limit(&json!({"max_tokens": null})), Ok(None));
    assert_eq!(limit(&json!({"max_tokens": 9})), Ok(Some(9)));
    assert_eq!(limit(&json!({"max_tokens": 9, "max_completion_tokens": 4})), Ok(Some(9)));
    for wrong in [json!(0), json!(-1), json!("5"), json!(1.5), json!(1e30)] {
        let error: BadRequest = limit(&json!({"max_completion_tokens": wrong})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("max_completion_tokens"), "{wrong}");
    }
    assert_eq!(ask(&json!({"service_tier": "flex"})).service_tier().unwrap().as_deref(), Some("flex"));
    assert_eq!(ask(&json!({})).service_tier().unwrap(), None);
    assert!(ask(&json!({"service_tier": 7})).service_tier().is_err());
}

#[test]
fn wire_22_openais_input_includes_cached_tokens_and_anthropics_does_not() {
    let openai = usage(
        Dialect::OpenAiChat,
        &openai(&json!({"prompt_tokens": 100, "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 20, "image_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 3, "image_tokens": 2}})),
    );
    assert_eq!((openai.input, openai.cached_input, openai.cache_write_5m, openai.image_input), (100, 60, 20, 5));
    assert_eq!((openai.output, openai.reasoning, openai.image_output), (7, 3, 2));
    let anthropic = usage(
        Dialect::AnthropicMessages,
        &anthropic(&json!({"input_tokens": 20,
        "cache_read_input_tokens": 60, "cache_creation_input_tokens": 20, "output_tokens": 7})),
    );
    assert_eq!((anthropic.input, anthropic.cached_input, anthropic.cache_write_5m), (100, 60, 20));
}

#[test]
fn wire_23_cache_writes_are_told_apart_by_their_time_and_kinds_do_not_overlap() {
    let written = |creation: &Value| {
        let body = json!({"input_tokens": 1, "cache_creation_input_tokens": 500, "cache_creation": creation, "output_tokens": 1});
        let usage = usage(Dialect::AnthropicMessages, &anthropic(&body));
        (usage.cache_write_5m, usage.cache_write_1h, usage.input)
    };
    assert_eq!(written(&json!({"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200})), (300, 200, 501));
    assert_eq!(written(&Value::Null), (500, 0, 501), "a write of unknown time is one of 5 minutes");
    assert_eq!(written(&json!({"ephemeral_1h_input_tokens": 700})), (0, 700, 701), "the larger counts");
    let gemini = usage(
        Dialect::Gemini,
        &gemini(&json!({"promptTokenCount": 1000, "toolUsePromptTokenCount": 10,
        "cachedContentTokenCount": 400, "candidatesTokenCount": 50, "thoughtsTokenCount": 30,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 300}, {"modality": "AUDIO", "tokenCount": 200},
            {"modality": "IMAGE", "tokenCount": 500}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}, {"modality": "IMAGE", "tokenCount": 300}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 40}]})),
    );
    assert_eq!((gemini.input, gemini.output, gemini.reasoning, gemini.image_output), (1010, 80, 30, 40));
    // 200 of sound, 300 cached without the sound, 200 of pictures that were not cached.
    assert_eq!((gemini.audio_input, gemini.cached_input, gemini.image_input), (200, 300, 200));
}

#[test]
fn counts_beyond_all_sense_do_no_harm() {
    let all = u64::MAX;
    let detail = json!([{"modality": "AUDIO", "tokenCount": all}, {"modality": "AUDIO", "tokenCount": all}]);
    for (dialect, body) in [
        (
            Dialect::OpenAiChat,
            openai(&json!({"prompt_tokens": all, "completion_tokens": all,
            "prompt_tokens_details": {"cached_tokens": all, "cache_write_tokens": all, "audio_tokens": all}})),
        ),
        (
            Dialect::AnthropicMessages,
            anthropic(&json!({"input_tokens": all, "cache_read_input_tokens": all,
            "cache_creation_input_tokens": all, "output_tokens": all,
            "cache_creation": {"ephemeral_5m_input_tokens": all, "ephemeral_1h_input_tokens": all}})),
        ),
        (
            Dialect::Gemini,
            gemini(&json!({"promptTokenCount": all, "toolUsePromptTokenCount": all,
            "candidatesTokenCount": all, "thoughtsTokenCount": all, "promptTokensDetails": detail,
            "cacheTokensDetails": detail, "candidatesTokensDetails": detail})),
        ),
    ] {
        let usage = usage(dialect, &body);
        assert_eq!((usage.input, usage.output), (all, all), "{dialect:?}");
    }
}

#[test]
fn wire_23_the_tier_that_served_is_told() {
    let tier = |dialect, body: &Value| {
        decode_response(Inbound::OpenAiChat, dialect, Bytes::from(body.to_string()), 0).unwrap().answer.tier
    };
    assert_eq!(tier(Dialect::OpenAiChat, &openai(&json!(null))).as_deref(), Some("flex"));
    let priority = json!({"input_tokens": 1, "output_tokens": 1, "service_tier": "priority"});
    assert_eq!(tier(Dialect::AnthropicMessages, &anthropic(&priority)).as_deref(), Some("priority"));
    assert_eq!(tier(Dialect::Gemini, &gemini(&json!({}))), None);
    let chunk = json!({"id": "a", "service_tier": "priority", "choices": [{"index": 0, "delta": {"content": "x"}}]});
    let streamed = relay(Dialect::OpenAiChat, options(), &format!("data: {chunk}\n\n")).answer;
    assert_eq!(streamed.tier.as_deref(), Some("priority"));
}

/// Whether a stream of these events, cut after them, has told its last count.
fn is_counted(dialect: Dialect, choices: u32, events: &[Value]) -> bool {
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    relay(dialect, StreamOptions { choices, ..options() }, &stream).answer.is_counted
}

#[test]
fn a_count_is_final_when_it_comes_with_the_end_or_after_it() {
    let count = json!({"prompt_tokens": 9, "completion_tokens": 2});
    let text = |usage: &Value| json!({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage});
    let end = |index: u32, usage: &Value| json!({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}], "usage": usage});
    let rest = json!({"choices": [], "usage": count});
    let (none, empty) = (Value::Null, json!({}));
    for (choices, events, expected) in [
        (1, vec![text(&count)], false),
        (1, vec![text(&count), end(0, &none)], false),
        (1, vec![text(&none), end(0, &none)], false),
        (1, vec![text(&none), end(0, &empty)], false),
        (1, vec![text(&none), end(0, &none), rest.clone()], true),
        (1, vec![text(&none), end(0, &count)], true),
        (2, vec![text(&none), end(0, &count)], false),
        (2, vec![end(0, &none), end(1, &none), rest], true),
    ] {
        assert_eq!(is_counted(Dialect::OpenAiChat, choices, &events), expected, "{choices}: {events:?}");
    }

    let start = json!({"type": "message_start", "message": {"id": "a", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}});
    let text = json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}});
    let delta = |usage: Value| json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
    for (events, expected) in [
        (vec![start.clone(), text.clone()], false),
        (vec![start.clone(), text.clone(), delta(Value::Null)], false),
        (vec![start.clone(), text.clone(), delta(json!({"input_tokens": 9}))], false),
        (vec![start, text, delta(json!({"output_tokens": 2}))], true),
    ] {
        assert_eq!(is_counted(Dialect::AnthropicMessages, 1, &events), expected, "{events:?}");
    }

    let piece = |index: u32, finish: Value| {
        json!({"candidates": [{"index": index, "content": {"parts": [{"text": "x"}]}, "finishReason": finish}],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}})
    };
    assert!(!is_counted(Dialect::Gemini, 1, &[piece(0, Value::Null)]), "Gemini counts in every piece");
    assert!(is_counted(Dialect::Gemini, 1, &[piece(0, Value::Null), piece(0, json!("STOP"))]));
}

#[test]
fn the_bytes_of_a_cut_answer_are_counted() {
    let part = |text: &str| Part::Text { text: text.to_owned() };
    let call = Part::ToolCall {
        id: "id".into(),
        name: "name".into(),
        arguments: "{\"a\"".into(),
        signature: Some("s".into()),
    };
    let thinking = Part::Thinking { text: "hm".into(), signature: Some("signature".into()) };
    let message = |parts| Message { parts, ..Message::text(Role::Assistant, "") };
    let answer = Answer {
        id: String::new(),
        model: String::new(),
        messages: vec![message(vec![part("é"), thinking, call]), message(vec![part("abc")])],
        finishes: vec![None, None],
        usage: None,
        is_counted: false,
        tier: None,
    };
    assert_eq!(answer.output_bytes(), 2 + 2 + 4 + 4 + 3);
}

#[test]
fn embeddings_are_sized_by_bytes_or_tokens_and_their_usage_is_read() {
    let size = |input: &Value| {
        let body = Bytes::from(json!({"model": "m", "input": input}).to_string());
        IncomingEmbeddings::parse(body).unwrap().size().text_tokens
    };
    assert_eq!(size(&json!("é")), 8 + 6 + 2);
    assert_eq!(size(&json!(["ab", "c"])), 8 + 2 * 6 + 3);
    assert_eq!(size(&json!([1, 22, 333])), 8 + 3);
    assert_eq!(size(&json!([[1, 22], [333]])), 8 + 3);
    let answer = json!({"data": [{"embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 9, "total_tokens": 9}});
    assert_eq!(embeddings::usage(answer.to_string().as_bytes()).unwrap().input, 9);
    assert_eq!(embeddings::usage(b"{\"data\":[]}"), None);
    assert_eq!(embeddings::usage(b"no json"), None);
}
