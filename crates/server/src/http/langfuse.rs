//! `/api/public`: what Langfuse's SDKs speak to, with their base URL set to this server.

pub(super) mod health;
pub(super) mod ingestion;
pub(super) mod projects;
pub(super) mod prompts;
pub(super) mod scores;
pub(super) mod spans;
