//! Gemini's clients: their requests as each provider gets them, and each provider's answers as they get them.

mod answers;
pub(crate) mod client;
mod money;
mod requests;
mod streams;
