//! Joining what is remembered of a conversation with what a request brings. Pure.
//!
//! Clients continue a conversation in two ways: they send only what is new, or the whole thread again. Both must give the same
//! thread, and nothing may be stored twice, also when a client repeats a request that failed.

use privet_dialects::canonical::{Message, Part, Role};

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
    one.role == other.role && one.parts.iter().filter(said).eq(other.parts.iter().filter(said))
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
    fn new_instructions_replace_the_stored_ones() {
        let request = thread(&[(Role::System, "Be long."), (Role::User, "more")]);
        assert_eq!(join(thread(&STORED), &request), Joined { history: thread(&STORED[1..]), known: 1 });
    }
}
