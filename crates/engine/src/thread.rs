//! Joining what is remembered of a conversation with what a request brings. Pure.
//!
//! Clients continue a conversation in two ways: they send only what is new, or the whole thread again. Both must give the same
//! thread, and nothing may be stored twice, also when a client repeats a request that failed.

use privet_dialects::canonical::{Message, Part, Role};
use privet_dialects::gemini::is_minted;
use serde_json::Value;

/// How a request joins its conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// What to put before the request's messages (after its leading instructions).
    pub history: Vec<Message>,
    /// How many of the request's messages, from the front, are known already.
    pub known: usize,
}

/// Joins a request's messages to the stored ones.
///
/// The longest end of the stored thread with which the request's messages begin counts as sent again. Instructions (system and
/// developer messages in front) are compared apart: the request's replace the stored ones, and are not said anew.
#[must_use]
pub fn join(stored: Vec<Message>, request: &[Message]) -> Joined {
    if stored.is_empty() {
        return Joined { history: stored, known: 0 };
    }
    let stored_instructions = leading_instructions(&stored);
    let request_instructions = leading_instructions(request);
    let said = request.get(request_instructions..).unwrap_or_default();
    let remembered = stored.len() - stored_instructions;
    let overlap = (0..=said.len().min(remembered))
        .rev()
        .find(|&length| {
            let end = stored.get(stored.len() - length..).unwrap_or_default();
            end.iter().zip(said).all(|(old, new)| says_the_same(old, new))
        })
        .unwrap_or(0);
    let mut history = stored;
    history.truncate(history.len() - overlap);
    if request_instructions > 0 {
        history.drain(..stored_instructions.min(history.len()));
    }
    Joined { history, known: request_instructions + overlap }
}

fn leading_instructions(messages: &[Message]) -> usize {
    messages.iter().take_while(|message| matches!(message.role, Role::System | Role::Developer)).count()
}

/// Whether two messages say the same, whatever a client's SDK added or left out around it.
fn says_the_same(one: &Message, other: &Message) -> bool {
    let said = |part: &&Part| match part {
        Part::Thinking { .. } | Part::RedactedThinking { .. } => false,
        Part::Text { text } => !text.is_empty(),
        _ => true,
    };
    let (mut one_said, mut other_said) = (one.parts.iter().filter(said), other.parts.iter().filter(said));
    one.role == other.role
        && loop {
            match (one_said.next(), other_said.next()) {
                (None, None) => break true,
                (Some(one), Some(other)) if is_same(one, other) => {}
                _ => break false,
            }
        }
}

/// Whether two parts are the same. Clients of some dialects read what they send back and write it anew: with other blanks, with empty
/// members, and without a signature that has no place.
fn is_same(one: &Part, other: &Part) -> bool {
    match (one, other) {
        (
            Part::ToolCall { id, name, arguments, .. },
            Part::ToolCall { id: other_id, name: other_name, arguments: other_arguments, .. },
        ) => is_same_id(id, other_id) && name == other_name && is_same_json(arguments, other_arguments),
        (
            Part::ToolResult { call_id, content, is_error },
            Part::ToolResult { call_id: other_id, content: other_content, is_error: other_is_error },
        ) => is_same_id(call_id, other_id) && content == other_content && is_error == other_is_error,
        (Part::Other { value, .. }, Part::Other { value: other, .. }) => {
            without_nulls(value.clone()) == without_nulls(other.clone())
        }
        (one, other) => one == other,
    }
}

/// Calls that came without an id have one that was made here, and another each time that they are sent again.
fn is_same_id(one: &str, other: &str) -> bool {
    one == other || is_minted(one) || is_minted(other)
}

fn is_same_json(one: &str, other: &str) -> bool {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(turns: &[(Role, &str)]) -> Vec<Message> {
        turns.iter().map(|&(role, text)| Message::text(role, text)).collect()
    }

    const STORED: [(Role, &str); 3] = [(Role::System, "Be brief."), (Role::User, "hi"), (Role::Assistant, "hello")];

    #[test]
    fn in_an_empty_conversation_everything_is_new() {
        assert_eq!(join(vec![], &thread(&STORED)), Joined { history: vec![], known: 0 });
    }

    #[test]
    fn only_the_new_message_is_sent() {
        let joined = join(thread(&STORED), &thread(&[(Role::User, "more")]));
        assert_eq!(joined, Joined { history: thread(&STORED), known: 0 });
    }

    #[test]
    fn the_whole_thread_is_sent_again() {
        let request = thread(&[STORED[0], STORED[1], STORED[2], (Role::User, "more")]);
        assert_eq!(join(thread(&STORED), &request), Joined { history: vec![], known: 3 });
    }

    #[test]
    fn the_whole_thread_without_its_instructions_is_sent_again() {
        let request = thread(&[STORED[1], STORED[2], (Role::User, "more")]);
        assert_eq!(join(thread(&STORED), &request), Joined { history: thread(&STORED[..1]), known: 2 });
    }

    #[test]
    fn a_sliding_window_of_the_thread_is_joined_at_its_seam() {
        let request = thread(&[STORED[2], (Role::User, "more")]);
        assert_eq!(join(thread(&STORED), &request), Joined { history: thread(&STORED[..2]), known: 1 });
    }

    #[test]
    fn a_repeated_request_is_not_said_twice() {
        let stored = thread(&[(Role::User, "hi")]);
        assert_eq!(join(stored.clone(), &stored), Joined { history: vec![], known: 1 });
    }

    #[test]
    fn the_same_words_after_an_answer_are_new() {
        let joined = join(thread(&STORED), &thread(&[(Role::User, "hi")]));
        assert_eq!(joined, Joined { history: thread(&STORED), known: 0 });
    }

    #[test]
    fn a_call_that_a_client_wrote_anew_is_the_same() {
        let call = |arguments: &str, signature: Option<&str>| {
            let signature = signature.map(str::to_owned);
            let call = Part::ToolCall { id: "c".into(), name: "f".into(), arguments: arguments.into(), signature };
            Message { parts: vec![call], ..Message::text(Role::Assistant, "") }
        };
        let stored = call("{\"a\": 1, \"b\": [2]}", Some("s"));
        for (again, known) in [
            (call("{\"a\":1,\"b\":[2]}", None), 1),
            (call("{\"a\":1}", None), 0),
            (call("{\"a\": 1, \"b\": [2", None), 0),
        ] {
            assert_eq!(join(vec![stored.clone()], &[again, Message::text(Role::User, "x")]).known, known);
        }
        let cut = call("{\"a\": 1, \"b", None);
        assert_eq!(join(vec![cut.clone()], &[cut]).known, 1);
    }

    #[test]
    fn a_call_that_was_never_given_an_id_is_the_same_by_whatever_id() {
        let call = |id: &str| {
            let (name, arguments) = ("f".to_owned(), "{}".to_owned());
            let call = Part::ToolCall { id: id.to_owned(), name, arguments, signature: None };
            Message { parts: vec![call], ..Message::text(Role::Assistant, "") }
        };
        let (stored, again) = ("call_0_f_0123456789abcdef", "call_3_f_0000000000000003");
        assert_eq!(join(vec![call(stored)], &[call(again), Message::text(Role::User, "x")]).known, 1);
        assert_eq!(join(vec![call("call_AbC123")], &[call("call_DeF456"), Message::text(Role::User, "x")]).known, 0);
    }

    #[test]
    fn new_instructions_replace_the_stored_ones() {
        let request = thread(&[(Role::System, "Be long."), (Role::User, "more")]);
        assert_eq!(join(thread(&STORED), &request), Joined { history: thread(&STORED[1..]), known: 1 });
    }
}
