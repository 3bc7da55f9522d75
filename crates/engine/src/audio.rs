//! Speech from text, and text from recordings. Request and answer pass as they are, with the most that they can cost held before. Sound is
//! relayed and never held in memory as a whole; the trace has the words and no sound.
//!
//! They are asked once, of the first model of their name. One task owns the call to its end: who leaves is settled too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use privet_dialects::UpstreamFault;
use privet_dialects::canonical::{Message, Role, Usage};
use privet_dialects::openai::audio::{AnswerReader, AudioEndpoint, Counted, IncomingAudio, PricedBy};
use privet_domain::id::RequestId;
use privet_domain::money::Nanos;
use privet_domain::pricing::{Price, Rates};
use privet_providers::{AudioCall, ByteStream, UpstreamBody};
use privet_store::CallKind;
use tokio::sync::{mpsc, oneshot};

use crate::Engine;
use crate::admission::{Applicant, CallOrder, OutputWish};
use crate::completion::{CompletionError, Piece, send_in_time};
use crate::keyring::Caller;
use crate::plain_call;
use crate::router::Target;
use crate::settlement::{OpenCall, TokensUsed, Used};
use crate::traces::{CallTrace, Ended, RequestTrace, WayTold};

/// So many pieces may wait for a slow client.
const PIECES_WAITING: usize = 16;

/// A text to speak, or a recording.
pub struct AudioCommand {
    /// Who asks.
    pub caller: Caller,
    /// The id of the request, for the logs and the ledger.
    pub request_id: RequestId,
    /// The request.
    pub incoming: IncomingAudio,
    /// Where the request stands in its client's trace, and where its own is told.
    pub trace: RequestTrace,
}

/// An answer as the provider wrote it.
#[derive(Debug)]
pub struct AudioReply {
    /// The provider's headers that concern the client, its content type among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: AudioBody,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AudioBody {
    /// All of it, recorded already.
    Whole(Bytes),
    /// As it comes. Its last piece, which is empty, comes when it is recorded; without that one it was cut.
    Stream(mpsc::Receiver<Piece>),
}

/// An answer that has begun.
enum Opened {
    Whole(HeaderMap, Bytes, Box<AnswerReader>),
    Stream(HeaderMap, ByteStream, Box<AnswerReader>),
}

/// What must be written when a call has ended.
struct Ending {
    call: OpenCall,
    trace: Option<CallTrace>,
    target: Target,
    tariff: Tariff,
}

/// By what an answer is charged.
#[derive(Clone, Copy, Debug)]
struct Tariff {
    priced_by: PricedBy,
    /// Whether it costs nothing, however it is counted.
    is_free: bool,
    /// The characters of a text that is spoken.
    characters: Option<u64>,
}

impl Engine {
    /// Passes a text to speak or a recording to the provider of its model.
    ///
    /// Dropping the future, or the stream that it gives, cancels the call at the provider; what it may have used is charged.
    ///
    /// # Errors
    /// When the model is unknown, its provider has no such endpoint, a limit refuses, or the call fails.
    pub async fn pass_audio(self: &Arc<Self>, command: AudioCommand) -> Result<AudioReply, CompletionError> {
        if self.calls.is_closed() {
            return Err(CompletionError::ShuttingDown);
        }
        let (client, reply) = oneshot::channel();
        self.calls.spawn(run(self.clone(), command, client));
        reply.await.unwrap_or(Err(CompletionError::ShuttingDown))
    }
}

/// The way back to whoever waits for the reply.
type ReplySender = oneshot::Sender<Result<AudioReply, CompletionError>>;

async fn run(engine: Arc<Engine>, command: AudioCommand, mut client: ReplySender) {
    let reply = match begin(&engine, &command).await {
        Err(error) => Err(error),
        Ok(ending) => {
            let target = ending.target.clone();
            let stopped = ending.call.terms.stoppable.stop.clone();
            let opened = tokio::select! {
                biased;
                () = client.closed() => Err(CompletionError::ClientLeft),
                () = engine.stop.cancelled() => Err(CompletionError::ShuttingDown),
                () = stopped.cancelled() => Err(CompletionError::Stopped),
                opened = open(&command, &target, ending.trace.as_ref()) => opened,
            };
            if opened.is_ok() {
                let answered_by = Some((target.provider.name().to_owned(), target.model.clone()));
                command.trace.tell_way(WayTold { answered_by, ..WayTold::default() });
            }
            match opened {
                Ok(Opened::Stream(headers, stream, reader)) => {
                    return relay(&engine, ending, client, (headers, stream, reader)).await;
                }
                Ok(Opened::Whole(headers, body, reader)) => {
                    let reply = AudioReply { headers, body: AudioBody::Whole(body) };
                    ending.finish(&engine, &reader, Ok(())).await.map(|()| reply)
                }
                Err(error) => {
                    let reader = AnswerReader::new(command.incoming.endpoint, "");
                    let _ = ending.finish(&engine, &reader, Err(&error)).await;
                    Err(error)
                }
            }
        }
    };
    // Whoever waited may have left.
    let _ = client.send(reply);
}

/// Admits the call and makes its hold durable.
async fn begin(engine: &Arc<Engine>, command: &AudioCommand) -> Result<Ending, CompletionError> {
    let incoming = &command.incoming;
    let route = engine.router.resolve(Some(&incoming.model))?;
    let target = route.first();
    let began = engine.clock.now();
    let price = engine.prices.find(target.provider.name(), &target.model, began).map(AsRef::as_ref);
    let tariff = Tariff::of(price, incoming);
    let applicant = Applicant {
        caller: &command.caller,
        call_id: command.request_id,
        kind: match incoming.endpoint {
            AudioEndpoint::Speech => CallKind::Speech,
            AudioEndpoint::Transcription | AudioEndpoint::Translation => CallKind::Transcription,
        },
        asked_model: Some(&incoming.model),
        target,
        size: incoming.size(tariff.priced_by),
        output: match tariff.priced_by {
            PricedBy::Units => OutputWish::None,
            PricedBy::Tokens => {
                OutputWish::Answers { count: 1, limit: Some(incoming.output_tokens_max()), sets_default: false }
            }
        },
        tier: None,
        sets_tier: false,
        unbounded: incoming.unbounded_field(),
        order: CallOrder { inherits: None, patience: Duration::ZERO },
    };
    let trace = || CallTrace::of_audio(command, target, began);
    match engine.begin_plain(&applicant).await {
        Ok(call) => {
            let trace = engine.traces.requests.then(trace);
            Ok(Ending { call, trace, target: target.clone(), tariff })
        }
        Err(error) => {
            if let CompletionError::Refused(refused) = &error {
                engine.note_refusal(&command.caller, command.request_id, Some(&incoming.model), refused);
            }
            engine.trace_refusal(&error, trace).await;
            Err(error)
        }
    }
}

/// Asks the provider until its answer begins, or is there as a whole.
async fn open(command: &AudioCommand, target: &Target, trace: Option<&CallTrace>) -> Result<Opened, CompletionError> {
    let incoming = &command.incoming;
    let parent = CallTrace::parent_of_call(trace, &command.trace);
    let call = AudioCall {
        endpoint: incoming.endpoint,
        model: &target.model,
        request: incoming.forward(&target.model, &format!("privet-{}", RequestId::new())),
        trace_parent: parent.as_ref(),
    };
    let answer = target.provider.audio(call).await?;
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut reader = Box::new(AnswerReader::new(incoming.endpoint, kind));
    match answer.body {
        UpstreamBody::Stream(stream) => Ok(Opened::Stream(answer.headers, stream, reader)),
        UpstreamBody::Whole(body) => {
            let is_json = kind.trim_start().starts_with("application/json");
            reader.whole(&body, is_json).map_err(|fault| target.provider.fault(fault))?;
            Ok(Opened::Whole(answer.headers, body, reader))
        }
    }
}

/// Passes a stream on to its end, and records.
async fn relay(
    engine: &Engine,
    ending: Ending,
    client: ReplySender,
    (headers, stream, mut reader): (HeaderMap, ByteStream, Box<AnswerReader>),
) {
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
    let reply = AudioReply { headers, body: AudioBody::Stream(receiver) };
    let stopped = ending.call.terms.stoppable.stop.clone();
    let passed = match client.send(Ok(reply)) {
        Err(_) => Err(CompletionError::ClientLeft),
        Ok(()) => tokio::select! {
            biased;
            () = stopped.cancelled() => Err(CompletionError::Stopped),
            passed = pump(engine, stream, &pieces, &mut reader) => passed.and_then(|is_whole| {
                let cut = || ending.target.provider.fault(UpstreamFault::Cut).into();
                is_whole.then_some(()).ok_or_else(cut)
            }),
        },
    };
    let recorded = ending.finish(engine, &reader, passed.as_ref().copied()).await;
    // Without it the client sees a body that was cut.
    if recorded.is_ok() && passed.is_ok() {
        let _ = send_in_time(&pieces, Piece::Last(Bytes::new()), &engine.stop).await;
    }
}

/// Moves pieces until the provider is done, and says whether that was the proper end. The stream is dropped with it: a cancelled call
/// stops costing at once.
async fn pump(
    engine: &Engine,
    mut stream: ByteStream,
    pieces: &mpsc::Sender<Piece>,
    reader: &mut AnswerReader,
) -> Result<bool, CompletionError> {
    loop {
        let chunk = tokio::select! {
            biased;
            () = pieces.closed() => return Err(CompletionError::ClientLeft),
            () = engine.stop.cancelled() => return Err(CompletionError::ShuttingDown),
            chunk = stream.next() => chunk?,
        };
        let Some(chunk) = chunk else { return Ok(reader.finish()) };
        reader.push(&chunk);
        if !chunk.is_empty() {
            send_in_time(pieces, Piece::More(chunk), &engine.stop).await?;
        }
    }
}

impl Ending {
    /// Writes what the call cost, and its trace.
    async fn finish(
        self,
        engine: &Engine,
        reader: &AnswerReader,
        ended: Result<(), &CompletionError>,
    ) -> Result<(), CompletionError> {
        let Self { call, mut trace, tariff, .. } = self;
        if let (Some(trace), Some(Counted::Seconds(seconds))) = (&mut trace, reader.counted()) {
            trace.note("seconds", seconds);
        }
        let said = Some(reader.text()).filter(|text| !text.is_empty());
        let said: Vec<Message> = said.map(|text| Message::text(Role::Assistant, text)).into_iter().collect();
        let told = match ended {
            Ok(()) if said.is_empty() => Ended::Unseen,
            Ok(()) => Ended::Whole(&said),
            Err(error) if said.is_empty() => Ended::without_answer(error),
            Err(error) => Ended::Cut(&said, error.to_string()),
        };
        let used = tariff.used(reader.counted(), ended);
        engine.settle(call, used, None, trace.map(|trace| (trace, told))).await?;
        Ok(())
    }
}

impl Tariff {
    /// Where a row's output is free, its input is counted in characters or seconds: no model that is priced by the token speaks or
    /// writes for nothing.
    fn of(price: Option<&Price>, incoming: &IncomingAudio) -> Self {
        let writes_free = |rates: &Rates| rates.output == Nanos::ZERO && rates.audio_output == Nanos::ZERO;
        let by_units = price.is_some_and(|price| writes_free(&price.standard));
        Self {
            priced_by: if by_units { PricedBy::Units } else { PricedBy::Tokens },
            is_free: price.is_none_or(|price| price.standard == Rates::default()),
            characters: incoming.characters(),
        }
    }

    /// How much a call has used. What nobody counted in the way in which it is priced may be all that was held.
    fn used(self, counted: Option<Counted>, ended: Result<(), &CompletionError>) -> Used {
        let tokens = match (counted, self.priced_by) {
            // What is spoken is known before.
            (_, PricedBy::Units) if self.characters.is_some() => {
                TokensUsed::Reported(Usage { input: self.characters.unwrap_or(0), ..Usage::default() })
            }
            (Some(Counted::Seconds(seconds)), priced_by) if priced_by == PricedBy::Units || self.is_free => {
                TokensUsed::Reported(Usage { input: seconds, audio_input: seconds, ..Usage::default() })
            }
            (Some(Counted::Tokens(usage)), priced_by) if priced_by == PricedBy::Tokens || self.is_free => {
                TokensUsed::Reported(usage)
            }
            _ => TokensUsed::Unknown,
        };
        let used = plain_call::used(ended.map(|()| tokens));
        match used.tokens {
            TokensUsed::Bytes(_) => Used { tokens: TokensUsed::Unknown, ..used },
            _ => used,
        }
    }
}
