//! An answer that is there already, written for a client as if its provider gave it now: whole, or as a stream.
//!
//! It goes through the canonical form, so that it can be told in another dialect than it came in. What a provider says beside its
//! answer in words of its own is not told again.

use bytes::Bytes;

use crate::Inbound;
use crate::canonical::{ChatEvent, ChatResponse, Choice, Message, Part};
use crate::stream::{StreamOptions, Writer};
use crate::translate::{Answer, Asker, encode_answer, is_foreign};

impl Answer {
    /// The body of a whole answer. `created` is in seconds since 1970.
    #[must_use]
    pub fn replay_whole(&self, asker: &Asker, created: i64) -> Bytes {
        let choices = self.messages.iter().zip(&self.finishes).map(|(message, finish)| Choice {
            message: without_foreign(message, asker.inbound),
            finish: finish.clone(),
            logprobs: None,
        });
        let response = ChatResponse {
            id: self.id.clone(),
            model: self.model.clone(),
            created: Some(created),
            choices: choices.collect(),
            usage: self.usage,
            tier: self.tier.clone(),
        };
        encode_answer(asker, &response, created)
    }

    /// A stream from its first event to its end.
    #[must_use]
    pub fn replay_streamed(&self, asker: &Asker, options: StreamOptions) -> Bytes {
        let mut writer = Writer::new(asker, options);
        let mut out = Vec::new();
        for event in self.events(asker.inbound) {
            writer.event(&event, &mut out);
        }
        writer.close(&mut out);
        Bytes::from(out)
    }

    fn events(&self, inbound: Inbound) -> Vec<ChatEvent> {
        let mut events = vec![ChatEvent::Start { id: self.id.clone(), model: self.model.clone() }];
        events.extend(self.tier.clone().map(ChatEvent::Tier));
        for ((choice, message), finish) in (0..).zip(&self.messages).zip(&self.finishes) {
            let mut calls = 0;
            for part in without_foreign(message, inbound).parts {
                of_part(part, choice, &mut calls, &mut events);
            }
            events.extend(finish.clone().map(|reason| ChatEvent::Finish { choice, reason }));
        }
        events.extend(self.usage.map(ChatEvent::Usage));
        events
    }
}

fn without_foreign(message: &Message, inbound: Inbound) -> Message {
    let mut message = message.clone();
    message.parts.retain(|part| !is_foreign(part, inbound));
    message
}

fn of_part(part: Part, choice: u32, calls: &mut u32, events: &mut Vec<ChatEvent>) {
    match part {
        Part::Text { text } => events.push(ChatEvent::Text { choice, delta: text }),
        Part::Refusal { text } => events.push(ChatEvent::Refusal { choice, delta: text }),
        Part::Thinking { text, signature } => {
            events.push(ChatEvent::Thinking { choice, delta: text });
            events.extend(signature.map(|signature| ChatEvent::ThinkingSignature { choice, signature }));
        }
        Part::RedactedThinking { data } => events.push(ChatEvent::RedactedThinking { choice, data }),
        Part::ToolCall { id, name, arguments, signature } => {
            let index = *calls;
            *calls += 1;
            events.push(ChatEvent::ToolCall { choice, index, id, name, signature });
            events.push(ChatEvent::ToolArguments { choice, index, delta: arguments });
        }
        Part::Other { dialect, value } => events.push(ChatEvent::Other { choice, dialect, value }),
        // A model says none of these.
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::ToolResult { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::Dialect;
    use crate::canonical::{FinishReason, Role, Usage};
    use crate::sse::SseDecoder;
    use crate::stream::StreamTranslation;
    use crate::translate::decode_response;

    fn answer() -> Answer {
        let call = |id: &str, arguments: &str| Part::ToolCall {
            id: id.to_owned(),
            name: "weather".to_owned(),
            arguments: arguments.to_owned(),
            signature: None,
        };
        let parts = vec![
            Part::Thinking { text: "hm".to_owned(), signature: Some("sig".to_owned()) },
            Part::Text { text: "Zażółć 🌱".to_owned() },
            call("a", "{\"city\":\"Oslo\"}"),
            call("b", "{}"),
        ];
        Answer {
            id: "msg_1".to_owned(),
            model: "m".to_owned(),
            messages: vec![Message { role: Role::Assistant, name: None, parts, extra: Map::new() }],
            finishes: vec![Some(FinishReason::ToolCalls)],
            usage: Some(Usage { input: 7, output: 5, ..Usage::default() }),
            is_counted: true,
            tier: None,
        }
    }

    #[test]
    fn what_is_replayed_is_read_again_as_the_same_answer() {
        let original = answer();
        for (inbound, dialect) in
            [(Inbound::OpenAiChat, Dialect::OpenAiChat), (Inbound::AnthropicMessages, Dialect::AnthropicMessages)]
        {
            let whole = decode_response(inbound, dialect, original.replay_whole(&inbound.into(), 1), 1).unwrap().answer;
            let options = StreamOptions { include_usage: true, choices: 1, created: 1 };
            let mut decoder = SseDecoder::default();
            decoder.push(&original.replay_streamed(&inbound.into(), options));
            decoder.finish();
            let mut stream = StreamTranslation::new(inbound, dialect, options);
            while let Some(event) = decoder.next_event() {
                stream.event(&event.unwrap(), &mut Vec::new()).unwrap();
            }
            stream.end().unwrap();
            for (read, is_streamed) in [(whole, false), (stream.answer(), true)] {
                let mut expected = original.messages.clone();
                if inbound == Inbound::OpenAiChat && is_streamed {
                    // A stream of this dialect tells of reasoning, and not of who signed it.
                    expected[0].parts[0] = Part::Thinking { text: "hm".to_owned(), signature: None };
                }
                assert_eq!(read.messages, expected, "{inbound:?}");
                assert_eq!((read.finishes, read.model.as_str()), (original.finishes.clone(), "m"));
                let tokens = |usage: Option<Usage>| usage.map(|usage| (usage.input, usage.output));
                assert_eq!(tokens(read.usage), tokens(original.usage), "{inbound:?}");
            }
        }
    }
}
