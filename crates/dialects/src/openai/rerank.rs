//! Reranking: which of some texts fit a question best, in the form that Cohere began and Jina, Voyage, vLLM and others speak beside
//! OpenAI's dialect: `{model, query, documents, top_n}` → `{results: [{index, relevance_score}]}`
//! (<https://docs.cohere.com/reference/rerank>, <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#re-rank-api>).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::reported;
use crate::UpstreamFault;
use crate::canonical::Usage;
use crate::request_size::RequestSize;

/// What stands around a pair of question and text.
const TOKENS_PER_PAIR: u64 = 16;

/// A question and the texts to judge.
#[derive(Clone, Copy, Debug)]
pub struct RerankRequest<'a> {
    /// The question.
    pub query: &'a str,
    /// The texts.
    pub documents: &'a [&'a str],
}

impl RerankRequest<'_> {
    /// The body for a provider.
    #[must_use]
    pub fn encode(&self, model: &str) -> Bytes {
        #[derive(Serialize)]
        struct Wire<'a> {
            model: &'a str,
            query: &'a str,
            documents: &'a [&'a str],
            top_n: usize,
        }
        let Self { query, documents } = *self;
        let wire = Wire { model, query, documents, top_n: documents.len() };
        // Strings and numbers can always be written.
        serde_json::to_vec(&wire).map(Bytes::from).unwrap_or_default()
    }

    /// The most tokens that it can be counted as: a model reads the question anew with each text, and a token has a byte at least.
    #[must_use]
    pub fn size(&self) -> RequestSize {
        let of_pair = |text: &&str| (self.query.len() + text.len()) as u64 + TOKENS_PER_PAIR;
        RequestSize { text_tokens: self.documents.iter().map(of_pair).sum(), ..RequestSize::default() }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(alias = "data")]
    results: Option<Vec<WireResult>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct WireResult {
    index: usize,
    #[serde(alias = "score")]
    relevance_score: f64,
}

/// How well each of `count` texts fits, in their order, greater is better; `None` for those that the answer leaves out.
///
/// # Errors
/// When the answer reports an error, or judges what was not asked.
pub fn read_scores(body: &[u8], count: usize) -> Result<Vec<Option<f64>>, UpstreamFault> {
    let malformed = |reason: String| UpstreamFault::Malformed(reason);
    let wire: Result<Wire, _> = serde_json::from_slice(body);
    let results = match wire {
        Ok(Wire { results: Some(results), error: None }) => results,
        other => {
            let value = serde_json::from_slice::<Value>(body).ok();
            return Err(match value.as_ref().and_then(reported) {
                Some((status, error)) => {
                    UpstreamFault::Reported { status, kind: error.kind.unwrap_or_default(), message: error.message }
                }
                None => malformed(
                    other.err().map_or_else(|| "there are no `results`".to_owned(), |error| error.to_string()),
                ),
            });
        }
    };
    let mut scores = vec![None; count];
    for WireResult { index, relevance_score } in results {
        let place = scores.get_mut(index).filter(|place| place.is_none() && relevance_score.is_finite());
        let place = place
            .ok_or_else(|| malformed(format!("its result {index} comes twice, judges no text, or has no score")))?;
        *place = Some(relevance_score);
    }
    Ok(scores)
}

/// The tokens that an answer says, by Jina's `total_tokens` or Cohere's `billed_units`; `None` where it says none.
#[must_use]
pub fn usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Counted {
        usage: Option<Total>,
        meta: Option<Meta>,
    }
    #[derive(Deserialize)]
    struct Total {
        total_tokens: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Meta {
        billed_units: Option<Units>,
    }
    #[derive(Deserialize)]
    struct Units {
        input_tokens: Option<u64>,
    }
    let counted: Counted = serde_json::from_slice(body).ok()?;
    let of_usage = counted.usage.and_then(|usage| usage.total_tokens);
    let input = of_usage.or_else(|| counted.meta?.billed_units?.input_tokens)?;
    Some(Usage { input, ..Usage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_score_whatever_the_order_and_the_dialect() {
        for body in [
            r#"{"results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":-2}],"usage":{"total_tokens":7}}"#,
            r#"{"data":[{"index":0,"relevance_score":-2.0},{"index":1,"score":0.9,"document":{"text":"b"}}],"usage":{"total_tokens":7}}"#,
            r#"{"results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":-2}],"meta":{"billed_units":{"input_tokens":7}}}"#,
        ] {
            assert_eq!(read_scores(body.as_bytes(), 3), Ok(vec![Some(-2.0), Some(0.9), None]), "{body}");
            assert_eq!(usage(body.as_bytes()).map(|usage| usage.input), Some(7), "{body}");
        }
    }

    #[test]
    fn what_is_no_ranking_is_a_fault() {
        for body in [
            "",
            "[]",
            r#"{"results":null}"#,
            r#"{"results":[{"index":3,"relevance_score":1}]}"#,
            r#"{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":2}]}"#,
        ] {
            assert!(matches!(read_scores(body.as_bytes(), 3), Err(UpstreamFault::Malformed(_))), "{body}");
        }
        let reported = br#"{"error":{"message":"no such model","type":"not_found","code":404}}"#;
        assert!(matches!(read_scores(reported, 1), Err(UpstreamFault::Reported { status: Some(404), .. })));
    }

    #[test]
    fn the_size_counts_the_question_with_each_text() {
        let request = RerankRequest { query: "four", documents: &["ab", "c"] };
        assert_eq!(request.size().text_tokens, 2 * 4 + 3 + 2 * TOKENS_PER_PAIR);
        assert_eq!(request.encode("m"), r#"{"model":"m","query":"four","documents":["ab","c"],"top_n":2}"#);
    }
}
