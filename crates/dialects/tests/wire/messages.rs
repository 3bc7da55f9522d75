//! Messages survive the way to the wire and back, and to the store and back.

use privet_dialects::Dialect;
use privet_dialects::canonical::{Message, Part, Role, Source};
use privet_dialects::openai::message::{decode, encode, encode_answer};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn text() -> impl Strategy<Value = Part> {
    any::<String>().prop_map(|text| Part::Text { text })
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        "https://[a-z]{1,9}/[a-z%0-9;,]{0,9}".prop_map(|url| Source::Url { url }),
        ("[a-z]{1,5}/[a-z+.-]{1,9}", "[A-Za-z0-9+/=]{0,20}")
            .prop_map(|(media_type, data)| Source::Base64 { media_type, data }),
    ]
}

fn user_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        text(),
        (source(), option::of("low|high|auto")).prop_map(|(source, detail)| Part::Image { source, detail }),
        ("[A-Za-z0-9+/=]{0,9}", "wav|mp3").prop_map(|(data, format)| Part::Audio { data, format }),
        (prop_oneof![source(), "file-[a-z0-9]{3}".prop_map(|id| Source::FileId { id })], option::of(any::<String>()))
            .prop_map(|(source, filename)| Part::File { source, filename }),
        ("video_url|brand_new", any::<String>()).prop_map(|(kind, field)| Part::Other {
            dialect: Dialect::OpenAiChat,
            value: json!({"type": kind, "field": field})
        }),
    ]
}

fn call() -> impl Strategy<Value = Part> {
    ("[a-z0-9_]{1,9}", "[a-z_]{1,9}", any::<String>()).prop_map(|(id, name, arguments)| Part::ToolCall {
        id,
        name,
        arguments,
        signature: None,
    })
}

/// Any message that OpenAI's wire form can say.
fn message() -> impl Strategy<Value = Message> {
    let user = vec(user_part(), 1..4).prop_map(|parts| (Role::User, parts));
    let instructions =
        (prop_oneof![Just(Role::System), Just(Role::Developer)], text()).prop_map(|(role, text)| (role, vec![text]));
    let assistant = (vec(text(), 0..3), option::of(any::<String>()), vec(call(), 0..3))
        .prop_filter("says something", |(texts, refusal, calls)| texts.len() + calls.len() + refusal.iter().len() > 0)
        .prop_map(|(texts, refusal, calls)| {
            let refusal = refusal.map(|text| Part::Refusal { text });
            (Role::Assistant, texts.into_iter().chain(refusal).chain(calls).collect())
        });
    let tool = ("[a-z0-9_]{1,9}", vec(text(), 1..3))
        .prop_map(|(call_id, content)| (Role::Tool, vec![Part::ToolResult { call_id, content, is_error: false }]));
    let extra = option::of(any::<String>()).prop_map(|note| {
        note.map(|note| Map::from_iter([("future_field".to_owned(), json!({ "note": note }))])).unwrap_or_default()
    });
    (prop_oneof![user, instructions, assistant, tool], option::of("[a-z]{1,9}"), extra).prop_map(
        |((role, parts), name, extra)| {
            let is_tool = role == Role::Tool;
            Message { role, parts, name: name.filter(|_| !is_tool), extra: if is_tool { Map::new() } else { extra } }
        },
    )
}

proptest! {
    #[test]
    fn a_message_comes_back_from_the_wire(message in message()) {
        let wire = encode(&message);
        prop_assert_eq!(wire.len(), 1);
        prop_assert_eq!(decode(wire[0].clone(), "messages[0]").unwrap(), message.clone());
        // And its wire form, once read, is written the same way again.
        prop_assert_eq!(encode(&decode(wire[0].clone(), "messages[0]").unwrap()), wire);
    }

    #[test]
    fn a_message_comes_back_from_the_store(message in message()) {
        let stored = serde_json::to_string(&message).unwrap();
        prop_assert_eq!(serde_json::from_str::<Message>(&stored).unwrap(), message);
    }

    #[test]
    fn wire_21_an_answer_sent_back_by_the_client_is_the_answer(
        thoughts in vec((any::<String>(), "[A-Za-z0-9+/=]{1,20}"), 0..3),
        redacted in option::of("[A-Za-z0-9+/=]{1,20}"),
        words in option::of(any::<String>()),
        calls in vec(call(), 0..3),
    ) {
        // An answer without anything has empty content on the wire, which comes back as empty text.
        let words = words.or_else(|| calls.is_empty().then(|| "said".to_owned()));
        let parts = thoughts.into_iter().map(|(text, signature)| Part::Thinking { text, signature: Some(signature) })
            .chain(redacted.map(|data| Part::RedactedThinking { data }))
            .chain(words.map(|text| Part::Text { text }))
            .chain(calls)
            .collect();
        let answer = Message { role: Role::Assistant, name: None, parts, extra: Map::new() };
        let wire: Value = encode_answer(&answer);
        prop_assert_eq!(decode(wire, "messages[1]").unwrap(), answer);
    }
}
