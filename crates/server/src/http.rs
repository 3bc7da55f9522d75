//! The HTTP side: routes, who calls, and the shapes of requests, answers and errors.

pub(crate) mod accept;
mod address;
mod address_limiter;
mod address_table;
mod authenticate;
mod body;
mod conversations;
mod docs;
mod documents;
pub(crate) mod door;
mod erasures;
mod error;
mod feedback;
mod health;
pub(crate) mod idempotency;
mod keys;
mod langfuse;
mod lesson_chat;
mod linger;
mod memories;
mod messages;
mod openai;
mod opening;
mod prompt_wish;
mod prompts;
mod providers;
mod rate_status;
mod reply;
mod request_id;
pub(crate) mod router;
mod surface;
mod switches;
mod trace_context;
mod traces;
mod usage;

pub(crate) use reply::CONVERSATION_HEADER;
