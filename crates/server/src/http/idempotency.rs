//! Idempotency-Key: a request that costs money is done once, however often it is sent.
//!
//! [`once`] is the page to read. It stands behind authentication and the count of requests and before the money, so that a
//! replay costs nothing. The work runs in a task that the server tracks, which learns how it ended: by an answer, which is
//! kept before its end goes out; by a failure, or because the client left, and then the next attempt begins anew.

use std::any::Any;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http_body_util::BodyExt as _;
use privet_domain::id::{ApiKeyId, RequestId};
use privet_engine::Engine;
use privet_engine::completion::{CLIENT_STALL, Piece};
use privet_store::{Claimed, IdempotencyClaim, KeptAnswer, StoreError};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::body::JsonBody;
use super::error::ApiError;
use super::prompt_wish::PROMPT_HEADER;
use super::reply::{CONVERSATION_HEADER, EVENT_STREAM, event_stream, sound_stream};
use super::router::Http;
use super::surface::{ANTHROPIC_BETA, Failure, Surface};
use super::trace_context::TRACE_HEADER;

const KEY_HEADER: &str = "idempotency-key";
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
static ORIGINAL_REQUEST_ID: HeaderName = HeaderName::from_static("x-original-request-id");
const KEY_BYTES_MAX: usize = 255;
/// A larger answer is not kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// So long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(86_400);
/// The headers that belong to an answer and not to the moment in which it was given.
const KEPT_HEADERS: [&str; 5] =
    ["content-type", "cache-control", "x-accel-buffering", CONVERSATION_HEADER, TRACE_HEADER];
/// So many pieces may wait for a slow client.
const PIECES_WAITING: usize = 32;
/// While the database does not answer, an attempt that failed is forgotten a little later.
const FORGET_AGAIN_AFTER: Duration = Duration::from_secs(1);
const FORGET_TRIES: usize = 60;
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
const PURGE_ROWS: u32 = 200;

/// The body of a request that costs money, and the Idempotency-Key if it carries one.
pub(crate) struct RepeatableBody<S: Surface> {
    pub(crate) bytes: Bytes,
    pub(crate) repeatable: Option<Repeatable>,
    surface: PhantomData<S>,
}

/// What makes a request one that may be repeated.
pub(crate) struct Repeatable {
    key: String,
    request_hash: [u8; 32],
    request_id: RequestId,
}

/// Why a request with an Idempotency-Key is neither done nor answered from what is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOnce {
    #[error(
        "The Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters, such as a UUID, and stand once."
    )]
    BadKey,
    #[error(
        "This Idempotency-Key was used for another request. Take a new key for a new request; to repeat one, send the same body to the same path and conversation."
    )]
    Mismatch,
    #[error("The request with this Idempotency-Key is still being answered. Repeat it in a moment to get its answer.")]
    InFlight,
    #[error(
        "The request with this Idempotency-Key was answered (request `{0}`), but the answer was larger than {ANSWER_BYTES_MAX} bytes and is not kept. Take a new key to ask again; that costs again."
    )]
    Unavailable(RequestId),
}

impl<S: Surface> FromRequest<Http> for RepeatableBody<S> {
    type Rejection = Failure<S>;

    async fn from_request(request: Request, http: &Http) -> Result<Self, Self::Rejection> {
        let repeatable = Repeatable::read(&request)?;
        let JsonBody { bytes, .. } = JsonBody::<S>::from_request(request, http).await?;
        let repeatable = repeatable.map(|head| head.with_body(&bytes));
        Ok(Self { bytes, repeatable, surface: PhantomData })
    }
}

impl Repeatable {
    /// From a request's head.
    pub(super) fn read(request: &Request) -> Result<Option<Self>, NotOnce> {
        let Some(key) = read_key(request.headers())? else { return Ok(None) };
        let Some(request_id) = request.extensions().get::<RequestId>().copied() else { return Ok(None) };
        let mut hasher = blake3::Hasher::new();
        hasher.update(request.uri().path().as_bytes());
        if asks_for_events(request.uri()) {
            hasher.update(b"?alt=sse");
        }
        hasher.update(b"\n");
        // The same words in another conversation, behind another prompt, or of another version, are another request.
        hasher.update(request.headers().get(CONVERSATION_HEADER).map_or(b"", HeaderValue::as_bytes));
        let others = [PROMPT_HEADER, HeaderName::from_static(ANTHROPIC_BETA)];
        for value in others.iter().flat_map(|name| request.headers().get_all(name)) {
            hasher.update(b"\n");
            hasher.update(value.as_bytes());
        }
        Ok(Some(Self { key, request_hash: *hasher.finalize().as_bytes(), request_id }))
    }

    pub(super) fn with_body(self, body: &[u8]) -> Self {
        Self { request_hash: *blake3::keyed_hash(&self.request_hash, body).as_bytes(), ..self }
    }
}

/// Whether a client of Gemini's asks for its stream as server-sent events: the same answer in another form.
pub(crate) fn asks_for_events(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| matches!(pair, "alt=sse" | "$alt=sse" | "%24alt=sse")))
}

fn read_key(headers: &HeaderMap) -> Result<Option<String>, NotOnce> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let fits = (1..=KEY_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    let key = value.to_str().ok().filter(|_| fits && values.next().is_none());
    key.map(|key| Some(key.to_owned())).ok_or(NotOnce::BadKey)
}

/// Does the work, or answers as it was answered before if the request carries an Idempotency-Key that was used already.
///
/// Dropping the future cancels the work.
pub(crate) async fn once<W>(
    http: &Http,
    family_id: ApiKeyId,
    repeatable: Option<Repeatable>,
    work: W,
) -> Result<Response, ApiError>
where
    W: Future<Output = Result<Response, ApiError>> + Send + 'static,
{
    let Some(repeatable) = repeatable else { return work.await };
    let attempt = Attempt::new(http.engine.clone(), family_id, repeatable);
    let (client, answer) = oneshot::channel();
    http.connections.spawn(run(attempt, Box::pin(work), client).in_current_span());
    match answer.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(StoreError::Closed.into()),
    }
}

/// The answer on its way to the handler, or the panic that came instead.
type ClientSender = oneshot::Sender<Result<Result<Response, ApiError>, Box<dyn Any + Send>>>;

/// One attempt from its claim to the answer that is kept.
async fn run<W>(attempt: Attempt, work: W, mut client: ClientSender)
where
    W: Future<Output = Result<Response, ApiError>> + Send,
{
    match attempt.claim().await {
        Ok(None) => {}
        Ok(Some(kept)) => return answer(client, Ok(kept)),
        Err(error) => return answer(client, Err(error)),
    }
    let worked = tokio::select! {
        biased;
        () = client.closed() => return attempt.forget().await,
        worked = AssertUnwindSafe(work).catch_unwind() => worked,
    };
    match worked {
        Ok(Ok(response)) if response.status().is_success() => attempt.finish(response, client).await,
        failed => {
            // Before the answer, so that whoever repeats the request at once finds room.
            let is_forgotten = attempt.try_forget().await;
            let _ = client.send(failed);
            if !is_forgotten {
                attempt.forget().await;
            }
        }
    }
}

/// A client that left needs no answer.
fn answer(client: ClientSender, answer: Result<Response, ApiError>) {
    let _ = client.send(Ok(answer));
}

struct Attempt {
    engine: Arc<Engine>,
    claim: IdempotencyClaim,
}

impl Attempt {
    fn new(engine: Arc<Engine>, family_id: ApiKeyId, repeatable: Repeatable) -> Self {
        let Repeatable { key, request_hash, request_id } = repeatable;
        let (replica_id, at) = (engine.budgets.replica_id(), engine.clock.now());
        let expired_at = at.before(KEPT_FOR);
        Self {
            engine,
            claim: IdempotencyClaim { family_id, key, request_hash, request_id, replica_id, at, expired_at },
        }
    }

    /// `None` lets the work begin; otherwise there is an answer already.
    async fn claim(&self) -> Result<Option<Response>, ApiError> {
        match self.engine.store.claim_idempotency_key(&self.claim).await? {
            Claimed::First => Ok(None),
            Claimed::Answered { by, answer } => replay(by, answer).map(Some),
            Claimed::InFlight => Err(NotOnce::InFlight.into()),
            Claimed::Mismatch => Err(NotOnce::Mismatch.into()),
        }
    }

    /// Keeps the answer, and sends it: a whole one when it is kept, a stream as it comes but for its end.
    async fn finish(&self, response: Response, client: ClientSender) {
        let (parts, body) = response.into_parts();
        let kept = KeptAnswer { status: parts.status.as_u16(), headers: headers_to_keep(&parts.headers), body: None };
        if body.size_hint().exact().is_none() {
            let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
            // A client that left is noticed at the first piece.
            let is_events = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == EVENT_STREAM);
            let passed = if is_events { event_stream(receiver) } else { sound_stream(receiver) };
            answer(client, Ok(Response::from_parts(parts, passed)));
            return self.relay(body, kept, pieces).await;
        }
        // A body whose length is known is in memory and cannot fail.
        let Ok(body) = body.collect().await else { return self.forget().await };
        let body = body.to_bytes();
        let fitting = (body.len() <= ANSWER_BYTES_MAX).then(|| body.to_vec());
        let is_kept = self.keep(kept, fitting).await;
        answer(client, Ok(Response::from_parts(parts, Body::from(body))));
        if !is_kept {
            self.forget().await;
        }
    }

    /// Passes a stream on. Its last word is held back until all of it is kept; one that ends otherwise has failed.
    async fn relay(&self, mut body: Body, kept: KeptAnswer, pieces: mpsc::Sender<Piece>) {
        let mut all = Some(Vec::new());
        loop {
            let frame = tokio::select! {
                biased;
                () = pieces.closed() => break,
                frame = body.frame() => frame,
            };
            let Some(Ok(frame)) = frame else { break };
            let Ok(piece) = frame.into_data() else { continue };
            all = all.filter(|all| all.len().saturating_add(piece.len()) <= ANSWER_BYTES_MAX);
            if let Some(all) = &mut all {
                all.extend_from_slice(&piece);
            }
            if body.is_end_stream() {
                return self.close(kept, all, piece, pieces).await;
            }
            if pieces.send_timeout(Piece::More(piece), CLIENT_STALL).await.is_err() {
                break;
            }
        }
        // This cancels the call, if it still runs; the client sees the end when there is room for its next attempt.
        drop(body);
        let is_forgotten = self.try_forget().await;
        drop(pieces);
        if !is_forgotten {
            self.forget().await;
        }
    }

    async fn close(&self, kept: KeptAnswer, all: Option<Vec<u8>>, last: Bytes, pieces: mpsc::Sender<Piece>) {
        let is_kept = self.keep(kept, all).await;
        // A client that left finds it when it comes back.
        let _ = pieces.send_timeout(Piece::Last(last), CLIENT_STALL).await;
        drop(pieces);
        if !is_kept {
            self.forget().await;
        }
    }

    /// Keeps the answer; one of `None` was too large. The call is done and paid: where this fails, the client gets the answer
    /// all the same.
    async fn keep(&self, kept: KeptAnswer, body: Option<Vec<u8>>) -> bool {
        let kept = self.engine.store.keep_answer(&self.claim, &KeptAnswer { body, ..kept }).await;
        if let Err(error) = &kept {
            tracing::error!(%error, "an answer is not kept for its Idempotency-Key");
        }
        kept.is_ok()
    }

    /// Makes room for the next attempt, as soon as the database answers.
    async fn forget(&self) {
        for _ in 0..FORGET_TRIES {
            if self.try_forget().await {
                return;
            }
            tokio::time::sleep(FORGET_AGAIN_AFTER).await;
        }
        tracing::error!("a failed request blocks its Idempotency-Key until the server is restarted");
    }

    async fn try_forget(&self) -> bool {
        match self.engine.store.forget_claim(&self.claim).await {
            // Of a server that stops, the next one takes the row over.
            Ok(()) | Err(StoreError::Closed) => true,
            Err(error) => {
                tracing::warn!(%error, "a failed request still blocks its Idempotency-Key");
                false
            }
        }
    }
}

fn headers_to_keep(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = KEPT_HEADERS.into_iter().filter_map(|name| Some((name, headers.get(name)?.to_str().ok()?)));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The answer as it was given: a stream is a stream again.
fn replay(by: RequestId, kept: KeptAnswer) -> Result<Response, ApiError> {
    let Some(body) = kept.body.map(Bytes::from) else { return Err(NotOnce::Unavailable(by).into()) };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    for (name, value) in &kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::try_from(by.to_string()) {
        response.headers_mut().insert(ORIGINAL_REQUEST_ID.clone(), id);
    }
    let is_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == EVENT_STREAM);
    *response.body_mut() =
        if is_stream { Body::from_stream(stream::iter([Ok::<_, Infallible>(body)])) } else { Body::from(body) };
    Ok(response)
}

/// Deletes what is too old, a little at a time, for ever.
pub(crate) async fn purge(engine: &Engine) {
    loop {
        tokio::time::sleep(PURGE_INTERVAL).await;
        loop {
            match engine.store.purge_idempotency(engine.clock.now().before(KEPT_FOR), PURGE_ROWS).await {
                Ok(deleted) if deleted == u64::from(PURGE_ROWS) => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "old answers of Idempotency-Keys are not deleted");
                    break;
                }
            }
        }
    }
}
