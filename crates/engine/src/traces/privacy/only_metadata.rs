//! A batch without what was said: names, ids, tags, times, models, tokens, costs and numeric parameters are left.

use privet_domain::trace::{ObservationPatch, Score, ScoreType, TraceBatch, TracePatch};
use serde_json::{Map, Value};

use super::Sender;

/// A longer name is a text.
const NAME_BYTES_MAX: usize = 100;

/// What may be kept of a batch.
pub(super) fn of(mut batch: TraceBatch, sender: Sender) -> TraceBatch {
    let said: Vec<String> = batch
        .traces
        .iter()
        .flat_map(|patch| [&patch.input, &patch.output])
        .chain(batch.observations.iter().flat_map(|patch| [&patch.input, &patch.output]))
        .flatten()
        .map(|content| content.as_str().to_owned())
        .collect();
    for patch in &mut batch.traces {
        trace(patch, &said);
    }
    for patch in &mut batch.observations {
        observation(patch, &said, sender);
    }
    for one in &mut batch.scores {
        score(one);
    }
    batch
}

fn trace(patch: &mut TracePatch, said: &[String]) {
    patch.input = None;
    patch.output = None;
    patch.metadata = Map::new();
    patch.name.take_if(|name| is_said(name, said));
    patch.tags.retain(|tag| !is_said(tag, said));
}

fn observation(patch: &mut ObservationPatch, said: &[String], sender: Sender) {
    patch.input = None;
    patch.output = None;
    patch.status_message = None;
    if sender == Sender::Client {
        patch.metadata = Map::new();
    }
    patch.name.take_if(|name| is_said(name, said));
    if let Some(parameters) = &mut patch.model_parameters {
        parameters.retain(|_, value| matches!(value, Value::Number(_) | Value::Bool(_)));
    }
}

fn score(score: &mut Score) {
    score.comment = None;
    score.metadata = Map::new();
    // A word that no configuration names may be anything that somebody wrote.
    let is_free = score.score_type == ScoreType::Categorical && score.config_id.is_none();
    if is_free || matches!(score.score_type, ScoreType::Text | ScoreType::Correction) {
        score.text = None;
    }
}

/// Whether a name or a tag is, or may be, a piece of what was said: traces are often named by the beginning of the question. A name with
/// a space in it counts as one.
fn is_said(name: &str, said: &[String]) -> bool {
    if name.len() > NAME_BYTES_MAX || name.contains(char::is_whitespace) {
        return true;
    }
    let quoted = Value::from(name).to_string();
    let escaped = quoted.trim_matches('"');
    said.iter().any(|content| content.contains(escaped))
}

#[cfg(test)]
mod tests {
    use privet_domain::time::NanoTimestamp;
    use privet_domain::trace::{JsonText, PatchKind};
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_unless_they_repeat_what_was_said() {
        let at = NanoTimestamp::from_nanos(1);
        let named = |name: &str| {
            let mut patch = TracePatch::new("t".parse().unwrap(), at);
            patch.name = Some(name.to_owned());
            let mut step = ObservationPatch::new("t".parse().unwrap(), "o".parse().unwrap(), PatchKind::Create, at);
            step.input = Some(JsonText::of(&json!([{"role": "user", "content": "\"Kraków\" and so on"}])));
            step.name = Some("answer-step".to_owned());
            let batch = TraceBatch { traces: vec![patch], observations: vec![step], scores: Vec::new() };
            let kept = of(batch, Sender::Client);
            assert_eq!(kept.observations[0].name.as_deref(), Some("answer-step"));
            assert_eq!(kept.observations[0].input, None);
            kept.traces[0].name.clone()
        };
        assert_eq!(named("checkout").as_deref(), Some("checkout"));
        assert_eq!(named("\"Kraków\""), None);
        assert_eq!(named("What does it cost"), None);
        assert_eq!(named(&"x".repeat(101)), None);
    }
}
