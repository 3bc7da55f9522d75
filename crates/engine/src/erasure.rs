//! Erasing a user of a project: conversations and traces go, keys end, the money stays under a pseudonym. A receipt says what was
//! deleted where, and what could not be.

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::time::{Clock, Timestamp};
use privet_store::{ErasedRows, ErasedTraces, Receipt, Store, StoreError, TraceStore};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const USER_CONTEXT: &str = "privet erased user v1";
/// What an erasure does not reach.
const NOT_COVERED: [&str; 6] = [
    "copies of the database and its backups, also those made before a migration",
    "what was exported, sent to a webhook or written to a log",
    "what providers keep",
    "the names of budgets in the configuration and their windows",
    "sums of days by tags, and what others said of the user",
    "what is sent in the user's name after this",
];

/// Where to erase.
#[derive(Clone)]
pub struct Erasure {
    /// What must not be lost.
    pub store: Arc<Store>,
    /// Traces.
    pub traces: Arc<TraceStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What was deleted where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReceipt {
    /// Its id.
    pub id: Uuid,
    /// When, RFC 3339.
    pub at: String,
    /// The project's name.
    pub project: String,
    /// The user, by a hash of project and name: who knows the name can tell that this is its receipt.
    pub user_hash: String,
    /// The name under which the ledger keeps the amounts.
    pub pseudonym: String,
    /// Rows, by database and table.
    pub deleted: serde_json::Value,
    /// Whether the files of SQLite's logs were emptied, so that their bytes are gone too.
    pub logs_emptied: bool,
    /// What is not covered.
    pub not_covered: Vec<String>,
}

impl Erasure {
    /// The first step: the user's keys end. Servers must know it before the second, so that nothing is written meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_keys(&self, project: ProjectId, user: &str) -> Result<u64, StoreError> {
        self.store.revoke_keys_of(project, user, self.clock.now()).await
    }

    /// Erases and writes the receipt.
    ///
    /// # Errors
    /// When a database fails: what was deleted until then is, and erasing again goes on.
    pub async fn erase(&self, project: ProjectId, name: &str, user: &str) -> Result<ErasureReceipt, StoreError> {
        let now = self.clock.now();
        let user_hash = hash(project, user);
        let pseudonym = format!("erased-{}", user_hash.get(..12).unwrap_or_default());
        let traces = self.traces.erase_user(project, user, now).await?;
        let rows = self.store.erase_user(project, user, &pseudonym, now).await?;
        let logs_emptied = self.traces.truncate_log().await? && self.store.truncate_log().await?;
        let receipt = ErasureReceipt {
            id: Uuid::now_v7(),
            at: now.to_string(),
            project: name.to_owned(),
            user_hash,
            pseudonym,
            deleted: told(&rows, &traces),
            logs_emptied,
            not_covered: NOT_COVERED.map(str::to_owned).to_vec(),
        };
        self.keep(project, now, &receipt).await?;
        Ok(receipt)
    }

    /// The receipts of a project, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn receipts(&self, project: ProjectId, limit: u32) -> Result<Vec<ErasureReceipt>, StoreError> {
        let receipts = self.store.receipts(project, limit).await?;
        let read = |receipt: Receipt| {
            serde_json::from_str(&receipt.receipt)
                .map_err(|error| StoreError::Damaged(format!("the receipt {}: {error}", receipt.id)))
        };
        receipts.into_iter().map(read).collect()
    }

    async fn keep(&self, project: ProjectId, at: Timestamp, receipt: &ErasureReceipt) -> Result<(), StoreError> {
        let text = serde_json::to_string(receipt)
            .map_err(|error| StoreError::Unavailable(format!("the receipt cannot be written: {error}")))?;
        self.store.add_receipt(&Receipt { id: receipt.id, project_id: project, at, receipt: text }).await
    }
}

fn told(rows: &ErasedRows, traces: &ErasedTraces) -> serde_json::Value {
    serde_json::json!({ "privet": rows, "traces": traces })
}

/// Names nobody, and is the same for the same user.
fn hash(project: ProjectId, user: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(USER_CONTEXT);
    hasher.update(project.as_uuid().as_bytes()).update(user.as_bytes());
    hasher.finalize().to_hex().to_string()
}
