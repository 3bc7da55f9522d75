//! What calls without a conversation have in common, embeddings, reranking and what passes as it is: how they begin, and what they have
//! used. Where there is no output, what nobody counted is the input.

use privet_dialects::UpstreamFault;
use privet_providers::{ProviderError, TimeoutStage};
use privet_store::{Outcome, StoreError};

use crate::Engine;
use crate::admission::Applicant;
use crate::completion::CompletionError;
use crate::settlement::{OpenCall, TokensUsed, Used};

impl Engine {
    /// Admits a call and makes its hold durable.
    pub(crate) async fn begin_plain(&self, applicant: &Applicant<'_>) -> Result<OpenCall, CompletionError> {
        loop {
            let admission = self.admit(applicant.clone()).await?;
            match self.store.begin_call(admission.hold.clone(), None).await {
                Ok(()) => {
                    let (hold, terms) = admission.into_durable();
                    return Ok(OpenCall { hold, terms });
                }
                // Another server took this one for dead: the money must be had anew.
                Err(StoreError::Fenced) => self.budgets.begin_anew(admission.hold.replica_id).await?,
                Err(error) => {
                    self.give_up(admission, &error);
                    return Err(error.into());
                }
            }
        }
    }
}

/// How much a call has used: what was counted of its answer, or why there is none.
pub(crate) fn used(called: Result<TokensUsed, &CompletionError>) -> Used {
    let (outcome, tokens) = match called {
        Ok(tokens) => (Outcome::Complete, tokens),
        Err(CompletionError::Provider(
            ProviderError::Connect { .. }
            | ProviderError::Timeout { stage: TimeoutStage::Connect, .. }
            | ProviderError::Status { .. }
            | ProviderError::NotOffered { .. }
            | ProviderError::Fault { fault: UpstreamFault::Reported { .. }, .. },
        )) => (Outcome::Failed, TokensUsed::Nothing),
        Err(CompletionError::BadRequest(_) | CompletionError::Unsupported(_)) => (Outcome::Failed, TokensUsed::Nothing),
        Err(CompletionError::ClientLeft) => (Outcome::Left, TokensUsed::Bytes(0)),
        Err(CompletionError::ShuttingDown | CompletionError::Stopped) => (Outcome::Stopped, TokensUsed::Bytes(0)),
        Err(_) => (Outcome::Cut, TokensUsed::Bytes(0)),
    };
    Used { outcome, tokens, tier: None }
}
