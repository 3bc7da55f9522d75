//! A client of the Responses API and a provider of it: bytes pass, but for what is Privet's to say.

use privet_dialects::canonical::{Message, Part, Role, WIRE_OUTPUT};
use privet_dialects::incoming::Incoming;
use privet_dialects::responses::incoming::{IncomingResponses, Referenced};
use privet_dialects::responses::output::{ItemStyle, kept_items};
use privet_dialects::translate::{EncodeOptions, RequestError, decode_response, encode_request};
use privet_dialects::{Dialect, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::client::{ID, asker, birth, parse, relay};

const HEX: &str = "0199c0de000070008000000000000001";

fn sent(incoming: &Incoming, history: &[Message], bounded: bool) -> String {
    let (output_limit, service_tier) = if bounded { (Some(77), Some("default")) } else { (None, None) };
    let options = EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit, service_tier };
    let body = encode_request(incoming, "gpt-4o", history, Dialect::OpenAiResponses, &options).unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn read(body: &str, referenced: &Referenced) -> Incoming {
    IncomingResponses::parse(body.to_owned().into(), birth(), referenced).unwrap().into()
}

/// An answer of a model that searched, with what only its provider knows.
fn response() -> String {
    let text = r#"{ "type":"output_text", "annotations":[{"type":"url_citation","start_index":0,"url":"https://x"}], "logprobs":[{"token":"Hi","logprob":-0.10}], "text":"Hi" }"#;
    format!(
        r#"{{ "id":"resp_68af", "object":"response", "created_at":1756315696, "status":"completed", "model":"gpt-4o-2024", "store":false, "brand_new":1.0, "output":[ {{ "id":"ws_1", "type":"web_search_call", "status":"completed", "action":{{"type":"search","query":"x"}} }}, {{"id":"msg_2","type":"message","role":"assistant","status":"completed","content":[{text}],"phase":"final"}} ], "usage":{{"input_tokens":3,"output_tokens":2,"total_tokens":5}} }}"#
    )
}

fn stream() -> String {
    let item = r#"{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}}"#;
    let events = [
        ("response.created", r#""response":{"id":"resp_68af","created_at":5,"model":"gpt-4o-2024","store":false,"status":"in_progress","output":[]}"#.to_owned()),
        ("response.output_item.added", r#""output_index":0,"item":{"id":"ws_1","type":"web_search_call","status":"in_progress"}"#.to_owned()),
        ("response.web_search_call.searching", r#""output_index":0,"item_id":"ws_1","odd" : 1.0"#.to_owned()),
        ("response.output_item.done", format!(r#""output_index":0,"item":{item}"#)),
        ("response.output_item.added", r#""output_index":1,"item":{"id":"msg_2","type":"message","role":"assistant","status":"in_progress","content":[]}"#.to_owned()),
        ("response.output_text.delta", r#""output_index":1,"content_index":0,"item_id":"msg_2","delta":"H\u0069","obfuscation":"x""#.to_owned()),
        ("response.output_text.annotation.added", r#""output_index":1,"item_id":"msg_2","annotation":{"type":"url_citation","url":"https://x"}"#.to_owned()),
        ("response.brand_new", r#""anything":[1.50]"#.to_owned()),
        ("response.completed", format!(r#""response":{}"#, response())),
    ];
    let event = |(number, (kind, fields)): (usize, (&str, String))| {
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{fields}}}\n\n")
    };
    events.into_iter().enumerate().map(event).collect()
}

#[test]
fn a_request_is_its_own_bytes_but_for_what_must_change() {
    let body = r#"{ "model":"gpt-4o", "store":false, "input" : [ {"role":"user","content":"hi","phase":1.0} ], "tools":[{"type":"web_search"}], "truncation":"auto", "brand_new":1e2, "metadata":{"a":"b"} }"#;
    assert_eq!(sent(&read(body, &Referenced::new()), &[], false), body);
    let body = r#"{"model":"m","input":"h\u0069","previous_response_id":"resp_1","conversation":null,"metadata":{"prompt":"p","a":"b"}}"#;
    let bounded = sent(&read(body, &Referenced::new()), &[], true);
    let expected = r#"{"model":"gpt-4o","input":"h\u0069","metadata":{"a":"b"},"store":false,"max_output_tokens":77,"service_tier":"default"}"#;
    assert_eq!(bounded, expected);
}

#[test]
fn what_it_goes_on_from_stands_in_front_and_own_items_keep_their_bytes() {
    let own = r#"{ "type":"custom_tool_call_output", "call_id":"c", "output":"h\u0069" }"#;
    let body = format!(r#"{{"model":"gpt-4o","instructions":"Be brief.","store":false,"input":[{own}]}}"#);
    let mut incoming = read(&body, &Referenced::new());
    let call = json!({"type": "custom_tool_call", "call_id": "c", "id": "ctc_1", "name": "grep", "input": "x"});
    let part = Part::Other { dialect: Dialect::OpenAiResponses, value: call.clone() };
    let mut answer = Message { parts: vec![part], ..Message::text(Role::Assistant, "") };
    let history = |answer: &Message| [Message::text(Role::User, "before"), answer.clone()];
    let before = r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"before"}]}"#;
    let expected =
        format!(r#"{{"model":"gpt-4o","instructions":"Be brief.","store":false,"input":[{before},{call},{own}]}}"#);
    assert_eq!(sent(&incoming, &history(&answer), false), expected);
    // An answer that is kept as its provider wrote it goes back so.
    let written = json!({"type": "message", "id": "msg_1", "phase": "final", "role": "assistant", "content": []});
    answer.extra.insert(WIRE_OUTPUT.to_owned(), json!([call, written]));
    assert!(sent(&incoming, &history(&answer), false).contains(&format!("{before},{call},{written},{own}")));
    // A prompt stands in front of the instructions.
    incoming.set_lead(vec![Message::text(Role::System, "Prompt.")]);
    let led: Value = serde_json::from_str(&sent(&incoming, &history(&answer), false)).unwrap();
    let texts: Vec<&Value> =
        led["input"].as_array().unwrap()[..2].iter().map(|item| &item["content"][0]["text"]).collect();
    assert_eq!((texts, led.get("instructions")), (vec![&json!("Prompt."), &json!("Be brief.")], None));
    // For any other provider it is a refusal, by the request's own item or by an earlier one.
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 9, output_limit: None, service_tier: None };
    let plain = Incoming::from(parse(&json!({"model": "m", "input": "hi"})));
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        for (request, history) in [(&incoming, &[][..]), (&plain, &history(&answer)[..])] {
            let refused = encode_request(request, "m", history, dialect, &options);
            assert!(matches!(refused, Err(RequestError::Unsupported(_))), "{dialect:?}: {refused:?}");
        }
    }
}

#[test]
fn what_passes_is_counted_and_read_as_its_provider_reads_it() {
    let size = |more: &str| {
        let item = format!(r#"{{"role":"user","content":[{{"type":"input_text","text":"hi"{more}}}]{more}}}"#);
        read(&format!(r#"{{"model":"m","input":[{item}]}}"#), &Referenced::new()).size(&[])
    };
    let more = format!(r#","odd":"{}""#, "x".repeat(500));
    assert!(size(&more).text_tokens >= size("").text_tokens + 1000);
    let twice = r#"{"model":"m","input":[{"role":"user","content":"long","content":"hi"}]}"#;
    let error = IncomingResponses::parse(twice.into(), birth(), &Referenced::new()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("input"));
    // An answer that is kept as it came counts once, and what only its provider can measure is not bounded.
    let kept = |items: Value| {
        let mut answer = Message::text(Role::Assistant, "x".repeat(1000));
        answer.extra.insert(WIRE_OUTPUT.to_owned(), items);
        read(r#"{"model":"m","input":"hi"}"#, &Referenced::new()).size(&[answer])
    };
    let said = json!([{"type": "message", "content": [{"type": "output_text", "text": "x".repeat(1000)}]}]);
    let size = kept(said);
    assert!(size.text_tokens < 2000 && size.unknown_parts == 0, "{size:?}");
    assert_eq!(kept(json!([{"type": "web_search_call"}])).unknown_parts, 1);
}

#[test]
fn a_provider_gets_its_own_ids_again() {
    let item = |id: &str| format!(r#"{{"type":"reasoning","id":"{id}","summary":[],"encrypted_content":"gAAA"}}"#);
    let reference = format!("rs_{HEX}_1_b");
    let input = [
        item(&format!("rs_{HEX}_0_a")),
        item("rs_c"),
        item(&format!("rs_{HEX}_2")),
        format!(r#"{{"type":"item_reference","id":"{reference}"}}"#),
    ];
    let body = format!(r#"{{"model":"gpt-4o","store":false,"input":[{}]}}"#, input.join(","));
    let kept: Value = serde_json::from_str(&item(&reference)).unwrap();
    let sent = sent(&read(&body, &Referenced::from([(reference, kept)])), &[], false);
    let none = item("").replace(r#""id":"","#, "");
    let expected = [item("rs_a"), item("rs_c"), none, item("rs_b")].join(",");
    assert_eq!(sent, format!(r#"{{"model":"gpt-4o","store":false,"input":[{expected}]}}"#));
}

#[test]
fn a_whole_answer_is_its_own_bytes_but_for_what_is_ours() {
    let whole = decode_response(asker(&json!({})), Dialect::OpenAiResponses, response().into(), 0).unwrap();
    let body = String::from_utf8(whole.body.to_vec()).unwrap();
    insta::assert_snapshot!("passed_whole", body);
    let message = &whole.answer.messages[0];
    assert!(
        matches!(&message.parts[..], [Part::Other { dialect: Dialect::OpenAiResponses, .. }, Part::Text { text }] if text == "Hi")
    );
    assert_eq!(whole.answer.usage.map(|usage| (usage.input, usage.output)), Some((3, 2)));
    let style = ItemStyle { response: birth().id, seals: true, is_cut: false };
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(Value::Array(kept_items(&whole.answer.messages, style)), told["output"], "read later it is the same");
}

#[test]
fn wire_28_a_stream_is_its_own_bytes_with_one_id_and_numbers_without_holes() {
    let relayed = relay(&json!({}), Dialect::OpenAiResponses, &stream());
    assert_eq!(relayed.outcome, Ok(()));
    insta::assert_snapshot!("passed_stream", relayed.all());
    assert!(
        relayed.closing.starts_with("event: response.completed\n") && !relayed.live.contains("completed\"response")
    );
    assert!(!relayed.all().contains("resp_68af") && relayed.all().contains(ID));
    let whole = decode_response(asker(&json!({})), Dialect::OpenAiResponses, response().into(), 0).unwrap().answer;
    assert_eq!((relayed.answer.messages, relayed.answer.usage), (whole.messages, whole.usage));
}

#[test]
fn wire_28_a_stream_with_holes_or_without_a_beginning_is_mended() {
    let whole = stream();
    let (_, headless) = whole.split_once("\n\n").unwrap();
    let holed =
        whole.replace("\"sequence_number\":2,", "\"sequence_number\":40,").replace("\"sequence_number\":5,", "");
    for (stream, first) in [(headless, 3), (holed.as_str(), 2)] {
        let all = relay(&json!({}), Dialect::OpenAiResponses, stream).all();
        let events: Vec<Value> =
            all.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        assert_eq!(
            (&events[0]["type"], &events[first]["type"]),
            (&json!("response.created"), &json!("response.web_search_call.searching"))
        );
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{all}");
        }
    }
}

#[test]
fn what_privet_asked_for_is_not_told_and_what_the_client_asked_for_is() {
    let body = r#"{"id":"r","status":"completed","output":[{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAA"}]}"#;
    for (include, told) in [(json!([]), false), (json!(["reasoning.encrypted_content"]), true)] {
        let asker = asker(&json!({"include": include}));
        let whole = decode_response(asker, Dialect::OpenAiResponses, body.into(), 0).unwrap();
        assert_eq!(String::from_utf8_lossy(&whole.body).contains("gAAA"), told);
        let part = Part::Thinking { text: String::new(), signature: Some("openai:gAAA".to_owned()) };
        assert_eq!(whole.answer.messages[0].parts, [part], "it goes round in any case");
    }
    let failed = r#"{"id":"r","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#;
    let fault = decode_response(asker(&json!({})), Dialect::OpenAiResponses, failed.into(), 0).unwrap_err();
    assert!(matches!(fault, UpstreamFault::Reported { .. }), "{fault:?}");
}

proptest! {
    /// Whatever members a request has: those that are not Privet's pass to the byte.
    #[test]
    fn members_that_are_unknown_pass_to_the_byte(
        members in proptest::collection::btree_map("x_[a-z]{1,6}", "(1\\.50|\"[a-z]{0,4}\\\\u00e9\"|\\[1e3, \\{\"a\" :null\\}\\])", 0..5),
    ) {
        let more: String = members.iter().map(|(name, json)| format!(",\"{name}\":{json}")).collect();
        let body = format!("{{\"model\":\"gpt-4o\",\"store\":false,\"input\":\"hi\"{more}}}");
        prop_assert_eq!(sent(&read(&body, &Referenced::new()), &[], false), body.clone());
        let answer = format!("{{\"id\":\"r\",\"created_at\":1760000000,\"store\":false,\"output\":[]{more}}}");
        let whole = decode_response(asker(&json!({})), Dialect::OpenAiResponses, answer.clone().into(), 0).unwrap();
        prop_assert_eq!(String::from_utf8(whole.body.to_vec()).unwrap(), answer.replace("\"r\"", &format!("\"{ID}\"")));
    }
}
