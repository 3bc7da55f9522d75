//! Counting the tokens of a request at the provider of its model. It costs nothing and leaves neither history nor trace; switches, the
//! key's models and the places for calls hold as for a chat.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::count::{decode_count, encode_question};
use privet_dialects::incoming::Incoming;
use privet_domain::id::RequestId;
use privet_providers::{CountCall, PassedHead, ProviderError};

use crate::Engine;
use crate::admission::Refused;
use crate::completion::CompletionError;
use crate::keyring::Caller;
use crate::linked_media::{FetchedMedia, OpenLinks};
use crate::router::Target;

/// A request to be counted.
pub struct CountCommand {
    /// Who asks.
    pub caller: Caller,
    /// The id of the request, for the logs.
    pub request_id: RequestId,
    /// The request, in the client's dialect.
    pub incoming: Incoming,
    /// What of its head a provider of the same dialect gets.
    pub passed: PassedHead,
}

/// A count, in the client's dialect.
pub struct CountReply {
    /// The provider's headers that concern the client.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Engine {
    /// Counts the tokens of a request, as far as it stands in its body: no conversation and no prompt is added.
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Errors
    /// When the model is unknown, its provider does not count, a limit refuses, or the call fails.
    pub async fn count_tokens(&self, command: &CountCommand) -> Result<CountReply, CompletionError> {
        let CountCommand { caller, request_id, incoming, passed } = command;
        let route = self.router.resolve(incoming.model())?;
        // Of several targets the first that counts: each would count a little differently.
        let mut counted = self.count_at(command, route.first(), passed).await;
        for target in route.targets().skip(1) {
            if !matches!(counted, Err(CompletionError::Provider(ProviderError::NotOffered { .. }))) {
                break;
            }
            counted = self.count_at(command, target, passed).await;
        }
        if let Err(CompletionError::Refused(refused)) = &counted {
            self.note_refusal(caller, *request_id, incoming.model(), refused);
        }
        counted
    }

    async fn count_at(
        &self,
        command: &CountCommand,
        target: &Target,
        passed: &PassedHead,
    ) -> Result<CountReply, CompletionError> {
        let CountCommand { caller, incoming, .. } = command;
        let (provider, outbound) = (&target.provider, target.provider.dialect());
        let stoppable = self.switchboard.begin(caller.key_id, provider.name()).map_err(Refused::SwitchedOff)?;
        let name = format!("{}/{}", provider.name(), target.model);
        caller.limits.permit(incoming.model().unwrap_or(&name), &name).map_err(Refused::Model)?;
        let of_key = caller.limits.concurrency.or(self.limits.key.concurrency);
        let place_of_key = of_key.map(|most| self.gates.take_place_of_key(caller.family_id, most)).transpose();
        let _places = (
            place_of_key.map_err(Refused::Crowded)?,
            self.gates.take_place(self.limits.concurrency).map_err(Refused::Crowded)?,
        );
        let mut body = encode_question(incoming, &target.model, outbound)?;
        let passed = (incoming.dialect().dialect() == outbound).then_some(passed);
        let counted = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(CompletionError::ShuttingDown),
            () = stoppable.stop.cancelled() => return Err(CompletionError::Stopped),
            counted = async {
                if let Some(open) = OpenLinks::of(target, incoming.dialect(), &body) {
                    let mut fetched = FetchedMedia::default();
                    self.fetch_links(&open, &mut fetched, Duration::MAX).await?;
                    body = open.close(&body, &fetched);
                }
                let call = CountCall { model: &target.model, body, passed };
                provider.count_tokens(call).await.map_err(CompletionError::from)
            } => counted?,
        };
        let body = decode_count(incoming.dialect(), outbound, counted.body).map_err(|fault| provider.fault(fault))?;
        Ok(CountReply { headers: counted.headers, body })
    }
}
