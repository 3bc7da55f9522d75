//! Makes long conversations of many sessions, and questions whose evidence is known. The same for the same seed.

use serde_json::{Value, json};
use uuid::Uuid;

use super::kinds::{KINDS, Kind, SMALL_TALK, SPEAKERS};
use crate::memory::Random;

const SALT: u64 = 7_001;
/// Sessions of each conversation, and topics of each session.
const SESSIONS: u64 = 30;
const TOPICS: u64 = 3;
const DAY_MICROS: i64 = 86_400_000_000;
const MINUTE_MICROS: i64 = 60_000_000;
const BEGIN_MICROS: i64 = 1_735_720_000_000_000;
/// Of so many topics one is corrected later.
const CORRECTED: u64 = 5;

/// Lines for `privet memory import` and for `privet memory eval`.
#[derive(Default)]
pub(super) struct Made {
    pub(super) turns: Vec<Value>,
    pub(super) questions: Vec<Value>,
}

struct Topic {
    kind: &'static Kind,
    by_first: bool,
    a: &'static str,
    b: &'static str,
    c: &'static str,
    d: &'static str,
}

struct Talk<'a> {
    made: &'a mut Made,
    random: Random,
    user: String,
    first: &'static str,
    second: &'static str,
    session: u64,
    seq: i64,
}

/// All conversations, each of a user of its own.
pub(super) fn make(seed: u64) -> Made {
    let mut made = Made::default();
    for (number, (first, second)) in SPEAKERS.iter().enumerate() {
        let number = number as u64;
        let random = Random::of(SALT, seed.wrapping_mul(1_000).wrapping_add(number));
        let user = format!("talk-{number}");
        Talk { made: &mut made, random, user, first, second, session: 0, seq: 0 }.run();
    }
    made
}

impl Talk<'_> {
    fn run(mut self) {
        let mut told: Vec<(usize, &'static str, bool)> = Vec::new();
        let mut corrections: Vec<(u64, Topic)> = Vec::new();
        for session in 0..SESSIONS {
            (self.session, self.seq) = (session, 0);
            self.chatter(2);
            for _ in 0..TOPICS {
                if let Some(topic) = self.topic(&mut told) {
                    let due = self.tell(&topic);
                    if due {
                        let later = session + 2 + self.random.next() % 6;
                        corrections.push((later.min(SESSIONS - 1), topic));
                    }
                }
                let some = 1 + self.random.next() % 4;
                self.chatter(some);
            }
            let (due, rest): (Vec<_>, Vec<_>) = corrections.into_iter().partition(|(at, _)| *at <= session);
            corrections = rest;
            for (_, topic) in due {
                self.correct(&topic);
                self.chatter(1);
            }
            self.chatter(2);
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T], otherwise: T) -> T {
        let at = usize::try_from(self.random.next() % from.len().max(1) as u64).unwrap_or_default();
        from.get(at).copied().unwrap_or(otherwise)
    }

    /// One that this speaker has not told of the same thing yet; both may tell of the same.
    fn topic(&mut self, told: &mut Vec<(usize, &'static str, bool)>) -> Option<Topic> {
        for _ in 0..20 {
            let number = usize::try_from(self.random.next() % KINDS.len() as u64).unwrap_or_default();
            let kind = KINDS.get(number)?;
            let by_first = self.random.next().is_multiple_of(2);
            let a = self.pick(kind.a, "");
            if told.contains(&(number, a, by_first)) {
                continue;
            }
            told.push((number, a, by_first));
            let others: Vec<&'static str> = kind.b.iter().copied().filter(|b| *b != a).collect();
            let b = self.pick(&others, "");
            let others: Vec<&'static str> = others.into_iter().filter(|other| *other != b).collect();
            let (c, d) = (self.pick(kind.c, ""), self.pick(&others, ""));
            return Some(Topic { kind, by_first, a, b, c, d });
        }
        None
    }

    /// Tells of it and asks for it. Whether it is to be corrected later.
    fn tell(&mut self, topic: &Topic) -> bool {
        let Topic { kind, by_first, .. } = *topic;
        let (opens, says) = (self.pick(kind.opens, ""), self.pick(kind.says, ""));
        let (asks, details) = (self.pick(kind.asks, ""), self.pick(kind.details, ""));
        self.turn(!by_first, fill(opens, topic, self.names(by_first)));
        let said = self.turn(by_first, fill(says, topic, self.names(by_first)));
        self.turn(!by_first, fill(asks, topic, self.names(by_first)));
        let detail = self.turn(by_first, fill(details, topic, self.names(by_first)));
        let is_corrected = self.random.next().is_multiple_of(CORRECTED);
        if !is_corrected {
            let question = self.pick(kind.questions, "");
            self.ask(fill(question, topic, self.names(by_first)), &said, "statement");
        }
        let question = self.pick(kind.detail_questions, "");
        self.ask(fill(question, topic, self.names(by_first)), &detail, "detail");
        is_corrected
    }

    /// After a correction the answer is what was said last.
    fn correct(&mut self, topic: &Topic) {
        let (corrects, question) = (self.pick(topic.kind.corrects, ""), self.pick(topic.kind.questions, ""));
        let names = self.names(topic.by_first);
        let said = self.turn(topic.by_first, fill(corrects, topic, names));
        self.ask(fill(question, topic, names), &said, "correction");
    }

    const fn names(&self, by_first: bool) -> (&'static str, &'static str) {
        if by_first { (self.first, self.second) } else { (self.second, self.first) }
    }

    fn chatter(&mut self, turns: u64) {
        for _ in 0..turns {
            let by_first = self.random.next().is_multiple_of(2);
            let text = self.pick(SMALL_TALK, "");
            self.turn(by_first, text.to_owned());
        }
    }

    fn turn(&mut self, by_first: bool, text: String) -> String {
        let (user, session, seq) = (&self.user, self.session, self.seq);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{user}/{session}/{seq}").as_bytes()).to_string();
        let conversation = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{user}/{session}").as_bytes());
        let at = BEGIN_MICROS + i64::try_from(session).unwrap_or_default() * 4 * DAY_MICROS + seq * MINUTE_MICROS;
        let at = privet_domain::time::NanoTimestamp::from(privet_domain::time::Timestamp::from_micros(at));
        self.made.turns.push(json!({
            "id": id, "text": text, "kind": "message", "role": "user", "name": if by_first { self.first } else { self.second },
            "user": user, "conversation_id": conversation, "seq": seq, "created_at": at.to_string(),
        }));
        self.seq += 1;
        id
    }

    fn ask(&mut self, query: String, expected: &str, group: &str) {
        self.made.questions.push(json!({"query": query, "expected": [expected], "group": group, "user": self.user}));
    }
}

fn fill(template: &str, topic: &Topic, (own, other): (&str, &str)) -> String {
    let slots = [("{a}", topic.a), ("{b}", topic.b), ("{c}", topic.c), ("{d}", topic.d), ("{n}", own), ("{o}", other)];
    let filled = slots.iter().fold(template.to_owned(), |text, (slot, value)| text.replace(slot, value));
    let mut letters = filled.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_long_the_same_for_a_seed_and_every_question_has_its_evidence() {
        let (one, again, other) = (make(1), make(1), make(2));
        assert_eq!((&one.turns, &one.questions), (&again.turns, &again.questions));
        assert_ne!(one.questions, other.questions);
        assert!(one.turns.len() > 4_000 && one.questions.len() > 1_000, "{} {}", one.turns.len(), one.questions.len());
        for question in &one.questions {
            let id = &question["expected"][0];
            assert!(one.turns.iter().any(|turn| turn["id"] == *id && turn["user"] == question["user"]), "{question}");
        }
        let texts = one.turns.iter().chain(&one.questions).map(Value::to_string);
        let holes: Vec<String> =
            texts.filter(|text| ["{a}", "{b}", "{c}", "{n}"].iter().any(|hole| text.contains(hole))).collect();
        assert_eq!(holes, [""; 0]);
    }
}
