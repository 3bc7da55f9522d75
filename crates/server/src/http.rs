//! The HTTP side: routes, who calls, and the shapes of requests, answers and errors.

pub(crate) mod accept;
mod authenticate;
mod body;
mod conversations;
mod docs;
mod error;
mod health;
pub(crate) mod idempotency;
mod keys;
mod lesson_chat;
mod linger;
mod messages;
mod openai;
mod opening;
mod reply;
mod request_id;
pub(crate) mod router;
mod surface;

pub(crate) use reply::CONVERSATION_HEADER;
