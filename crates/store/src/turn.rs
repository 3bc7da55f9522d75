//! Writing turns: what the client said before the provider is asked, what the model answered before the client is told.
//!
//! All turns go through one task that commits whatever has gathered while the previous commit ran (group commit), so that
//! durability costs one synchronisation of the disk per batch and not one per request. A batch that fails is repeated turn by
//! turn, so that one bad turn harms no other; when the database does not answer or its disk is full, it fails as a whole.

mod statements;

use std::sync::Arc;

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::time::Timestamp;
use sqlx::{PgConnection, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::conversation::MessageStatus;
use crate::db::{Db, Store};
use crate::error::StoreError;
use statements::chunks;

const QUEUE_TURNS: usize = 1024;
const BATCH_TURNS: usize = 256;

/// A message to store.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// Its place in the conversation, from [`Store::next_seq`].
    pub seq: i64,
    /// Who speaks.
    pub role: &'static str,
    /// The speaker's name, where given.
    pub name: Option<String>,
    /// Its text.
    pub content: String,
    /// The whole message in the canonical form (JSON), where it is more than its text.
    pub payload: Option<String>,
    /// Whether it is whole.
    pub status: MessageStatus,
}

/// What the client said.
#[derive(Debug)]
pub struct TurnStart {
    /// The project.
    pub project_id: ProjectId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The user, if the conversation begins with this turn; `None` if it must exist already.
    pub new_for_user: Option<String>,
    /// The new messages.
    pub messages: Vec<NewMessage>,
    /// Now.
    pub at: Timestamp,
}

/// What the model answered.
#[derive(Debug)]
pub struct TurnFinish {
    /// The project.
    pub project_id: ProjectId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The answers.
    pub messages: Vec<NewMessage>,
    /// Now.
    pub at: Timestamp,
}

/// A turn without an answer, taken back whole.
#[derive(Debug)]
pub struct TurnWithdrawal {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// Whether the turn had begun the conversation, which then goes too.
    pub conversation_is_new: bool,
    /// The messages that the turn had stored.
    pub messages: Vec<MessageId>,
    /// The highest `seq` of them. Once something was said after it, the turn stays: others built on it.
    pub last_seq: i64,
}

#[derive(Debug)]
enum TurnWrite {
    Start(TurnStart),
    Finish(TurnFinish),
    Withdraw(TurnWithdrawal),
}

struct Queued {
    write: TurnWrite,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Store {
    /// Stores what the client said. When this returns, it is durable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the conversation does not exist.
    pub async fn start_turn(&self, turn: TurnStart) -> Result<(), StoreError> {
        self.turns.submit(TurnWrite::Start(turn)).await
    }

    /// Stores the answer. When this returns, it is durable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the conversation was deleted meanwhile.
    pub async fn finish_turn(&self, turn: TurnFinish) -> Result<(), StoreError> {
        self.turns.submit(TurnWrite::Finish(turn)).await
    }

    /// Takes back a turn that got no answer, as if it had never been asked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw_turn(&self, turn: TurnWithdrawal) -> Result<(), StoreError> {
        self.turns.submit(TurnWrite::Withdraw(turn)).await
    }
}

/// The task that writes turns, and the way to it.
pub(crate) struct TurnWriter {
    queue: Mutex<Option<mpsc::Sender<Queued>>>,
    sender: mpsc::WeakSender<Queued>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl TurnWriter {
    pub(crate) fn start(db: Arc<Db>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_TURNS);
        let weak = sender.downgrade();
        // The store owns this task: `close` waits for it.
        let task = tokio::spawn(run(db, receiver));
        Self { queue: Mutex::new(Some(sender)), sender: weak, task: Mutex::new(Some(task)) }
    }

    /// Once a turn is queued it is written, also when the caller stops waiting.
    async fn submit(&self, write: TurnWrite) -> Result<(), StoreError> {
        let (done, outcome) = oneshot::channel();
        let sender = self.sender.upgrade().ok_or(StoreError::Closed)?;
        sender.send(Queued { write, done }).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn close(&self) {
        self.queue.lock().await.take();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer of turns ended badly");
        }
    }
}

async fn run(db: Arc<Db>, mut queue: mpsc::Receiver<Queued>) {
    let mut batch = Vec::with_capacity(BATCH_TURNS);
    while queue.recv_many(&mut batch, BATCH_TURNS).await > 0 {
        let (writes, waiting): (Vec<_>, Vec<_>) = batch.drain(..).map(|queued| (queued.write, queued.done)).unzip();
        let outcome = commit(&db, &writes).await;
        if is_of_one_turn(&outcome) && writes.len() > 1 {
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

/// Whether a failed batch may hold good turns. A database that does not answer, or a full disk, fails them all alike.
fn is_of_one_turn(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::NotFound | StoreError::Database(_)))
}

/// The outcome of a batch, for one of its turns.
fn shared(outcome: &Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(StoreError::NotFound) => Err(StoreError::NotFound),
        Err(StoreError::DiskFull) => Err(StoreError::DiskFull),
        Err(StoreError::Closed) => Err(StoreError::Closed),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    }
}

fn answer(done: oneshot::Sender<Result<(), StoreError>>, outcome: Result<(), StoreError>) {
    if let Err(Err(error)) = done.send(outcome) {
        tracing::error!(%error, "a turn was not written and nobody waits for the outcome");
    }
}

async fn commit(db: &Db, writes: &[TurnWrite]) -> Result<(), StoreError> {
    match db {
        Db::Sqlite(sqlite) => {
            let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
            apply_sqlite(&mut transaction, writes).await?;
            transaction.commit().await?;
        }
        Db::Postgres(pool) => {
            let mut transaction = pool.begin().await?;
            apply_postgres(&mut transaction, writes).await?;
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// Takes a message back, unless something was said after its turn.
const WITHDRAW_MESSAGE: &str = "DELETE FROM messages WHERE id = $1 AND NOT EXISTS \
     (SELECT 1 FROM messages later WHERE later.conversation_id = $2 AND later.seq > $3)";
/// Takes a conversation back, unless somebody else has said something in it.
const WITHDRAW_CONVERSATION: &str = "DELETE FROM conversations WHERE id = $1 AND NOT EXISTS \
     (SELECT 1 FROM messages WHERE conversation_id = $1)";

/// The same function for both databases; a generic one would need a page of bounds.
macro_rules! define_apply {
    ($name:ident, $connection:ty, $statements:expr) => {
        async fn $name(conn: &mut $connection, writes: &[TurnWrite]) -> Result<(), sqlx::Error> {
            let starts: Vec<&TurnStart> = writes
                .iter()
                .filter_map(|write| match write {
                    TurnWrite::Start(start) if start.new_for_user.is_some() => Some(start),
                    _ => None,
                })
                .collect();
            for rows in chunks(&starts) {
                let mut insert = sqlx::query($statements.conversations(rows.len()));
                for start in rows {
                    insert = insert
                        .bind(start.conversation_id.as_uuid())
                        .bind(start.project_id.as_uuid())
                        .bind(start.new_for_user.as_deref())
                        .bind(start.at.as_micros())
                        .bind(start.at.as_micros());
                }
                insert.execute(&mut *conn).await?;
            }
            for rows in chunks(&message_rows(writes)) {
                let mut insert = sqlx::query($statements.messages(rows.len()));
                for message in rows {
                    insert = insert
                        .bind(message.new.id.as_uuid())
                        .bind(message.conversation_id.as_uuid())
                        .bind(message.project_id.as_uuid())
                        .bind(message.new.seq)
                        .bind(message.new.role)
                        .bind(message.new.name.as_deref())
                        .bind(message.new.content.as_str())
                        .bind(message.new.payload.as_deref())
                        .bind(message.new.status.as_str())
                        .bind(message.at.as_micros())
                        .bind(message.at.as_micros());
                }
                insert.execute(&mut *conn).await?;
            }
            for touched in chunks(&touched_conversations(writes)) {
                let latest = touched.iter().map(|(_, at)| at.as_micros()).max().unwrap_or_default();
                let mut update = sqlx::query($statements.touch(touched.len())).bind(latest);
                for (id, _) in touched {
                    update = update.bind(id.as_uuid());
                }
                update.execute(&mut *conn).await?;
            }
            for withdrawal in withdrawals(writes) {
                let conversation = withdrawal.conversation_id.as_uuid();
                // Writing the row locks it: another replica's turn comes before or after, not in between.
                sqlx::query("UPDATE conversations SET updated_at = updated_at WHERE id = $1")
                    .bind(conversation)
                    .execute(&mut *conn)
                    .await?;
                for id in &withdrawal.messages {
                    sqlx::query(WITHDRAW_MESSAGE)
                        .bind(id.as_uuid())
                        .bind(conversation)
                        .bind(withdrawal.last_seq)
                        .execute(&mut *conn)
                        .await?;
                }
                if withdrawal.conversation_is_new {
                    sqlx::query(WITHDRAW_CONVERSATION).bind(conversation).execute(&mut *conn).await?;
                }
            }
            Ok(())
        }
    };
}

define_apply!(apply_sqlite, SqliteConnection, statements::SQLITE);
define_apply!(apply_postgres, PgConnection, statements::POSTGRES);

struct MessageRow<'a> {
    project_id: ProjectId,
    conversation_id: ConversationId,
    at: Timestamp,
    new: &'a NewMessage,
}

fn message_rows(writes: &[TurnWrite]) -> Vec<MessageRow<'_>> {
    let mut rows = Vec::with_capacity(writes.len());
    for write in writes {
        let (project_id, conversation_id, messages, at) = match write {
            TurnWrite::Start(turn) => (turn.project_id, turn.conversation_id, &turn.messages, turn.at),
            TurnWrite::Finish(turn) => (turn.project_id, turn.conversation_id, &turn.messages, turn.at),
            TurnWrite::Withdraw(_) => continue,
        };
        rows.extend(messages.iter().map(|new| MessageRow { project_id, conversation_id, at, new }));
    }
    rows
}

/// A new conversation has its time already; one that goes on is touched when the answer comes.
fn touched_conversations(writes: &[TurnWrite]) -> Vec<(ConversationId, Timestamp)> {
    writes
        .iter()
        .filter_map(|write| match write {
            TurnWrite::Finish(turn) => Some((turn.conversation_id, turn.at)),
            TurnWrite::Start(_) | TurnWrite::Withdraw(_) => None,
        })
        .collect()
}

fn withdrawals(writes: &[TurnWrite]) -> impl Iterator<Item = &TurnWithdrawal> {
    writes.iter().filter_map(|write| match write {
        TurnWrite::Withdraw(turn) => Some(turn),
        TurnWrite::Start(_) | TurnWrite::Finish(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Durability, Location};

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
