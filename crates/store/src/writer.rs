//! Writing what calls leave behind: turns of conversations, holds and settlements, whatever belongs together in one transaction.
//!
//! All of it goes through one task that commits whatever has gathered while the previous commit ran (group commit), so that
//! durability costs one synchronisation of the disk per batch and not one per request. A batch that fails is repeated write by
//! write, so that one bad write harms no other; when the database does not answer or its disk is full, it fails as a whole.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::money::Nanos;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::db::{Db, Store};
use crate::error::StoreError;
use crate::ledger::{self, Hold, LedgerWrite, Settlement};
use crate::turn::{self, TurnEnd, TurnFinish, TurnStart, TurnWithdrawal, TurnWrite};

const QUEUE_WRITES: usize = 1024;
const BATCH_WRITES: usize = 256;
/// So long writes that nobody waits for are gathered.
const UNAWAITED_PAUSE: Duration = Duration::from_millis(100);

/// What is written together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Write {
    pub(crate) turn: Option<TurnWrite>,
    pub(crate) ledger: Option<LedgerWrite>,
}

struct Queued {
    write: Write,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Store {
    /// Stores what the client said. When this returns, it is durable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the conversation does not exist.
    pub async fn start_turn(&self, turn: TurnStart) -> Result<(), StoreError> {
        self.writer.submit(Write { turn: Some(TurnWrite::Start(turn)), ledger: None }).await
    }

    /// Stores the answer. When this returns, it is durable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the conversation was deleted meanwhile.
    pub async fn finish_turn(&self, turn: TurnFinish) -> Result<(), StoreError> {
        self.writer.submit(Write { turn: Some(TurnWrite::Finish(turn)), ledger: None }).await
    }

    /// Takes back a turn that got no answer, as if it had never been asked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw_turn(&self, turn: TurnWithdrawal) -> Result<(), StoreError> {
        self.writer.submit(Write { turn: Some(TurnWrite::Withdraw(turn)), ledger: None }).await
    }

    /// Writes a call's hold and what the client said, before the provider is called. When this returns, both are durable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the conversation does not exist, [`StoreError::Fenced`] when the replica may not hold
    /// money any more. Neither is written then.
    pub async fn begin_call(&self, hold: Arc<Hold>, turn: Option<TurnStart>) -> Result<(), StoreError> {
        let ledger = hold.holds_money().then_some(LedgerWrite::Hold(hold));
        if turn.is_none() && ledger.is_none() {
            return Ok(());
        }
        self.writer.submit(Write { turn: turn.map(TurnWrite::Start), ledger }).await
    }

    /// Writes what a call did cost, in place of its hold, and how its turn ended. A call that is settled already stays as it
    /// is. When this returns, both are durable; the row of a call that cost nothing and has no turn is queued.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the conversation was deleted meanwhile. Neither is written then.
    pub async fn end_call(&self, settlement: Settlement, turn: Option<TurnEnd>) -> Result<(), StoreError> {
        let turn = turn.map(|end| match end {
            TurnEnd::Finish(finish) => TurnWrite::Finish(finish),
            TurnEnd::Withdraw(withdrawal) => TurnWrite::Withdraw(withdrawal),
        });
        let costs_nothing = turn.is_none() && !settlement.hold.holds_money() && settlement.cost == Nanos::ZERO;
        let write = Write { turn, ledger: Some(LedgerWrite::Settle(Box::new(settlement))) };
        if costs_nothing {
            // Nobody waits for the disk to learn that nothing is owed.
            return self.writer.post(write).await;
        }
        self.writer.submit(write).await
    }
}

/// The task that writes, and the way to it.
pub(crate) struct Writer {
    open: Mutex<Option<mpsc::Sender<Queued>>>,
    sender: mpsc::WeakSender<Queued>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(db: Arc<Db>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_WRITES);
        let weak = sender.downgrade();
        // The store owns this task: `close` waits for it.
        let task = tokio::spawn(run(db, receiver));
        Self { open: Mutex::new(Some(sender)), sender: weak, task: Mutex::new(Some(task)) }
    }

    /// Once a write is queued it is done, also when the caller stops waiting.
    async fn submit(&self, write: Write) -> Result<(), StoreError> {
        self.queue(write).await?.await.map_err(|_| StoreError::Closed)?
    }

    /// Queues a write and does not wait for it.
    async fn post(&self, write: Write) -> Result<(), StoreError> {
        self.queue(write).await.map(drop)
    }

    async fn queue(&self, write: Write) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let (done, outcome) = oneshot::channel();
        let sender = self.sender.upgrade().ok_or(StoreError::Closed)?;
        sender.send(Queued { write, done }).await.map_err(|_| StoreError::Closed)?;
        Ok(outcome)
    }

    pub(crate) async fn close(&self) {
        self.open.lock().await.take();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer of turns and of the ledger ended badly");
        }
    }
}

async fn run(db: Arc<Db>, mut queue: mpsc::Receiver<Queued>) {
    let mut batch = Vec::with_capacity(BATCH_WRITES);
    while queue.recv_many(&mut batch, BATCH_WRITES).await > 0 {
        gather(&mut batch, &mut queue).await;
        let (writes, waiting): (Vec<_>, Vec<_>) = batch.drain(..).map(|queued| (queued.write, queued.done)).unzip();
        let outcome = commit(&db, &writes).await;
        if is_of_one_write(&outcome) && writes.len() > 1 {
            for (write, done) in writes.iter().zip(waiting) {
                answer(done, commit(&db, std::slice::from_ref(write)).await);
            }
            continue;
        }
        for done in waiting {
            answer(done, shared(&outcome));
        }
    }
}

/// Where nobody waits for what came, more is gathered for a moment: a commit of its own would cost more than the write.
async fn gather(batch: &mut Vec<Queued>, queue: &mut mpsc::Receiver<Queued>) {
    let until = Instant::now() + UNAWAITED_PAUSE;
    while batch.len() < BATCH_WRITES && batch.iter().all(|queued| queued.done.is_closed()) {
        let room = BATCH_WRITES - batch.len();
        match timeout_at(until, queue.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Whether a failed batch may hold good writes. A database that does not answer, or a full disk, fails them all alike.
fn is_of_one_write(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::NotFound | StoreError::Fenced | StoreError::Database(_)))
}

/// The outcome of a batch, for one of its writes.
fn shared(outcome: &Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(StoreError::NotFound) => Err(StoreError::NotFound),
        Err(StoreError::Fenced) => Err(StoreError::Fenced),
        Err(StoreError::DiskFull) => Err(StoreError::DiskFull),
        Err(StoreError::Closed) => Err(StoreError::Closed),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    }
}

fn answer(done: oneshot::Sender<Result<(), StoreError>>, outcome: Result<(), StoreError>) {
    if let Err(Err(error)) = done.send(outcome) {
        tracing::error!(%error, "nothing was written and nobody waits for the outcome");
    }
}

async fn commit(db: &Db, writes: &[Write]) -> Result<(), StoreError> {
    match db {
        Db::Sqlite(sqlite) => {
            let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
            turn::apply_sqlite(&mut transaction, writes).await?;
            ledger::apply_sqlite(&mut transaction, writes).await?;
            transaction.commit().await?;
        }
        Db::Postgres(pool) => {
            let mut transaction = pool.begin().await?;
            turn::apply_postgres(&mut transaction, writes).await?;
            ledger::apply_postgres(&mut transaction, writes).await?;
            transaction.commit().await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use privet_domain::id::{ConversationId, MessageId};
    use privet_domain::time::Timestamp;

    use super::*;
    use crate::conversation::MessageStatus;
    use crate::db::{Durability, Location};
    use crate::turn::NewMessage;

    #[tokio::test]
    async fn after_a_full_disk_writing_resumes_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Location::Folder(folder.path().to_owned()), Durability::Full).await.unwrap();
        let now = Timestamp::from_micros(1);
        let project_id = store.ensure_project("home", now).await.unwrap().id;
        let limit_pages = |pages: i64| {
            let Db::Sqlite(sqlite) = &*store.db else { panic!("SQLite was opened") };
            // A connection's own limit stands in for the disk's.
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            async move { sqlx::query(pragma).execute(&sqlite.writer).await.unwrap() }
        };
        let turn = |text: &str| TurnStart {
            project_id,
            conversation_id: ConversationId::new(),
            new_for_user: Some("owner".to_owned()),
            messages: vec![NewMessage {
                id: MessageId::new(),
                seq: store.next_seq(now),
                role: "user",
                name: None,
                content: text.to_owned(),
                payload: None,
                status: MessageStatus::Complete,
            }],
            memories: Vec::new(),
            at: now,
        };
        limit_pages(1).await;
        let refused = store.start_turn(turn(&"x".repeat(1_000_000))).await;
        assert!(matches!(refused, Err(StoreError::DiskFull)), "{refused:?}");
        limit_pages(1_000_000).await;
        store.start_turn(turn("there is room again")).await.unwrap();
        store.create_conversation(project_id, ConversationId::new(), "owner", now).await.unwrap();
    }
}
