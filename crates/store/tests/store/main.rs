//! The store's behaviours, each on SQLite and on PostgreSQL: a failure's name says on which.
//! How the server survives its end by force is tested in `crates/server/tests/durability`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may end in a panic")]

mod alerts;
mod bed;
mod cached_answers;
mod conversations;
mod idempotency;
mod import;
mod keys;
mod ledger;
mod memories;
mod memory_descriptions;
mod memory_history;
mod memory_index;
mod migrations;
mod money;
mod opening;
mod prompts;
mod replicas;
mod responses;
mod score_configs;
mod text;
mod trace_bed;
mod trace_erasure;
mod trace_export;
mod trace_queries;
mod trace_retention;
mod traces;
mod turns;
mod usage;
