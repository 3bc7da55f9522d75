//! Reranking in Cohere's form, as Jina and vLLM speak it beside OpenAI's dialect: the share of a text's words that the question has.

use std::collections::HashSet;

use serde_json::{Value, json};

/// The judged texts, the best first, and the tokens that are told.
pub(super) fn reply(body: &Value, tokens: Option<u64>) -> Value {
    let query = words(body.get("query"));
    let documents = body.get("documents").and_then(Value::as_array);
    let mut scores: Vec<(usize, f64)> = documents
        .into_iter()
        .flatten()
        .map(|document| {
            let words = words(Some(document));
            words.intersection(&query).count() as f64 / words.len().max(1) as f64
        })
        .enumerate()
        .collect();
    scores.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let results: Vec<Value> =
        scores.iter().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    let usage = tokens.map(|tokens| json!({"total_tokens": tokens}));
    json!({"id": "rerank-mock", "results": results, "usage": usage})
}

fn words(text: Option<&Value>) -> HashSet<String> {
    let lower = text.and_then(Value::as_str).unwrap_or_default().to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
