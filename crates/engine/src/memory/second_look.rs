//! A second look at the best candidates: a reranker reads each beside the question and orders them anew. One that fails, or is late,
//! costs its opinion and nothing else: then they stay in the order of the legs.

use std::sync::Arc;
use std::time::Instant;

use privet_domain::id::RequestId;
use privet_domain::memory::fusion::Candidate;
use privet_domain::memory::{Memory as Record, MemoryId, Representation};
use tokio::time::timeout;

use super::Memory;
use super::recall::RecallRequest;
use crate::Engine;
use crate::rerank::RerankCommand;
use crate::traces::RequestTrace;

/// So many candidates are judged: a reranker reads each whole.
const JUDGED_MAX: usize = 50;
/// Of a text so much is judged.
const TEXT_BYTES_MAX: usize = 4_096;

/// A memory with how well it was found.
pub(super) type Ranked = (Candidate<MemoryId, Representation>, Record);

impl Engine {
    /// Orders the best candidates anew, if there is a reranker. Gives why it was not done, where it was to be done.
    pub(super) async fn look_again(
        self: &Arc<Self>,
        memory: &Memory,
        ranked: &mut [Ranked],
        question: &str,
        request: &RecallRequest<'_>,
    ) -> Option<String> {
        let model = memory.settings.reranker.clone()?;
        if ranked.len() < 2 {
            return None;
        }
        if let Some(pause) = memory.reranker_patience.pause(Instant::now()) {
            return Some(format!("the reranker was too slow for the last questions; it is asked again in {pause:.1?}"));
        }
        let judged = ranked.len().min(JUDGED_MAX);
        let (first, _) = ranked.split_at_mut_checked(judged)?;
        let command = RerankCommand {
            caller: request.caller.clone(),
            request_id: RequestId::new(),
            model,
            query: question.to_owned(),
            documents: first.iter().map(|(_, record)| beginning(&record.line())).collect(),
            trace: RequestTrace::new(request.parent.clone()),
        };
        let time_max = memory.settings.question_timeout;
        let scores = match timeout(time_max, self.rerank(command)).await {
            Ok(done) => {
                memory.reranker_patience.answered();
                match done {
                    Ok(scores) => scores,
                    Err(error) => return Some(format!("the reranker failed: {error}")),
                }
            }
            Err(_) => {
                memory.reranker_patience.was_late(Instant::now());
                return Some(format!("the reranker took longer than {time_max:?}"));
            }
        };
        order(ranked, &scores);
        None
    }
}

/// Puts those that were judged in front, the best first.
fn order(ranked: &mut [Ranked], scores: &[Option<f64>]) {
    // Some models give probabilities, others the numbers that those are made of.
    let are_logits = scores.iter().flatten().any(|score| !(0.0..=1.0).contains(score));
    for ((candidate, _), score) in ranked.iter_mut().zip(scores) {
        let score = score.map(|score| if are_logits { 1.0 / (1.0 + (-score).exp()) } else { score });
        candidate.reranked = score;
        candidate.score = score.unwrap_or(candidate.score);
    }
    // A stable sort: what was not judged stays in its order, behind.
    ranked.sort_by(|(one, _), (other, _)| match (one.reranked, other.reranked) {
        (Some(one), Some(other)) => other.total_cmp(&one),
        (one, other) => other.is_some().cmp(&one.is_some()),
    });
}

fn beginning(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text).to_owned()
}
