//! Requests of Gemini's clients as each provider gets them.

use privet_dialects::Dialect;
use privet_dialects::canonical::{Message, Part, Role};
use privet_dialects::count::{decode_count, encode_question};
use privet_dialects::gemini::incoming::{Asked, IncomingGenerate};
use privet_dialects::incoming::Incoming;
use privet_dialects::translate::{EncodeOptions, RequestError, encode_request};
use proptest::prelude::*;
use serde_json::{Value, json};

const FULL: &str = include_str!("../../../testdata/gemini_request_full.json");
const TRANSLATED: [Dialect; 2] = [Dialect::OpenAiChat, Dialect::AnthropicMessages];
const OPTIONS: EncodeOptions =
    EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };

pub(super) fn read(body: &str) -> IncomingGenerate {
    let asked = Asked { model: "m".into(), stream: false };
    IncomingGenerate::parse(body.to_owned().into(), asked).unwrap_or_else(|error| panic!("{body}: {error}"))
}

pub(super) fn simple(more: &Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub(super) fn parse(more: &Value) -> IncomingGenerate {
    read(&simple(more).to_string())
}

fn config(config: Value) -> Value {
    json!({"generationConfig": config})
}

fn with_part(part: Value) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "a"}, part]}]})
}

fn encode_for(
    model: &str,
    incoming: IncomingGenerate,
    history: &[Message],
    dialect: Dialect,
) -> Result<String, RequestError> {
    let body = encode_request(&incoming.into(), model, history, dialect, &OPTIONS)?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

fn encode(more: &Value, dialect: Dialect) -> Result<Value, RequestError> {
    Ok(serde_json::from_str(&encode_for("m", parse(more), &[], dialect)?).unwrap())
}

fn param_of(error: &RequestError) -> String {
    match error {
        RequestError::BadRequest(error) => error.param.clone().unwrap_or_default(),
        RequestError::Unsupported(error) => error.param.clone(),
    }
}

#[test]
fn a_full_request_in_each_dialect() {
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages] {
        let body = encode_for("the-model", read(FULL), &[], dialect).unwrap();
        insta::assert_json_snapshot!(format!("generate_{dialect:?}"), serde_json::from_str::<Value>(&body).unwrap());
    }
}

#[test]
fn a_request_for_gemini_is_its_own_bytes() {
    let body = format!("{FULL} ");
    assert_eq!(encode_for("gemini-2.5-flash", read(&body), &[], Dialect::Gemini).unwrap(), body);
    let odd = "{ \"contents\":[ {\"parts\":[{\"text\":\"\\u0068i\"}]} ], \"future\":{\"a\":1e400}, \"store\" : false,\"labels\":{} }";
    assert_eq!(encode_for("m", read(odd), &[], Dialect::Gemini).unwrap(), odd);
    let named = "{\"model\":\"models/alias\",\"contents\":[{\"parts\":[{\"text\":\"\\u0068i\"}]}]}";
    let expected = named.replace("models/alias", "models/gemini-2.5-pro");
    assert_eq!(encode_for("gemini-2.5-pro", read(named), &[], Dialect::Gemini).unwrap(), expected);
}

#[test]
fn either_way_of_writing_is_the_same_request() {
    let snake = json!({
        "system_instruction": {"parts": [{"text": "s"}]},
        "generation_config": {"max_output_tokens": 5, "stop_sequences": ["a"], "response_mime_type": "application/json",
            "thinking_config": {"thinking_budget": 2000, "include_thoughts": true}},
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
    });
    let camel = json!({
        "systemInstruction": {"parts": {"text": "s"}},
        "generationConfig": {"maxOutputTokens": 5, "stopSequences": ["a"], "responseMimeType": "application/json",
            "thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": true}},
        "tools": {"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]},
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    });
    let sent = encode(&snake, Dialect::OpenAiChat).unwrap();
    assert_eq!(sent, encode(&camel, Dialect::OpenAiChat).unwrap());
    assert_eq!((&sent["max_tokens"], &sent["reasoning_effort"]), (&json!(5), &json!("low")));
    assert_eq!(sent["tool_choice"], json!({"type": "function", "function": {"name": "f"}}));
    assert_eq!(parse(&snake).output_limit(), Ok(Some(2000)));
    let twice = json!({"generationConfig": {}, "generation_config": {}});
    let asked = Asked { model: "m".into(), stream: false };
    let error = IncomingGenerate::parse(simple(&twice).to_string().into(), asked).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("generationConfig"));
}

#[test]
fn what_is_privets_own_does_not_go_upstream() {
    let metadata = json!({"user_id": "u", "conversation_id": "c", "prompt": "p", "trace_name": "t"});
    let body = json!({"metadata": metadata, "store": false, "labels": {"team": "a", "prompt": "no"}});
    let incoming = parse(&body);
    assert_eq!(
        (incoming.conversation_id.as_deref(), incoming.store, incoming.user().as_deref()),
        (Some("c"), Some(false), Some("u"))
    );
    let told = incoming.metadata();
    assert_eq!((&told["team"], &told["prompt"], told.get("user_id")), (&json!("a"), &json!("p"), None));
    let sent = encode(&body, Dialect::Gemini).unwrap();
    assert_eq!((sent.get("metadata"), &sent["store"], &sent["labels"]["team"]), (None, &json!(false), &json!("a")));
    assert_eq!(encode(&body, Dialect::OpenAiChat).unwrap()["user"], "u");
}

#[test]
fn history_and_what_leads_stand_in_front_and_the_requests_own_keep_their_bytes() {
    let body =
        r#"{"system_instruction":{"parts":[{"text":"Be \u0062rief."}]},"contents":[{"parts":[{"text":"n\u0065w"}]}]}"#;
    let mut incoming = Incoming::from(read(body));
    incoming.set_lead(vec![Message::text(Role::System, "lead"), Message::text(Role::User, "context")]);
    let history = [Message::text(Role::User, "old"), Message::text(Role::Assistant, "answer")];
    let sent = encode_request(&incoming, "m", &history, Dialect::Gemini, &OPTIONS).unwrap();
    assert_eq!(
        sent,
        r#"{"system_instruction":{"parts":[{"text":"lead"},{"text":"Be \u0062rief."}]},"contents":[{"role":"user","parts":[{"text":"context"}]},{"role":"user","parts":[{"text":"old"}]},{"role":"model","parts":[{"text":"answer"}]},{"parts":[{"text":"n\u0065w"}]}]}"#
    );
    for dialect in TRANSLATED {
        let sent = encode_request(&incoming, "m", &history, dialect, &OPTIONS).unwrap();
        let at =
            |text: &str| memchr::memmem::find(&sent, text.as_bytes()).unwrap_or_else(|| panic!("{text} in {sent:?}"));
        assert!(at("context") < at("old") && at("old") < at("answer") && at("answer") < at("new"), "{dialect:?}");
    }
}

#[test]
fn an_output_limit_is_set_where_none_is_named() {
    let options = EncodeOptions { output_limit: Some(9), ..OPTIONS };
    let sent = |more: &Value| -> Value {
        let sent = encode_request(&parse(more).into(), "m", &[], Dialect::Gemini, &options).unwrap();
        serde_json::from_slice::<Value>(&sent).unwrap()
    };
    assert_eq!(sent(&json!({}))["generationConfig"], json!({"maxOutputTokens": 9}));
    let snake = json!({"generation_config": {"top_p": 0.5}});
    assert_eq!(sent(&snake)["generation_config"], json!({"top_p": 0.5, "maxOutputTokens": 9}));
    assert_eq!(sent(&config(json!({"max_output_tokens": 5})))["generationConfig"], json!({"max_output_tokens": 5}));
}

#[test]
fn calls_and_results_are_told_apart_by_their_names_where_they_have_no_ids() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let result = |name: &str, n: u64| json!({"functionResponse": {"name": name, "response": {"n": n}}});
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [call("f"), call("g"), call("f")]},
        {"role": "function", "parts": [result("g", 2), result("f", 1), result("f", 3)]},
    ]});
    for dialect in TRANSLATED {
        let sent = encode(&body, dialect).unwrap().to_string();
        let order = ["{\\\"n\\\":2}", "{\\\"n\\\":1}", "{\\\"n\\\":3}"].map(|result| sent.find(result).unwrap());
        assert!(order[0] < order[1] && order[1] < order[2], "{sent}");
    }
    let sent = encode(&body, Dialect::OpenAiChat).unwrap();
    let ids: Vec<&Value> =
        sent["messages"][1]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    let answered: Vec<&Value> = (2..5).map(|at| &sent["messages"][at]["tool_call_id"]).collect();
    assert_eq!(answered, [ids[1], ids[0], ids[2]]);
}

#[test]
fn a_result_alone_answers_the_call_in_the_conversation_that_it_continues() {
    let call = Part::ToolCall { id: "call_AbC".into(), name: "f".into(), arguments: "{}".into(), signature: None };
    let history = [Message::text(Role::User, "a"), Message { parts: vec![call], ..Message::text(Role::Assistant, "") }];
    let body = json!({"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "42"}}}]}]});
    let sent: Value =
        serde_json::from_str(&encode_for("m", parse(&body), &history, Dialect::OpenAiChat).unwrap()).unwrap();
    assert_eq!(sent["messages"][2], json!({"role": "tool", "tool_call_id": "call_AbC", "content": "42"}));
    // What was kept of it goes to Gemini by the same call.
    let mut kept = history.to_vec();
    kept.extend(parse(&body).messages);
    let sent = encode_for("m", parse(&json!({})), &kept, Dialect::Gemini).unwrap();
    assert!(sent.contains(r#""functionResponse":{"id":"call_AbC","name":"f","response":{"output":"42"}}"#), "{sent}");
}

#[test]
fn a_streamed_answer_sent_back_in_its_pieces_is_one_message() {
    let piece = |part: Value| json!({"role": "model", "parts": [part]});
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "a"}]},
        piece(json!({"text": "Hm", "thought": true})), piece(json!({"text": "m.", "thought": true})),
        piece(json!({"text": "It is "})), piece(json!({"text": "sunny."})), piece(json!({"text": ""})),
        {"role": "user", "parts": [{"text": "b"}]},
    ]});
    let parts =
        vec![Part::Thinking { text: "Hmm.".into(), signature: None }, Part::Text { text: "It is sunny.".into() }];
    let incoming = parse(&body);
    assert_eq!((incoming.messages.len(), &incoming.messages[1].parts), (3, &parts));
}

#[test]
fn wire_21_anothers_thoughts_are_taken_out_for_gemini_and_its_own_signatures_pass() {
    use base64::Engine as _;
    let marked = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let own = json!({"text": "Hm.", "thought": true, "thoughtSignature": "c2ln"});
    let foreign = json!({"text": "Hmm.", "thought": true, "thoughtSignature": marked("privet:signed:EqQB+/==")});
    let hidden = json!({"thoughtSignature": marked("privet:encrypted:xx==")});
    let text = json!({"text": "said", "thoughtSignature": "c2ln"});
    let thread = |parts: &[&Value]| json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": parts}, {"parts": [{"text": "b"}]}]});
    let sent = encode(&thread(&[&own, &foreign, &hidden, &text]), Dialect::Gemini).unwrap();
    assert_eq!(sent["contents"][1]["parts"], json!([own, text]));
    assert_eq!(encode(&thread(&[&foreign]), Dialect::Gemini).unwrap()["contents"].as_array().unwrap().len(), 2);
    let sent = encode(&thread(&[&foreign, &hidden, &text]), Dialect::AnthropicMessages).unwrap();
    assert_eq!(
        sent["messages"][1]["content"],
        json!([{"type": "thinking", "thinking": "Hmm.", "signature": "EqQB+/=="}, {"type": "redacted_thinking", "data": "xx=="},
               {"type": "text", "text": "said"}])
    );
    let sent = encode(&thread(&[&own, &text]), Dialect::AnthropicMessages).unwrap();
    assert_eq!(sent["messages"][1]["content"], json!([{"type": "text", "text": "said"}]));
}

#[test]
fn what_only_gemini_can_do_goes_there_and_is_refused_by_name_elsewhere() {
    let declared = |more: Value| {
        let mut declaration = json!({"name": "f"});
        declaration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"tools": [{"functionDeclarations": [declaration]}]})
    };
    let cases = [
        (json!({"tools": [{"googleSearch": {}}]}), "tools[0].googleSearch"),
        (json!({"tools": [{"functionDeclarations": []}, {"code_execution": {}}]}), "tools[1].codeExecution"),
        (declared(json!({"behavior": "NON_BLOCKING"})), "tools[0].functionDeclarations[0].behavior"),
        (json!({"cachedContent": "cachedContents/1"}), "cachedContent"),
        (json!({"brandNew": 1}), "brandNew"),
        (
            json!({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_LOW_AND_ABOVE"}]}),
            "safetySettings[0].threshold",
        ),
        (config(json!({"responseModalities": ["TEXT", "IMAGE"]})), "generationConfig.responseModalities"),
        (config(json!({"speechConfig": {}})), "generationConfig.speechConfig"),
        (config(json!({"mediaResolution": "MEDIA_RESOLUTION_LOW"})), "generationConfig.mediaResolution"),
        (config(json!({"responseMimeType": "text/x.enum"})), "generationConfig.responseMimeType"),
        (json!({"toolConfig": {"retrievalConfig": {}}}), "toolConfig.retrievalConfig"),
        (
            json!({"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}, {"name": "h"}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}}}),
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        (
            with_part(json!({"fileData": {"fileUri": "gs://b/film.mp4", "mimeType": "video/mp4"}})),
            "contents[0].parts[1]",
        ),
        (with_part(json!({"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}})), "contents[0].parts[1]"),
        (
            with_part(
                json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x", "mimeType": "image/png"}}),
            ),
            "contents[0].parts[1]",
        ),
        (
            with_part(json!({"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}})),
            "contents[0].parts[1].inlineData.mimeType",
        ),
        (
            with_part(
                json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "mediaResolution": {"level": "x"}}),
            ),
            "contents[0].parts[1]",
        ),
        (with_part(json!({"executableCode": {"language": "PYTHON", "code": "1"}})), "contents[0].parts[1]"),
        (
            json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "The answer is ("}]}]}),
            "contents",
        ),
    ];
    for (more, param) in cases {
        let body = simple(&more).to_string();
        assert_eq!(encode_for("m", read(&body), &[], Dialect::Gemini).unwrap(), body);
        for dialect in TRANSLATED {
            let error = encode(&more, dialect).expect_err(&body);
            assert!(matches!(&error, RequestError::Unsupported(_)), "{body}: {error:?}");
            assert_eq!(param_of(&error), param, "{dialect:?} {body}");
        }
    }
    // What the provider's dialect refuses has this dialect's names.
    for (more, param) in [
        (config(json!({"candidateCount": 2})), "generationConfig.candidateCount"),
        (config(json!({"seed": 2})), "generationConfig.seed"),
        (config(json!({"temperature": 1.5})), "generationConfig.temperature"),
        (config(json!({"responseMimeType": "application/json"})), "generationConfig.responseSchema"),
        (
            config(json!({"maxOutputTokens": 50, "thinkingConfig": {"thinkingBudget": 2000}})),
            "generationConfig.thinkingConfig",
        ),
    ] {
        let error = encode_for("claude-sonnet-4-5", parse(&more), &[], Dialect::AnthropicMessages).unwrap_err();
        assert_eq!(param_of(&error), param, "{more}");
        assert!(
            !error.to_string().contains("reasoning_effort") && !error.to_string().contains("max_completion"),
            "{error}"
        );
    }
}

#[test]
fn what_a_function_answers_with_is_told_in_its_description() {
    for (response, told) in [
        (
            json!({"name": "f", "description": "d", "response": {"type": "STRING"}}),
            "d\n\nIt answers with JSON of this schema: {\"type\":\"string\"}",
        ),
        (
            json!({"name": "f", "response_json_schema": {"type": "object"}}),
            "It answers with JSON of this schema: {\"type\":\"object\"}",
        ),
    ] {
        let sent = encode(&json!({"tools": [{"functionDeclarations": [response]}]}), Dialect::OpenAiChat).unwrap();
        assert_eq!(sent["tools"][0]["function"]["description"], told);
    }
}

#[test]
fn what_is_kept_of_a_part_that_only_gemini_knows_goes_back_to_it_alone() {
    let part = json!({"fileData": {"fileUri": "gs://b/film.mp4", "mimeType": "video/mp4"}});
    let history = parse(&with_part(part.clone())).messages;
    let sent = encode_for("m", parse(&json!({})), &history, Dialect::Gemini).unwrap();
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["contents"][0]["parts"][1], part);
    for dialect in TRANSLATED {
        assert!(encode_for("m", parse(&json!({})), &history, dialect).is_err(), "{dialect:?}");
    }
}

#[test]
fn hints_and_loose_settings_are_left_out_for_others() {
    let hints = json!({
        "labels": {"a": "b"}, "serviceTier": "FLEX", "store": true, "metadata": {"trace_name": "t"}, "cachedContent": null, "tools": [{}],
        "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"}, {"category": "x", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"responseModalities": ["TEXT"], "responseMimeType": "text/plain", "thinkingConfig": {"includeThoughts": false}},
        "toolConfig": {"functionCallingConfig": {"mode": "MODE_UNSPECIFIED"}},
    });
    for dialect in TRANSLATED {
        assert_eq!(encode(&hints, dialect).unwrap(), encode(&json!({}), dialect).unwrap(), "{dialect:?}");
    }
}

#[test]
fn wire_26_thinking_is_said_in_the_words_of_each_provider() {
    let sent = |model: &str, thinking: Value, dialect| -> Value {
        let more = config(json!({"maxOutputTokens": 64_000, "thinkingConfig": thinking}));
        let sent = encode_for(model, parse(&more), &[], dialect).unwrap();
        serde_json::from_str(&sent).unwrap()
    };
    let effort = |thinking| sent("gpt-5.2", thinking, Dialect::OpenAiChat)["reasoning_effort"].clone();
    assert_eq!(effort(json!({"thinkingBudget": 8_000})), "medium");
    assert_eq!(effort(json!({"thinkingBudget": 0})), "none");
    assert_eq!(effort(json!({"thinkingBudget": -1, "includeThoughts": true})), Value::Null);
    assert_eq!(effort(json!({"thinkingLevel": "HIGH"})), "high");
    assert_eq!(effort(json!({"thinkingLevel": "THINKING_LEVEL_LOW"})), "low");
    let claude = |thinking| sent("claude-sonnet-4-5", thinking, Dialect::AnthropicMessages)["thinking"].clone();
    assert_eq!(claude(json!({"thinkingBudget": 2_048})), json!({"type": "enabled", "budget_tokens": 2048}));
    assert_eq!(claude(json!({"includeThoughts": true})), json!({"type": "enabled", "budget_tokens": 8192}));
    assert_eq!(claude(json!({"thinkingBudget": 0})), Value::Null);
}

#[test]
fn structured_output_is_each_providers_own() {
    let of_schema =
        json!({"responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]}});
    let of_json =
        json!({"responseJsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}});
    let expected = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    for mut schema in [of_schema, of_json] {
        schema["responseMimeType"] = json!("application/json");
        let format = &encode(&config(schema.clone()), Dialect::OpenAiChat).unwrap()["response_format"];
        assert_eq!(*format, json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": expected}}));
        let sent = encode(&config(schema), Dialect::AnthropicMessages).unwrap();
        assert_eq!(sent["output_config"]["format"]["schema"], expected);
    }
}

#[test]
fn tokens_are_counted_of_contents_alone_or_of_a_whole_request() {
    let counted = |body: &str| IncomingGenerate::parse_counted(body.to_owned().into(), "alias".into()).unwrap();
    let question = |body: &str, dialect| {
        let question = encode_question(&counted(body).into(), "the-model", dialect).unwrap();
        String::from_utf8(question.to_vec()).unwrap()
    };
    let alone = r#"{ "contents":[{"parts":[{"text":"\u0068i"}]}] }"#;
    assert_eq!(question(alone, Dialect::Gemini), alone);
    let whole = r#"{"generateContentRequest":{"model":"models/alias","contents":[{"parts":[{"text":"\u0068i"}]}],"system_instruction":{"parts":[{"text":"s"}]}}}"#;
    assert_eq!(
        question(whole, Dialect::Gemini),
        r#"{"generateContentRequest":{"model":"models/the-model","contents":[{"parts":[{"text":"\u0068i"}]}],"system_instruction":{"parts":[{"text":"s"}]}}}"#
    );
    let asked: Value = serde_json::from_str(&question(whole, Dialect::AnthropicMessages)).unwrap();
    assert_eq!((&asked["model"], &asked["system"][0]["text"]), (&json!("the-model"), &json!("s")));
    let both = r#"{"contents":[{"parts":[{"text":"a"}]}],"generateContentRequest":{"contents":[]}}"#;
    assert!(IncomingGenerate::parse_counted(both.into(), "m".into()).is_err());
    let told =
        |dialect, body: &'static str| decode_count(privet_dialects::Inbound::Gemini, dialect, body.into()).unwrap();
    assert_eq!(told(Dialect::AnthropicMessages, r#"{"input_tokens":8}"#), r#"{"totalTokens":8}"#);
    assert_eq!(told(Dialect::Gemini, r#"{"totalTokens": 8, "x":1}"#), r#"{"totalTokens": 8, "x":1}"#);
}

#[test]
fn a_wrong_request_names_its_field() {
    let contents = |contents: Value| json!({"contents": contents});
    let part = |part: Value| json!({"contents": [{"parts": [part]}]});
    for (more, param) in [
        (contents(json!([])), "contents"),
        (contents(json!("hi")), "contents"),
        (contents(json!([7])), "contents[0]"),
        (contents(json!([{"role": "user"}])), "contents"),
        (contents(json!([{"role": "assistant", "parts": []}])), "contents[0].role"),
        (contents(json!([{"parts": "x"}])), "contents[0].parts"),
        (part(json!("x")), "contents[0].parts[0]"),
        (part(json!({"text": 5})), "contents[0].parts[0].text"),
        (part(json!({"inlineData": {"data": "AA"}})), "contents[0].parts[0].inlineData.mimeType"),
        (part(json!({"inlineData": {"mimeType": "image/png"}})), "contents[0].parts[0].inlineData.data"),
        (part(json!({"functionCall": {"args": {}}})), "contents[0].parts[0].functionCall.name"),
        (part(json!({"functionCall": {"name": "f", "args": "x"}})), "contents[0].parts[0].functionCall.args"),
        (
            part(json!({"functionResponse": {"name": "f", "response": 5}})),
            "contents[0].parts[0].functionResponse.response",
        ),
        (part(json!({"fileData": {}})), "contents[0].parts[0].fileData.fileUri"),
        (json!({"systemInstruction": "s"}), "systemInstruction"),
        (json!({"generationConfig": 5}), "generationConfig"),
        (config(json!({"candidateCount": 0})), "generationConfig.candidateCount"),
        (json!({"metadata": "x"}), "metadata"),
        (json!({"store": "x"}), "store"),
    ] {
        let asked = Asked { model: "m".into(), stream: false };
        let error = IncomingGenerate::parse(simple(&more).to_string().into(), asked).err();
        let error = error.unwrap_or_else(|| panic!("{more} passed"));
        assert_eq!(error.param.as_deref(), Some(param), "{more}: {error}");
    }
    for (more, param) in [
        (config(json!({"topK": 1.5})), "generationConfig.topK"),
        (config(json!({"temperature": "hot"})), "generationConfig.temperature"),
        (config(json!({"responseSchema": {}})), "generationConfig.responseMimeType"),
        (config(json!({"thinkingConfig": {"thinkingBudget": -5}})), "generationConfig.thinkingConfig.thinkingBudget"),
        (
            config(json!({"thinkingConfig": {"thinkingBudget": 5, "thinkingLevel": "LOW"}})),
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (json!({"tools": [{"functionDeclarations": [{}]}]}), "tools[0].functionDeclarations[0].name"),
        (
            json!({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}),
            "toolConfig.functionCallingConfig.mode",
        ),
    ] {
        assert_eq!(param_of(&encode(&more, Dialect::OpenAiChat).unwrap_err()), param, "{more}");
    }
}

/// A part that every dialect can express.
fn common_part() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{1,20}".prop_map(|text| json!({"text": text})),
        "[A-Za-z0-9+/]{4}{1,3}".prop_map(|data| json!({"inlineData": {"mimeType": "image/png", "data": data}})),
        "https://[a-z]{1,9}/[a-z]{1,5}[.]png"
            .prop_map(|url| json!({"fileData": {"mimeType": "image/png", "fileUri": url}})),
    ]
}

proptest! {
    #[test]
    fn what_both_can_express_comes_back_by_way_of_each_other_dialect(
        system in proptest::option::of("\\PC{1,20}"),
        said in proptest::collection::vec(common_part(), 1..4),
        answer in "\\PC{1,20}",
        input in "[a-z]{0,9}",
        result in "[a-z ]{1,20}",
        limit in 1..9999_u64,
    ) {
        let mut body = json!({
            "contents": [
                {"role": "user", "parts": said},
                {"role": "model", "parts": [{"text": answer}, {"functionCall": {"id": "c1", "name": "f", "args": {"x": input}}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"output": result}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object", "properties": {}}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "generationConfig": {"temperature": 0.5, "topP": 0.5, "topK": 7, "maxOutputTokens": limit, "stopSequences": ["a"]},
        });
        if let Some(system) = &system {
            body["systemInstruction"] = json!({"parts": [{"text": system}]});
        }
        let as_chat = encode_for("gemini-2.5-flash", parse(&body), &[], Dialect::OpenAiChat).unwrap();
        let chat = privet_dialects::openai::chat_request::IncomingChat::parse(as_chat.into()).unwrap().into();
        let as_messages = encode_for("gemini-2.5-flash", parse(&body), &[], Dialect::AnthropicMessages).unwrap();
        let messages = privet_dialects::anthropic::incoming::IncomingMessages::parse(as_messages.into()).unwrap().into();
        for other in [chat, messages] {
            let back = encode_request(&other, "gemini-2.5-flash", &[], Dialect::Gemini, &OPTIONS).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Value>(&back).unwrap(), &body);
        }
    }

    #[test]
    fn what_both_can_express_comes_back_by_way_of_responses(
        system in proptest::option::of("\\PC{1,20}"),
        said in proptest::collection::vec(common_part(), 1..4),
        answer in "\\PC{1,20}",
        input in "[a-z]{0,9}",
        result in "[a-z ]{1,20}",
        limit in 1..9999_u64,
    ) {
        let mut body = json!({
            "contents": [
                {"role": "user", "parts": said},
                {"role": "model", "parts": [{"text": answer}, {"functionCall": {"id": "c1", "name": "f", "args": {"x": input}}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"output": result}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object", "properties": {}}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "generationConfig": {"temperature": 0.5, "topP": 0.5, "maxOutputTokens": limit},
        });
        if let Some(system) = &system {
            body["systemInstruction"] = json!({"parts": [{"text": system}]});
        }
        let sent = encode_for("gemini-2.5-flash", parse(&body), &[], Dialect::OpenAiResponses).unwrap();
        let birth = crate::inbound_responses::client::birth();
        let read = privet_dialects::responses::incoming::IncomingResponses::parse(sent.into(), birth, &Default::default());
        let back = encode_request(&read.unwrap().into(), "gemini-2.5-flash", &[], Dialect::Gemini, &OPTIONS).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Value>(&back).unwrap(), &body);
    }

    #[test]
    fn any_text_of_a_thread_is_read(text in "\\PC{0,40}") {
        let incoming = parse(&json!({"contents": [{"parts": [{"text": text}]}]}));
        prop_assert_eq!(&incoming.messages[0].parts, &vec![Part::Text { text: text.clone() }]);
        let incoming = parse(&json!({"systemInstruction": {"parts": [{"text": text}]}, "contents": [{"parts": {"text": text}}]}));
        prop_assert_eq!(incoming.messages[0].plain_text(), incoming.messages[1].plain_text());
    }
}
