//! Traces as lines of text: a table of them, and one as the tree of its observations. Pure.

use std::collections::{BTreeMap, BTreeSet};

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, Level, Observation, ObservationId, ScoreType};
use privet_store::{StoredScore, TraceWithTotals};

/// Of a content so many characters are shown, unless all are asked for.
const CONTENT_CHARS: usize = 160;
const NAME_CHARS: usize = 45;
/// Deeper than this, observations are no longer moved to the right.
const DEPTH_MAX: usize = 12;

/// A table of traces, a line for each.
pub(super) fn table(traces: &[TraceWithTotals]) -> String {
    traces.iter().map(|trace| line(trace) + "\n").collect()
}

/// A trace in a line.
pub(super) fn line(TraceWithTotals { trace, totals }: &TraceWithTotals) -> String {
    let name = cut(trace.name.as_deref().unwrap_or("-"), NAME_CHARS);
    let mut parts = vec![
        trace.timestamp.to_string(),
        trace.id.to_string(),
        format!("{name:NAME_CHARS$}"),
        format!("{:>9}", took(trace.timestamp, totals.ended_at)),
        format!("{:>7} tokens", totals.total_tokens),
        format!("{:>10}", totals.cost.to_string()),
    ];
    parts.extend(trace.user_id.as_deref().map(|user| format!("user {}", plain(user))));
    if totals.errors > 0 {
        parts.push(format!("{} failed", totals.errors));
    }
    parts.join("  ").trim_end().to_owned()
}

/// A trace with its observations as a tree, and its scores.
pub(super) fn of_trace(
    whole: &TraceWithTotals,
    observations: &[Observation],
    scores: &[StoredScore],
    is_full: bool,
) -> String {
    let TraceWithTotals { trace, totals } = whole;
    let mut lines = vec![format!("trace {}  {}", trace.id, plain(trace.name.as_deref().unwrap_or("-")))];
    lines.push(format!(
        "  {}  {}  {} observations, {} failed  {} tokens ({} in, {} out)  {}",
        trace.timestamp,
        took(trace.timestamp, totals.ended_at),
        totals.observations,
        totals.errors,
        totals.total_tokens,
        totals.input_tokens,
        totals.output_tokens,
        totals.cost,
    ));
    let tags = (!trace.tags.is_empty()).then(|| trace.tags.join(", "));
    for (what, text) in [
        ("user", trace.user_id.as_deref()),
        ("session", trace.session_id.as_deref()),
        ("environment", Some(trace.environment.as_str())),
        ("release", trace.release.as_deref()),
        ("version", trace.version.as_deref()),
        ("tags", tags.as_deref()),
    ] {
        lines.extend(text.map(|text| format!("  {what} {}", plain(text))));
    }
    contents(&mut lines, 1, trace.input.as_ref(), trace.output.as_ref(), is_full);
    Tree::new(observations).lines(&mut lines, is_full);
    lines.extend(scores.iter().map(score));
    lines.join("\n") + "\n"
}

/// Observations by what they are part of.
struct Tree<'a> {
    roots: Vec<&'a Observation>,
    parts: BTreeMap<&'a ObservationId, Vec<&'a Observation>>,
}

impl<'a> Tree<'a> {
    /// Whose parent is not among them is a root.
    fn new(observations: &'a [Observation]) -> Self {
        let known: BTreeSet<&ObservationId> = observations.iter().map(|one| &one.id).collect();
        let mut tree = Self { roots: Vec::new(), parts: BTreeMap::new() };
        for one in observations {
            match one.parent_id.as_ref().filter(|parent| known.contains(parent)) {
                Some(parent) => tree.parts.entry(parent).or_default().push(one),
                None => tree.roots.push(one),
            }
        }
        tree
    }

    fn lines(mut self, lines: &mut Vec<String>, is_full: bool) {
        let mut waiting: Vec<(&Observation, usize)> = self.roots.iter().rev().map(|root| (*root, 1)).collect();
        loop {
            while let Some((one, depth)) = waiting.pop() {
                observation(lines, one, depth, is_full);
                let parts = self.parts.remove(&one.id).unwrap_or_default();
                waiting.extend(parts.into_iter().rev().map(|part| (part, depth + 1)));
            }
            // Observations that are part of each other in a circle have no root: it begins anywhere.
            let Some((_, parts)) = self.parts.pop_first() else { return };
            waiting.extend(parts.into_iter().rev().map(|part| (part, 1)));
        }
    }
}

fn observation(lines: &mut Vec<String>, one: &Observation, depth: usize, is_full: bool) {
    let depth = depth.min(DEPTH_MAX);
    let mut parts = vec![format!("{}{}", "  ".repeat(depth), one.observation_type.as_str().to_lowercase())];
    parts.push(plain(one.name.as_deref().unwrap_or("-")));
    parts.push(took(one.start, one.end));
    if let Some(first) = one.completion_start {
        parts.push(format!("first token after {}", took(one.start, Some(first))));
    }
    parts.extend(one.model.as_deref().map(plain));
    if let Some(prompt) = &one.prompt {
        parts.push(format!("prompt {} v{}", plain(&prompt.name), prompt.version));
    }
    if one.total_tokens() > 0 {
        parts.push(format!("{} in, {} out", one.input_tokens(), one.output_tokens()));
    }
    if one.total_cost().as_i64() > 0 {
        parts.push(one.total_cost().to_string());
    }
    if one.level != Level::Default {
        parts.push(one.level.to_string());
    }
    lines.push(parts.join("  "));
    if let Some(message) = &one.status_message {
        lines.push(format!("{}! {}", "  ".repeat(depth + 1), shown(message, is_full)));
    }
    contents(lines, depth + 1, one.input.as_ref(), one.output.as_ref(), is_full);
}

fn contents(lines: &mut Vec<String>, depth: usize, input: Option<&JsonText>, output: Option<&JsonText>, is_full: bool) {
    for (arrow, content) in [(">", input), ("<", output)] {
        lines.extend(content.map(|json| format!("{}{arrow} {}", "  ".repeat(depth), shown(json.as_str(), is_full))));
    }
}

fn score(StoredScore { score, .. }: &StoredScore) -> String {
    let value = match score.score_type {
        ScoreType::Numeric => score.value.to_string(),
        ScoreType::Boolean => (score.value != 0.0).to_string(),
        ScoreType::Categorical | ScoreType::Text | ScoreType::Correction => {
            plain(score.text.as_deref().unwrap_or_default())
        }
    };
    let comment = score.comment.as_deref().map_or_else(String::new, |comment| format!("  ({})", plain(comment)));
    format!("  score {} = {value}{comment}", plain(&score.name))
}

fn took(from: NanoTimestamp, until: Option<NanoTimestamp>) -> String {
    let Some(until) = until else { return "running".to_owned() };
    let seconds = until.since(from).as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1_000.0) } else { format!("{seconds:.2} s") }
}

fn shown(text: &str, is_full: bool) -> String {
    if is_full { plain(text) } else { cut(text, CONTENT_CHARS) }
}

fn cut(text: &str, chars: usize) -> String {
    let plain = plain(text);
    match plain.char_indices().nth(chars) {
        Some(_) => plain.chars().take(chars.saturating_sub(1)).chain(['…']).collect(),
        None => plain,
    }
}

/// A text on one line; what would steer a terminal is shown as what it is.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use privet_domain::trace::{ObservationPatch, PatchKind};

    use super::*;

    fn step(id: &str, parent: Option<&str>, nanos: i64) -> Observation {
        let at = NanoTimestamp::from_nanos(nanos);
        let mut patch = ObservationPatch::new("t".parse().unwrap(), id.parse().unwrap(), PatchKind::Create, at);
        patch.name = Some(id.to_owned());
        patch.parent_id = parent.map(|parent| parent.parse().unwrap());
        patch.end = Some(NanoTimestamp::from_nanos(nanos + 2_000_000));
        Observation::begin(patch)
    }

    fn lines(observations: &[Observation]) -> Vec<String> {
        let mut lines = Vec::new();
        Tree::new(observations).lines(&mut lines, false);
        lines
    }

    #[test]
    fn parts_stand_below_what_they_are_part_of() {
        let steps = [step("a", None, 0), step("b", Some("a"), 1), step("c", Some("b"), 2), step("d", Some("gone"), 3)];
        assert_eq!(lines(&steps), ["  span  a  2 ms", "    span  b  2 ms", "      span  c  2 ms", "  span  d  2 ms"],);
    }

    #[test]
    fn circles_are_shown_once() {
        let steps = [step("a", Some("b"), 0), step("b", Some("a"), 1), step("c", Some("c"), 2)];
        assert_eq!(lines(&steps).len(), 3);
    }

    #[test]
    fn texts_are_cut_and_cannot_steer_the_terminal() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(plain("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
    }
}
