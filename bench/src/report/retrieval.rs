//! What the report says of retrieval.

use serde_json::Value;

use super::{dash, goal_line, line};
use crate::retrieval::Retrieval;

/// Points of recall@10 between recall as it is configured and a search by vectors alone.
const GAIN_MIN: f64 = 0.10;

pub(super) fn goals(text: &mut String, retrieval: &[Retrieval]) {
    for set in retrieval {
        let what = format!("Retrieval, {}: recall@10 as configured at least {GAIN_MIN:.2} above", named(set));
        let gain = setting(set, "configured").and_then(|one| one.pointer("/against_first/recall"));
        let mean_gain = gain.and_then(|gain| gain.get("mean")).and_then(Value::as_f64);
        let name = format!("{what} vectors of the text with its speaker");
        goal_line(text, name, gain.map(|gain| interval(Some(gain), true)), mean_gain.map(|gain| gain >= GAIN_MIN));
        let configured = setting(set, "configured").and_then(|one| one.pointer("/all/recall/mean")?.as_f64());
        let lesson = set.lesson.pointer("/settings/0/all/recall/mean").and_then(Value::as_f64);
        let gain = configured.zip(lesson).map(|(configured, lesson)| configured - lesson);
        let name = format!("{what} the lesson's method, vectors of the bare text");
        goal_line(text, name, gain.map(|gain| format!("{gain:+.3}")), gain.map(|gain| gain >= GAIN_MIN));
    }
}

pub(super) fn tables(retrieval: &[Retrieval]) -> String {
    let Some(first) = retrieval.first() else { return String::new() };
    let mut text = format!(
        "\n## Retrieval\n\nBy `privet memory eval`, within each user's memories; the embedder is the model `{}`, the same for all rows. In brackets the \
         interval of 95 %. The gain is that over vectors of the text with its speaker, question by question. No weight was chosen on these sets.\n",
        first.model
    );
    for set in retrieval {
        text.push_str(&table(set));
    }
    text
}

fn named(set: &Retrieval) -> String {
    set.folder.as_ref().map_or_else(|| "made conversations".to_owned(), |folder| format!("`{folder}`"))
}

fn about(set: &Retrieval) -> &'static str {
    match set.folder {
        // No public set with evidence could be had where this was written, and that is to be seen.
        None => {
            " They are **made from templates** with a fixed seed (`bench/src/retrieval/`): twelve conversations of thirty sessions, with facts of two \
             speakers (\"statement\"), corrections of them, small talk, and details that say nothing by themselves. A detail stands two turns after \
             what it belongs to, one further than a window reaches, so that \
             hardly any setting finds one; most of the others are found by every setting. The set tells little between them, and stays as it was \
             first made: to change it for a better figure would be tuning."
        }
        Some(_) => "",
    }
}

fn table(set: &Retrieval) -> String {
    let groups = groups(set);
    let mut text =
        format!("\n### {}\n\n{} turns, {} questions.{}\n\n", named(set), set.turns, set.questions, about(set));
    let mut head: Vec<String> = ["", "recall@10", "nDCG@10", "MRR", "gain in recall@10"].map(str::to_owned).to_vec();
    head.extend(groups.iter().map(|(_, name)| format!("recall@10, {name}")));
    line(&mut text, &head);
    line(&mut text, &head.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
    let lesson = set.lesson.pointer("/settings/0").map(|one| ("the lesson: vectors of the bare text".to_owned(), one));
    let settings = set.evaluated.get("settings").and_then(Value::as_array).into_iter().flatten();
    let settings = settings.map(|one| (described(one).to_owned(), one));
    for (name, one) in lesson.into_iter().chain(settings) {
        let mut cells = vec![name];
        cells.extend(["recall", "ndcg", "mrr"].map(|figure| interval(one.pointer(&format!("/all/{figure}")), false)));
        cells.push(interval(one.pointer("/against_first/recall"), true));
        let of = |(kind, name): &(&str, String)| mean(one.get(kind).and_then(|of| of.get(name)?.get("recall")));
        cells.extend(groups.iter().map(of));
        line(&mut text, &cells);
    }
    text
}

/// The languages and groups that the questions have.
fn groups(set: &Retrieval) -> Vec<(&'static str, String)> {
    let first = set.evaluated.pointer("/settings/0");
    let of = |kind: &'static str| {
        let names = first.and_then(|one| one.get(kind)).and_then(Value::as_object).into_iter().flatten();
        names.map(|(name, _)| (kind, name.clone())).collect::<Vec<_>>()
    };
    [of("languages"), of("groups")].concat()
}

fn setting<'a>(retrieval: &'a Retrieval, name: &str) -> Option<&'a Value> {
    let settings = retrieval.evaluated.get("settings")?.as_array()?;
    settings.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

fn described(one: &Value) -> &str {
    match one.get("name").and_then(Value::as_str).unwrap_or_default() {
        "dense" => "vectors of the text with its speaker",
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
