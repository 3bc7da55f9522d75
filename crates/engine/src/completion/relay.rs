//! A stream on its way from the provider to the client.
//!
//! It is read until there is output before anything is sent: as long as there is none, another call can take its place, and a
//! failure is a real HTTP status; after that it is an event in the stream. The last piece is held back until the answer is on disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::UpstreamFault;
use privet_dialects::sse::SseDecoder;
use privet_dialects::stream::{StreamFailure, StreamOptions, StreamTranslation};
use privet_domain::id::{ConversationId, RequestId};
use privet_domain::time::Timestamp;
use privet_providers::{ByteStream, OnDisconnect, ProviderError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::attempt::AttemptFailure;
use super::{CLIENT_STALL, ChatCommand, CompletionError, Ending, Piece, Reply, ReplyBody, record, usage};
use crate::Engine;
use crate::router::Target;
use crate::traces::Ended;

/// Silence of this length gets a word of our own, so that no proxy between us and the client gives up.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);
/// A provider that said its last word gets so long to close its stream.
const END_PATIENCE: Duration = Duration::from_millis(50);
/// When the server stops, a client that does not read gets so long.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// So many pieces may wait for a slow client.
const PIECES_WAITING: usize = 32;
/// A stream that sends so many bytes and no output is taken for one that has begun.
const HELD_BACK_BYTES_MAX: usize = 64 * 1024;

/// A stream being relayed.
pub(super) struct Relay {
    request_id: RequestId,
    target: Target,
    decoder: SseDecoder,
    translation: StreamTranslation,
    /// When the request came.
    began: Timestamp,
    /// When the first output was there.
    first_output: Option<Timestamp>,
}

/// A stream that has begun.
pub(super) struct OpenStream {
    relay: Relay,
    stream: ByteStream,
    headers: HeaderMap,
    /// What the client may see of it already.
    first: Vec<u8>,
    state: StreamState,
}

/// How a stream stands when its beginning is handed on.
enum StreamState {
    /// There is more to come.
    Flowing,
    /// There was no output for so long that the client must see a sign of life.
    Silent,
    /// It came to its proper end.
    Ended,
    /// It broke with its first output.
    Broken(UpstreamFault),
}

/// The client's end: before the first output the head of the reply, after it the pieces.
enum Client {
    Waiting {
        sender: ReplySender,
        reply_headers: HeaderMap,
    },
    Reading(mpsc::Sender<Piece>),
    /// It left, and the answer is read to its end all the same: the provider bills all of it.
    Gone,
}

impl Relay {
    pub(super) fn new(command: &ChatCommand, target: &Target, created: i64, began: Timestamp) -> Self {
        let incoming = &command.incoming;
        let options = StreamOptions { include_usage: incoming.include_usage(), choices: incoming.choices(), created };
        Self {
            request_id: command.request_id,
            target: target.clone(),
            decoder: SseDecoder::default(),
            translation: StreamTranslation::new(incoming.asker(), target.provider.dialect(), options),
            began,
            first_output: None,
        }
    }

    /// Reads until there is output, or until the client must see a sign of life.
    pub(super) async fn open(
        mut self,
        mut stream: ByteStream,
        headers: HeaderMap,
    ) -> Result<OpenStream, AttemptFailure> {
        let mut first = Vec::new();
        let silent_until = Instant::now() + KEEP_ALIVE_AFTER;
        let state = loop {
            let chunk = tokio::select! {
                biased;
                chunk = stream.next() => chunk,
                () = sleep_until(silent_until) => break StreamState::Silent,
            };
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // What was complete before the connection broke, or stayed open, is complete.
                Err(_) if self.translation.is_complete() => break StreamState::Ended,
                Err(error) => return Err(self.without_output(error)),
            };
            let ended = chunk.is_none();
            let translated = self.translate(chunk, &mut first);
            let has_begun = self.translation.has_output() || first.len() > HELD_BACK_BYTES_MAX;
            match translated {
                Err(fault) if has_begun => break StreamState::Broken(fault),
                Err(fault) => {
                    let error = self.target.provider.fault(fault);
                    return Err(self.without_output(error));
                }
                Ok(()) if ended => break StreamState::Ended,
                Ok(()) if has_begun || self.translation.is_done() => break StreamState::Flowing,
                Ok(()) => {}
            }
        };
        Ok(OpenStream { relay: self, stream, headers, first, state })
    }

    fn without_output(&self, error: ProviderError) -> AttemptFailure {
        AttemptFailure { error, begun: Some(Box::new(self.translation.answer())) }
    }

    /// Moves pieces until the provider is done.
    async fn pump(
        &mut self,
        flow: Flow<'_>,
        stream: &mut ByteStream,
        client: &mut Client,
    ) -> Result<(), CompletionError> {
        let Flow { engine, conversation_id, first, state } = flow;
        let mut out = first;
        match state {
            StreamState::Silent => {
                out.extend_from_slice(&self.translation.keep_alive());
                let piece = Piece::More(Bytes::from(std::mem::take(&mut out)));
                let sent = client.send(piece, conversation_id, &engine.stop).await;
                self.or_let_go(sent, client)?;
            }
            StreamState::Flowing => {}
            StreamState::Ended => return self.deliver(&mut out, engine, conversation_id, client).await,
            StreamState::Broken(fault) => {
                self.deliver(&mut out, engine, conversation_id, client).await?;
                return Err(self.target.provider.fault(fault).into());
            }
        }
        let mut silent_until = Instant::now() + KEEP_ALIVE_AFTER;
        loop {
            if !out.is_empty() {
                silent_until = Instant::now() + KEEP_ALIVE_AFTER;
                self.deliver(&mut out, engine, conversation_id, client).await?;
            }
            if self.translation.is_done() {
                // Read to its end, the connection can serve again; a provider that leaves it open is not waited for.
                let _ = timeout(END_PATIENCE, stream.next()).await;
                return Ok(());
            }
            let chunk = tokio::select! {
                biased;
                () = client.left() => {
                    self.let_go(client)?;
                    continue;
                }
                () = engine.stop.cancelled() => return Err(CompletionError::ShuttingDown),
                chunk = stream.next() => match chunk {
                    // What was complete before the connection broke, or stayed open, is complete.
                    Err(_) if self.translation.is_complete() => return Ok(()),
                    chunk => chunk?,
                },
                () = sleep_until(silent_until) => {
                    silent_until = Instant::now() + KEEP_ALIVE_AFTER;
                    let sent = client.send(Piece::More(self.translation.keep_alive()), conversation_id, &engine.stop).await;
                    self.or_let_go(sent, client)?;
                    continue;
                }
            };
            let ended = chunk.is_none();
            if let Err(fault) = self.translate(chunk, &mut out) {
                self.deliver(&mut out, engine, conversation_id, client).await?;
                return Err(self.target.provider.fault(fault).into());
            }
            if ended {
                return self.deliver(&mut out, engine, conversation_id, client).await;
            }
        }
    }

    /// Sends what was written for the client, if anything was.
    async fn deliver(
        &mut self,
        out: &mut Vec<u8>,
        engine: &Engine,
        conversation_id: Option<ConversationId>,
        client: &mut Client,
    ) -> Result<(), CompletionError> {
        if out.is_empty() {
            return Ok(());
        }
        self.note_output(engine);
        let sent = client.send(Piece::More(Bytes::from(std::mem::take(out))), conversation_id, &engine.stop).await;
        self.or_let_go(sent, client)
    }

    /// The first output came, or more of it.
    fn note_output(&mut self, engine: &Engine) {
        if self.first_output.is_some() {
            return;
        }
        let now = engine.clock.now();
        self.first_output = Some(now);
        let provider = self.target.provider.name().to_owned();
        metrics::histogram!("privet_time_to_first_token_seconds", "provider" => provider)
            .record(now.since(self.began).as_secs_f64());
    }

    /// A client that left ends the stream, unless its provider would bill all of it anyway.
    fn let_go(&self, client: &mut Client) -> Result<(), CompletionError> {
        if self.target.provider.on_disconnect() == OnDisconnect::Cancel {
            return Err(CompletionError::ClientLeft);
        }
        *client = Client::Gone;
        Ok(())
    }

    fn or_let_go(&self, sent: Result<(), CompletionError>, client: &mut Client) -> Result<(), CompletionError> {
        match sent {
            Err(CompletionError::ClientLeft) => self.let_go(client),
            sent => sent,
        }
    }

    /// Translates the events of a chunk; `None` is the end of the stream, which must be a proper one.
    fn translate(&mut self, chunk: Option<Bytes>, out: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        let ended = chunk.is_none();
        match chunk {
            Some(chunk) => self.decoder.push(&chunk),
            None => self.decoder.finish(),
        }
        while let Some(event) = self.decoder.next_event() {
            let event = event?;
            // Bytes that are no text would pass in a field that nobody reads, and break the client's reader.
            if std::str::from_utf8(&event.data).is_err() {
                tracing::warn!(request_id = %self.request_id, provider = self.target.provider.name(), "an event is not UTF-8; skipped");
                continue;
            }
            self.translation.event(&event, out)?;
        }
        if ended { self.translation.end() } else { Ok(()) }
    }

    async fn close(
        mut self,
        engine: &Engine,
        conversation_id: Option<ConversationId>,
        ending: Ending,
        mut client: Client,
    ) {
        let answer = self.translation.answer();
        let used = usage::of_complete(&answer, &self.target);
        let recorded = record::finish(engine, ending, used, &answer, Ended::Whole(&answer.messages)).await;
        let last = match recorded {
            Ok(()) => Piece::Last(Bytes::from(self.translation.closing())),
            Err(error) => {
                tracing::error!(request_id = %self.request_id, %error, "an answer was not stored");
                if let Client::Waiting { sender, .. } = client {
                    return refuse(sender, error.into());
                }
                let message = format!("The answer could not be stored: {error}");
                self.failure(&message, false, "not_stored")
            }
        };
        // A client that left here has an answer that is kept.
        let _ = client.send(last, conversation_id, &engine.stop).await;
    }

    async fn fail(self, engine: &Engine, ending: Ending, client: Client, error: CompletionError) {
        let answer = self.translation.answer();
        if let CompletionError::Provider(error) = &error {
            engine.health.cut(&self.target, error, engine.clock.now());
        }
        let used = usage::of_cut(&answer, &error, &self.target);
        let has_output = answer.messages.iter().any(|message| !message.parts.is_empty());
        if has_output {
            let ended = Ended::Cut(&answer.messages, error.to_string());
            if let Err(error) = record::finish(engine, ending, used, &answer, ended).await {
                tracing::error!(request_id = %self.request_id, %error, "a cut answer was not stored");
            }
        } else {
            record::withdraw(engine, ending, used, &error).await;
        }
        tracing::info!(request_id = %self.request_id, provider = self.target.provider.name(), %error, "a stream ended early");
        match client {
            Client::Waiting { sender, .. } => refuse(sender, error),
            Client::Reading(pieces) => {
                let event = self.failure(&error.to_string(), true, code_of(&error));
                // Nobody to tell if the client is what failed.
                let _ = send_in_time(&pieces, event, &engine.stop).await;
            }
            Client::Gone => {}
        }
    }

    /// The event that says why the stream ends here.
    fn failure(&self, message: &str, is_upstream: bool, code: &str) -> Piece {
        let request_id = self.request_id.to_string();
        let failure = StreamFailure { message, is_upstream, code, request_id: &request_id };
        Piece::More(Bytes::from(self.translation.failure(&failure)))
    }
}

impl OpenStream {
    /// Relays to the end, and records.
    pub(super) async fn run(self, engine: Arc<Engine>, mut ending: Ending, sender: ReplySender) {
        let Self { mut relay, mut stream, headers, first, state } = self;
        let conversation_id = ending.turn.as_ref().map(|turn| turn.conversation_id);
        let mut client = Client::Waiting { sender, reply_headers: headers };
        let stop = ending.call.terms.stoppable.stop.clone();
        let flow = Flow { engine: &engine, conversation_id, first, state };
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Err(CompletionError::Stopped),
            outcome = relay.pump(flow, &mut stream, &mut client) => outcome,
        };
        // Before anything is written, the provider is let go: a cancelled call stops costing at once.
        drop(stream);
        if let (Some(trace), Some(at)) = (&mut ending.trace, relay.first_output) {
            trace.first_output(at);
        }
        match outcome {
            Ok(()) => relay.close(&engine, conversation_id, ending, client).await,
            Err(error) => relay.fail(&engine, ending, client, error).await,
        }
    }
}

/// What is moved, and for whom.
struct Flow<'a> {
    engine: &'a Engine,
    conversation_id: Option<ConversationId>,
    first: Vec<u8>,
    state: StreamState,
}

/// The way back to whoever waits for the reply.
pub(super) type ReplySender = oneshot::Sender<Result<Reply, CompletionError>>;

/// Whoever waited may have left: then there is nobody to tell.
fn refuse(sender: ReplySender, error: CompletionError) {
    let _ = sender.send(Err(error));
}

/// Sends a piece to a client that reads. One that does not counts as gone; sooner when the server stops.
pub(crate) async fn send_in_time(
    pieces: &mpsc::Sender<Piece>,
    piece: Piece,
    stop: &CancellationToken,
) -> Result<(), CompletionError> {
    let stopping = async {
        stop.cancelled().await;
        sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        biased;
        sent = timeout(CLIENT_STALL, pieces.send(piece)) => match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(CompletionError::ClientLeft),
        },
        () = stopping => Err(CompletionError::ShuttingDown),
    }
}

fn code_of(error: &CompletionError) -> &'static str {
    match error {
        CompletionError::ShuttingDown => "server_shutdown",
        CompletionError::Stopped => "switched_off",
        CompletionError::Provider(ProviderError::Timeout { .. }) => "upstream_timeout",
        CompletionError::Provider(ProviderError::Fault { fault: UpstreamFault::Cut, .. }) => "upstream_cut",
        _ => "upstream_error",
    }
}

impl Client {
    /// Resolves when the client has gone.
    async fn left(&mut self) {
        match self {
            Self::Waiting { sender, .. } => sender.closed().await,
            Self::Reading(pieces) => pieces.closed().await,
            Self::Gone => std::future::pending().await,
        }
    }

    /// Sends a piece, before the first one the head of the reply.
    async fn send(
        &mut self,
        piece: Piece,
        conversation_id: Option<ConversationId>,
        stop: &CancellationToken,
    ) -> Result<(), CompletionError> {
        if let Self::Waiting { .. } = self {
            let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
            if let Self::Waiting { sender, reply_headers } = std::mem::replace(self, Self::Reading(pieces)) {
                let reply = Reply { conversation_id, headers: reply_headers, body: ReplyBody::Stream(receiver) };
                sender.send(Ok(reply)).map_err(|_| CompletionError::ClientLeft)?;
            }
        }
        match self {
            Self::Reading(pieces) => send_in_time(pieces, piece, stop).await,
            Self::Waiting { .. } | Self::Gone => Ok(()),
        }
    }
}
