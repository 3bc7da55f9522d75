//! What a request needs of a model besides words: by the parts of its thread, and by its fields.

use std::collections::BTreeSet;

use privet_domain::ability::Ability;

use crate::canonical::{Message, Part, Source};
use crate::incoming::Incoming;

impl Incoming {
    /// What a model must be able to do to answer the request, with what leads it and earlier messages.
    #[must_use]
    pub fn needs(&self, history: &[Message]) -> BTreeSet<Ability> {
        let mut needs = BTreeSet::new();
        let thread = self.lead().iter().chain(history).chain(self.messages());
        for part in thread.flat_map(|message| &message.parts) {
            of_part(part, &mut needs);
        }
        if self.tools_json().is_some_and(|tools| !tools.trim_matches(['[', ']', ' ', '\n', '\r', '\t']).is_empty()) {
            needs.insert(Ability::Tools);
        }
        if self.asks_for_thinking() {
            needs.insert(Ability::Thinking);
        }
        if self.answer_schema().is_some() {
            needs.insert(Ability::StructuredOutput);
        }
        needs
    }
}

fn of_part(part: &Part, needs: &mut BTreeSet<Ability>) {
    match part {
        Part::Image { source, .. } => {
            needs.extend(of_source(source));
        }
        Part::Audio { .. } => {
            needs.insert(Ability::Audio);
        }
        // It becomes text on the way.
        Part::File { source: Source::Base64 { media_type, .. }, .. } if media_type.starts_with("text/") => {}
        Part::File { .. } => {
            needs.insert(Ability::Documents);
        }
        Part::ToolResult { content, .. } => content.iter().for_each(|part| of_part(part, needs)),
        Part::Text { .. }
        | Part::ToolCall { .. }
        | Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::Refusal { .. }
        | Part::Other { .. } => {}
    }
}

/// Gemini takes documents and sound in the place of an image; of an address nobody knows.
fn of_source(source: &Source) -> Option<Ability> {
    match source {
        Source::Base64 { media_type, .. } if media_type.starts_with("audio/") => Some(Ability::Audio),
        Source::Base64 { media_type, .. } if media_type.starts_with("application/") => Some(Ability::Documents),
        Source::Base64 { media_type, .. } if !media_type.starts_with("image/") => None,
        Source::Base64 { .. } | Source::Url { .. } | Source::FileId { .. } => Some(Ability::Images),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::anthropic::incoming::IncomingMessages;
    use crate::openai::chat_request::IncomingChat;

    fn chat(more: &str) -> Vec<Ability> {
        let body = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]{more}}}");
        let chat = IncomingChat::parse(Bytes::from(body)).unwrap();
        Incoming::from(chat).needs(&[]).into_iter().collect()
    }

    fn messages(more: &str) -> Vec<Ability> {
        let body = format!("{{\"max_tokens\":9,\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]{more}}}");
        let messages = IncomingMessages::parse(Bytes::from(body)).unwrap();
        Incoming::from(messages).needs(&[]).into_iter().collect()
    }

    #[test]
    fn words_need_nothing_and_fields_tell_what_else() {
        assert_eq!(
            chat(",\"tools\":[ ],\"reasoning_effort\":\"none\",\"response_format\":{\"type\":\"json_object\"}"),
            []
        );
        assert_eq!(chat(",\"tools\":[{\"type\":\"function\"}]"), [Ability::Tools]);
        assert_eq!(chat(",\"reasoning_effort\":\"low\""), [Ability::Thinking]);
        let format = ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{}}}";
        assert_eq!(chat(format), [Ability::StructuredOutput]);
        assert_eq!(messages(",\"thinking\":{\"type\":\"disabled\"}"), []);
        assert_eq!(messages(",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}"), [Ability::Thinking]);
        let format = "{\"type\":\"json_schema\",\"schema\":{}}";
        assert_eq!(messages(&format!(",\"output_config\":{{\"format\":{format}}}")), [Ability::StructuredOutput]);
        assert_eq!(messages(&format!(",\"output_format\":{format}")), [Ability::StructuredOutput]);
    }

    #[test]
    fn parts_tell_wherever_they_stand() {
        let picture = Part::Image { source: Source::Url { url: "https://a/b.png".into() }, detail: None };
        let result = Part::ToolResult { call_id: "c".into(), content: vec![picture], is_error: false };
        let message = |part| Message { parts: vec![part], ..Message::text(crate::canonical::Role::User, "") };
        let chat = IncomingChat::parse(Bytes::from_static(b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"));
        let mut incoming = Incoming::from(chat.unwrap());
        assert_eq!(incoming.needs(&[message(result)]), BTreeSet::from([Ability::Images]));
        let pdf = Source::Base64 { media_type: "application/pdf".into(), data: String::new() };
        incoming.set_lead(vec![message(Part::Image { source: pdf, detail: None })]);
        assert_eq!(incoming.needs(&[]), BTreeSet::from([Ability::Documents]));
        let file = |media_type: &str| {
            let source = Source::Base64 { media_type: media_type.into(), data: String::new() };
            [message(Part::File { source, filename: None })]
        };
        let chat = IncomingChat::parse(Bytes::from_static(b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"));
        let incoming = Incoming::from(chat.unwrap());
        assert_eq!(incoming.needs(&file("application/pdf")), BTreeSet::from([Ability::Documents]));
        assert_eq!(incoming.needs(&file("text/plain")), BTreeSet::new(), "it is sent as words");
    }
}
