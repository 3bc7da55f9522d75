//! Writing memories inside a transaction, whoever began it: with a turn's messages, or alone.
//!
//! A memory's words come into the keyword index, and go from it, by triggers on its representations; here are the rows. Whatever
//! changes what is searched of a memory also puts it into the outbox, in the same transaction.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use privet_domain::id::{ConversationId, ProjectId};
use privet_domain::memory::{
    ContentHash, MemoryId, MemoryKind, MemoryScope, NewMemory, NewRepresentation, Representation, line,
};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;
use sqlx::{PgConnection, SqliteConnection};

use super::description::DescriptionRows as _;
use super::owner::Owner;
use super::statements;
use super::window::window;
use crate::statements::chunks;

/// The messages of a conversation from two before a range of places until two after it, with the hashes of their windows.
const NEIGHBOURHOOD: &str = "SELECT m.id, m.seq, m.name, m.role, m.text, w.content_hash FROM memories m \
     LEFT JOIN memory_representations w ON w.memory_id = m.id AND w.kind = 'window' AND w.part = 0 \
     WHERE m.conversation_id = $1 AND m.project_id = $2 AND m.user_id = $3 AND m.kind = 'message' \
     AND m.seq >= COALESCE((SELECT MIN(seq) FROM (SELECT seq FROM memories WHERE conversation_id = $1 \
         AND project_id = $2 AND user_id = $3 AND kind = 'message' AND seq < $4 ORDER BY seq DESC LIMIT 2) earlier), $4) \
     AND m.seq <= COALESCE((SELECT MAX(seq) FROM (SELECT seq FROM memories WHERE conversation_id = $1 \
         AND project_id = $2 AND user_id = $3 AND kind = 'message' AND seq > $5 ORDER BY seq LIMIT 2) later), $5) \
     ORDER BY m.seq, m.id";

/// The role of a message that answers the one before it.
const ANSWERS: &str = "assistant";

/// Whoever changes messages of a conversation sees all that others changed in it; with SQLite the one writing connection does that.
const LOCK_CONVERSATION: &str = "SELECT pg_advisory_xact_lock($1)";

/// A conversation of a user, as far as windows reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thread {
    pub(crate) conversation: ConversationId,
    pub(crate) scope: MemoryScope,
}

/// The first and the last place where a thread has changed.
pub(crate) type Threads = BTreeMap<Thread, (i64, i64)>;

/// Notes that a thread has changed at a place.
pub(crate) fn touch(threads: &mut Threads, thread: Thread, seq: i64) {
    let (first, last) = threads.entry(thread).or_insert((seq, seq));
    *first = seq.min(*first);
    *last = seq.max(*last);
}

/// A representation to write.
struct Part {
    memory: MemoryId,
    owner: Owner,
    project: ProjectId,
    representation: Representation,
    part: i64,
    text: String,
    hash: ContentHash,
}

impl Part {
    fn new(memory: MemoryId, scope: &MemoryScope, representation: Representation, part: i64, text: String) -> Self {
        let hash = ContentHash::of(scope.project, &text);
        let owner = Owner::of(scope, representation);
        Self { memory, owner, project: scope.project, representation, part, text, hash }
    }
}

impl Thread {
    /// The thread in which a memory stands; `None` if its neighbours do not matter.
    pub(crate) fn of(kind: MemoryKind, conversation: Option<ConversationId>, scope: &MemoryScope) -> Option<Self> {
        let conversation = conversation.filter(|_| kind == MemoryKind::Message)?;
        Some(Self { conversation, scope: scope.clone() })
    }
}

/// The text's representation and those that are given.
fn own_parts(memory: MemoryId, scope: &MemoryScope, line: String, given: &[NewRepresentation]) -> Vec<Part> {
    let mut parts = vec![Part::new(memory, scope, Representation::Text, 0, line)];
    parts.extend(given_parts(memory, scope, given));
    parts
}

/// Those that are given. The first text is the memory's own.
fn given_parts(memory: MemoryId, scope: &MemoryScope, given: &[NewRepresentation]) -> Vec<Part> {
    let mut counts = BTreeMap::from([(Representation::Text, 1)]);
    let part = |new: &NewRepresentation| {
        let count = counts.entry(new.representation).or_insert(0);
        *count += 1;
        Part::new(memory, scope, new.representation, *count - 1, new.text.clone())
    };
    given.iter().map(part).collect()
}

#[derive(sqlx::FromRow)]
struct Neighbour {
    id: Uuid,
    seq: i64,
    name: Option<String>,
    role: Option<String>,
    text: String,
    content_hash: Option<Vec<u8>>,
}

/// The memories of a message.
const STANDING: &str =
    "SELECT id, project_id, user_id, conversation_id, kind, seq FROM memories WHERE message_id = $1 ORDER BY id";

/// The memories of a conversation.
pub(crate) const OF_CONVERSATION: &str = "SELECT id, project_id, user_id, conversation_id, kind, seq FROM memories \
     WHERE project_id = $1 AND conversation_id = $2 ORDER BY id";

/// The memories of a user, and those of its conversations.
pub(crate) const OF_USER: &str = "SELECT id, project_id, user_id, conversation_id, kind, seq FROM memories \
     WHERE project_id = $1 AND (user_id = $2 OR conversation_id IN (\
     SELECT id FROM conversations WHERE project_id = $1 AND user_id = $2)) ORDER BY id";

pub(crate) type StandingRow = (Uuid, Uuid, String, Option<Uuid>, String, i64);

/// A memory and where it stands.
pub(crate) struct Standing {
    pub(crate) memory: MemoryId,
    pub(crate) project: ProjectId,
    pub(crate) thread: Option<Thread>,
    pub(crate) seq: i64,
}

impl From<StandingRow> for Standing {
    fn from((id, project, user, conversation, kind, seq): StandingRow) -> Self {
        let scope = MemoryScope::new(project.into(), user);
        let is_message = kind == MemoryKind::Message.as_str();
        let conversation = conversation.filter(|_| is_message).map(ConversationId::from);
        let thread = conversation.map(|conversation| Thread { conversation, scope });
        Self { memory: id.into(), project: project.into(), thread, seq }
    }
}

/// Adds the windows that a change between two places makes different from what they are, and the memories that have others now.
fn changed_windows(
    scope: &MemoryScope,
    rows: &[Neighbour],
    (first, last): (i64, i64),
    windows: &mut Vec<Part>,
    replaced: &mut Vec<MemoryId>,
) {
    let lines: Vec<String> = rows.iter().map(|row| line(row.name.as_deref(), row.role.as_deref(), &row.text)).collect();
    let begin = rows.partition_point(|row| row.seq < first).saturating_sub(1);
    let end = rows.partition_point(|row| row.seq <= last) + 1;
    for (at, row) in rows.iter().enumerate().take(end).skip(begin) {
        let (Some(own), before) = (lines.get(at), at.checked_sub(1).and_then(|at| lines.get(at))) else { continue };
        // What is said to an answer says little of it, and would make its window anew at each turn.
        let is_answer = row.role.as_deref() == Some(ANSWERS);
        let after = lines.get(at + 1).filter(|_| !is_answer);
        let text = window(before.map(String::as_str), own, after.map(String::as_str));
        let part = Part::new(row.id.into(), scope, Representation::Window, 0, text);
        match row.content_hash.as_deref() {
            Some(hash) if hash == part.hash.as_bytes() => continue,
            Some(_) => replaced.push(part.memory),
            None => {}
        }
        windows.push(part);
    }
}

/// The key of a conversation's lock.
fn lock_key(conversation: ConversationId) -> i64 {
    let (high, low) = conversation.as_uuid().as_u64_pair();
    i64::from_be_bytes((high ^ low).to_be_bytes())
}

/// A memory, and from when on its task is due.
pub(crate) type RememberedFrom<'a> = (&'a NewMemory, Timestamp);

/// What a transaction can do with memories, on either database.
pub(crate) trait MemoryRows {
    /// Keeps new memories with their words and puts them into the outbox. Gives the ids of those that were not there already.
    /// Their windows are made when their task is done, which is not before it is due: that is no work for whoever waits for an answer.
    async fn remember(
        &mut self,
        memories: &[RememberedFrom<'_>],
        now: Timestamp,
    ) -> Result<HashSet<MemoryId>, sqlx::Error>;

    /// Makes the windows of threads anew around where they have changed. Gives the memories whose windows are others now.
    async fn rewindow(&mut self, threads: &Threads) -> Result<Vec<(MemoryId, ProjectId)>, sqlx::Error>;

    /// Deletes memories with everything of them; [`MemoryRows::miss`] tells the others.
    async fn forget(&mut self, ids: &[MemoryId]) -> Result<u64, sqlx::Error>;

    /// Puts memories into the outbox, each from when it is due on.
    async fn queue(&mut self, memories: &[(MemoryId, ProjectId, Timestamp)], now: Timestamp)
    -> Result<(), sqlx::Error>;

    /// Puts memories into the outbox, due at once: those that are to be embedded, and those that are gone.
    async fn enqueue(&mut self, memories: &[(MemoryId, ProjectId)], now: Timestamp) -> Result<(), sqlx::Error>;

    /// Replaces all representations of a memory but its window.
    async fn represent(
        &mut self,
        memory: MemoryId,
        scope: &MemoryScope,
        line: String,
        given: &[NewRepresentation],
    ) -> Result<(), sqlx::Error>;

    /// Replaces those representations that are given; the memory's own text stays.
    async fn describe(
        &mut self,
        memory: MemoryId,
        scope: &MemoryScope,
        given: &[NewRepresentation],
    ) -> Result<(), sqlx::Error>;

    /// Counts a change of what is searched of memories.
    async fn revise(&mut self, memories: &[MemoryId]) -> Result<(), sqlx::Error>;

    /// The memories of messages.
    async fn standings(&mut self, messages: &[Uuid]) -> Result<Vec<Standing>, sqlx::Error>;

    /// Deletes memories with all their threads.
    async fn drop_standings(&mut self, rows: Vec<StandingRow>, now: Timestamp) -> Result<u64, sqlx::Error>;

    /// After messages went, and their memories with them: tells the outbox, and lets the windows and descriptions beside them be made
    /// anew.
    async fn miss(&mut self, gone: &[Standing], now: Timestamp) -> Result<(), sqlx::Error>;
}

/// The same for both databases; a generic one would need a page of bounds.
macro_rules! define_rows {
    ($connection:ty, $statements:expr, $is_shared:expr) => {
        impl MemoryRows for $connection {
            async fn remember(
                &mut self,
                memories: &[RememberedFrom<'_>],
                now: Timestamp,
            ) -> Result<HashSet<MemoryId>, sqlx::Error> {
                let mut fresh = HashSet::with_capacity(memories.len());
                for rows in chunks(memories) {
                    let mut insert = sqlx::query_scalar::<_, Uuid>($statements.memories(rows.len()));
                    for (memory, _) in rows {
                        insert = insert
                            .bind(memory.id.as_uuid())
                            .bind(memory.scope.project.as_uuid())
                            .bind(memory.scope.user.as_str())
                            .bind(memory.conversation.map(ConversationId::as_uuid))
                            .bind(memory.message.map(|id| id.as_uuid()))
                            .bind(memory.document.map(|id| id.as_uuid()))
                            .bind(memory.kind.as_str())
                            .bind(memory.role.as_deref())
                            .bind(memory.name.as_deref())
                            .bind(memory.seq)
                            .bind(memory.text.as_str())
                            .bind(memory.title.as_deref())
                            .bind(memory.source.as_deref())
                            .bind(memory.metadata.as_deref())
                            .bind(memory.created_at.as_micros())
                            .bind(now.as_micros())
                            .bind(memory.expires_at.map(Timestamp::as_micros))
                            .bind(1_i64)
                            .bind(1_i64);
                    }
                    fresh.extend(insert.fetch_all(&mut *self).await?.into_iter().map(MemoryId::from));
                }
                let mut parts = Vec::with_capacity(fresh.len());
                let mut queued = Vec::with_capacity(fresh.len());
                let mut seen = HashSet::with_capacity(fresh.len());
                for (memory, due) in memories {
                    // Of two with the same id in one call the first is kept.
                    if !fresh.contains(&memory.id) || !seen.insert(memory.id) {
                        continue;
                    }
                    parts.extend(own_parts(memory.id, &memory.scope, memory.line(), &memory.representations));
                    queued.push((memory.id, memory.scope.project, *due));
                }
                insert_parts!(self, $statements, &parts);
                self.queue(&queued, now).await?;
                Ok(fresh)
            }

            async fn rewindow(&mut self, threads: &Threads) -> Result<Vec<(MemoryId, ProjectId)>, sqlx::Error> {
                let (mut windows, mut replaced) = (Vec::new(), Vec::new());
                for (thread, (first, last)) in threads {
                    if $is_shared {
                        sqlx::query(LOCK_CONVERSATION).bind(lock_key(thread.conversation)).execute(&mut *self).await?;
                    }
                    let rows: Vec<Neighbour> = sqlx::query_as(NEIGHBOURHOOD)
                        .bind(thread.conversation.as_uuid())
                        .bind(thread.scope.project.as_uuid())
                        .bind(thread.scope.user.as_str())
                        .bind(*first)
                        .bind(*last)
                        .fetch_all(&mut *self)
                        .await?;
                    changed_windows(&thread.scope, &rows, (*first, *last), &mut windows, &mut replaced);
                }
                for ids in chunks(&replaced) {
                    let mut delete = sqlx::query($statements.drop_windows(ids.len()));
                    for id in ids {
                        delete = delete.bind(id.as_uuid());
                    }
                    delete.execute(&mut *self).await?;
                }
                insert_parts!(self, $statements, &windows);
                let changed: Vec<(MemoryId, ProjectId)> =
                    windows.iter().map(|part| (part.memory, part.project)).collect();
                let ids: Vec<MemoryId> = changed.iter().map(|(id, _)| *id).collect();
                self.revise(&ids).await?;
                Ok(changed)
            }

            async fn forget(&mut self, ids: &[MemoryId]) -> Result<u64, sqlx::Error> {
                let mut forgotten = 0;
                for rows in chunks(ids) {
                    let mut delete = sqlx::query($statements.forget(rows.len()));
                    for id in rows {
                        delete = delete.bind(id.as_uuid());
                    }
                    forgotten += delete.execute(&mut *self).await?.rows_affected();
                }
                Ok(forgotten)
            }

            async fn enqueue(&mut self, memories: &[(MemoryId, ProjectId)], now: Timestamp) -> Result<(), sqlx::Error> {
                let due_now: Vec<_> = memories.iter().map(|(id, project)| (*id, *project, now)).collect();
                self.queue(&due_now, now).await
            }

            async fn queue(
                &mut self,
                memories: &[(MemoryId, ProjectId, Timestamp)],
                now: Timestamp,
            ) -> Result<(), sqlx::Error> {
                for rows in chunks(memories) {
                    let mut insert = sqlx::query($statements.outbox(rows.len()));
                    for (id, project, due) in rows {
                        insert = insert
                            .bind(id.as_uuid())
                            .bind(project.as_uuid())
                            .bind(1_i64)
                            .bind(0_i64)
                            .bind(due.as_micros())
                            .bind(now.as_micros());
                    }
                    insert.execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn represent(
                &mut self,
                memory: MemoryId,
                scope: &MemoryScope,
                line: String,
                given: &[NewRepresentation],
            ) -> Result<(), sqlx::Error> {
                sqlx::query("DELETE FROM memory_representations WHERE memory_id = $1 AND kind <> 'window'")
                    .bind(memory.as_uuid())
                    .execute(&mut *self)
                    .await?;
                insert_parts!(self, $statements, &own_parts(memory, scope, line, given));
                Ok(())
            }

            async fn describe(
                &mut self,
                memory: MemoryId,
                scope: &MemoryScope,
                given: &[NewRepresentation],
            ) -> Result<(), sqlx::Error> {
                let kinds: BTreeSet<Representation> = given.iter().map(|new| new.representation).collect();
                for kind in kinds {
                    sqlx::query(
                        "DELETE FROM memory_representations WHERE memory_id = $1 AND kind = $2 \
                         AND (part > 0 OR kind <> 'text')",
                    )
                    .bind(memory.as_uuid())
                    .bind(kind.as_str())
                    .execute(&mut *self)
                    .await?;
                }
                insert_parts!(self, $statements, &given_parts(memory, scope, given));
                Ok(())
            }

            async fn revise(&mut self, memories: &[MemoryId]) -> Result<(), sqlx::Error> {
                for ids in chunks(memories) {
                    let mut update = sqlx::query($statements.revise(ids.len()));
                    for id in ids {
                        update = update.bind(id.as_uuid());
                    }
                    update.execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn standings(&mut self, messages: &[Uuid]) -> Result<Vec<Standing>, sqlx::Error> {
                let mut found = Vec::with_capacity(messages.len());
                for message in messages {
                    let rows: Vec<StandingRow> = sqlx::query_as(STANDING).bind(message).fetch_all(&mut *self).await?;
                    found.extend(rows.into_iter().map(Standing::from));
                }
                Ok(found)
            }

            async fn drop_standings(&mut self, rows: Vec<StandingRow>, now: Timestamp) -> Result<u64, sqlx::Error> {
                let gone: Vec<Standing> = rows.into_iter().map(Standing::from).collect();
                let ids: Vec<MemoryId> = gone.iter().map(|standing| standing.memory).collect();
                let forgotten = self.forget(&ids).await?;
                let queued: Vec<_> = gone.iter().map(|standing| (standing.memory, standing.project)).collect();
                self.enqueue(&queued, now).await?;
                Ok(forgotten)
            }

            async fn miss(&mut self, gone: &[Standing], now: Timestamp) -> Result<(), sqlx::Error> {
                let mut threads = Threads::new();
                for standing in gone {
                    if let Some(thread) = &standing.thread {
                        touch(&mut threads, thread.clone(), standing.seq);
                    }
                }
                let queued: Vec<_> = gone.iter().map(|standing| (standing.memory, standing.project)).collect();
                self.enqueue(&queued, now).await?;
                let ids: Vec<MemoryId> = gone.iter().map(|standing| standing.memory).collect();
                self.void_descriptions_beside(&ids, now).await?;
                let changed = self.rewindow(&threads).await?;
                self.enqueue(&changed, now).await
            }
        }
    };
}

/// Inserts representations, many in a statement.
macro_rules! insert_parts {
    ($conn:expr, $statements:expr, $parts:expr) => {
        for rows in chunks($parts) {
            let mut insert = sqlx::query($statements.representations(rows.len()));
            for part in rows {
                insert = insert
                    .bind(part.memory.as_uuid())
                    .bind(part.project.as_uuid())
                    .bind(part.representation.as_str())
                    .bind(part.part)
                    .bind(part.owner.token())
                    .bind(part.text.as_str())
                    .bind(part.hash.as_bytes().as_slice());
            }
            insert.execute(&mut *$conn).await?;
        }
    };
}

define_rows!(SqliteConnection, statements::SQLITE, false);
define_rows!(PgConnection, statements::POSTGRES, true);
