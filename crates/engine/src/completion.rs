//! A chat from the request to the recorded answer: `route` → `lead` → `gather` → (`admit` → `begin` → `call`) → `record`. What stands
//! in brackets is done for one target after the other, until one answers (`attempts`).
//!
//! [`Engine::complete`] is the whole way. The engine tracks every call, so that a client that leaves is still accounted for: the
//! call is cancelled, what was answered is kept and what was used is charged.
//!
//! Order of durability: what the client said and the most that the call can cost are on disk before the provider is asked;
//! the answer and what it did cost are on disk before the client sees its end. A call that fails before any output leaves
//! nothing behind but its row in the ledger.

mod ability;
mod attempt;
mod attempts;
mod cache;
mod compose;
mod lead;
mod record;
mod relay;
mod respond;
mod shaped;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::canonical::Message;
use privet_dialects::incoming::Incoming;
use privet_dialects::openai::chat_request::MaxTokensField;
use privet_dialects::shaping::{Shaping, encode_shaped};
use privet_dialects::translate::{EncodeOptions, RequestError, WholeAnswer, encode_request};
use privet_dialects::{BadRequest, Unsupported};
use privet_domain::id::{ConversationId, RequestId};
use privet_domain::memory::MemoryScope;
use privet_providers::{PassedHead, Provider, ProviderError};
use privet_store::{CallKind, Refusal, StoreError};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::admission::{Admission, AdmissionError, Applicant, CallOrder, OutputWish, Refused};
use crate::keyring::Caller;
use crate::limits::OUTPUT_TOKENS;
use crate::linked_media::LinkedMediaError;
use crate::memory::scope_of;
use crate::owned::Owned;
use crate::prompt::PromptError;
use crate::router::{Target, UnknownModel};
use crate::settlement::{OpenCall, Used};
use crate::traces::{CallTrace, Ended, RequestTrace};
use attempt::Opened;
use attempts::{Landed, Prepared};
use cache::{Asked, Keep};
use compose::{Gathered, Turn};

pub use ability::BeyondTheModel;
pub use cache::{CacheSettings, CacheTold, CacheWish};
pub use lead::{NamedPrompt, PromptWish};
pub(crate) use relay::send_in_time;
pub use shaped::StructuredTold;

/// A chat to complete.
pub struct ChatCommand {
    /// Who asks.
    pub caller: Caller,
    /// The id of the request, for the logs.
    pub request_id: RequestId,
    /// The request, in the client's dialect.
    pub incoming: Incoming,
    /// What of its head a provider of the same dialect gets.
    pub passed: PassedHead,
    /// The conversation that it continues.
    pub conversation_id: Option<ConversationId>,
    /// Whether it came through an endpoint that always has a conversation.
    pub conversational: bool,
    /// The prompt that leads the thread.
    pub prompt: Option<PromptWish>,
    /// What it says of answers that are kept for the same question; `None` leaves that to its key.
    pub cache: Option<CacheWish>,
    /// Where the request stands in its client's trace, and where its own is told.
    pub trace: RequestTrace,
}

impl ChatCommand {
    /// For whom the request speaks: for the user that it names, if the key may speak for others; else for the key's.
    pub(crate) fn user(&self) -> String {
        self.memory_scope().user
    }

    /// What a provider gets of the request's head: nothing, if it speaks another dialect.
    fn passed_to(&self, target: &Target) -> Option<&PassedHead> {
        (self.incoming.dialect().dialect() == target.provider.dialect()).then_some(&self.passed)
    }

    /// Whose memories the request reads and writes.
    pub(crate) fn memory_scope(&self) -> MemoryScope {
        let named = self.incoming.metadata().get("trace_user_id").and_then(Value::as_str).map(str::to_owned);
        scope_of(&self.caller, named.or_else(|| self.incoming.user()))
    }
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
    Stream(mpsc::Receiver<Piece>),
    /// Server-sent events that are there already, all recorded.
    Replayed(Bytes),
}

/// A piece of a stream.
#[derive(Debug)]
pub enum Piece {
    /// More follows, or the stream has failed.
    More(Bytes),
    /// The last of a stream that is complete.
    Last(Bytes),
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
    /// The model cannot do what is asked.
    #[error(transparent)]
    Beyond(#[from] BeyondTheModel),
    /// No provider answers for the model.
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    /// The conversation does not exist, or is another project's.
    #[error(
        "The conversation `{0}` does not exist. Leave the id out to begin one, or make it with POST /api/conversations."
    )]
    UnknownConversation(ConversationId),
    /// The response to go on from does not exist, or is another key's.
    #[error(
        "Previous response with id '{0}' not found. It must be kept (`store` is not false), and only the key that made it can go on \
         from it; send the whole thread instead."
    )]
    UnknownResponse(String),
    /// A conversation is continued where none are kept.
    #[error(
        "Conversations are not kept here (`history.record = \"none\"`): send the whole thread, and no id of a conversation \
         or response."
    )]
    HistoryOff,
    /// The prompt cannot be had, or not with what was given for its holes.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// What the request names by URL cannot be had for a provider that takes no URLs.
    #[error(transparent)]
    LinkedMedia(#[from] LinkedMediaError),
    /// A limit refuses the call.
    #[error(transparent)]
    Refused(#[from] Refused),
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
    /// A switch was thrown or the key revoked while the call was under way.
    #[error("the call was stopped: its key was revoked, or it was switched off")]
    Stopped,
}

impl From<AdmissionError> for CompletionError {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::Refused(refused) => Self::Refused(refused),
            AdmissionError::Store(error) => Self::Store(error),
        }
    }
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
async fn run(engine: Arc<Engine>, mut command: ChatCommand, left: CancellationToken) -> Result<Reply, CompletionError> {
    let began = engine.clock.now();
    let route = engine.router.resolve(command.incoming.model())?;
    let origin = respond::origin(&engine, &mut command).await?;
    let led = lead::put(&engine, &mut command).await?;
    let gathered = match origin {
        Some(origin) => respond::gather(&command, origin),
        None => compose::gather(&engine, &command).await?,
    };
    let cached = cache::ask(&engine, &command, &gathered, &route).await;
    let keep = cached.as_ref().and_then(Asked::keep);
    let (cache, kept) = cached.map_or((None, None), |asked| (Some(asked.told), asked.found));
    let prepared = Prepared {
        command: &command,
        gathered: &gathered,
        prompt: led.prompt,
        recollection: led.recollection.as_ref(),
        began,
        cache,
        kept,
    };
    let landed = attempts::travel(&engine, prepared, &route, &left).await?;
    let Landed { target, opened, call, turn, trace } = landed;
    let ending = Ending { turn, call, trace, keep };
    match opened {
        Opened::Whole(whole, headers) => {
            let used = usage::of_complete(&whole.answer, &target);
            finish_whole(&engine, &command, ending, used, (whole, headers)).await
        }
        Opened::Kept(whole) => {
            finish_whole(&engine, &command, ending, usage::of_kept(), (whole, HeaderMap::new())).await
        }
        Opened::Stream(stream) => {
            let (sender, reply) = oneshot::channel();
            let calls = engine.calls.clone();
            calls.spawn(stream.run(engine, ending, sender));
            reply.await.unwrap_or(Err(CompletionError::ShuttingDown))
        }
    }
}

/// What must be written when a call has ended: how its turn ends, what it cost, and its trace; and where its answer is kept for the
/// same question.
struct Ending {
    turn: Option<Turn>,
    call: OpenCall,
    trace: Option<CallTrace>,
    keep: Option<Keep>,
}

/// How a request goes to a target.
#[derive(Clone, Copy)]
enum Sending<'a> {
    /// As it came.
    AsItCame,
    /// Its schema put in words.
    Shaped(Shaping<'a>),
    /// Not at all: its answer is kept here.
    Kept,
}

/// Whether a call of the target may be made, and the money reserved for it.
async fn admit(
    engine: &Engine,
    command: &ChatCommand,
    (target, sending): (&Target, Sending<'_>),
    gathered: &Gathered<'_>,
    (call_id, order): (RequestId, CallOrder),
) -> Result<Admission, CompletionError> {
    ability::check(engine, command, target, &gathered.history)?;
    let mut size = command.incoming.size(&gathered.history);
    if let Sending::Shaped(shaping) = sending {
        size.text_tokens = size.text_tokens.saturating_add(shaping.bytes());
    }
    let incoming = &command.incoming;
    let outbound = target.provider.dialect();
    // The other dialects have no word for it: it is not sent.
    let has_tiers = outbound.is_openais();
    let tier = incoming.service_tier(outbound)?;
    let applicant = Applicant {
        caller: &command.caller,
        call_id,
        kind: CallKind::Chat,
        asked_model: incoming.model(),
        target,
        size,
        output: match sending {
            Sending::Kept => OutputWish::Kept,
            Sending::AsItCame | Sending::Shaped(_) => OutputWish::Answers {
                count: incoming.choices(),
                limit: incoming.output_limit()?,
                sets_default: command.conversational,
            },
        },
        tier: tier.as_deref(),
        sets_tier: has_tiers && tier.is_none(),
        unbounded: incoming.unbounded_field(),
        order,
    };
    engine.admit(applicant).await.map_err(CompletionError::from)
}

async fn finish_whole(
    engine: &Engine,
    command: &ChatCommand,
    ending: Ending,
    used: Used,
    (whole, headers): (Box<WholeAnswer>, HeaderMap),
) -> Result<Reply, CompletionError> {
    let conversation_id = ending.turn.as_ref().map(|turn| turn.conversation_id);
    tracing::debug!(request_id = %command.request_id, usage = ?whole.answer.usage, "answered");
    record::finish(engine, ending, used, &whole.answer, Ended::Whole(&whole.answer.messages)).await?;
    // What is whole where a stream is asked for was written as one.
    let body = if command.incoming.stream() { ReplyBody::Replayed } else { ReplyBody::Whole };
    Ok(Reply { conversation_id, headers, body: body(whole.body) })
}

fn encode(
    command: &ChatCommand,
    (target, sending): (&Target, Sending<'_>),
    history: &[Message],
    admission: &Admission,
) -> Result<Bytes, CompletionError> {
    let options = EncodeOptions {
        max_tokens_field: max_tokens_field(target),
        default_max_tokens: OUTPUT_TOKENS,
        output_limit: admission.output_limit,
        service_tier: admission.service_tier,
    };
    let (incoming, model, outbound) = (&command.incoming, &target.model, target.provider.dialect());
    Ok(match sending {
        Sending::AsItCame => encode_request(incoming, model, history, outbound, &options)?,
        Sending::Shaped(shaping) => encode_shaped(incoming, model, (history, shaping), outbound, &options)?,
        Sending::Kept => Bytes::new(),
    })
}

fn max_tokens_field(target: &Target) -> Option<MaxTokensField> {
    match &*target.provider {
        Provider::Http(http) => http.settings().max_tokens_field_for(&target.model),
        Provider::Offline | Provider::Local(_) => None,
    }
}

impl Engine {
    /// Keeps a refusal for whoever asks why.
    pub fn note_refusal(&self, caller: &Caller, request_id: RequestId, model: Option<&str>, refused: &Refused) {
        self.refusals.note(Refusal {
            id: request_id,
            at: self.clock.now(),
            gate: refused.gate().to_owned(),
            project_id: caller.project_id,
            key_id: caller.key_id,
            model: model.map(|model| model.chars().take(MODEL_CHARS_KEPT).collect()),
            reason: refused.to_string(),
        });
    }
}

/// Of a refused request's model so much is kept.
const MODEL_CHARS_KEPT: usize = 100;
/// How long a client may take to read one piece of a stream before it counts as gone.
pub const CLIENT_STALL: Duration = Duration::from_secs(120);
