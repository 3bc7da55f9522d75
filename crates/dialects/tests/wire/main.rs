//! The dialects from outside: whole requests, answers and streams through the public interface, and a strict reader of what
//! the client gets, which is as picky as the official SDKs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test may end in a panic")]

mod anthropic;
mod client;
mod gemini;
mod hostile;
mod inbound_anthropic;
mod inbound_gemini;
mod inbound_responses;
mod messages;
mod money;
mod openai;
mod openai_responses;
mod requests;
mod streams;
