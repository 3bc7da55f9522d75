//! What the server kept, read through its API and judged against what the clients know.

use std::collections::{HashMap, HashSet};

use crate::client::{Api, Said};

struct Message {
    role: String,
    content: String,
    incomplete: bool,
}

/// All that was kept.
pub(crate) struct History(HashMap<String, Vec<Message>>);

/// What a judgement counted.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) acknowledged: usize,
    /// Kept, though no client knows of it.
    pub(crate) unacknowledged_kept: usize,
}

impl History {
    pub(crate) async fn read(api: &Api) -> Self {
        let (mut conversations, mut cursor) = (HashMap::new(), String::new());
        loop {
            let (status, page) = api.get(&format!("/api/conversations?limit=500{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            for conversation in page["data"].as_array().unwrap() {
                let id = conversation["id"].as_str().unwrap().to_owned();
                let messages = messages(api, &id).await;
                assert!(conversations.insert(id.clone(), messages).is_none(), "{id} is on two pages");
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Self(conversations),
            }
        }
    }

    /// Every acknowledged text is there once, in its conversation, with its answer; no other more than once; no answer is
    /// there without its question, and nothing that nobody said.
    pub(crate) fn judge(&self, said: &[Said]) -> Counts {
        let known: HashSet<&str> = said.iter().map(|said| said.text.as_str()).collect();
        assert_eq!(known.len(), said.len(), "the clients repeat themselves");
        let mut places = HashMap::new();
        for (id, messages) in &self.0 {
            assert!(!messages.is_empty(), "{id} was begun by no message");
            for (at, message) in messages.iter().enumerate() {
                let content = message.content.as_str();
                assert!(!message.incomplete, "the offline provider never stops half-way: {content}");
                if message.role == "user" {
                    assert!(known.contains(content), "nobody said `{content}`");
                    assert!(places.insert(content, (id.as_str(), at)).is_none(), "`{content}` is there twice");
                } else {
                    assert_eq!(message.role, "assistant");
                    let question = at.checked_sub(1).map(|before| &messages[before]);
                    let Some(question) = question.filter(|before| before.role == "user") else {
                        panic!("{id}: an answer without its question: {content}")
                    };
                    assert!(content.contains(&format!("You said: \"{}\".", question.content)), "{id}: {content}");
                }
            }
        }
        let mut acknowledged = 0;
        for said in said {
            let Some(told) = &said.acknowledged else { continue };
            acknowledged += 1;
            let Some(&(id, at)) = places.get(said.text.as_str()) else { panic!("`{}` is lost", said.text) };
            assert_eq!(id, told.conversation_id, "`{}` is elsewhere", said.text);
            let answer = self.0[id].get(at + 1).map(|answer| answer.content.as_str());
            assert_eq!(answer, Some(told.answer.as_str()), "the answer to `{}`", said.text);
        }
        Counts { acknowledged, unacknowledged_kept: places.len() - acknowledged }
    }
}

async fn messages(api: &Api, id: &str) -> Vec<Message> {
    let (status, transcript) = api.get(&format!("/api/conversations/{id}")).await;
    assert_eq!(status, 200, "{transcript}");
    let messages = transcript["messages"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    messages
        .map(|message| Message {
            role: text(&message["role"]),
            content: text(&message["content"]),
            incomplete: message.get("status").is_some(),
        })
        .collect()
}

mod judged {
    //! The judge itself: it must find what it looks for.

    use super::{History, Message, Said};
    use crate::client::Acknowledged;

    fn judge(kept: &[(&str, &str)]) {
        let acknowledged = Some(Acknowledged { conversation_id: "c".to_owned(), answer: answer_to("hey") });
        let said =
            [Said { text: "hey".to_owned(), acknowledged }, Said { text: "in doubt".to_owned(), acknowledged: None }];
        let message = |&(role, content): &(&str, &str)| {
            let content = if role == "assistant" { answer_to(content) } else { content.to_owned() };
            Message { role: role.to_owned(), content, incomplete: false }
        };
        History([("c".to_owned(), kept.iter().map(message).collect())].into()).judge(&said);
    }

    fn answer_to(question: &str) -> String {
        format!("You said: \"{question}\".")
    }

    #[test]
    fn a_text_in_doubt_may_be_kept_or_not() {
        judge(&[("user", "hey"), ("assistant", "hey")]);
        judge(&[("user", "hey"), ("assistant", "hey"), ("user", "in doubt")]);
    }

    #[test]
    #[should_panic(expected = "`hey` is lost")]
    fn a_lost_text_is_found() {
        judge(&[("user", "in doubt")]);
    }

    #[test]
    #[should_panic(expected = "the answer to `hey`")]
    fn a_lost_answer_is_found() {
        judge(&[("user", "hey"), ("user", "in doubt")]);
    }

    #[test]
    #[should_panic(expected = "`in doubt` is there twice")]
    fn a_doubled_text_is_found() {
        judge(&[("user", "hey"), ("assistant", "hey"), ("user", "in doubt"), ("user", "in doubt")]);
    }

    #[test]
    #[should_panic(expected = "an answer without its question")]
    fn a_doubled_answer_is_found() {
        judge(&[("user", "hey"), ("assistant", "hey"), ("assistant", "hey")]);
    }

    #[test]
    #[should_panic(expected = "nobody said `invented`")]
    fn an_invented_text_is_found() {
        judge(&[("user", "hey"), ("assistant", "hey"), ("user", "invented")]);
    }
}
