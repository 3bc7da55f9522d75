//! The statements that write many rows at once, made once for each size of batch.
//!
//! Small sizes have each a statement and large ones lie a quarter apart: few prepared statements serve every batch, and most
//! batches need one or two of them. SQLite gets nameless parameters: it searches the names of all others for each named one,
//! which a statement of 700 parameters feels.

use std::sync::LazyLock;

/// The rows of the statements that there are.
const SIZES: [usize; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64];

/// One statement in all its sizes.
pub(crate) type BySize = [String; SIZES.len()];

/// The statements of one database.
pub(crate) struct Statements {
    conversations: BySize,
    messages: BySize,
    touch: BySize,
    holds: BySize,
    settled_holds: BySize,
    calls: BySize,
}

pub(crate) static SQLITE: LazyLock<Statements> = LazyLock::new(|| Statements::new(|_| "?".to_owned()));
pub(crate) static POSTGRES: LazyLock<Statements> = LazyLock::new(|| Statements::new(|number| format!("${number}")));

impl Statements {
    fn new(parameter: fn(usize) -> String) -> Self {
        let ids = |rows: usize, first: usize| -> String {
            (first..first + rows).map(parameter).collect::<Vec<_>>().join(", ")
        };
        let insert = |head: &str, columns: usize| insert(parameter, head, columns);
        let insert_new = |head: &str, columns: usize| {
            insert(head, columns).map(|statement| format!("{statement} ON CONFLICT (id) DO NOTHING"))
        };
        Self {
            conversations: insert("conversations (id, project_id, user_id, created_at, updated_at)", 5),
            messages: insert(
                "messages (id, conversation_id, project_id, seq, role, name, content, payload, status, created_at, \
                 updated_at)",
                11,
            ),
            touch: sizes(|rows| {
                format!("UPDATE conversations SET updated_at = {} WHERE id IN ({})", parameter(1), ids(rows, 2))
            }),
            holds: insert(
                "holds (id, replica_id, project_id, key_id, user_id, kind, provider, model, hold_nanos, price, charges, \
                 created_at)",
                12,
            ),
            settled_holds: sizes(|rows| format!("DELETE FROM holds WHERE id IN ({}) RETURNING id", ids(rows, 1))),
            // One that costs nothing has no hold by which a second settlement would be known.
            calls: insert_new(
                "calls (id, project_id, key_id, user_id, kind, provider, model, outcome, hold_nanos, cost_nanos, input, \
                 cached_input, cache_write_5m, cache_write_1h, audio_input, image_input, output, reasoning, audio_output, \
                 image_output, usage_source, tier, price, bill, charges, created_at, settled_at)",
                27,
            ),
        }
    }

    /// Inserts conversations: id, project, user, created, updated.
    pub(crate) fn conversations(&'static self, rows: usize) -> &'static str {
        of_size(&self.conversations, rows)
    }

    /// Inserts messages: id, conversation, project, seq, role, name, content, payload, status, created, updated.
    pub(crate) fn messages(&'static self, rows: usize) -> &'static str {
        of_size(&self.messages, rows)
    }

    /// Touches conversations: the time, then the ids.
    pub(crate) fn touch(&'static self, rows: usize) -> &'static str {
        of_size(&self.touch, rows)
    }

    /// Inserts holds: id, replica, project, key, user, kind, provider, model, amount, price, charges, created.
    pub(crate) fn holds(&'static self, rows: usize) -> &'static str {
        of_size(&self.holds, rows)
    }

    /// Deletes holds by their ids and gives the ids of those that were there.
    pub(crate) fn settled_holds(&'static self, rows: usize) -> &'static str {
        of_size(&self.settled_holds, rows)
    }

    /// Inserts calls, columns as in the table.
    pub(crate) fn calls(&'static self, rows: usize) -> &'static str {
        of_size(&self.calls, rows)
    }
}

/// Inserts rows of so many columns.
pub(crate) fn insert(parameter: fn(usize) -> String, head: &str, columns: usize) -> BySize {
    sizes(|rows| {
        let row = |row: usize| {
            let parameters: Vec<String> = (1..=columns).map(|column| parameter(row * columns + column)).collect();
            format!("({})", parameters.join(", "))
        };
        format!("INSERT INTO {head} VALUES {}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
    })
}

/// Divides rows into chunks that have a statement.
pub(crate) fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = SIZES.iter().rev().find(|size| **size <= rest.len())?;
        let (chunk, after) = rest.split_at(*size);
        rest = after;
        Some(chunk)
    })
}

/// One statement for each size of batch.
pub(crate) fn sizes(statement: impl Fn(usize) -> String) -> BySize {
    SIZES.map(statement)
}

/// The statement for so many rows.
pub(crate) fn of_size(statements: &'static BySize, rows: usize) -> &'static str {
    // Chunks have one of the sizes; anything else would be a statement that the database refuses.
    SIZES.binary_search(&rows).ok().and_then(|place| statements.get(place)).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_rows_is_divided_into_known_sizes() {
        for count in 0..300 {
            let rows: Vec<usize> = (0..count).collect();
            let divided: Vec<&[usize]> = chunks(&rows).collect();
            assert_eq!(divided.concat(), rows);
            assert!(divided.iter().all(|chunk| SIZES.contains(&chunk.len())));
            assert!(divided.len() <= count / 64 + 2, "{count} rows need {} statements", divided.len());
        }
    }

    #[test]
    fn parameters_are_numbered_for_postgres_and_nameless_for_sqlite() {
        assert_eq!(POSTGRES.touch(2), "UPDATE conversations SET updated_at = $1 WHERE id IN ($2, $3)");
        assert_eq!(SQLITE.touch(1), "UPDATE conversations SET updated_at = ? WHERE id IN (?)");
        assert!(POSTGRES.conversations(2).ends_with("VALUES ($1, $2, $3, $4, $5), ($6, $7, $8, $9, $10)"));
    }
}
