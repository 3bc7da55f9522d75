//! Structured output of a model that keeps to no schema by itself: the schema is put to it in words, its answer is checked, and is asked
//! for once more where it does not fit. The client gets an answer that fits, or an error; a stream of it comes in one piece.

mod cost;

use jsonschema::{PatternOptions, Validator};
use privet_dialects::Unsupported;
use privet_dialects::canonical::{FinishReason, Message, Part};
use privet_dialects::incoming::Incoming;
use privet_dialects::shaping::Again;
use privet_dialects::translate::Answer;
use privet_domain::ability::Ability;
use privet_providers::StructuredOutput;
use serde_json::Value;

use self::cost::{Plan, STEPS_MAX};
use super::ability::price_of;
use crate::Engine;
use crate::router::Target;

/// How an answer came to keep to its schema, where its model does not by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuredTold {
    /// At once.
    Emulated,
    /// When it was asked once more.
    Repaired,
}

impl StructuredTold {
    /// Its name in the header and in the trace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Repaired => "repaired",
        }
    }
}

/// The schema of an answer.
pub(super) struct Shape {
    instructions: String,
    plan: Plan,
    validator: Validator,
}

/// An answer that does not fit.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) answer: Answer,
    /// What the model is told of it.
    pub(super) again: Again,
}

/// Of an answer that does not fit so many faults are told.
const FAULTS_TOLD: usize = 5;
/// So much of a fault is told: it repeats what the model said.
const FAULT_CHARS_MAX: usize = 300;
/// So much memory a pattern may take.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// So many of the JSON values in an answer, the last ones, are checked.
const CANDIDATES_MAX: usize = 64;
/// So much of an answer is read in vain, where it looks like JSON and is none.
const VAIN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Whether a target keeps to no schema by itself: by its configuration, or else by the price book.
fn is_needed(engine: &Engine, target: &Target) -> bool {
    match target.provider.structured_output() {
        Some(StructuredOutput::Native) => false,
        Some(StructuredOutput::Emulated) => true,
        None => {
            let abilities = price_of(engine, target).and_then(|price| price.profile.abilities.as_ref());
            abilities.is_some_and(|abilities| !abilities.contains(&Ability::StructuredOutput))
        }
    }
}

impl Shape {
    /// The schema that the request names, where the target needs help with it.
    ///
    /// # Errors
    /// When it is no JSON Schema, or one that takes too long to check; a target that keeps to schemas by itself may still take it.
    pub(super) fn read(engine: &Engine, incoming: &Incoming, target: &Target) -> Result<Option<Self>, Unsupported> {
        // Few requests name one: that is asked first.
        let schema = incoming.answer_schema().filter(|_| is_needed(engine, target));
        schema.map(|schema| Self::of(&schema)).transpose()
    }

    fn of(schema: &Value) -> Result<Self, Unsupported> {
        let refused = |fault: &str| {
            let message = format!(
                "The schema of the answer cannot be checked here: {fault}. Mend it, or take a model that keeps to schemas by itself."
            );
            Unsupported::new("response_format", message)
        };
        let plan = Plan::of(schema).map_err(|fault| refused(&fault))?;
        // No pattern takes more time than its text is long, and nothing is fetched.
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().with_pattern_options(patterns);
        let validator = options.build(schema).map_err(|error| {
            let fault: String = error.to_string().chars().take(FAULT_CHARS_MAX).collect();
            refused(&fault)
        })?;
        let instructions = format!(
            "Answer with one JSON value that keeps to this JSON Schema. Write nothing before it, nothing after it, and no Markdown \
             around it.\n{schema}"
        );
        Ok(Self { instructions, plan, validator })
    }

    /// What is put among the request's instructions.
    pub(super) fn instructions(&self) -> &str {
        &self.instructions
    }

    /// The answer with nothing but the JSON in it. One that calls tools, refuses, or was cut is left as it is, as a model with
    /// structured output would give it.
    pub(super) fn fit(&self, mut answer: Answer) -> Result<Answer, Box<Unfit>> {
        let has_ended = matches!(answer.finishes.first(), Some(Some(FinishReason::Stop)));
        // It is written anew.
        answer.messages.iter_mut().for_each(Message::forget_wire);
        let Some(message) = answer.messages.first_mut().filter(|_| has_ended) else { return Ok(answer) };
        if message.parts.iter().any(|part| matches!(part, Part::ToolCall { .. } | Part::Refusal { .. })) {
            return Ok(answer);
        }
        let texts = message.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        });
        let said: String = texts.collect();
        match self.check(&said) {
            Ok(json) => {
                message.parts.retain(|part| !matches!(part, Part::Text { .. }));
                message.parts.push(Part::Text { text: json.to_owned() });
                Ok(answer)
            }
            Err(complaint) => Err(Box::new(Unfit { answer, again: Again { answer: said, complaint } })),
        }
    }

    /// The JSON in what was said, or what is wrong with it. Of several values it is the last that fits: models think first.
    fn check<'a>(&self, said: &'a str) -> Result<&'a str, String> {
        let bare = without_fence(said.trim());
        let candidates = match serde_json::from_str(bare) {
            Ok(value) => vec![(bare, value)],
            Err(error) => {
                let candidates = values_in(said);
                if candidates.is_empty() {
                    return Err(format!(
                        "That is no JSON ({error}). Answer again: with the JSON value alone, and all of it."
                    ));
                }
                candidates
            }
        };
        let mut steps_left = STEPS_MAX;
        let mut complaint = None;
        for (json, value) in candidates.iter().rev().take(CANDIDATES_MAX) {
            match self.check_value(value, &mut steps_left) {
                Ok(()) => return Ok(json),
                Err(fault) => complaint = complaint.or(Some(fault)),
            }
        }
        Err(complaint.unwrap_or_default())
    }

    fn check_value(&self, value: &Value, steps_left: &mut u64) -> Result<(), String> {
        let Ok(steps) = self.plan.steps(value, *steps_left) else {
            return Err("That takes too long to check against the JSON Schema. Answer again with a smaller JSON value that nests less.".to_owned());
        };
        *steps_left = steps_left.saturating_sub(steps);
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let faults = self.validator.iter_errors(value).take(FAULTS_TOLD).map(|error| {
            let fault = format!("at `{}`: {error}", error.instance_path());
            fault.chars().take(FAULT_CHARS_MAX).collect::<String>()
        });
        let faults: Vec<String> = faults.collect();
        Err(format!(
            "That does not keep to the JSON Schema: {}. Answer again with the mended JSON value alone.",
            faults.join("; ")
        ))
    }
}

/// What stands in a Markdown fence, where all of it does.
fn without_fence(said: &str) -> &str {
    let Some(fenced) = said.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return said };
    let (language, rest) = fenced.split_once('\n').unwrap_or(("", fenced));
    let is_language = language.chars().all(|letter| letter.is_ascii_alphanumeric());
    if is_language { rest.trim() } else { fenced.trim() }
}

/// The objects and arrays in a text, none of them within another.
fn values_in(said: &str) -> Vec<(&str, Value)> {
    let mut candidates = Vec::new();
    let mut vain_bytes: usize = 0;
    let mut rest = said;
    while let Some(begin) = rest.find(['{', '[']).filter(|_| vain_bytes <= VAIN_BYTES_MAX) {
        rest = rest.get(begin..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let bytes = match values.next() {
            Some(Ok(value)) => {
                let end = values.byte_offset();
                candidates.push((rest.get(..end).unwrap_or_default(), value));
                end
            }
            Some(Err(error)) => {
                vain_bytes += bytes_read(rest, &error);
                1
            }
            None => 1,
        };
        rest = rest.get(bytes..).unwrap_or_default();
    }
    candidates
}

/// So much of a text was read until it was found to be no JSON.
fn bytes_read(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column()
}

#[cfg(test)]
mod tests {
    use privet_dialects::canonical::Role;
    use serde_json::json;

    use super::*;

    fn shape() -> Shape {
        let schema = json!({
            "type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"], "additionalProperties": false
        });
        Shape::of(&schema).unwrap()
    }

    fn answer(parts: Vec<Part>, finish: FinishReason) -> Answer {
        let message = Message { parts, ..Message::text(Role::Assistant, "") };
        Answer {
            id: "a".to_owned(),
            model: "m".to_owned(),
            messages: vec![message],
            finishes: vec![Some(finish)],
            usage: None,
            is_counted: true,
            tier: None,
        }
    }

    fn text(text: &str) -> Part {
        Part::Text { text: text.to_owned() }
    }

    #[test]
    fn what_stands_around_the_json_is_taken_off() {
        for said in [
            "{\"age\":1}",
            " {\"age\":1}\n",
            "```json\n{\"age\":1}\n```",
            "```{\"age\":1}```",
            "Here:\n{\"age\":1} ok?",
        ] {
            let fitted = shape().fit(answer(vec![text(said)], FinishReason::Stop)).unwrap();
            assert_eq!(fitted.messages[0].parts, [text("{\"age\":1}")], "{said}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_to_the_model() {
        for (said, told) in
            [("I am 1", "no JSON"), ("{\"age\":\"1\"}", "at `/age`"), ("{}", "age"), ("{\"age\":1", "no JSON")]
        {
            let unfit = shape().fit(answer(vec![text(said)], FinishReason::Stop)).unwrap_err();
            assert!(unfit.again.complaint.contains(told), "{said}: {}", unfit.again.complaint);
            assert_eq!(unfit.again.answer, said);
        }
    }

    /// The JSON that is taken of it, or the complaint.
    fn given(shape: &Shape, said: &str) -> String {
        shape.check(said).map_or_else(|complaint| complaint, str::to_owned)
    }

    #[test]
    fn of_several_values_the_last_that_fits_is_the_answer() {
        for (said, wanted) in [
            ("<think>The user wants {\"age\": int}. So {\"age\":2}.</think>\n\n{\"age\":1}", "{\"age\":1}"),
            ("The set is {1,2}. Result: {\"age\":1}", "{\"age\":1}"),
            ("[1] see {\"age\":1}", "{\"age\":1}"),
            ("{\"age\":1}{\"age\":2}", "{\"age\":2}"),
            ("{\"age\":1} as of [2] and {\"year\":3}", "{\"age\":1}"),
            ("Sure:\n```json\n{\"age\":1}\n```\nThat is {all}.", "{\"age\":1}"),
            ("```json\n{\"age\":2}\n```\nor\n```json\n{\"age\":1}\n```", "{\"age\":1}"),
        ] {
            assert_eq!(given(&shape(), said), wanted, "{said}");
        }
    }

    #[test]
    fn where_no_value_fits_the_fault_of_the_last_is_told() {
        let told = given(&shape(), "First {\"age\":\"x\"}, then {\"age\":null}.");
        assert!(told.contains("null") && !told.contains("\"x\""), "{told}");
    }

    #[test]
    fn an_answer_of_brackets_alone_is_no_json_however_long() {
        let told = given(&shape(), &"[{".repeat(100_000));
        assert!(told.contains("no JSON"), "{told}");
    }

    #[test]
    fn an_answer_that_takes_too_many_steps_to_check_does_not_fit() {
        let schema = json!({
            "allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]
        });
        let shape = Shape::of(&schema).unwrap();
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(given(&shape, &nested(8)), nested(8));
        let told = given(&shape, &nested(60));
        assert!(told.contains("takes too long"), "{told}");
    }

    #[test]
    fn patterns_of_ordinary_length_are_taken() {
        for pattern in
            [r"^\w{1,64}$", r"^[a-z0-9._%+-]{1,255}@[a-z0-9.-]+\.[a-z]{2,63}$", r"^\d{4}-\d{2}-\d{2}$", r"^\p{L}+$"]
        {
            let shape = Shape::of(&json!({"type": "string", "pattern": pattern}));
            assert!(shape.is_ok(), "{pattern}");
        }
        assert!(Shape::of(&json!({"pattern": r"\p{L}{1000}"})).is_err());
    }

    #[test]
    fn thinking_stays_and_calls_refusals_and_cut_answers_are_left_as_they_are() {
        let thinking = Part::Thinking { text: "hm".to_owned(), signature: None };
        let fitted = shape().fit(answer(vec![thinking.clone(), text("{\"age\":1}")], FinishReason::Stop)).unwrap();
        assert_eq!(fitted.messages[0].parts, [thinking, text("{\"age\":1}")]);
        let call = Part::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), signature: None };
        for (part, finish) in [
            (call, FinishReason::Stop),
            (Part::Refusal { text: "no".into() }, FinishReason::Stop),
            (text("{\"age\""), FinishReason::Length),
            (text("x"), FinishReason::ContentFilter),
        ] {
            let given = answer(vec![part], finish);
            assert_eq!(shape().fit(given.clone()).unwrap(), given);
        }
    }

    #[test]
    fn a_schema_that_is_none_or_lies_elsewhere_is_refused() {
        for schema in [
            json!({"type": "nonsense"}),
            json!({"$ref": "http://127.0.0.1:1/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"pattern": "(a"}),
        ] {
            let error = Shape::of(&schema).map(|_| ()).unwrap_err();
            assert!(error.message.contains("cannot be checked"), "{schema}: {error}");
        }
    }
}
