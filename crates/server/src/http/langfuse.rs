//! `/api/public`: what Langfuse's SDKs speak to, with their base URL set to this server.

pub(super) mod health;
pub(super) mod projects;
