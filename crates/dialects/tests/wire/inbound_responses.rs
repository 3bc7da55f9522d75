//! Clients of OpenAI's Responses API: their requests as each provider gets them, and each provider's answers as they get them.

mod answers;
pub(crate) mod client;
mod passed;
mod requests;
mod streams;
