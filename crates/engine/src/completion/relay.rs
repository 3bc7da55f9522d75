//! A stream on its way from the provider to the client.
//!
//! Until there is output, a failure is a real HTTP status; after that it is an event in the stream. The last piece is held
//! back until the answer is on disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::UpstreamFault;
use privet_dialects::sse::SseDecoder;
use privet_dialects::translate::{StreamOptions, StreamTranslation, error_event};
use privet_domain::id::RequestId;
use privet_providers::{ByteStream, Provider, ProviderError};
use privet_store::MessageStatus;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::compose::Turn;
use super::{CLIENT_STALL, ChatCommand, CompletionError, Reply, ReplyBody, record};
use crate::Engine;
use crate::router::Target;

/// Silence of this length gets a comment line, so that no proxy between us and the client gives up.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");
/// A provider that said its last word gets so long to close its stream.
const END_PATIENCE: Duration = Duration::from_millis(50);
/// When the server stops, a client that does not read gets so long.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// So many pieces may wait for a slow client.
const PIECES_WAITING: usize = 32;

/// A stream being relayed.
pub(super) struct Relay {
    request_id: RequestId,
    provider: Arc<Provider>,
    decoder: SseDecoder,
    translation: StreamTranslation,
}

/// The client's end: before the first output the head of the reply, after it the pieces.
enum Client {
    Waiting { sender: ReplySender, reply_headers: HeaderMap },
    Reading(mpsc::Sender<Bytes>),
}

impl Relay {
    pub(super) fn new(command: &ChatCommand, target: &Target, created: i64) -> Self {
        let options =
            StreamOptions { include_usage: command.incoming.include_usage, choices: command.incoming.choices, created };
        Self {
            request_id: command.request_id,
            provider: target.provider.clone(),
            decoder: SseDecoder::default(),
            translation: StreamTranslation::new(target.provider.dialect(), options),
        }
    }

    /// Relays to the end, and records.
    pub(super) async fn run(
        mut self,
        engine: Arc<Engine>,
        turn: Option<Turn>,
        mut stream: ByteStream,
        headers: HeaderMap,
        sender: ReplySender,
    ) {
        let conversation_id = turn.as_ref().map(|turn| turn.conversation_id);
        let mut client = Client::Waiting { sender, reply_headers: headers };
        let outcome = self.pump(&engine, conversation_id, &mut stream, &mut client).await;
        // Before anything is written, the provider is let go: a cancelled call stops costing at once.
        drop(stream);
        match outcome {
            Ok(()) => self.close(&engine, conversation_id, turn, client).await,
            Err(error) => self.fail(&engine, turn, client, error).await,
        }
    }

    /// Moves pieces until the provider is done.
    async fn pump(
        &mut self,
        engine: &Engine,
        conversation_id: Option<privet_domain::id::ConversationId>,
        stream: &mut ByteStream,
        client: &mut Client,
    ) -> Result<(), CompletionError> {
        let mut out = Vec::new();
        let mut silent_until = Instant::now() + KEEP_ALIVE_AFTER;
        loop {
            let chunk = tokio::select! {
                biased;
                () = client.left() => return Err(CompletionError::ClientLeft),
                () = engine.stop.cancelled() => return Err(CompletionError::ShuttingDown),
                chunk = stream.next() => match chunk {
                    // What was complete before the connection broke, or stayed open, is complete.
                    Err(_) if self.translation.end().is_ok() => return Ok(()),
                    chunk => chunk?,
                },
                () = sleep_until(silent_until) => {
                    silent_until = Instant::now() + KEEP_ALIVE_AFTER;
                    client.send(KEEP_ALIVE, conversation_id, &engine.stop).await?;
                    continue;
                }
            };
            let ended = chunk.is_none();
            let translated = self.translate(chunk, &mut out);
            if !out.is_empty() {
                silent_until = Instant::now() + KEEP_ALIVE_AFTER;
                client.send(Bytes::from(std::mem::take(&mut out)), conversation_id, &engine.stop).await?;
            }
            translated.map_err(|fault| self.provider.fault(fault))?;
            if ended {
                return Ok(());
            }
            if self.translation.is_done() {
                // Read to its end, the connection can serve again; a provider that leaves it open is not waited for.
                let _ = timeout(END_PATIENCE, stream.next()).await;
                return Ok(());
            }
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
                tracing::warn!(request_id = %self.request_id, provider = self.provider.name(), "an event is not UTF-8; skipped");
                continue;
            }
            self.translation.event(&event, out)?;
        }
        if ended { self.translation.end() } else { Ok(()) }
    }

    async fn close(
        mut self,
        engine: &Engine,
        conversation_id: Option<privet_domain::id::ConversationId>,
        turn: Option<Turn>,
        mut client: Client,
    ) {
        let recorded = record::finish(engine, turn, &self.translation.answer(), MessageStatus::Complete).await;
        let last = match recorded {
            Ok(()) => self.translation.closing(),
            Err(error) => {
                tracing::error!(request_id = %self.request_id, %error, "an answer was not stored");
                if let Client::Waiting { sender, .. } = client {
                    return refuse(sender, error.into());
                }
                error_event(&format!("The answer could not be stored: {error}"), "server_error", "not_stored")
            }
        };
        // A client that left here has an answer that is kept.
        let _ = client.send(Bytes::from(last), conversation_id, &engine.stop).await;
    }

    async fn fail(self, engine: &Engine, turn: Option<Turn>, client: Client, error: CompletionError) {
        let answer = self.translation.answer();
        let has_output = answer.messages.iter().any(|message| !message.parts.is_empty());
        if has_output {
            if let Err(error) = record::finish(engine, turn, &answer, MessageStatus::Incomplete).await {
                tracing::error!(request_id = %self.request_id, %error, "a cut answer was not stored");
            }
        } else {
            record::withdraw(engine, turn).await;
        }
        tracing::info!(request_id = %self.request_id, provider = self.provider.name(), %error, "a stream ended early");
        match client {
            Client::Waiting { sender, .. } => refuse(sender, error),
            Client::Reading(pieces) => {
                let event = error_event(&error.to_string(), "upstream_error", code_of(&error));
                // Nobody to tell if the client is what failed.
                let _ = send_in_time(&pieces, Bytes::from(event), &engine.stop).await;
            }
        }
    }
}

/// The way back to whoever waits for the reply.
type ReplySender = oneshot::Sender<Result<Reply, CompletionError>>;

/// Whoever waited may have left: then there is nobody to tell.
fn refuse(sender: ReplySender, error: CompletionError) {
    let _ = sender.send(Err(error));
}

/// Sends a piece to a client that reads. One that does not counts as gone; sooner when the server stops.
async fn send_in_time(
    pieces: &mpsc::Sender<Bytes>,
    piece: Bytes,
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
        }
    }

    /// Sends a piece, before the first one the head of the reply.
    async fn send(
        &mut self,
        piece: Bytes,
        conversation_id: Option<privet_domain::id::ConversationId>,
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
            Self::Waiting { .. } => Ok(()),
        }
    }
}
