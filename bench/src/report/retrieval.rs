//! What the report says of retrieval.

use serde_json::Value;

use super::{dash, goal_line, line};
use crate::retrieval::Retrieval;

/// Points of recall@10 between recall as it is configured and a search by vectors alone.
const GAIN_MIN: f64 = 0.10;

pub(super) fn goals(text: &mut String, retrieval: Option<&Retrieval>) {
    let Some(retrieval) = retrieval else { return };
    let gain = setting(retrieval, "configured").and_then(|one| one.pointer("/against_first/recall"));
    let of = |field: &str| gain.and_then(|gain| gain.get(field)).and_then(Value::as_f64);
    let found = of("mean").zip(of("low")).zip(of("high"));
    let shown = found.map(|((mean, low), high)| format!("{mean:+.3} [{low:+.3} {high:+.3}]"));
    let name = "Retrieval: recall@10 of words and vectors over two representations at least 0.10 above that of vectors of the text".to_owned();
    goal_line(text, name, shown, found.map(|((mean, _), _)| mean >= GAIN_MIN));
}

pub(super) fn table(retrieval: Option<&Retrieval>) -> String {
    let Some(retrieval) = retrieval else { return String::new() };
    let mut text = format!(
        "\n## Retrieval\n\n{turns} turns of twelve conversations of thirty sessions each, {questions} questions with one turn as evidence. They are \
         **made from templates** with a fixed seed (`bench/src/retrieval/`), since no public set with evidence could be had here: facts of two \
         speakers, details that are only understood by the turns before, corrections, small talk. The share of each kind was set by whoever wrote \
         the templates, so the gain is no forecast for other conversations; no weight was chosen on them. The embedder is the model \
         `{model}`, the same for all rows. By `privet memory eval`, within the conversation's user; in brackets the interval of 95 %.\n\n\
         | | recall@10 | nDCG@10 | MRR | gain in recall@10 | statements | details | corrections |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
        turns = retrieval.turns,
        questions = retrieval.questions,
        model = retrieval.model
    );
    for one in retrieval.evaluated.get("settings").and_then(Value::as_array).into_iter().flatten() {
        let name = one.get("name").and_then(Value::as_str).unwrap_or_default();
        let of_group = |group: &str| mean(one.pointer(&format!("/groups/{group}/recall")));
        line(
            &mut text,
            &[
                described(name).to_owned(),
                interval(one.pointer("/all/recall"), false),
                interval(one.pointer("/all/ndcg"), false),
                interval(one.pointer("/all/mrr"), false),
                interval(one.pointer("/against_first/recall"), true),
                of_group("statement"),
                of_group("detail"),
                of_group("correction"),
            ],
        );
    }
    text
}

fn setting<'a>(retrieval: &'a Retrieval, name: &str) -> Option<&'a Value> {
    let settings = retrieval.evaluated.get("settings")?.as_array()?;
    settings.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

fn described(name: &str) -> &str {
    match name {
        "dense" => "vectors of the text",
        "dense-window" => "vectors of the window",
        "sparse" => "words of the text",
        "sparse-window" => "words of the window",
        "text" => "words and vectors of the text",
        "configured" => "words and vectors of text and window, as configured",
        other => other,
    }
}

fn interval(of: Option<&Value>, signed: bool) -> String {
    let number = |field: &str| of.and_then(|of| of.get(field)).and_then(Value::as_f64);
    let (Some(mean), Some(low), Some(high)) = (number("mean"), number("low"), number("high")) else { return dash() };
    if signed { format!("{mean:+.3} [{low:+.3} {high:+.3}]") } else { format!("{mean:.3} [{low:.3} {high:.3}]") }
}

fn mean(of: Option<&Value>) -> String {
    of.and_then(|of| of.get("mean")).and_then(Value::as_f64).map_or_else(dash, |mean| format!("{mean:.3}"))
}
