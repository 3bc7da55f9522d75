//! What money must know of a request to `generateContent` before the call.

use privet_dialects::Dialect;
use privet_dialects::canonical::{Message, Role};
use privet_dialects::incoming::Incoming;
use privet_dialects::unbounded_field::Escape;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::parse;

fn config(config: Value) -> Value {
    json!({"generationConfig": config})
}

proptest! {
    #[test]
    fn the_size_covers_every_byte_of_text(
        system in "\\PC{0,60}",
        said in proptest::collection::vec("\\PC{1,60}", 1..5),
        history in proptest::collection::vec("\\PC{0,60}", 0..4),
        description in "\\PC{1,60}",
        name in "[a-z]{1,20}",
    ) {
        let parts: Vec<Value> = said.iter().map(|text| json!({"text": text})).collect();
        let incoming = parse(&json!({
            "systemInstruction": {"parts": [{"text": system}]},
            "contents": [
                {"role": "user", "parts": parts},
                {"role": "model", "parts": [{"text": description, "thought": true},
                    {"functionCall": {"name": name, "args": {"a": description}}, "thoughtSignature": "c2ln"}]},
                {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {"a": description}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": name, "description": description, "parameters": {"description": description}}]}],
            "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"description": description}},
        }));
        let earlier: Vec<Message> = history.iter().map(|text| Message::text(Role::User, text.as_str())).collect();
        let text = system.len() + said.iter().map(String::len).sum::<usize>() + history.iter().map(String::len).sum::<usize>()
            + 6 * description.len() + 2 * name.len();
        let size = incoming.size(&earlier);
        prop_assert!(size.text_tokens >= text as u64, "{} of {text}", size.text_tokens);
        let known = 2_500 + 60 * (said.len() + history.len() + 4);
        prop_assert!(size.text_tokens <= (text * 2 + known) as u64, "{} of {text}", size.text_tokens);
        prop_assert_eq!((size.images, size.unknown_parts, size.writes_cache), (0, 0, false));
    }
}

#[test]
fn pictures_documents_and_tools_are_counted_as_what_they_are() {
    let data = "A".repeat(64_000);
    let with = |part: &Value, more: &Value| {
        let mut body = json!({"contents": [{"parts": [part]}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(&body).size(&[])
    };
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": data}});
    let in_result = json!({"functionResponse": {"name": "f", "response": {}, "parts": [picture]}});
    for part in [&picture, &in_result] {
        let size = with(part, &json!({}));
        assert!((size.images, size.unknown_parts) == (1, 0) && size.text_tokens < 300, "{size:?}");
    }
    // At a resolution that the request chooses nobody knows its size.
    assert_eq!(with(&picture, &config(json!({"mediaResolution": "MEDIA_RESOLUTION_HIGH"}))).unknown_parts, 1);
    for part in [
        json!({"inlineData": {"mimeType": "application/pdf", "data": data}}),
        json!({"inlineData": {"mimeType": "video/mp4", "data": data}}),
        json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x/y"}}),
        json!({"fileData": {"fileUri": "https://youtu.be/x"}}),
        json!({"inlineData": {"mimeType": "image/png", "data": data}, "mediaResolution": {"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}}),
        json!({"brandNew": 1}),
    ] {
        assert_eq!(with(&part, &json!({})).unknown_parts, 1, "{part}");
    }
    let sound = with(&json!({"inlineData": {"mimeType": "audio/wav", "data": data}}), &json!({}));
    assert!(sound.audio_tokens >= 3_000 && sound.unknown_parts == 0, "{sound:?}");
    let plain = parse(&json!({})).size(&[]).text_tokens;
    let tool = json!({"tools": [{"functionDeclarations": [{"name": "f"}]}]});
    assert!(parse(&tool).size(&[]).text_tokens >= plain + 1_000);
    assert!(parse(&config(json!({"responseMimeType": "application/json"}))).size(&[]).text_tokens >= plain + 500);
    assert_eq!(parse(&json!({"labels": {"a": "b".repeat(500)}})).size(&[]).text_tokens, plain, "labels reach no model");
    for tools in [json!([{"googleSearch": {}}]), json!([{"functionDeclarations": 5}]), json!("x")] {
        assert_eq!(parse(&json!({"tools": tools})).size(&[]).unknown_parts, 1, "{tools}");
    }
    let modalities = parse(&config(json!({"responseModalities": ["IMAGE", "AUDIO"]}))).size(&[]);
    assert!(modalities.draws && modalities.speaks);
    assert_eq!(parse(&json!({"cachedContent": "cachedContents/1"})).size(&[]).unknown_parts, 1);
}

#[test]
fn the_largest_output_is_held_for() {
    let limit = |config_: Value| parse(&config(config_)).output_limit().map_err(|error| error.param);
    assert_eq!(parse(&json!({})).output_limit(), Ok(None));
    assert_eq!(limit(json!({"maxOutputTokens": 64})), Ok(Some(64)));
    assert_eq!(
        limit(json!({"max_output_tokens": 64, "thinking_config": {"thinking_budget": 30_000}})),
        Ok(Some(30_000))
    );
    assert_eq!(limit(json!({"maxOutputTokens": 64, "thinkingConfig": {"thinkingBudget": -1}})), Ok(Some(64)));
    for wrong in [json!(0), json!("5"), json!(1.5)] {
        assert_eq!(limit(json!({"maxOutputTokens": wrong})), Err(Some("generationConfig.maxOutputTokens".to_owned())));
    }
    assert_eq!(Incoming::from(parse(&config(json!({"candidateCount": 3})))).choices(), 3);
}

#[test]
fn what_escapes_its_bounds_is_found() {
    for (more, name, escapes) in [
        (json!({"cachedContent": "cachedContents/1"}), "cachedContent", Escape::Size),
        (json!({"cached_content": "cachedContents/1"}), "cached_content", Escape::Size),
        (json!({"Model": "dearer"}), "Model", Escape::Model),
        (json!({"GenerationConfig": {}}), "GenerationConfig", Escape::Size),
        (config(json!({"maxoutputtokens": 9})), "generationConfig.maxoutputtokens", Escape::Size),
        (config(json!({"routingConfig": {}})), "generationConfig.routingConfig", Escape::Model),
        (json!({"tools": [{"functionDeclarations": []}, {"googleSearch": {}}]}), "tools[1].googleSearch", Escape::Fee),
        (json!({"tools": {"code_execution": {}}}), "tools[0].codeExecution", Escape::Fee),
        (json!({"tools": "x"}), "tools", Escape::Fee),
    ] {
        let found = parse(&more).unbounded_field().unwrap_or_else(|| panic!("{more}"));
        assert_eq!((found.name.as_str(), found.escapes), (name, escapes), "{more}");
    }
    for more in [
        json!({}),
        json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"properties": {"cachedContent": {}}}}]}]}),
        json!({"generation_config": {"max_output_tokens": 5, "response_schema": {"properties": {"cached_content": {}}}}}),
        json!({"cachedContent": null, "labels": {"a": "b"}, "store": false, "serviceTier": "flex"}),
    ] {
        assert_eq!(parse(&more).unbounded_field(), None, "{more}");
    }
}

#[test]
fn wire_23_a_service_tier_is_geminis_alone() {
    let tier = |tier: Value, outbound| Incoming::from(parse(&json!({"serviceTier": tier}))).service_tier(outbound);
    assert_eq!(tier(json!("priority"), Dialect::Gemini).unwrap().as_deref(), Some("priority"));
    assert_eq!(tier(json!("SERVICE_TIER_FLEX"), Dialect::Gemini).unwrap().as_deref(), Some("flex"));
    assert_eq!(tier(json!("unspecified"), Dialect::Gemini).unwrap(), None);
    assert_eq!(tier(json!("priority"), Dialect::OpenAiChat).unwrap(), None);
    assert!(tier(json!(5), Dialect::Gemini).is_err());
}
