//! A chat from the request to the recorded answer: `route` → `compose` → `call` → `record`.
//!
//! [`Engine::complete`] is the whole way. The engine tracks every call, so that a client that leaves is still accounted for: the
//! call is cancelled and what was answered is kept.
//!
//! Order of durability: what the client said is on disk before the provider is asked; the answer is on disk before the
//! client sees its end. A call that fails before any output leaves nothing behind.

mod compose;
mod owned;
mod record;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::openai::chat_request::{IncomingChat, MaxTokensField};
use privet_dialects::translate::{EncodeOptions, RequestError, decode_response, encode_request};
use privet_dialects::{BadRequest, Unsupported, UpstreamFault};
use privet_domain::id::{ConversationId, RequestId};
use privet_providers::{ChatCall, Provider, ProviderError, UpstreamAnswer, UpstreamBody};
use privet_store::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::keyring::Caller;
use crate::router::{Target, UnknownModel};
use compose::Turn;
use owned::Owned;

/// The output limit of a request that names none, for dialects that demand one. The lesson's applications use the same.
pub const DEFAULT_MAX_TOKENS: u64 = 4096;

/// A chat to complete.
pub struct ChatCommand {
    /// Who asks.
    pub caller: Caller,
    /// The id of the request, for the logs.
    pub request_id: RequestId,
    /// The request, in OpenAI's dialect.
    pub incoming: IncomingChat,
    /// The conversation that it continues.
    pub conversation_id: Option<ConversationId>,
    /// Whether it came through an endpoint that always has a conversation.
    pub conversational: bool,
}

/// An answer, in the client's dialect.
pub struct Reply {
    /// The conversation that it is part of, if it is kept.
    pub conversation_id: Option<ConversationId>,
    /// The provider's headers that concern the client.
    pub headers: HeaderMap,
    /// The body.
    pub body: ReplyBody,
}

/// The body of an answer.
pub enum ReplyBody {
    /// All of it, recorded already.
    Whole(Bytes),
    /// Server-sent events. Its last piece comes when the answer is recorded.
    Stream(mpsc::Receiver<Bytes>),
}

/// Why a chat was not completed.
#[derive(Debug, thiserror::Error)]
pub enum CompletionError {
    /// The request is wrong.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The model's provider cannot do what is asked.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// No provider answers for the model.
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    /// The conversation does not exist, or is another project's.
    #[error(
        "The conversation `{0}` does not exist. Leave the id out to begin one, or make it with POST /api/conversations."
    )]
    UnknownConversation(ConversationId),
    /// A conversation is continued where none are kept.
    #[error(
        "Conversations are not kept here (`history.record = \"none\"`): send the whole thread and no conversation id."
    )]
    HistoryOff,
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server stops.
    #[error("the server is shutting down; repeat the request in a moment")]
    ShuttingDown,
    /// The client left.
    #[error("the client left before the answer")]
    ClientLeft,
}

impl From<RequestError> for CompletionError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::BadRequest(error) => Self::BadRequest(error),
            RequestError::Unsupported(error) => Self::Unsupported(error),
        }
    }
}

impl Engine {
    /// Completes a chat.
    ///
    /// Dropping the future cancels the call at the provider; what was answered until then is kept.
    ///
    /// # Errors
    /// When there is no answer, or it could not be recorded. A failure in the middle of a stream is an event in it.
    pub async fn complete(self: &Arc<Self>, command: ChatCommand) -> Result<Reply, CompletionError> {
        if self.calls.is_closed() {
            return Err(CompletionError::ShuttingDown);
        }
        let left = CancellationToken::new();
        let run = run(self.clone(), command, left.clone());
        Owned::new(run, left, self.calls.clone()).await
    }
}

/// `left` is cancelled when nobody waits for the reply any more.
async fn run(engine: Arc<Engine>, command: ChatCommand, left: CancellationToken) -> Result<Reply, CompletionError> {
    let target = engine.router.resolve(command.incoming.model.as_deref())?;
    let composed = compose::compose(&engine, &command, &target).await?;
    let called = tokio::select! {
        biased;
        () = left.cancelled() => Err(CompletionError::ClientLeft),
        () = engine.stop.cancelled() => Err(CompletionError::ShuttingDown),
        called = target.provider.chat(composed.call(&command, &target)) => called.map_err(CompletionError::from),
    };
    match called {
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Whole(body) }) => {
            finish_whole(&engine, &command, &target, composed.turn, body, headers).await
        }
        Ok(UpstreamAnswer { headers, body: UpstreamBody::Stream(stream) }) => {
            let (sender, reply) = oneshot::channel();
            let relay = relay::Relay::new(&command, &target, composed.created);
            let calls = engine.calls.clone();
            calls.spawn(relay.run(engine, composed.turn, stream, headers, sender));
            reply.await.unwrap_or(Err(CompletionError::ShuttingDown))
        }
        Err(error) => {
            record::withdraw(&engine, composed.turn).await;
            Err(error)
        }
    }
}

/// A chat that is ready to be sent.
struct Composed {
    turn: Option<Turn>,
    body: Bytes,
    created: i64,
}

impl Composed {
    fn call<'a>(&self, command: &ChatCommand, target: &'a Target) -> ChatCall<'a> {
        ChatCall {
            model: &target.model,
            body: self.body.clone(),
            stream: command.incoming.stream,
            created: self.created,
        }
    }
}

async fn finish_whole(
    engine: &Engine,
    command: &ChatCommand,
    target: &Target,
    turn: Option<Turn>,
    body: Bytes,
    headers: HeaderMap,
) -> Result<Reply, CompletionError> {
    let created = engine.clock.now().as_seconds();
    // The dialects read only what they need: bytes that are no text would pass in a field that nobody read.
    let text = match std::str::from_utf8(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(UpstreamFault::Malformed(error.to_string())),
    };
    let whole = match text.and_then(|body| decode_response(target.provider.dialect(), body, created)) {
        Ok(whole) => whole,
        Err(fault) => {
            record::withdraw(engine, turn).await;
            return Err(target.provider.fault(fault).into());
        }
    };
    let conversation_id = turn.as_ref().map(|turn| turn.conversation_id);
    tracing::debug!(request_id = %command.request_id, usage = ?whole.answer.usage, "answered");
    record::finish(engine, turn, &whole.answer, privet_store::MessageStatus::Complete).await?;
    Ok(Reply { conversation_id, headers, body: ReplyBody::Whole(whole.body) })
}

fn encode(
    incoming: &IncomingChat,
    target: &Target,
    history: &[privet_dialects::canonical::Message],
) -> Result<Bytes, CompletionError> {
    let options = EncodeOptions {
        max_tokens_field: max_tokens_field(target),
        default_max_tokens: DEFAULT_MAX_TOKENS,
        output_limit: None,
    };
    Ok(encode_request(incoming, &target.model, history, target.provider.dialect(), &options)?)
}

fn max_tokens_field(target: &Target) -> Option<MaxTokensField> {
    match &*target.provider {
        Provider::Http(http) => http.settings().max_tokens_field_for(&target.model),
        Provider::Offline => None,
    }
}

/// How long a client may take to read one piece of a stream before it counts as gone.
const CLIENT_STALL: Duration = Duration::from_secs(120);
