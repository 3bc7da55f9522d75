//! Members of an OpenAI request that nobody can bound. Servers of this dialect have many of their own; those that are documented
//! somewhere stand here.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::chat_request::IncomingChat;
use super::embeddings::IncomingEmbeddings;
use crate::raw_object::RawObject;
use crate::unbounded_field::{Escape, Suspects, UnboundedField, is_one_of};

/// Other models in place of, or besides, the one that is named: OpenRouter's `models`, `route`, `preset`
/// (<https://openrouter.ai/docs/api-reference/parameters>); `extra_body` is what a client of OpenAI's SDK meant to unfold, and
/// holds anything.
const MODEL: [&str; 5] = ["models", "route", "preset", "fallbacks", "extra_body"];
/// More than one answer unseen (vLLM: <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>), and what only
/// the server has: earlier answers, caches, files.
const SIZE: [&str; 7] = [
    "best_of",
    "use_beam_search",
    "cached_content",
    "cachedcontent",
    "previous_response_id",
    "max_output_tokens",
    "file_ids",
];
/// Services that are paid by the use.
pub(crate) const FEES: [&str; 3] = ["web_search_options", "search_parameters", "plugins"];
/// The members that are counted, or checked; in another case a server that does not mind it would heed one that was not.
const COUNTED: [&str; 11] = [
    "max_tokens",
    "max_completion_tokens",
    "n",
    "messages",
    "tools",
    "functions",
    "service_tier",
    "modalities",
    "prediction",
    "input",
    "stream",
];
/// Members whose JSON the client defines: what it says in them is no setting.
const FREE: [&str; 6] = ["messages", "input", "tools", "functions", "response_format", "metadata"];
const SUSPECTS: Suspects = Suspects { models: &MODEL, sizes: &SIZE, fees: &FEES, counted: &COUNTED, free: &FREE };
/// Members of a message that hold what was not counted (Ollama's `images`, files by their id).
pub(crate) const OF_MESSAGES: [&str; 3] = ["images", "file_ids", "attachments"];

impl IncomingChat {
    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        let of_messages = || {
            self.messages.iter().enumerate().find_map(|(index, message)| {
                let name = message.extra.keys().find(|name| is_one_of(&OF_MESSAGES, name))?;
                Some(UnboundedField { name: format!("messages[{index}].{name}"), escapes: Escape::Size })
            })
        };
        SUSPECTS.find(&self.object).or_else(of_messages).or_else(|| paid_tool(&self.object))
    }
}

impl IncomingEmbeddings {
    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        SUSPECTS.find(self.object())
    }
}

/// A tool that the provider runs itself, and is paid for.
fn paid_tool(object: &RawObject) -> Option<UnboundedField> {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(rename = "type", default)]
        kind: Option<String>,
        function: Option<IgnoredAny>,
    }
    let paid = |name: String| UnboundedField { name, escapes: Escape::Fee };
    // What cannot be read may be anything.
    let Ok(tools) = object.decode::<Vec<Tool>>("tools") else { return Some(paid("tools".to_owned())) };
    tools.into_iter().flatten().enumerate().find_map(|(index, tool)| {
        let is_clients = match tool.kind.as_deref() {
            Some(kind) => matches!(kind, "function" | "custom"),
            None => tool.function.is_some(),
        };
        (!is_clients).then(|| paid(format!("tools[{index}]")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(more: &str) -> Option<(String, Escape)> {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
        let incoming = IncomingChat::parse(body.into()).unwrap();
        incoming.unbounded_field().map(|field| (field.name, field.escapes))
    }

    #[test]
    fn what_escapes_its_bounds_is_found_in_any_case() {
        for (more, name, escapes) in [
            (r#","models":["a/b"]"#, "models", Escape::Model),
            (r#","Model":"dearer""#, "Model", Escape::Model),
            (r#","extra_body":{"google":{"cached_content":"x"}}"#, "extra_body", Escape::Model),
            (r#","Best_Of":20"#, "Best_Of", Escape::Size),
            (r#","Max_Tokens":20"#, "Max_Tokens", Escape::Size),
            (r#","max_output_tokens":20"#, "max_output_tokens", Escape::Size),
            (r#","cachedContent":"x""#, "cachedContent", Escape::Size),
            (r#","google":{"deep":[{"Cached_Content":"x"}]}"#, "google", Escape::Size),
            (r#","Service_Tier":"priority""#, "Service_Tier", Escape::Size),
            (r#","Tools":[{"type":"web_search"}]"#, "Tools", Escape::Size),
            (r#","tools":[{"google_search":{}}]"#, "tools[0]", Escape::Fee),
            (r#","tools":[{"type":"web_search"},5]"#, "tools", Escape::Fee),
            (r#","tools":[{"type":"function","type":"web_search"}]"#, "tools", Escape::Fee),
            (r#","web_search_options":{}"#, "web_search_options", Escape::Fee),
            (r#","tools":[{"type":"function"},{"type":"web_search"}]"#, "tools[1]", Escape::Fee),
        ] {
            assert_eq!(field(more), Some((name.to_owned(), escapes)), "{more}");
        }
        let body = r#"{"messages":[{"role":"user","content":"hi","images":["AAAA"]}]}"#;
        let found = IncomingChat::parse(body.into()).unwrap().unbounded_field().unwrap();
        assert_eq!((found.name.as_str(), found.escapes), ("messages[0].images", Escape::Size));
    }

    #[test]
    fn usual_requests_have_nothing_of_it() {
        for more in [
            "",
            r#","max_tokens":5,"n":2,"tools":[{"type":"function"},{"type":"custom"},{"function":{"name":"f"}}]"#,
            r#","best_of":null,"use_beam_search":false,"tools":null"#,
            r#","response_format":{"json_schema":{"schema":{"properties":{"cached_content":{}}}}}"#,
            r#","metadata":{"cached_content":"a note"}"#,
        ] {
            assert_eq!(field(more), None, "{more}");
        }
    }
}
