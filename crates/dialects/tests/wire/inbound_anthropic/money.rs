//! What money must know of a Messages request before the call.

use privet_dialects::Dialect;
use privet_dialects::canonical::{Message, Part, Role};
use privet_dialects::incoming::Incoming;
use privet_dialects::unbounded_field::Escape;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::{parse, simple};

fn tokens(more: &Value) -> u64 {
    let size = parse(&simple(more)).size(&[]);
    assert_eq!(size.unknown_parts, 0, "{more}");
    size.text_tokens
}

proptest! {
    #[test]
    fn the_size_covers_every_byte_of_text(
        system in "\\PC{0,60}",
        said in proptest::collection::vec("\\PC{0,60}", 1..5),
        history in proptest::collection::vec("\\PC{0,60}", 0..4),
        description in "\\PC{0,60}",
        name in "[a-z]{1,20}",
    ) {
        let blocks: Vec<Value> = said.iter().map(|text| json!({"type": "text", "text": text})).collect();
        let incoming = parse(&json!({
            "max_tokens": 5, "system": [{"type": "text", "text": system}],
            "messages": [
                {"role": "user", "content": blocks},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": description, "signature": "c2ln"}, {"type": "redacted_thinking", "data": description},
                    {"type": "tool_use", "id": "c1", "name": name, "input": {"a": description}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": description}]},
            ],
            "tools": [{"name": name, "description": description, "input_schema": {"description": description}}],
            "output_config": {"format": {"type": "json_schema", "schema": {"description": description}}},
        }));
        let earlier: Vec<Message> = history.iter().map(|text| Message::text(Role::User, text.as_str())).collect();
        let text = system.len() + said.iter().map(String::len).sum::<usize>() + history.iter().map(String::len).sum::<usize>()
            + 7 * description.len() + 3 * name.len();
        let size = incoming.size(&earlier);
        prop_assert!(size.text_tokens >= text as u64, "{} of {text}", size.text_tokens);
        let known = 2_500 + 60 * (said.len() + history.len() + 4);
        prop_assert!(size.text_tokens <= (text * 2 + known) as u64, "{} of {text}", size.text_tokens);
        prop_assert_eq!((size.images, size.unknown_parts, size.writes_cache), (0, 0, false));
    }
}

#[test]
fn pictures_documents_and_tools_are_counted_as_what_they_are() {
    let base64 = "A".repeat(64_000);
    let of = |block: Value| parse(&simple(&json!({"messages": [{"role": "user", "content": [block]}]}))).size(&[]);
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64}});
    let in_result = json!({"type": "tool_result", "tool_use_id": "c", "content": [picture]});
    for block in [picture, in_result] {
        let size = of(block);
        assert!((size.images, size.unknown_parts) == (1, 0) && size.text_tokens < 200, "{size:?}");
    }
    for block in [
        json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": base64}}),
        json!({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}),
        json!({"type": "document", "source": {"type": "file", "file_id": "f"}}),
        json!({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": base64}]}),
        json!({"type": "brand_new"}),
    ] {
        assert_eq!(of(block.clone()).unknown_parts, 1, "{block}");
    }
    let plain = tokens(&json!({}));
    let own = tokens(&json!({"tools": [{"name": "f", "input_schema": {}}]}));
    let bash = tokens(&json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}));
    assert!(own >= plain + 1_000 && bash >= plain + 2_000, "{plain} {own} {bash}");
    assert!(tokens(&json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}})) >= plain + 500);
    assert_eq!(tokens(&json!({"metadata": {"user_id": "u".repeat(500)}})), plain, "labels reach no model");
    for tools in [
        json!([{"type": "browser_toolset_20260801"}]),
        json!([{"type": "web_fetch_20250910", "name": "web_fetch"}]),
        json!("x"),
    ] {
        assert_eq!(parse(&simple(&json!({"tools": tools}))).size(&[]).unknown_parts, 1, "{tools}");
    }
}

#[test]
fn a_cache_write_is_seen_wherever_it_is_asked_for() {
    let writes = |more: &Value| parse(&simple(more)).size(&[]).writes_cache;
    let ephemeral = json!({"type": "ephemeral", "ttl": "1h"});
    assert!(writes(&json!({"cache_control": ephemeral})));
    assert!(writes(&json!({"system": [{"type": "text", "text": "x", "cache_control": ephemeral}]})));
    assert!(writes(&json!({"tools": [{"name": "f", "input_schema": {}, "cache_control": ephemeral}]})));
    assert!(!writes(&json!({})));
    let cached = json!({"type": "brand_new", "cache_control": ephemeral});
    let other = Part::Other { dialect: Dialect::AnthropicMessages, value: cached };
    let earlier = Message { parts: vec![other], ..Message::text(Role::User, "") };
    assert!(parse(&simple(&json!({}))).size(&[earlier]).writes_cache);
}

#[test]
fn the_largest_output_is_held_for() {
    let limit = |more: &Value| parse(&simple(more)).output_limit().unwrap();
    assert_eq!(limit(&json!({})), Some(64));
    assert_eq!(limit(&json!({"max_tokens": 0})), Some(0), "nothing is written, the cache is filled");
    let thinking = |budget: u64| json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
    assert_eq!(limit(&thinking(30_000)), Some(30_000), "thought between calls may go beyond the answer's limit");
    assert_eq!(limit(&thinking(10)), Some(64));
}

#[test]
fn what_escapes_its_bounds_is_found() {
    for (more, name, escapes) in [
        (json!({"fallbacks": [{"model": "dearer"}]}), "fallbacks", Escape::Model),
        (json!({"mcp_servers": [{"url": "https://x"}]}), "mcp_servers", Escape::Size),
        (json!({"thread": {"id": "t"}}), "thread", Escape::Size),
        (json!({"compaction": {}}), "compaction", Escape::Size),
        (json!({"context_management": {"edits": [{"type": "compact_20260112"}]}}), "context_management", Escape::Size),
        (json!({"Max_Tokens": 20}), "Max_Tokens", Escape::Size),
        (json!({"container": "c"}), "container", Escape::Fee),
        (json!({"inference_geo": "us"}), "inference_geo", Escape::Fee),
        (
            json!({"tools": [{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}]}),
            "tools[1]",
            Escape::Fee,
        ),
        (json!({"tools": [{"type": "code_execution_20250825", "name": "code"}]}), "tools[0]", Escape::Fee),
        (json!({"tools": "x"}), "tools", Escape::Fee),
    ] {
        let found = parse(&simple(&more)).unbounded_field().unwrap_or_else(|| panic!("{more}"));
        assert_eq!((found.name.as_str(), found.escapes), (name, escapes), "{more}");
    }
    for more in [
        json!({}),
        json!({"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g", "input_schema": {}}, {"type": "text_editor_20250728", "name": "e"}]}),
        json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}]}}),
        json!({"inference_geo": "global", "container": null, "fallbacks": null, "speed": "fast", "cache_control": {"type": "ephemeral"}}),
        json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "service_tier": "auto", "metadata": {"user_id": "u"}}),
    ] {
        assert_eq!(parse(&simple(&more)).unbounded_field(), None, "{more}");
    }
}

#[test]
fn wire_23_a_speed_is_a_tier_of_anthropics_alone() {
    let tier = |more: &Value, outbound| Incoming::from(parse(&simple(more))).service_tier(outbound);
    let fast = json!({"speed": "fast"});
    assert_eq!(tier(&fast, Dialect::AnthropicMessages).unwrap().as_deref(), Some("fast"));
    assert_eq!(tier(&fast, Dialect::OpenAiChat).unwrap(), None);
    assert_eq!(tier(&json!({"speed": "standard"}), Dialect::AnthropicMessages).unwrap(), None);
    assert!(tier(&json!({"speed": 5}), Dialect::AnthropicMessages).is_err());
}
