//! Turns: what the client said before the provider is asked, what the model answered before the client is told.
//! When they are committed is the writer's to decide.

use std::time::Duration;

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::memory::NewMemory;
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;
use sqlx::{PgConnection, SqliteConnection};

use crate::conversation::MessageStatus;
use crate::memory::rows::{MemoryRows as _, RememberedFrom};
use crate::response::{NewResponse, OWN_MESSAGE, RESPONSE};
use crate::statements::{self, chunks};
use crate::writer::Write;

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
    /// What is remembered of them.
    pub memories: Vec<NewMemory>,
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
    /// What is remembered of them.
    pub memories: Vec<NewMemory>,
    /// The response that they are the output of, if it is kept.
    pub response: Option<NewResponse>,
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

/// How a turn ends.
#[derive(Debug)]
pub enum TurnEnd {
    /// With an answer.
    Finish(TurnFinish),
    /// As if it had never been asked.
    Withdraw(TurnWithdrawal),
}

#[derive(Debug)]
pub(crate) enum TurnWrite {
    Start(TurnStart),
    Finish(TurnFinish),
    Withdraw(TurnWithdrawal),
}

/// So long the memory of a question waits for the answer, unless that comes before.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Takes a message back, unless something was said after its turn.
const WITHDRAW_MESSAGE: &str = "DELETE FROM messages WHERE id = $1 AND NOT EXISTS \
     (SELECT 1 FROM messages later WHERE later.conversation_id = $2 AND later.seq > $3)";
/// Takes a conversation back, unless somebody else has said something in it.
pub(crate) const WITHDRAW_CONVERSATION: &str = "DELETE FROM conversations WHERE id = $1 AND NOT EXISTS \
     (SELECT 1 FROM messages WHERE conversation_id = $1)";

/// The same function for both databases; a generic one would need a page of bounds.
macro_rules! define_apply {
    ($name:ident, $connection:ty, $statements:expr) => {
        pub(crate) async fn $name(conn: &mut $connection, writes: &[Write]) -> Result<(), sqlx::Error> {
            let writes: &[&TurnWrite] = &writes.iter().filter_map(|write| write.turn.as_ref()).collect::<Vec<_>>();
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
            let (memories, at) = memories(writes);
            conn.remember(&memories, at).await?;
            for touched in chunks(&touched_conversations(writes)) {
                let latest = touched.iter().map(|(_, at)| at.as_micros()).max().unwrap_or_default();
                let mut update = sqlx::query($statements.touch(touched.len())).bind(latest);
                for (id, _) in touched {
                    update = update.bind(id.as_uuid());
                }
                update.execute(&mut *conn).await?;
            }
            for (turn, response) in responses(writes) {
                sqlx::query(RESPONSE)
                    .bind(response.id.as_uuid())
                    .bind(turn.project_id.as_uuid())
                    .bind(response.family_id.as_uuid())
                    .bind(turn.conversation_id.as_uuid())
                    .bind(response.parent_id.map(|id| id.as_uuid()))
                    .bind(response.history_seq)
                    .bind(response.record.as_str())
                    .bind(turn.at.as_micros())
                    .execute(&mut *conn)
                    .await?;
                let asked = response.asked.iter().map(|id| (id, 0));
                for (message, is_output) in asked.chain(turn.messages.iter().map(|message| (&message.id, 1))) {
                    sqlx::query(OWN_MESSAGE)
                        .bind(response.id.as_uuid())
                        .bind(message.as_uuid())
                        .bind(is_output)
                        .execute(&mut *conn)
                        .await?;
                }
            }
            for withdrawal in withdrawals(writes) {
                let conversation = withdrawal.conversation_id.as_uuid();
                // Writing the row locks it: another replica's turn comes before or after, not in between.
                sqlx::query("UPDATE conversations SET updated_at = updated_at WHERE id = $1")
                    .bind(conversation)
                    .execute(&mut *conn)
                    .await?;
                let messages: Vec<Uuid> = withdrawal.messages.iter().map(|id| id.as_uuid()).collect();
                let standings = conn.standings(&messages).await?;
                for id in messages {
                    sqlx::query(WITHDRAW_MESSAGE)
                        .bind(id)
                        .bind(conversation)
                        .bind(withdrawal.last_seq)
                        .execute(&mut *conn)
                        .await?;
                }
                // A place in a conversation is a time.
                conn.miss(&standings, Timestamp::from_micros(withdrawal.last_seq)).await?;
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

fn message_rows<'a>(writes: &[&'a TurnWrite]) -> Vec<MessageRow<'a>> {
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

/// What is remembered of the turns, and when the last of them was. What was asked waits for its answer, which stands in its window.
fn memories<'a>(writes: &[&'a TurnWrite]) -> (Vec<RememberedFrom<'a>>, Timestamp) {
    let of_turn = |write: &&'a TurnWrite| match write {
        TurnWrite::Start(turn) => Some((&turn.memories, turn.at, turn.at.after(ANSWER_WAIT))),
        TurnWrite::Finish(turn) => Some((&turn.memories, turn.at, turn.at)),
        TurnWrite::Withdraw(_) => None,
    };
    let turns = || writes.iter().filter_map(of_turn);
    let at = turns().map(|(_, at, _)| at).max().unwrap_or(Timestamp::from_micros(0));
    (turns().flat_map(|(memories, _, due)| memories.iter().map(move |memory| (memory, due))).collect(), at)
}

/// A new conversation has its time already; one that goes on is touched when the answer comes.
fn touched_conversations(writes: &[&TurnWrite]) -> Vec<(ConversationId, Timestamp)> {
    writes
        .iter()
        .filter_map(|write| match write {
            TurnWrite::Finish(turn) => Some((turn.conversation_id, turn.at)),
            TurnWrite::Start(_) | TurnWrite::Withdraw(_) => None,
        })
        .collect()
}

fn responses<'a>(writes: &[&'a TurnWrite]) -> impl Iterator<Item = (&'a TurnFinish, &'a NewResponse)> {
    writes.iter().filter_map(|write| match write {
        TurnWrite::Finish(turn) => turn.response.as_ref().map(|response| (turn, response)),
        TurnWrite::Start(_) | TurnWrite::Withdraw(_) => None,
    })
}

fn withdrawals<'a>(writes: &[&'a TurnWrite]) -> impl Iterator<Item = &'a TurnWithdrawal> {
    writes.iter().filter_map(|write| match write {
        TurnWrite::Withdraw(turn) => Some(turn),
        TurnWrite::Start(_) | TurnWrite::Finish(_) => None,
    })
}
