//! What a model is shown of a memory, and what it says of it: pure. The words of the instruction are the project's own prompt.

use std::borrow::Cow;

use privet_domain::memory::{Memory as Record, NewRepresentation, Representation};
use privet_store::DescriptionTask;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::quote::clean_text;

/// The hole that the text is put into; a prompt without it describes nothing.
pub(super) const TEXT: &str = "text";
/// Of a text beside it so much is shown: what is nearest.
const BESIDE_BYTES_MAX: usize = 2_000;
const TITLE_BYTES_MAX: usize = 200;
const SUMMARY_BYTES_MAX: usize = 2_000;
const FACT_BYTES_MAX: usize = 500;
const FACTS_MAX: usize = 24;
const QUESTION_BYTES_MAX: usize = 300;
const QUESTIONS_MAX: usize = 12;
/// An object is looked for at so many opening braces of an answer.
const OPENINGS_MAX: usize = 32;

/// What is put into the holes of the prompt. All of it is quoted: no text can close its element or open another.
pub(super) fn variables(task: &DescriptionTask) -> Map<String, Value> {
    let memory = &task.memory;
    let title = memory.title.as_deref().or(memory.source.as_deref()).unwrap_or_default();
    let beside = |memory: &Option<Record>, cut: fn(&str) -> Cow<'_, str>| {
        memory.as_ref().map(|memory| clean_text(&cut(&memory.line()), false)).unwrap_or_default()
    };
    let date = memory.created_at.to_string();
    let values = [
        ("title", clean_text(title, false)),
        ("date", date.get(..DATE_CHARS).unwrap_or(&date).to_owned()),
        ("previous", beside(&task.previous, ending)),
        (TEXT, clean_text(&memory.line(), false)),
        ("next", beside(&task.next, beginning)),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

/// `2026-11-25` of a time.
const DATE_CHARS: usize = 10;

fn ending(text: &str) -> Cow<'_, str> {
    let from = text.ceil_char_boundary(text.len().saturating_sub(BESIDE_BYTES_MAX));
    let end = text.get(from..).unwrap_or(text);
    if from == 0 { Cow::Borrowed(end) } else { Cow::Owned(format!("[…] {end}")) }
}

fn beginning(text: &str) -> Cow<'_, str> {
    let beginning = cut(text, BESIDE_BYTES_MAX);
    if beginning.len() == text.len() { Cow::Borrowed(text) } else { Cow::Owned(format!("{beginning} […]")) }
}

/// The object that a model is asked for. What it leaves out is empty.
#[derive(Debug, Default, Deserialize)]
struct Said {
    title: Option<String>,
    summary: Option<String>,
    facts: Option<Vec<String>>,
    questions: Option<Vec<String>>,
}

impl Said {
    const fn is_nothing(&self) -> bool {
        self.title.is_none() && self.summary.is_none() && self.facts.is_none() && self.questions.is_none()
    }
}

/// The representations that an answer gives, of those that are wanted; `None` if there is no such object in it. Words around the object
/// (reasoning, a fence of code) are passed over.
pub(super) fn read(answer: &str, wanted: &[Representation]) -> Option<Vec<NewRepresentation>> {
    let said = last_object(answer)?;
    let head = [
        clean(&said.title.unwrap_or_default(), TITLE_BYTES_MAX),
        clean(&said.summary.unwrap_or_default(), SUMMARY_BYTES_MAX),
    ];
    let summary = head.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    let facts = list(said.facts.unwrap_or_default(), FACTS_MAX, FACT_BYTES_MAX);
    let questions = list(said.questions.unwrap_or_default(), QUESTIONS_MAX, QUESTION_BYTES_MAX);
    let summary = [summary].into_iter().filter(|text| !text.is_empty());
    let of = |representation| move |text| NewRepresentation { representation, text };
    let all = summary
        .map(of(Representation::Summary))
        .chain(facts.into_iter().map(of(Representation::Facts)))
        .chain(questions.into_iter().map(of(Representation::Questions)));
    Some(all.filter(|one| wanted.contains(&one.representation)).collect())
}

/// The last object of the kind: a model that thinks aloud may write a sketch first. What stands inside of one is part of it.
fn last_object(answer: &str) -> Option<Said> {
    let (mut last, mut from) = (None, 0);
    for _ in 0..OPENINGS_MAX {
        let rest = answer.get(from..)?;
        let Some(opening) = rest.find('{') else { break };
        let mut objects = serde_json::Deserializer::from_str(rest.get(opening..)?).into_iter::<Said>();
        let read = objects.next().and_then(Result::ok).filter(|said| !said.is_nothing());
        from += opening + if read.is_some() { objects.byte_offset() } else { 1 };
        last = read.or(last);
    }
    last
}

/// The first of them that say something, each once.
fn list(texts: Vec<String>, count_max: usize, bytes_max: usize) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(texts.len().min(count_max));
    for text in texts.into_iter().map(|text| clean(&text, bytes_max)) {
        if kept.len() < count_max && !text.is_empty() && !kept.contains(&text) {
            kept.push(text);
        }
    }
    kept
}

/// One line of text without characters that no database or reader takes.
fn clean(text: &str, bytes_max: usize) -> String {
    let line: Vec<&str> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    cut(&line.join(" "), bytes_max).trim_end().to_owned()
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Representation; 3] = [Representation::Summary, Representation::Facts, Representation::Questions];

    fn texts(answer: &str, wanted: &[Representation]) -> Option<Vec<(&'static str, String)>> {
        let read = read(answer, wanted)?;
        Some(read.into_iter().map(|one| (one.representation.as_str(), one.text)).collect())
    }

    fn owned(texts: &[(&'static str, &str)]) -> Option<Vec<(&'static str, String)>> {
        Some(texts.iter().map(|(kind, text)| (*kind, (*text).to_owned())).collect())
    }

    #[test]
    fn an_object_is_read_wherever_it_stands_in_the_answer() {
        let object = r#"{"title": "The cat", "summary": "It is grey.", "facts": ["Ada's cat is grey."], "questions": ["What colour is Ada's cat?"]}"#;
        let expected = owned(&[
            ("summary", "The cat\nIt is grey."),
            ("facts", "Ada's cat is grey."),
            ("questions", "What colour is Ada's cat?"),
        ]);
        for answer in [
            object.to_owned(),
            format!("```json\n{object}\n```"),
            format!("<think>{{\"title\": \"a sketch\"}} or {{x}}</think>Here it is: {object} Is there more?"),
        ] {
            assert_eq!(texts(&answer, &ALL), expected, "{answer}");
        }
    }

    #[test]
    fn what_is_no_such_object_is_not_read() {
        for answer in [
            "",
            "I cannot help with that.",
            "{",
            "{}",
            "[1]",
            "{\"facts\": \"one\"}",
            "{\"summary\": 7}",
            "{\"a\": {\"b\": 1}}",
        ] {
            assert_eq!(texts(answer, &ALL), None, "{answer}");
        }
        let nested = r#"{"summary": "outer", "more": {"summary": "inner"}}"#;
        assert_eq!(texts(nested, &ALL), owned(&[("summary", "outer")]));
        assert_eq!(texts(r#"{"summary": null, "facts": []}"#, &ALL), Some(vec![]), "it has nothing to say");
    }

    #[test]
    fn only_what_is_wanted_and_says_something_is_kept_within_limits() {
        let long = "ż".repeat(FACT_BYTES_MAX);
        let answer = serde_json::json!({
            "summary": " a\u{0}b\n c ", "facts": ["same", "", "same ", long], "questions": vec!["?"; 40],
        });
        let facts = texts(&answer.to_string(), &[Representation::Facts]).unwrap();
        assert_eq!(facts, [("facts", "same".to_owned()), ("facts", "ż".repeat(FACT_BYTES_MAX / 2))]);
        assert_eq!(texts(&answer.to_string(), &[Representation::Summary]), owned(&[("summary", "a b c")]));
        let many: Vec<String> = (0..99).map(|number| number.to_string()).collect();
        let answer = serde_json::json!({"facts": many}).to_string();
        assert_eq!(texts(&answer, &ALL).unwrap().len(), FACTS_MAX);
    }
}
