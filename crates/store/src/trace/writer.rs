//! The one task that writes traces. Whatever gathers while it commits is committed together; the queue is bounded by bytes, and
//! who finds it full waits.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::id::ProjectId;
use privet_domain::time::Clock;
use privet_domain::trace::{JsonText, TraceBatch};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::apply;
use super::body::BodyEncoder;
use super::lock::lock;
use super::{Pricing, WriteSettings};
use crate::db::Db;
use crate::error::StoreError;

/// So much may wait to be written, in KiB.
const QUEUE_KIB: u32 = 16 * 1024;
const QUEUE_BATCHES: usize = 4096;
/// So many batches are committed together.
const COMMIT_BATCHES: usize = 256;
/// When several batches came at once more come soon: so long they are waited for, since a commit costs much and a batch in it
/// little. Who writes alone does not wait.
const GATHER: Duration = Duration::from_millis(1);
/// What a patch takes besides its contents, roughly.
const PATCH_BYTES: usize = 512;
pub(super) const MICROS_PER_MINUTE: i64 = 60_000_000;

struct Queued {
    project: ProjectId,
    batch: TraceBatch,
    done: oneshot::Sender<Result<(), StoreError>>,
    _room: OwnedSemaphorePermit,
}

/// The task that writes, and the way to it.
pub(crate) struct TraceWriter {
    open: Mutex<Option<mpsc::Sender<Queued>>>,
    sender: mpsc::WeakSender<Queued>,
    room: Arc<Semaphore>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl TraceWriter {
    pub(crate) fn start(
        db: Arc<Db>,
        settings: WriteSettings,
        pricing: Arc<dyn Pricing>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
        let weak = sender.downgrade();
        let work = Work { db, settings, pricing, clock, encoder: BodyEncoder::new()?, generation: -1 };
        // The store owns this task: `close` waits for it.
        let task = tokio::spawn(work.run(receiver));
        let room = Arc::new(Semaphore::new(QUEUE_KIB as usize));
        Ok(Self { open: Mutex::new(Some(sender)), sender: weak, room, task: Mutex::new(Some(task)) })
    }

    /// Once a batch is queued it is written, also when the caller stops waiting.
    pub(crate) async fn submit(&self, project: ProjectId, batch: TraceBatch) -> Result<(), StoreError> {
        let kib = u32::try_from(size(&batch) / 1024).unwrap_or(QUEUE_KIB).clamp(1, QUEUE_KIB);
        let room = match self.room.clone().try_acquire_many_owned(kib) {
            Ok(room) => room,
            Err(_) => {
                metrics::counter!("privet_trace_queue_waits_total").increment(1);
                self.room.clone().acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?
            }
        };
        let (done, outcome) = oneshot::channel();
        let sender = self.sender.upgrade().ok_or(StoreError::Closed)?;
        sender.send(Queued { project, batch, done, _room: room }).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn close(&self) {
        self.open.lock().await.take();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer of traces ended badly");
        }
    }
}

/// Roughly the bytes of a batch.
fn size(batch: &TraceBatch) -> usize {
    let content = |json: &Option<JsonText>| json.as_ref().map_or(0, JsonText::len);
    let traces = batch.traces.iter().map(|patch| PATCH_BYTES + content(&patch.input) + content(&patch.output));
    let observations =
        batch.observations.iter().map(|patch| PATCH_BYTES + content(&patch.input) + content(&patch.output));
    traces.chain(observations).sum::<usize>() + batch.scores.len() * PATCH_BYTES
}

/// What the writing task has.
pub(super) struct Work {
    pub(super) db: Arc<Db>,
    pub(super) settings: WriteSettings,
    pub(super) pricing: Arc<dyn Pricing>,
    clock: Arc<dyn Clock>,
    pub(super) encoder: BodyEncoder,
    /// Which erasure the encoder's memory is younger than.
    pub(super) generation: i64,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Queued>) {
        let mut queued = Vec::with_capacity(COMMIT_BATCHES);
        let mut is_busy = false;
        while queue.recv_many(&mut queued, COMMIT_BATCHES).await > 0 {
            if is_busy {
                tokio::time::sleep(GATHER).await;
                let room = COMMIT_BATCHES.saturating_sub(queued.len());
                queued.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
            }
            is_busy = queued.len() > 1;
            let (batches, waiting): (Vec<_>, Vec<_>) =
                queued.drain(..).map(|one: Queued| ((one.project, one.batch), (one.done, one._room))).unzip();
            let alone = batches.len() == 1;
            // A batch that fails is repeated one by one, so that a bad one harms no other.
            let kept = if alone { Vec::new() } else { batches.clone() };
            match self.commit(batches).await {
                Err(error @ (StoreError::Database(_) | StoreError::Damaged(_))) if !alone => {
                    tracing::debug!(%error, "a commit of several batches of traces failed; each is tried alone");
                    for (batch, (done, _room)) in kept.into_iter().zip(waiting) {
                        answer(done, self.commit(vec![batch]).await);
                    }
                }
                Ok(()) => waiting.into_iter().for_each(|(done, _room)| answer(done, Ok(()))),
                Err(error) => {
                    let mut waiting = waiting.into_iter();
                    let first = waiting.next();
                    waiting.for_each(|(done, _room)| answer(done, Err(shared(&error))));
                    if let Some((done, _room)) = first {
                        answer(done, Err(error));
                    }
                }
            }
        }
    }

    async fn commit(&mut self, batches: Vec<(ProjectId, TraceBatch)>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let minute = now.as_micros().div_euclid(MICROS_PER_MINUTE);
        let db = self.db.clone();
        match &*db {
            Db::Sqlite(sqlite) => {
                let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                let bodies = apply::sqlite(&mut transaction, self, batches, now, minute).await?;
                transaction.commit().await?;
                self.encoder.stored(bodies);
            }
            Db::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                lock(&mut transaction).await?;
                let bodies = apply::postgres(&mut transaction, self, batches, now, minute).await?;
                transaction.commit().await?;
                self.encoder.stored(bodies);
            }
        }
        Ok(())
    }
}

/// Why a commit failed, for each of its batches but one.
fn shared(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull => StoreError::DiskFull,
        StoreError::Closed => StoreError::Closed,
        error => StoreError::Unavailable(error.to_string()),
    }
}

fn answer(done: oneshot::Sender<Result<(), StoreError>>, outcome: Result<(), StoreError>) {
    if let Err(Err(error)) = done.send(outcome) {
        tracing::error!(%error, "traces were not written and nobody waits for the outcome");
    }
}
