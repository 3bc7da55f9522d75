//! Anthropic's dialect: the Messages API (<https://docs.claude.com/en/api/messages>), requests out and answers in.
//!
//! It serves no client in this dialect; there is no decoding of requests and no encoding of answers.

pub mod request;
pub mod response;
pub mod stream;
mod thinking;
mod thread;
mod wire;
