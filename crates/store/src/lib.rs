//! All SQL of Privet, for SQLite and PostgreSQL: the same queries on both.
//!
//! [`Store`] keeps what must never be lost, [`TraceStore`] what is large and expires. What a row means is decided above; here it is kept, found and never lost.

mod alert;
mod api_key;
mod cached_answer;
mod conversation;
mod db;
mod erasure;
mod error;
mod idempotency;
mod import;
mod ledger;
mod memory;
mod migration;
mod postgres_url;
mod project;
mod prompt;
mod replica;
mod response;
mod score_config;
mod statements;
mod switch;
mod trace;
mod turn;
mod usage;
mod writer;

pub use alert::{DueAlert, NewAlert};
pub use api_key::{ApiKey, KeySecret, KeyUpdate, NewKeyRow, Successor};
pub use cached_answer::{CachedAnswer, NewCachedAnswer};
pub use conversation::{Conversation, ConversationPage, MessageStatus, StoredMessage};
pub use db::{Durability, Location, Store};
pub use erasure::{ErasedRows, Receipt};
pub use error::StoreError;
pub use idempotency::{Claimed, IdempotencyClaim, KeptAnswer};
pub use import::LessonImport;
pub use ledger::{CallKind, Charge, Hold, Outcome, Settlement, UsageSource};
pub use memory::{
    Again, Coverage, DescriptionCounts, DescriptionTask, Document, DocumentList, DocumentPage, EMBEDDER_COMPLETE,
    EmbeddedIndex, Embedder, EmbedderState, Forgotten, FormerText, MemoryCheck, MemoryCursor, MemoryDrift, MemoryList,
    MemoryPage, MemoryUpdate, MissingTexts, NewEmbedder, OutboxDepth, OutboxTask, RememberedHistory,
};
pub use migration::{MigrationPlan, PendingMigration};
pub use postgres_url::PostgresUrl;
pub use project::{Project, ShownProject};
pub use prompt::{NewPromptVersion, PromptCreation, PromptHead, PromptRemoval, PromptUse, Starter, StoredPrompt};
pub use replica::{Grant, GrantRequest};
pub use response::{NewResponse, OwnMessages, ResponseThread, StoredResponse};
pub use switch::SwitchedOff;
pub use trace::{
    BadCursor, COUNT_MAX, Column, Comparison, Condition, Count, DailyQuery, DailySums, Days, DeletedTraces, Dimension,
    ErasedTraces, Expiry, ExportBacklog, JudgedColumn, Kind, Lease, ObservationColumn, ObservationList,
    ObservationQuery, OwnColumn, Page, Place, Pricing, QueuedObservation, Removed, SCAN_ROWS_MAX, Scan, ScanRow,
    Scanned, ScoreColumn, ScoreList, SharedWork, StoredScore, Sums, Test, TextTest, TraceColumn, TraceList, TraceOrder,
    TraceQuery, TraceSession, TraceStore, TraceTotals, TraceUser, TraceWithTotals, Unpriced, Within, WriteSettings,
};
pub use turn::{NewMessage, TurnEnd, TurnFinish, TurnStart, TurnWithdrawal};
pub use usage::{OpenCall, Refusal, SettledCall, Standing, UsageFilter, UsageRow};
