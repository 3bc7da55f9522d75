//! What changed between two versions, for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use similar::TextDiff;

use super::{ChatEntry, PromptBody};

/// Finding the smallest difference of two large texts may take long; after this a larger one will do.
const PATIENCE: Duration = Duration::from_millis(200);
/// Lines that are the same around each difference.
const CONTEXT_LINES: usize = 3;

/// A version as people read it: each message under its role, the configuration behind them.
#[must_use]
pub fn readable(body: &PromptBody, config: &Value) -> String {
    let mut text = String::new();
    match body {
        PromptBody::Text(body) => text.push_str(body),
        PromptBody::Chat(entries) => {
            for entry in entries {
                // Writing to a string cannot fail.
                let _ = match entry {
                    ChatEntry::Placeholder(name) => writeln!(text, "[placeholder {name}]"),
                    ChatEntry::Message(message) if message.more.is_empty() => {
                        writeln!(text, "[{}]\n{}", message.role, message.content)
                    }
                    ChatEntry::Message(message) => {
                        let more = Value::Object(message.more.clone());
                        writeln!(text, "[{}] {more}\n{}", message.role, message.content)
                    }
                };
            }
        }
    }
    if config.as_object().is_none_or(|members| !members.is_empty()) {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let _ = writeln!(text, "[config]\n{config:#}");
    }
    text
}

/// The difference of two texts in the form that `diff -u` writes; empty if there is none.
#[must_use]
pub fn unified_diff(old: (&str, &str), new: (&str, &str)) -> String {
    let ((old_name, old), (new_name, new)) = (old, new);
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(old_name, new_name).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_and_configuration_are_compared_line_by_line() {
        let version = |content: &str, temperature: i64| {
            let body: PromptBody = serde_json::from_value(json!([
                {"role": "system", "content": format!("Be brief.\n{content}")}, {"type": "placeholder", "name": "h"},
            ]))
            .unwrap();
            readable(&body, &json!({"temperature": temperature}))
        };
        let diff = unified_diff(("v1", &version("Be kind.", 0)), ("v2", &version("Be honest.", 0)));
        assert!(diff.starts_with("--- v1\n+++ v2\n") && diff.contains("-Be kind.\n+Be honest.\n"), "{diff}");
        let diff = unified_diff(("v1", &version("x", 0)), ("v2", &version("x", 1)));
        assert!(diff.contains("-  \"temperature\": 0\n+  \"temperature\": 1\n"), "{diff}");
        assert_eq!(unified_diff(("v1", &version("x", 0)), ("v2", &version("x", 0))), "");
    }
}
