//! How much of a provider's work a call has used, whichever way it ended.

use privet_dialects::canonical::Usage;
use privet_dialects::translate::Answer;
use privet_dialects::{Dialect, UpstreamFault};
use privet_domain::model::is_openai_reasoning;
use privet_providers::{ProviderError, TimeoutStage};
use privet_store::Outcome;

use super::CompletionError;
use crate::router::Target;
use crate::settlement::{TokensUsed, Used};

/// Of an answer that is whole.
pub(super) fn of_complete(answer: &Answer, target: &Target) -> Used {
    let tokens = of_answer(answer, target);
    Used { outcome: Outcome::Complete, tokens, tier: answer.tier.clone() }
}

/// Of an answer that was kept here: nobody was asked.
pub(super) const fn of_kept() -> Used {
    Used { outcome: Outcome::Complete, tokens: TokensUsed::Nothing, tier: None }
}

/// Of a stream that ended before its end.
pub(super) fn of_cut(answer: &Answer, error: &CompletionError, target: &Target) -> Used {
    let is_refusal =
        matches!(error, CompletionError::Provider(ProviderError::Fault { fault: UpstreamFault::Reported { .. }, .. }));
    // A server that reports an error in place of an answer has not worked. One that had begun may have thought unseen.
    let tokens = if is_refusal && !answer.has_begun() { TokensUsed::Nothing } else { of_answer(answer, target) };
    let outcome = if tokens == TokensUsed::Nothing { Outcome::Failed } else { outcome(error) };
    Used { outcome, tokens, tier: answer.tier.clone() }
}

/// The provider's count, if it is the last one.
fn of_answer(answer: &Answer, target: &Target) -> TokensUsed {
    let bytes = answer.output_bytes();
    // A count of nothing where there is something is none. Local servers of OpenAI's dialect count no input that they remember.
    let is_of_both = |usage: Usage| {
        (usage.input > 0 || target.provider.dialect() == Dialect::OpenAiChat) && (usage.output > 0 || bytes == 0)
    };
    match answer.usage {
        Some(usage) if answer.is_counted && is_of_both(usage) => TokensUsed::Reported(usage),
        Some(usage) => TokensUsed::ReportedSoFar(usage, bytes),
        None => uncounted(bytes, target),
    }
}

/// Of a call that the provider failed before there was output; `begun` is what had come of a stream.
pub(super) fn of_failed(error: &ProviderError, begun: Option<&Answer>, streams: bool, target: &Target) -> Used {
    let is_refusal = matches!(error, ProviderError::Fault { fault: UpstreamFault::Reported { .. }, .. });
    let (tokens, tier) = match begun {
        // A server that reports an error in place of an answer has not worked. One that had begun may have thought unseen.
        Some(answer) if is_refusal && !answer.has_begun() => (TokensUsed::Nothing, None),
        Some(answer) => (of_answer(answer, target), answer.tier.clone()),
        None => (of_failure(error, streams, target), None),
    };
    let outcome = if tokens == TokensUsed::Nothing { Outcome::Failed } else { Outcome::Cut };
    Used { outcome, tokens, tier }
}

/// Of a call that was cancelled because another one answered first.
pub(super) fn of_overtaken(streams: bool, target: &Target) -> Used {
    let tokens = if streams { uncounted(0, target) } else { TokensUsed::Unknown };
    Used { outcome: Outcome::Left, tokens, tier: None }
}

/// Of a call that was broken off before its answer began.
pub(super) fn of_broken_off(error: &CompletionError, streams: bool, target: &Target) -> Used {
    // A provider that is not streaming may work on after the connection is closed.
    let tokens = if streams { uncounted(0, target) } else { TokensUsed::Unknown };
    Used { outcome: outcome(error), tokens, tier: None }
}

fn of_failure(error: &ProviderError, is_stream: bool, target: &Target) -> TokensUsed {
    match error {
        ProviderError::Connect { .. }
        | ProviderError::Status { .. }
        | ProviderError::NotOffered { .. }
        | ProviderError::Timeout { stage: TimeoutStage::Connect, .. }
        | ProviderError::Fault { fault: UpstreamFault::Reported { .. }, .. } => TokensUsed::Nothing,
        ProviderError::Timeout { .. } | ProviderError::Fault { .. } if is_stream => uncounted(0, target),
        ProviderError::Timeout { .. } | ProviderError::Fault { .. } => TokensUsed::Unknown,
    }
}

/// Output that the provider did not count. What a model of OpenAI's thinks is not in the stream: it may be anything.
fn uncounted(bytes: u64, target: &Target) -> TokensUsed {
    let thinks_unseen = target.provider.dialect().is_openais() && is_openai_reasoning(&target.model);
    if thinks_unseen { TokensUsed::Unknown } else { TokensUsed::Bytes(bytes) }
}

const fn outcome(error: &CompletionError) -> Outcome {
    match error {
        CompletionError::ClientLeft => Outcome::Left,
        CompletionError::Stopped | CompletionError::ShuttingDown => Outcome::Stopped,
        _ => Outcome::Cut,
    }
}
