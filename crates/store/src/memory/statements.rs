//! The statements of memory that write many rows at once.

use std::sync::LazyLock;

use crate::statements::{BySize, insert, of_size, sizes};

/// The statements of one database.
pub(super) struct Statements {
    memories: BySize,
    representations: BySize,
    outbox: BySize,
    forget: BySize,
    drop_windows: BySize,
    revise: BySize,
    standings: BySize,
    acknowledge: BySize,
}

pub(super) static SQLITE: LazyLock<Statements> = LazyLock::new(|| Statements::new(|_| "?".to_owned()));
pub(super) static POSTGRES: LazyLock<Statements> = LazyLock::new(|| Statements::new(|number| format!("${number}")));

impl Statements {
    fn new(parameter: fn(usize) -> String) -> Self {
        let ids = |rows: usize| (1..=rows).map(parameter).collect::<Vec<_>>().join(", ");
        Self {
            memories: insert(
                parameter,
                "memories (id, project_id, user_id, conversation_id, message_id, document_id, kind, role, name, seq, text, \
                 title, source, metadata, created_at, updated_at, expires_at, version, revision)",
                19,
            )
            .map(|statement| format!("{statement} ON CONFLICT (id) DO NOTHING RETURNING id")),
            representations: insert(
                parameter,
                "memory_representations (memory_id, project_id, kind, part, owner, text, content_hash)",
                7,
            )
            .map(|statement| format!("{statement} ON CONFLICT (memory_id, kind, part) DO NOTHING")),
            outbox: insert(
                parameter,
                "memory_outbox (memory_id, project_id, generation, attempts, due_at, created_at)",
                6,
            )
            .map(|statement| {
                format!(
                    "{statement} ON CONFLICT (memory_id) DO UPDATE SET generation = memory_outbox.generation + 1, \
                     attempts = 0, due_at = excluded.due_at"
                )
            }),
            forget: sizes(|rows| format!("DELETE FROM memories WHERE id IN ({})", ids(rows))),
            drop_windows: sizes(|rows| {
                format!("DELETE FROM memory_representations WHERE kind = 'window' AND memory_id IN ({})", ids(rows))
            }),
            standings: sizes(|rows| {
                format!(
                    "SELECT id, project_id, user_id, conversation_id, kind, seq FROM memories WHERE id IN ({})",
                    ids(rows)
                )
            }),
            acknowledge: sizes(|rows| format!("DELETE FROM memory_outbox WHERE memory_id IN ({})", ids(rows))),
            revise: sizes(|rows| format!("UPDATE memories SET revision = revision + 1 WHERE id IN ({})", ids(rows))),
        }
    }

    /// Inserts memories, columns as in the table, and gives the ids of those that were not there.
    pub(super) fn memories(&'static self, rows: usize) -> &'static str {
        of_size(&self.memories, rows)
    }

    /// Inserts representations: memory, project, kind, part, owner, text, hash.
    pub(super) fn representations(&'static self, rows: usize) -> &'static str {
        of_size(&self.representations, rows)
    }

    /// Puts memories into the outbox, each once: memory, project, generation, attempts, due, created.
    pub(super) fn outbox(&'static self, rows: usize) -> &'static str {
        of_size(&self.outbox, rows)
    }

    /// Deletes memories by their ids.
    pub(super) fn forget(&'static self, rows: usize) -> &'static str {
        of_size(&self.forget, rows)
    }

    /// Deletes the windows of memories.
    pub(super) fn drop_windows(&'static self, rows: usize) -> &'static str {
        of_size(&self.drop_windows, rows)
    }

    /// Counts a change of memories' representations.
    pub(super) fn revise(&'static self, rows: usize) -> &'static str {
        of_size(&self.revise, rows)
    }

    /// Where memories stand, by their ids.
    pub(super) fn standings(&'static self, rows: usize) -> &'static str {
        of_size(&self.standings, rows)
    }

    /// Takes the tasks of memories out of the outbox, in whatever state they are.
    pub(super) fn acknowledge(&'static self, rows: usize) -> &'static str {
        of_size(&self.acknowledge, rows)
    }
}
