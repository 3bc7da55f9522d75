//! One call of a chat: sent, and its answer read as far as it must be to know that there is one. It changes nothing that is kept;
//! dropped, it cancels the call at the provider.

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::UpstreamFault;
use privet_dialects::translate::{Answer, Asker, WholeAnswer, decode_response};
use privet_providers::{ChatCall, ProviderError, UpstreamAnswer, UpstreamBody};

use super::relay::{OpenStream, Relay};
use super::usage;
use crate::Engine;
use crate::router::Target;
use crate::settlement::Used;

/// An answer that there is.
pub(super) enum Opened {
    /// All of it.
    Whole(Box<WholeAnswer>, HeaderMap),
    /// All of it, from here: no provider was asked.
    Kept(Box<WholeAnswer>),
    /// A stream with output.
    Stream(Box<OpenStream>),
}

/// Why a call got no answer that the client could use.
#[derive(Debug)]
pub(super) struct AttemptFailure {
    pub(super) error: ProviderError,
    /// What had come of a stream.
    pub(super) begun: Option<Box<Answer>>,
}

impl AttemptFailure {
    /// How much of the provider's work was used.
    pub(super) fn used(&self, streams: bool, target: &Target) -> Used {
        usage::of_failed(&self.error, self.begun.as_deref(), streams, target)
    }
}

/// Sends the call and waits for an answer. `relay` moves the stream, if it is one.
pub(super) async fn open(
    engine: &Engine,
    (asker, target): (Asker, &Target),
    call: ChatCall<'_>,
    relay: Relay,
) -> Result<Opened, AttemptFailure> {
    let answered = target.provider.chat(call).await;
    let UpstreamAnswer { headers, body } = answered.map_err(|error| AttemptFailure { error, begun: None })?;
    match body {
        UpstreamBody::Stream(stream) => Ok(Opened::Stream(Box::new(relay.open(stream, headers).await?))),
        UpstreamBody::Whole(body) => {
            let whole = read_whole(engine, asker, target, body);
            let whole = whole.map_err(|fault| AttemptFailure { error: target.provider.fault(fault), begun: None })?;
            Ok(Opened::Whole(Box::new(whole), headers))
        }
    }
}

fn read_whole(engine: &Engine, asker: Asker, target: &Target, body: Bytes) -> Result<WholeAnswer, UpstreamFault> {
    // The dialects read only what they need: bytes that are no text would pass in a field that nobody read.
    if let Err(error) = std::str::from_utf8(&body) {
        return Err(UpstreamFault::Malformed(error.to_string()));
    }
    decode_response(asker, target.provider.dialect(), body, engine.clock.now().as_seconds())
}
