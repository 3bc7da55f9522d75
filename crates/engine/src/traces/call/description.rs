//! What a client says of its request's trace.

use privet_dialects::openai::chat_request::TRACE_METADATA;
use privet_domain::trace::TracePatch;
use serde_json::{Map, Value};

use crate::api_key::DEFAULT_USER;

/// Members of `metadata` that are Privet's and describe no trace.
const OWN: [&str; 2] = ["conversation_id", "prompt"];

/// What a request says of its trace.
#[derive(Clone, Debug, Default)]
pub(super) struct Description {
    /// The request's `metadata`.
    pub(super) metadata: Map<String, Value>,
    /// OpenAI's `user`.
    pub(super) user: Option<String>,
}

impl Description {
    /// Whether it says anything.
    pub(super) fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.user.is_none()
    }

    /// Writes it down: `trace_name`, `trace_user_id` (or else OpenAI's `user`), `session_id`, `tags` (with commas between them),
    /// `environment`, `release`, `version`; the rest is the trace's metadata.
    ///
    /// A key of a user of its own speaks for that user alone: whom the request names is metadata then.
    pub(super) fn write(self, trace: &mut TracePatch, key_user: &str) {
        let Self { mut metadata, user } = self;
        let mut take = |name: &str| match metadata.shift_remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let [name, named, session, tags, environment, release, version] = TRACE_METADATA.map(&mut take);
        let named = named.or(user.filter(|user| !user.is_empty()));
        if name.is_some() {
            trace.name_chars_max = None;
        }
        say(&mut trace.name, name);
        say(&mut trace.session_id, session);
        say(&mut trace.environment, environment);
        say(&mut trace.release, release);
        say(&mut trace.version, version);
        let tags = tags.unwrap_or_default();
        trace.tags.extend(tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned));
        metadata.retain(|name, _| !OWN.contains(&name.as_str()));
        if named.is_some() {
            let (user, passed_over) = named_user(named, key_user);
            trace.user_id = Some(user);
            metadata.extend(passed_over.map(|named| ("trace_user_id".to_owned(), named.into())));
        }
        trace.metadata.extend(metadata);
    }
}

/// For whom a request speaks, and whom it named in vain: a key of a user of its own speaks for that user alone.
pub(crate) fn named_user(named: Option<String>, key_user: &str) -> (String, Option<String>) {
    match named {
        Some(named) if key_user == DEFAULT_USER => (named, None),
        named => (key_user.to_owned(), named.filter(|named| named != key_user)),
    }
}

fn say(field: &mut Option<String>, said: Option<String>) {
    if said.is_some() {
        *field = said;
    }
}

#[cfg(test)]
mod tests {
    use privet_domain::time::NanoTimestamp;
    use serde_json::json;

    use super::*;

    fn described(metadata: Value, user: Option<&str>, key_user: &str) -> TracePatch {
        let Value::Object(metadata) = metadata else { panic!("an object") };
        let mut trace = TracePatch::new("t".parse().unwrap(), NanoTimestamp::from_nanos(1));
        (trace.name, trace.user_id) = (Some("said last".to_owned()), Some(key_user.to_owned()));
        Description { metadata, user: user.map(str::to_owned) }.write(&mut trace, key_user);
        trace
    }

    #[test]
    fn members_of_the_metadata_describe_the_trace_and_the_rest_is_kept() {
        let metadata = json!({"trace_name": "shop", "session_id": "s", "tags": "a, b,,", "environment": "test", "release": "1",
                              "version": "2", "conversation_id": "c", "prompt": "p", "order": "17"});
        let trace = described(metadata, None, "owner");
        assert_eq!((trace.name.as_deref(), trace.session_id.as_deref()), (Some("shop"), Some("s")));
        assert_eq!(trace.tags, ["a", "b"]);
        let rest = (trace.environment.as_deref(), trace.release.as_deref(), trace.version.as_deref());
        assert_eq!(rest, (Some("test"), Some("1"), Some("2")));
        assert_eq!(Value::from(trace.metadata), json!({"order": "17"}));
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_no_text_says_nothing() {
        let trace = described(json!({"trace_name": "", "session_id": 7, "tags": ["a"]}), None, "owner");
        assert_eq!((trace.name.as_deref(), trace.session_id, trace.tags.len()), (Some("said last"), None, 0));
    }

    #[test]
    fn a_key_of_its_own_user_speaks_for_no_other() {
        let user = |metadata: Value, user, key_user| {
            let trace = described(metadata, user, key_user);
            (trace.user_id.unwrap(), Value::from(trace.metadata))
        };
        assert_eq!(user(json!({}), Some("ada"), "owner"), ("ada".to_owned(), json!({})));
        assert_eq!(user(json!({"trace_user_id": "eve"}), Some("ada"), "owner"), ("eve".to_owned(), json!({})));
        assert_eq!(user(json!({}), Some("eve"), "ada"), ("ada".to_owned(), json!({"trace_user_id": "eve"})));
        assert_eq!(user(json!({"trace_user_id": "ada"}), None, "ada"), ("ada".to_owned(), json!({})));
    }
}
