//! How much of a provider's work a call has used, whichever way it ended.

use privet_dialects::translate::Answer;
use privet_dialects::{Dialect, UpstreamFault};
use privet_domain::model::is_openai_reasoning;
use privet_providers::{ProviderError, TimeoutStage};
use privet_store::Outcome;

use super::{ChatCommand, CompletionError};
use crate::router::Target;
use crate::settlement::{TokensUsed, Used};

/// Of an answer that is whole.
pub(super) fn of_complete(answer: &Answer, target: &Target) -> Used {
    let tokens = match answer.usage {
        Some(usage) => TokensUsed::Reported(usage),
        None => uncounted(answer.output_bytes(), target),
    };
    Used { outcome: Outcome::Complete, tokens, tier: answer.tier.clone() }
}

/// Of a stream that ended before its end. `is_counted` tells that the provider had said its last word of what it used.
pub(super) fn of_cut(answer: &Answer, error: &CompletionError, target: &Target, is_counted: bool) -> Used {
    let bytes = answer.output_bytes();
    let is_refusal =
        matches!(error, CompletionError::Provider(ProviderError::Fault { fault: UpstreamFault::Reported { .. }, .. }));
    let tokens = match answer.usage {
        // A server that reports an error in place of an answer has not worked.
        None if bytes == 0 && is_refusal => TokensUsed::Nothing,
        Some(usage) if is_counted => TokensUsed::Reported(usage),
        Some(usage) => TokensUsed::ReportedSoFar(usage, bytes),
        None => uncounted(bytes, target),
    };
    let outcome = if tokens == TokensUsed::Nothing { Outcome::Failed } else { outcome(error) };
    Used { outcome, tokens, tier: answer.tier.clone() }
}

/// Of a call whose answer did not begin, or could not be read.
pub(super) fn of_unanswered(error: &CompletionError, command: &ChatCommand, target: &Target) -> Used {
    let tokens = match error {
        CompletionError::Provider(error) => of_failure(error, command.incoming.stream, target),
        // A provider that is not streaming may work on after the connection is closed.
        _ if !command.incoming.stream => TokensUsed::Unknown,
        _ => uncounted(0, target),
    };
    let outcome = if tokens == TokensUsed::Nothing { Outcome::Failed } else { outcome(error) };
    Used { outcome, tokens, tier: None }
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
    let thinks_unseen = target.provider.dialect() == Dialect::OpenAiChat && is_openai_reasoning(&target.model);
    if thinks_unseen { TokensUsed::Unknown } else { TokensUsed::Bytes(bytes) }
}

const fn outcome(error: &CompletionError) -> Outcome {
    match error {
        CompletionError::ClientLeft => Outcome::Left,
        CompletionError::Stopped | CompletionError::ShuttingDown => Outcome::Stopped,
        _ => Outcome::Cut,
    }
}
