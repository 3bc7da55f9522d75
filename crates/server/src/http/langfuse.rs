//! `/api/public`: what Langfuse's SDKs speak to, with their base URL set to this server.

pub(super) mod day_sums;
mod filter;
pub(super) mod health;
pub(super) mod ingestion;
pub(super) mod judgements;
pub(super) mod metrics;
mod metrics_query;
pub(super) mod models;
pub(super) mod observations;
pub(super) mod projects;
pub(super) mod prompts;
mod query;
pub(super) mod score_configs;
pub(super) mod scores;
pub(super) mod sessions;
pub(super) mod spans;
pub(super) mod traces;
mod views;
